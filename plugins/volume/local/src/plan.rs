//! How each sort of volume is mounted.

use longshore_plugin::steps::{MountPlan, MountStep, Remote, Source};
use longshore_plugin::volume::{Access, Mount, Mounted};
use longshore_plugin::{Error, Result};

use crate::config::Sort;

pub(crate) fn mount(request: &Mount) -> Result<Mounted> {
    let name = &request.volume.name;
    let writes = request.access != Access::Read;
    let step = |fs: &str, source: Source, read_only: bool| MountStep {
        fs: fs.into(),
        source,
        lowers: vec![],
        upper: None,
        work: None,
        options: vec![],
        read_only,
    };
    let denied = || Error::denied(format!("volume {name} is read-only by its own options"));
    let (step, shared, fill) = match Sort::read(&request.volume.options)? {
        Sort::Plain => (
            step("bind", Source::Tree(crate::place(name, "_data")?), !writes),
            false,
            true,
        ),
        Sort::Bind { read_only: true, .. } | Sort::Remote { read_only: true, .. } if writes => return Err(denied()),
        Sort::Bind { device, .. } => (
            step("bind", Source::HostPath(device.as_str().into()), !writes),
            false,
            false,
        ),
        Sort::Tmpfs { options } => (
            MountStep {
                options,
                ..step("tmpfs", Source::None, !writes)
            },
            true,
            true,
        ),
        Sort::Remote {
            fs,
            server,
            path,
            options,
            ..
        } => {
            let source = Source::Remote(Remote {
                server,
                path: path.as_str().into(),
            });
            (
                MountStep {
                    options,
                    ..step(fs, source, !writes)
                },
                true,
                false,
            )
        }
    };
    Ok(Mounted {
        plan: MountPlan::single(step),
        shared,
        fill,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use longshore_plugin::driver::OptionValue;
    use longshore_plugin::types::{MountId, Note, VolumeName};
    use longshore_plugin::volume::VolumeRef;

    fn request(options: Vec<OptionValue>, access: Access) -> Mount {
        Mount {
            volume: VolumeRef {
                name: VolumeName::parse("data").unwrap(),
                note: Note::default(),
                options,
            },
            mount_id: MountId::parse("c1").unwrap(),
            access,
            others: 0,
        }
    }

    #[test]
    fn a_plain_volume_is_a_bind_that_takes_the_images_content() {
        let mounted = mount(&request(vec![], Access::Write)).unwrap();
        assert!(mounted.fill && !mounted.shared && !mounted.plan.steps[0].read_only);
        assert!(mount(&request(vec![], Access::Read)).unwrap().plan.steps[0].read_only);
    }

    #[test]
    fn a_tmpfs_is_one_for_all_consumers() {
        let options = vec![OptionValue::text("type", "tmpfs"), OptionValue::text("device", "tmpfs")];
        assert!(mount(&request(options, Access::Write)).unwrap().shared);
    }

    #[test]
    fn a_read_only_source_refuses_a_writer() {
        let options = vec![OptionValue::text("o", "bind,ro"), OptionValue::text("device", "/srv")];
        assert!(mount(&request(options.clone(), Access::Write)).is_err());
        assert!(mount(&request(options, Access::Read)).is_ok());
    }
}
