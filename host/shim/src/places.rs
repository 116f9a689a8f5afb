//! The names that engine and shim agree on, in a container's run folder and its folder on disk.
//!
//! `config.json`, `exec/<exec id>/process.json` are written by the engine before it asks for them;
//! the rest is the shim's.

/// The listening socket, in the run folder.
pub const SOCKET: &str = "shim.sock";
/// Who the shim is, in the run folder.
pub const IDENTITY: &str = "shim";
/// What the shim knows, in the run folder; replaced at each change.
pub const STATE: &str = "state";
/// The OCI configuration that the engine writes into the run folder. Its `root.path` is
/// `<run folder>/root`, its bind sources lie below `<run folder>/volumes/`, the path of its network
/// namespace is `<run folder>/netns`.
pub const CONFIG: &str = "config.json";
/// Where the root mount is attached, below the run folder, in the shim's mount namespace only.
pub const ROOT: &str = "root";
/// Where volumes are attached: `volumes/<n>`.
pub const VOLUMES: &str = "volumes";
/// Where the network namespace is bound, in the shim's mount namespace only, so that the OCI
/// configuration can name it before it exists.
pub const NETWORK: &str = "netns";
/// The exec driver's own folder, below the run folder.
pub const DRIVER: &str = "oci";
/// The folder of exec sessions: `exec/<exec id>/`.
pub const EXEC: &str = "exec";
/// The OCI process object of an exec session, in its folder.
pub const PROCESS: &str = "process.json";
/// The exit record: in the container's folder on disk, and in an exec session's folder.
pub const EXIT: &str = "exit";

/// Whether `place` is one where a mount may be attached: `root`, or `volumes/` and a number.
pub fn is_mount_place(place: &str) -> bool {
    place == ROOT
        || place
            .strip_prefix(VOLUMES)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|number| (1..=5).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Whether `name` is a single file name that stays in its folder.
pub fn is_file_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name != "." && name != ".." && !name.bytes().any(|b| b == b'/' || b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_go_to_the_root_and_to_numbered_volumes_only() {
        for good in ["root", "volumes/0", "volumes/12345"] {
            assert!(is_mount_place(good), "{good}");
        }
        for bad in [
            "",
            "root/",
            "/root",
            "volumes",
            "volumes/",
            "volumes/a",
            "volumes/1/2",
            "volumes/../root",
            "volumes/123456",
        ] {
            assert!(!is_mount_place(bad), "{bad}");
        }
    }

    #[test]
    fn file_names_stay_in_their_folder() {
        assert!(is_file_name("a-json.log"));
        for bad in ["", ".", "..", "a/b", "a\0"] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }
}
