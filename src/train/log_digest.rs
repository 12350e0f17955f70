//! A digest of `metrics.jsonl` stored in checkpoints, so that a resumed run detects missing or changed lines.

use serde::{Deserialize, Serialize};

/// File name in the run directory.
pub const FILE: &str = "metrics.jsonl";

/// Number of lines, and a checksum of their contents without the timing fields: identical in every run of a spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDigest {
    pub lines: u64,
    crc32c: u32,
}

impl LogDigest {
    /// Adds a line; `without_timing` is the part without timing fields.
    pub fn add(&mut self, without_timing: &[u8]) {
        self.lines += 1;
        self.crc32c = crc32c::crc32c_append(self.crc32c, without_timing);
    }
}
