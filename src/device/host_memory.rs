//! Memory of the machine that this process may use.

use std::{fs, sync::LazyLock};

/// Bytes of memory and swap, at most what the process's control group allows; None where the system does not tell (Linux
/// does).
pub fn host_memory() -> Option<u64> {
    static MEMORY: LazyLock<Option<u64>> = LazyLock::new(read);
    *MEMORY
}

fn read() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let installed = field(&info, "MemTotal:")? + field(&info, "SwapTotal:").unwrap_or(0);
    let limit =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    Some(limit.map_or(installed, |limit: u64| limit.min(installed)))
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
    fn memory_is_read_where_the_system_tells() {
        let info = "MemTotal:       24000000 kB\nMemFree:  1 kB\nSwapTotal:             0 kB\n";
        assert_eq!((field(info, "MemTotal:"), field(info, "SwapTotal:")), (Some(24_576_000_000), Some(0)));
        assert_eq!(field(info, "MemLeft:"), None);
        if cfg!(target_os = "linux") {
            assert!(host_memory().is_some_and(|bytes| bytes > 1 << 28));
        }
    }
}
