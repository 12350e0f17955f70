//! What `metrics.jsonl` holds, in a few bytes that a checkpoint carries: so a resumed run notices lines that are missing
//! or changed.

use serde::{Deserialize, Serialize};

/// Its name in the run directory.
pub const FILE: &str = "metrics.jsonl";

/// Lines so far, and a checksum of what they say apart from the machine's speed: every run of a spec has the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub lines: u64,
    crc32c: u32,
}

impl Told {
    /// Counts a line, of which `timeless` is the part that is the same in every run.
    pub fn add(&mut self, timeless: &[u8]) {
        self.lines += 1;
        self.crc32c = crc32c::crc32c_append(self.crc32c, timeless);
    }
}
