//! Memory of the machine that this process may use.

use std::{fs, path::Path, sync::LazyLock};

/// Bytes of memory and swap, at most what the process's control group allows; None where the system does not tell (Linux
/// does).
pub fn host_memory() -> Option<u64> {
    static MEMORY: LazyLock<Option<u64>> = LazyLock::new(read);
    *MEMORY
}

fn read() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let installed = field(&info, "MemTotal:")? + field(&info, "SwapTotal:").unwrap_or(0);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(limits(&groups, Path::new("/sys/fs/cgroup")).into_iter().fold(installed, u64::min))
}

/// The limits of the control groups in `/proc/self/cgroup` and of those around them, of both versions. In a container the
/// groups' paths may begin above what is mounted; its root then has the limit.
fn limits(groups: &str, mounted: &Path) -> Vec<u64> {
    let mut found = vec![];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => (mounted.to_path_buf(), "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => {
                (mounted.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let inside = Path::new(path.trim_start_matches('/'));
        let read =
            |group: &Path| fs::read_to_string(root.join(group).join(file)).ok()?.trim().parse::<u64>().ok();
        found.extend(inside.ancestors().filter_map(read));
    }
    found
}

/// A line of `/proc/meminfo`, given in KiB.
fn field(info: &str, name: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_of_both_versions_limit_it() {
        let mounted = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = mounted.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("memory.max", "max\n");
        write("job/memory.max", "5000\n");
        write("job/step/memory.max", "max\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/old/memory.limit_in_bytes", "7000\n");
        assert_eq!(limits("0::/job/step\n", mounted.path()), [5000]);
        assert_eq!(limits("4:memory,cpu:/old\n1:pids:/\n", mounted.path()), [7000, 9223372036854771712]);
        assert_eq!(limits("", mounted.path()), [] as [u64; 0]);
    }

    #[test]
    fn memory_is_read_where_the_system_tells() {
        let info = "MemTotal:       24000000 kB\nMemFree:  1 kB\nSwapTotal:             0 kB\n";
        assert_eq!((field(info, "MemTotal:"), field(info, "SwapTotal:")), (Some(24_576_000_000), Some(0)));
        assert_eq!(field(info, "MemLeft:"), None);
        if cfg!(target_os = "linux") {
            assert!(host_memory().is_some_and(|bytes| bytes > 1 << 28));
        }
    }
}
