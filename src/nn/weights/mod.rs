//! Weight files, read and written: safetensors, PyTorch state dicts (`.pth`) and Caffe's `.caffemodel`.
//!
//! This is the one place where axes are permuted: a tensor of rank 4 lies `(O, KH, KW, I)` in memory and
//! `(O, I, KH, KW)` in every format (transposed convolutions likewise, `C_in` first and `C_out` last). Everything
//! else keeps its axes. Names stay those of the file: what they are called in our networks is the business of
//! `backbones::exchange`.

pub mod caffe;
mod load;
pub mod pth;
mod safetensors;

pub use load::{LoadReport, load_into};

use super::params::Params;
use crate::{whole_file, yaml};
use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{BufReader, BufWriter, Read, Seek},
    path::Path,
};

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// How a file holds its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    /// A state dict that `torch.save` wrote, as a zip archive or in the older form.
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

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Contents {
    pub format: Format,
    /// By the file's own names, in memory layout, on the CPU.
    pub tensors: Named,
    /// Only safetensors has any.
    pub metadata: BTreeMap<String, String>,
}

/// Tensors by the file's names, in memory layout on the CPU, and the metadata. See [`contents`].
pub fn read(path: &Path) -> Result<(Named, BTreeMap<String, String>)> {
    contents(path).map(|contents| (contents.tensors, contents.metadata))
}

/// Reads a weight file of any format, told by its first bytes, whatever its name.
///
/// # Errors
/// A file that cannot be read, is of another kind, is truncated or corrupt, or holds element types that candle lacks.
/// No number in the file is believed before it was checked against the file's length.
pub fn contents(path: &Path) -> Result<Contents> {
    read_file(path).with_context(|| format!("cannot read weights from {}", path.display()))
}

fn read_file(path: &Path) -> Result<Contents> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut file = BufReader::with_capacity(1 << 16, file);
    let mut start = vec![];
    (&mut file).take(64).read_to_end(&mut start)?;
    file.rewind()?;
    let kind = "safetensors file, PyTorch state dict (.pth) or Caffe model (.caffemodel)";
    let (format, (tensors, metadata)) = if length < 8 {
        bail!("the file has {length} bytes: not a {kind}, or a broken download")
    } else if start.get(8) == Some(&b'{') {
        (Format::Safetensors, safetensors::read(&mut file, length)?)
    } else if start.starts_with(b"PK\x03\x04") {
        (Format::Pytorch, (pth::read_zip(file, length)?, BTreeMap::new()))
    } else if pth::is_legacy(&start) {
        (Format::Pytorch, (pth::read_legacy(&mut file, length)?, BTreeMap::new()))
    } else if caffe::may_begin(&start) {
        (Format::Caffe, (caffe::read(&mut file, length)?, BTreeMap::new()))
    } else {
        bail!("it is not a {kind}: it begins with {}", shown(&start))
    };
    Ok(Contents { format, tensors, metadata })
}

/// The first bytes of a file, for a message.
fn shown(start: &[u8]) -> String {
    start[..start.len().min(8)]
        .iter()
        .map(|byte| format!("{byte:02x} "))
        .collect::<String>()
        .trim_end()
        .into()
}

/// A section of a file's header that holds YAML, as a spec struct.
///
/// # Errors
/// Text that is no YAML, or other fields than those of `T`.
pub fn section<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    // By way of JSON values, which read name-keyed enums as they are written.
    let value: Value = yaml::read(text)?;
    Ok(serde_json::from_value(value)?)
}

/// Writes parameters and buffers as safetensors, atomically. `metadata` goes into the header (spec YAML,
/// architecture …).
pub fn save(params: &Params, metadata: &BTreeMap<String, String>, path: &Path) -> Result<()> {
    let tensors: Vec<_> = params.all().map(|(name, var)| (name, var.as_tensor())).collect();
    write(&tensors, metadata, path)
}

/// Writes named tensors in memory layout as safetensors, atomically. Equal input gives equal bytes.
///
/// # Errors
/// A name given twice, an element type that the format lacks, a folder that cannot be written, a full disk.
pub fn write(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>, path: &Path) -> Result<()> {
    atomically(path, |file| safetensors::write(tensors, metadata, file))
}

/// Writes `path` through `fill`, whole or not at all.
fn atomically(path: &Path, fill: impl FnOnce(&mut BufWriter<&File>) -> Result<()>) -> Result<()> {
    whole_file::fill(path, fill).with_context(|| {
        format!(
            "cannot write {}: does its folder exist, may you write there, is the disk full?",
            path.display()
        )
    })
}

type Axes = [usize; 4];
const TO_FILE: Axes = [0, 3, 1, 2];
const TO_MEMORY: Axes = [0, 2, 3, 1];

fn permuted(tensor: &Tensor, axes: Axes) -> candle_core::Result<Tensor> {
    if tensor.rank() == 4 { tensor.permute(axes)?.contiguous() } else { tensor.contiguous() }
}

fn permuted_dims(dims: &[usize], axes: Axes) -> Vec<usize> {
    if dims.len() == 4 { axes.iter().map(|&axis| dims[axis]).collect() } else { dims.to_vec() }
}

/// The shape that a tensor in memory layout has in a file: `(O, KH, KW, I)` is `(O, I, KH, KW)` there.
pub fn dims_in_file(dims: &[usize]) -> Vec<usize> {
    permuted_dims(dims, TO_FILE)
}
