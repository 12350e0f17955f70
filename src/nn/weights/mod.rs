//! Weight files, read and written: safetensors, PyTorch state dicts (`.pth`) and Caffe's `.caffemodel`. Of a training's
//! checkpoint the weights are read.
//!
//! Axes are permuted only here: a tensor of rank 4 is `(O, KH, KW, I)` in memory and `(O, I, KH, KW)` in every format
//! (transposed convolutions likewise, `C_in` first and `C_out` last). All other tensors keep their axes. Names are
//! those of the file; `backbones::exchange` converts them to our names.

pub mod caffe;
pub(crate) mod checkpoint;
mod foreign;
mod found;
mod key;
mod layout;
mod load;
mod positioned;
pub mod pth;
pub(crate) mod safetensors;

pub use found::Named;
pub use key::{NetworkCandidate, SeveralNetworks, split};
pub use layout::{dims_in_file, to_file_layout, to_memory_layout};
pub use load::{LoadReport, finish_load, load_into, real};

use super::params::Params;
use crate::{guarded, yaml};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use found::RawWeights;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

/// Format of a weight file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    /// A state dict written by `torch.save`, as a zip archive or in the older format.
    Pytorch,
    Caffe,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Pytorch => "PyTorch state dict",
            Self::Caffe => "Caffe model",
        })
    }
}

/// Contents of a weight file.
#[derive(Clone, Debug)]
pub struct Contents {
    pub format: Format,
    /// By the file's own names, in memory layout, on the CPU.
    pub tensors: Named,
    /// Of safetensors, of state dicts that this program wrote, and of checkpoints, as the run's weight file will have it.
    pub metadata: BTreeMap<String, String>,
    /// Tensors of unsupported types with the reason, by name: complex, quantized, sparse, half a byte.
    pub unread: BTreeMap<String, String>,
    /// Notes for the user: which of several networks was chosen, what was converted.
    pub notes: Vec<String>,
}

/// Tensors by the file's names, in memory layout on the CPU, and the metadata. See [`contents`].
pub fn read(path: &Path) -> Result<(Named, BTreeMap<String, String>)> {
    contents(path).map(|contents| (contents.tensors, contents.metadata))
}

/// Reads a weight file of any format, identified by its first bytes, whatever its name. `FILE#KEY` selects one of
/// several networks in it ([`split`]). A checkpoint of a training gives its weights.
///
/// # Errors
/// A file that cannot be read, is of another type (which is named), is truncated or corrupt; a file with several
/// networks and no key ([`SeveralNetworks`]). Every number in the file is checked against the file's length before
/// use.
pub fn contents(path: &Path) -> Result<Contents> {
    let (file, key) = split(path);
    // The parsers of archives, of safetensors and of Caffe's models are third-party and may panic.
    let read = guarded::call(|| read_file(&file, key.as_deref())).map_err(Into::into).flatten();
    read.with_context(|| format!("cannot read weights from {}", path.display()))
}

const KIND: &str = "safetensors file, PyTorch state dict (.pth) or Caffe model (.caffemodel)";

fn read_file(path: &Path, key: Option<&str>) -> Result<Contents> {
    let file = File::open(path)?;
    let facts = file.metadata()?;
    ensure!(!facts.is_dir(), "it is a folder: give a file in it, a {KIND}");
    let length = facts.len();
    let mut file = BufReader::with_capacity(1 << 16, file);
    let (mut start, mut end) = (vec![], vec![]);
    (&mut file).take(foreign::START).read_to_end(&mut start)?;
    if let Some(other) = foreign::kind(path, &start, ending(&mut file, length, &mut end)?) {
        bail!("it is not a {KIND}, but {other}")
    }
    file.rewind()?;
    let (format, found) = if length < 8 {
        bail!("the file has {length} bytes: it is not a {KIND}, or a broken download")
    } else if start.get(8) == Some(&b'{') {
        let found = checkpoint::weights(safetensors::read(at_start(&file)?, length)?)?;
        (Format::Safetensors, within(found, key)?)
    } else if start.starts_with(b"PK\x03\x04") {
        (Format::Pytorch, pth::read_zip(file, length, key)?)
    } else if pth::is_legacy(&start) {
        (Format::Pytorch, pth::read_legacy(&mut file, length, key)?)
    } else if start[0] == 0x80 && (2..=5).contains(&start[1]) {
        bail!(
            "it is not a {KIND}, but a Python pickle that torch.save did not write: save the weights as safetensors"
        )
    } else if caffe::may_begin(&start) {
        let tensors = caffe::read(&mut file, length)?;
        (Format::Caffe, within(RawWeights { tensors, ..RawWeights::default() }, key)?)
    } else {
        bail!("it is not a {KIND}: it begins with {}", shown(&start))
    };
    Ok(contents_of(format, found))
}

/// The file itself, at its first byte: what the buffer holds is not at the file's position.
fn at_start(file: &BufReader<File>) -> Result<&File> {
    let mut file = file.get_ref();
    file.rewind()?;
    Ok(file)
}

/// Reads the last bytes.
fn ending<'e>(file: &mut (impl Read + Seek), length: u64, end: &'e mut Vec<u8>) -> Result<&'e [u8]> {
    file.seek(SeekFrom::Start(length.saturating_sub(foreign::END)))?;
    file.take(foreign::END).read_to_end(end)?;
    Ok(end)
}

/// The contents below a name prefix.
fn within(found: RawWeights, prefix: Option<&str>) -> Result<RawWeights> {
    let Some(prefix) = prefix else { return Ok(found) };
    let tensors = key::below(found.tensors, prefix);
    let unread = key::below(found.unread, prefix);
    ensure!(
        !(tensors.is_empty() && unread.is_empty()),
        "it has no tensors whose names begin with `{prefix}.`"
    );
    Ok(RawWeights { tensors, unread, ..found })
}

fn contents_of(format: Format, found: RawWeights) -> Contents {
    let RawWeights { tensors, metadata, unread, converted, mut notes } = found;
    for (kind, names) in converted {
        let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        notes.push(format!("numbers of the type {kind} were converted: {}{more}", names[0]));
    }
    Contents { format, tensors, metadata, unread, notes }
}

/// The first bytes of a file, formatted for a message.
fn shown(start: &[u8]) -> String {
    start[..start.len().min(8)]
        .iter()
        .map(|byte| format!("{byte:02x} "))
        .collect::<String>()
        .trim_end()
        .into()
}

/// Parses a section of a file's header, which is YAML, into a spec struct.
///
/// # Errors
/// Invalid YAML, or unknown fields of `T`.
pub fn section<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    // Through JSON values, which keep the representation of enums by name.
    let value: Value = yaml::read(text)?;
    Ok(serde_json::from_value(value)?)
}

/// Writes parameters and buffers as safetensors, atomically. `metadata` is stored in the header (spec YAML,
/// architecture …).
pub fn save(params: &Params, metadata: &BTreeMap<String, String>, path: &Path) -> Result<()> {
    let tensors: Vec<_> = params.all().map(|(name, var)| (name, var.as_tensor())).collect();
    write(&tensors, metadata, path)
}

/// Writes named tensors in memory layout as safetensors, atomically. Equal input gives equal bytes.
///
/// # Errors
/// A duplicate name, a dtype that the format lacks, a folder that cannot be written, a full disk.
pub fn write(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>, path: &Path) -> Result<()> {
    layout::atomically(path, |file| safetensors::write(tensors, metadata, file))
}
