//! Names of devices, on the command line and in specs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The device: `auto` (the first GPU if the program was built with `cuda` and one is available, else the CPU), `cpu`,
/// `cuda`, `cuda:1` for the second GPU, or `cuda:0-7` and `cuda:0,2,5` for GPUs that train together (`run`, feature `nccl`).
/// Of the processes that a launcher started on one machine, `auto` and `cuda` give each its own GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    title = "Device",
    extend("pattern" = "^(auto|cpu|cuda|cuda:[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)$")
)]
pub enum DeviceSpec {
    /// A GPU if the program was built with `cuda` and one is available, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first GPU, or that of this process among those of a launcher.
    OwnGpu,
    /// The GPU with this index.
    Cuda(usize),
    /// Several GPUs.
    Gpus(GpuSet),
}

/// At least two GPUs of one machine, by ascending index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuSet {
    /// Bit i stands for GPU i.
    bits: u64,
}

impl GpuSet {
    /// The indices.
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..MOST_GPUS).filter(move |index| self.bits >> index & 1 == 1)
    }

    /// The number of GPUs.
    pub fn len(self) -> usize {
        self.bits.count_ones() as usize
    }

    /// Never true.
    pub fn is_empty(self) -> bool {
        self.bits == 0
    }
}

/// Indices of a [`GpuSet`] are below this.
const MOST_GPUS: usize = u64::BITS as usize;

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::OwnGpu),
            Some(("cuda", list)) => gpus(list).map_err(|what| format!("`{text}`: {what}")),
            _ => Err(format!("`{text}` is no device: {FORMS}")),
        }
    }
}

const FORMS: &str = "auto, cpu, cuda, cuda:1 for the second GPU, or cuda:0-7 and cuda:0,2,5 for several";

/// The GPUs of a list such as `0-3,6`.
fn gpus(list: &str) -> Result<DeviceSpec, String> {
    if let Ok(index) = list.parse() {
        return Ok(DeviceSpec::Cuda(index));
    }
    let mut bits = 0;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        for index in number(first)?..=number(last)? {
            if bits >> index & 1 == 1 {
                return Err(format!("GPU {index} is listed twice: name each once"));
            }
            bits |= 1u64 << index;
        }
        if number(first)? > number(last)? {
            return Err(format!("{part} counts down: write {last}-{first}"));
        }
    }
    let set = GpuSet { bits };
    match set.len() {
        1 => Ok(DeviceSpec::Cuda(bits.trailing_zeros() as usize)),
        _ => Ok(DeviceSpec::Gpus(set)),
    }
}

fn number(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| format!("`{text}` is no index of a GPU: {FORMS}"))?;
    if number < MOST_GPUS {
        return Ok(number);
    }
    Err(format!("GPU {number} is none of one machine: indices of a list are below {MOST_GPUS}"))
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::OwnGpu => f.write_str("cuda"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Gpus(set) => write!(f, "cuda:{set}"),
        }
    }
}

/// Runs of consecutive indices: `0-3,6`.
impl fmt::Display for GpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        let has = |index: usize| index < MOST_GPUS && self.bits >> index & 1 == 1;
        for first in self.indices().filter(|index| *index == 0 || !has(index - 1)) {
            let last = (first..MOST_GPUS).take_while(|index| has(*index)).last().unwrap_or(first);
            write!(f, "{before}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            before = ",";
        }
        Ok(())
    }
}

impl TryFrom<String> for DeviceSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceSpec> for String {
    fn from(spec: DeviceSpec) -> Self {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written() {
        for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:3", "cuda:0-7", "cuda:0,2,5", "cuda:0-1,3,62-63"]
        {
            assert_eq!(text.parse::<DeviceSpec>().map(|spec| spec.to_string()).as_deref(), Ok(text));
        }
        for (text, meant) in [("cuda:0,1,2", "cuda:0-2"), ("cuda:5,0", "cuda:0,5"), ("cuda:4-4", "cuda:4")] {
            assert_eq!(text.parse::<DeviceSpec>().map(|spec| spec.to_string()).as_deref(), Ok(meant));
        }
        let Ok(DeviceSpec::Gpus(set)) = "cuda:2,7".parse() else { panic!("two GPUs") };
        assert_eq!((set.indices().collect::<Vec<_>>(), set.len()), (vec![2, 7], 2));
    }

    #[test]
    fn what_names_no_device_says_why() {
        for (text, why) in [
            ("gpu", "auto, cpu, cuda, cuda:1"),
            ("cpu:1", "auto, cpu, cuda, cuda:1"),
            ("", "auto, cpu, cuda, cuda:1"),
            ("cuda:", "`` is no index of a GPU"),
            ("cuda:x", "`x` is no index of a GPU"),
            ("cuda:0-", "`` is no index of a GPU"),
            ("cuda:-1", "`` is no index of a GPU"),
            ("cuda:0,,1", "`` is no index of a GPU"),
            ("cuda:3-1", "3-1 counts down: write 1-3"),
            ("cuda:0,1,0", "GPU 0 is listed twice"),
            ("cuda:0-2,2", "GPU 2 is listed twice"),
            ("cuda:0-64", "GPU 64 is none of one machine"),
        ] {
            let said = text.parse::<DeviceSpec>().expect_err(text);
            assert!(said.contains(why) && said.starts_with(&format!("`{text}`")), "{said}");
        }
    }
}
