//! Cases of what a volume's mount may come from, and of secrets on the way there.

use std::cell::RefCell;

use longshore_core::driver::OptionContent;
use longshore_core::steps::{MountOption, OptionText, Source};
use longshore_core::types::SecretRef;
use longshore_core::wire::encode;

use super::*;

const SECRET: &str = "correct-horse-battery-staple";
const NUMBER: SecretRef = SecretRef(3);

/// A volume with a secret among its options, as the host hands it over: by number.
fn with_secret(bench: &Bench) -> Result<VolumeRef> {
    let options = &bench.target.loaded.description().options;
    let secret = options.iter().find(|option| option.kind == OptionKind::Secret);
    let mut given: Vec<OptionValue> = secret
        .map(|option| OptionValue {
            name: option.name.clone(),
            value: OptionContent::Secret(NUMBER),
        })
        .into_iter()
        .collect();
    if mounts_by_type(bench).is_none() {
        let share = [("type", "cifs"), ("o", "username=u"), ("device", "//127.0.0.1/share")];
        given.extend(share.map(|(name, value)| OptionValue::text(name, value)));
    }
    Ok(bench.create("secret", given)?.0)
}

/// Mounts with the secret at hand. Answers the numbers that were asked for, and all that was said of
/// the mount; nobody serves the share, so no mount comes of it.
fn mounted(bench: &Bench, volume: &VolumeRef) -> Result<(Vec<SecretRef>, String)> {
    let asked = RefCell::new(Vec::new());
    let secrets = |number: SecretRef| {
        asked.borrow_mut().push(number);
        (number == NUMBER).then(|| SECRET.as_bytes().to_vec())
    };
    let answer = bench.ask(volume, "c1", Access::Write, 0)?;
    let granted = ["remote:cifs", "remote:nfs"];
    let scope = PlanScope {
        grants: &granted,
        secrets: Some(&secrets),
        ..bench.scope(volume)
    };
    let mut said = format!("{answer:?} {scope:?}");
    said.push_str(&String::from_utf8_lossy(&encode(&answer)?));
    let checked = plan::check_plan(&answer.plan, &scope, Access::Write.try_into()?);
    match checked {
        Ok(checked) => {
            said.push_str(&format!("{checked:?}"));
            if let Err(error) = plan::build(checked) {
                said.push_str(&format!("{error} {error:?}"));
            }
        }
        Err(error) => said.push_str(&format!("{error} {error:?}")),
    }
    bench.unmount(volume, "c1", 0)?;
    Ok((asked.into_inner(), said))
}

/// All that is said on the way: requests and answers as they are encoded, what is printed of them and
/// of the checked plan, errors, the driver's list, its root.
pub(super) fn a_secret_is_in_no_message_log_trace_record_or_listing(bench: &Bench) -> CaseResult {
    let volume = with_secret(bench)?;
    let (_, mut said) = mounted(bench, &volume)?;
    said.push_str(&format!("{volume:?}"));
    said.push_str(&String::from_utf8_lossy(&encode(&volume)?));
    if bench.capabilities.lists {
        said.push_str(&format!("{:?}", bench.stat(&volume)?));
    }
    said.push_str(&bench.on_disk()?.concat());
    check(!said.contains(SECRET), || "a secret is shown".into())
}

/// The performer fetches it under the number that the host gave the driver, once.
pub(super) fn a_secret_reaches_the_mount(bench: &Bench) -> CaseResult {
    let volume = with_secret(bench)?;
    let (asked, said) = mounted(bench, &volume)?;
    check(asked == [NUMBER], || {
        format!("asked for were {asked:?}, given was {NUMBER:?}: {said}")
    })
}

fn of_host(bench: &Bench, device: &Path) -> Result<VolumeRef> {
    let options = [("type", "none"), ("o", "bind"), ("device", &device.to_string_lossy())]
        .map(|(name, value)| OptionValue::text(name, value));
    Ok(bench.create("host", options.to_vec())?.0)
}

fn checked(bench: &Bench, volume: &VolumeRef, scope: &PlanScope<'_>) -> longshore_core::Result<OwnedFd> {
    let mounted = match bench.ask(volume, "c1", Access::Write, 0) {
        Ok(mounted) => mounted,
        Err(Failure::Driver(error)) => return Err(error),
        Err(other) => return Err(longshore_core::Error::broken(other.to_string())),
    };
    plan::build(plan::check_plan(&mounted.plan, scope, plan::Access::Write)?)
}

pub(super) fn a_host_path_that_no_user_wrote_is_refused(bench: &Bench) -> CaseResult {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir()?;
    let volume = of_host(bench, folder.path())?;
    let written = [folder.path().as_os_str().as_bytes()];
    let allowed = PlanScope {
        host_paths: &written,
        ..bench.scope(&volume)
    };
    drop(checked(bench, &volume, &allowed)?);
    let other = [b"/srv".as_slice()];
    let not_this = PlanScope {
        host_paths: &other,
        ..bench.scope(&volume)
    };
    expect(checked(bench, &volume, &not_this), ErrorKind::Denied)
}

/// What a user wrote is a folder at first; then it is a link to what no volume may be.
pub(super) fn a_link_swapped_into_a_host_path_after_create_is_refused_or_same(bench: &Bench) -> CaseResult {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir()?;
    let device = folder.path().join("device");
    fs::create_dir(&device)?;
    fs::write(device.join("f"), "the user's")?;
    let volume = of_host(bench, &device)?;
    let written = [device.as_os_str().as_bytes()];
    let private = [bench.place.path.as_path()];
    let scope = PlanScope {
        host_paths: &written,
        private: &private,
        ..bench.scope(&volume)
    };
    drop(checked(bench, &volume, &scope)?);
    fs::rename(&device, folder.path().join("moved"))?;
    let own = bench.place.path.join("host");
    for target in [
        Path::new("/"),
        Path::new("/proc"),
        Path::new("/proc/self/root"),
        &bench.place.path,
        &own,
    ] {
        std::os::unix::fs::symlink(target, &device)?;
        let mounted = checked(bench, &volume, &scope);
        fs::remove_file(&device)?;
        check(mounted.is_err(), || {
            format!("a link to {} is mounted", target.display())
        })?;
    }
    Ok(())
}

pub(super) fn a_remote_without_a_grant_is_refused(bench: &Bench) -> CaseResult {
    for (name, fs, o, device) in [
        ("nfs", "nfs", "addr=127.0.0.1", ":/export"),
        ("cifs", "cifs", "username=u", "//127.0.0.1/share"),
    ] {
        let options = [("type", fs), ("o", o), ("device", device)].map(|(name, value)| OptionValue::text(name, value));
        let (volume, _) = bench.create(name, options.to_vec())?;
        expect(checked(bench, &volume, &bench.scope(&volume)), ErrorKind::Denied)?;
    }
    Ok(())
}

/// By the host, whatever a driver answers; and by the driver where it takes mount options.
pub(super) fn an_option_outside_the_list_is_refused(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let mut mounted = bench.ask(&volume, "c1", Access::Write, 0)?;
    bench.unmount(&volume, "c1", 0)?;
    for key in ["lowerdir", "context", "source", "fd"] {
        for step in &mut mounted.plan.steps {
            step.options = vec![MountOption {
                key: key.into(),
                value: OptionText::Text("x".into()),
            }];
        }
        match bench.build(&volume, &mounted, Access::Write) {
            Err(Failure::Driver(error)) if error.kind == ErrorKind::Broken => {}
            other => return Err(Failure::Differs(format!("option {key}: {other:?}"))),
        }
    }
    let no_source = mounted.plan.steps.iter().all(|step| step.source == Source::None);
    if mounts_by_type(bench).is_some() || no_source {
        return Ok(());
    }
    let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,suid")];
    let options = options.map(|(name, value)| OptionValue::text(name, value));
    match bench.create("memory", options.to_vec()) {
        Err(Failure::Driver(error)) if error.kind == ErrorKind::Invalid => {
            check(error.message.contains("suid"), || {
                format!("the option is not named: {error}")
            })
        }
        other => Err(Failure::Differs(format!("expected Invalid, got {other:?}"))),
    }
}
