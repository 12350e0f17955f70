//! Weight files: safetensors in OIHW order with Caffe layer names, as PyTorch would write them.
//!
//! This is the one place where layouts are permuted: a tensor of rank 4 lies `(O, KH, KW, I)` in memory and
//! `(O, I, KH, KW)` in the file (transposed convolutions likewise). Everything else keeps its axes. Other file
//! formats are not read here.

use super::params::{Params, assign};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::Path,
};

/// The longest header that the format allows; a larger number means that this is some other file.
const LONGEST_HEADER: u64 = 100_000_000;

/// Bytes of a tensor that are brought into file layout at a time.
const PIECE_BYTES: usize = 4 << 20;

/// What a load did; printed to the user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport {
    pub loaded: Vec<String>,
    /// In the network, not in the file: these keep their values.
    pub missing: Vec<String>,
    /// In the file, not in the network.
    pub unexpected: Vec<String>,
    /// In both, with different shapes (both are stated): these keep their values.
    pub mismatched: Vec<String>,
}

impl LoadReport {
    /// Whether every parameter and buffer of the network was set and nothing was left over.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded.len())?;
        for (what, names) in [
            ("missing in the file", &self.missing),
            ("unexpected in the file", &self.unexpected),
            ("of another shape", &self.mismatched),
        ] {
            if !names.is_empty() {
                write!(f, "; {} {what}: {}", names.len(), names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Writes parameters and buffers atomically. `metadata` goes into the header (spec YAML, architecture …).
pub fn save(params: &Params, metadata: &BTreeMap<String, String>, path: &Path) -> Result<()> {
    let tensors: Vec<_> = params.all().map(|(name, var)| (name, var.as_tensor())).collect();
    write(&tensors, metadata, path)
}

/// Writes named tensors in memory layout, atomically: into a file beside `path`, flushed to the disk, then moved
/// into place, so that a reader sees the old file or the whole new one. Equal input gives equal bytes (the writer
/// of the safetensors crate orders metadata by chance).
///
/// # Errors
/// A name given twice, an element type that the format lacks, a folder that cannot be written, a full disk.
pub fn write(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>, path: &Path) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = temporary(folder).with_context(|| {
        format!("cannot write into {}: does it exist, and may you write there?", folder.display())
    })?;
    write_all(tensors, metadata, &file)
        .and_then(|()| Ok(file.as_file().sync_all()?))
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.persist(path).with_context(|| format!("cannot replace {}", path.display()))?;
    Ok(())
}

/// A temporary file with the rights of any other new file, rather than for its owner alone.
fn temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask
    builder.tempfile_in(folder)
}

fn write_all(
    tensors: &[(&str, &Tensor)],
    metadata: &BTreeMap<String, String>,
    file: &tempfile::NamedTempFile,
) -> Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, file.as_file());
    let header = header(tensors, metadata)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (name, tensor) in tensors {
        write_tensor(&tensor.detach(), &mut file).with_context(|| format!("tensor `{name}`"))?;
    }
    file.flush()?;
    Ok(())
}

/// One tensor in file layout, a few rows at a time: the copy that permuting makes stays small beside fc6.
fn write_tensor(tensor: &Tensor, file: &mut impl Write) -> Result<()> {
    let tensor = if tensor.rank() == 0 { tensor.reshape(1)? } else { tensor.clone() };
    let rows = tensor.dim(0)?;
    let at_once = (PIECE_BYTES * rows / byte_len(&tensor).max(1)).max(1);
    for start in (0..rows).step_by(at_once) {
        let piece = tensor.narrow(0, start, at_once.min(rows - start))?;
        let piece = permuted(&piece, TO_FILE)?.to_device(&Device::Cpu)?;
        file.write_all(&safetensors::View::data(&piece))?;
    }
    Ok(())
}

/// The JSON header, names sorted, padded with spaces to a multiple of 8 bytes.
fn header(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut entries: BTreeMap<&str, Value> = BTreeMap::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__", json!(metadata));
    }
    let mut offset = 0;
    for (name, tensor) in tensors {
        let end = offset + byte_len(tensor);
        let shape = permuted_dims(tensor.dims(), TO_FILE);
        let info = TensorInfo { dtype: tensor.dtype().into(), shape, data_offsets: (offset, end) };
        let before = entries.insert(name, serde_json::to_value(info)?);
        ensure!(before.is_none(), "two tensors are called `{name}`");
        offset = end;
    }
    let mut header = serde_json::to_vec(&entries)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    ensure!(header.len() as u64 <= LONGEST_HEADER, "a header of {} bytes is too long", header.len());
    Ok(header)
}

fn byte_len(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}

/// Tensors by name, in memory layout on the CPU, and the metadata.
///
/// # Errors
/// A file that cannot be read, is not safetensors, is truncated, or holds element types that candle lacks.
pub fn read(path: &Path) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
    read_file(path).with_context(|| format!("cannot read weights from {}", path.display()))
}

fn read_file(path: &Path) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let header = read_header(&mut file, length)?;
    let mut tensors = BTreeMap::new();
    for name in header.offset_keys() {
        let info = header.info(&name).with_context(|| format!("`{name}` has no entry in the header"))?;
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read_exact(&mut bytes).with_context(|| format!("while reading `{name}`"))?;
        tensors.insert(name.clone(), tensor(info, &bytes).with_context(|| format!("tensor `{name}`"))?);
    }
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((tensors, metadata))
}

/// Checks every number of the header against the length of the file before anything is allocated by it.
fn read_header(file: &mut impl Read, length: u64) -> Result<Metadata> {
    ensure!(length >= 8, "the file has {length} bytes: not a safetensors file, or a broken download");
    let mut size = [0; 8];
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    ensure!(
        size <= LONGEST_HEADER,
        "its header claims {size} bytes, more than the format allows: this is not a safetensors file"
    );
    ensure!(size <= length - 8, "its header claims {size} bytes, but the file has {length}: it is truncated");
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header)?;
    let header: Metadata = serde_json::from_slice(&header)
        .context("its header is not that of a safetensors file, or the file is corrupt")?;
    let wanted = 8 + size + header.data_len() as u64;
    ensure!(
        length >= wanted,
        "it has {length} of the {wanted} bytes that its header lists: it is truncated; copy or download it again"
    );
    ensure!(length == wanted, "it has {length} bytes where its header lists {wanted}: it is corrupt");
    Ok(header)
}

fn tensor(info: &TensorInfo, bytes: &[u8]) -> Result<Tensor> {
    let dtype: Dtype = info.dtype;
    let Ok(dtype) = DType::try_from(dtype) else {
        bail!("element type {dtype} is not supported; store f32");
    };
    let tensor = Tensor::from_raw_buffer(bytes, dtype, &info.shape, &Device::Cpu)?;
    Ok(permuted(&tensor, TO_MEMORY)?)
}

/// A section of a file's header that holds YAML, as a spec struct.
///
/// # Errors
/// Text that is no YAML, or other fields than those of `T`.
pub fn section<T: serde::de::DeserializeOwned>(yaml: &str) -> Result<T> {
    // By way of JSON values, which read name-keyed enums as they are written.
    let value: Value = serde_yaml::from_str(yaml)?;
    Ok(serde_json::from_value(value)?)
}

/// Copies every tensor whose name and shape agree, converting the element type; zero loaded tensors is an error.
/// What else differs is in the report, for the caller to print and to judge.
pub fn load_into(params: &Params, tensors: &BTreeMap<String, Tensor>) -> Result<LoadReport> {
    let mut report = LoadReport::default();
    for (name, var) in params.all() {
        match tensors.get(name) {
            None => report.missing.push(name.to_string()),
            Some(value) if value.shape() != var.shape() => {
                let shapes = [var.dims(), value.dims()].map(|dims| permuted_dims(dims, TO_FILE));
                report.mismatched.push(format!("{name} ({:?} here, {:?} in the file)", shapes[0], shapes[1]));
            }
            Some(value) => {
                assign(var, value).with_context(|| format!("cannot set `{name}`"))?;
                report.loaded.push(name.to_string());
            }
        }
    }
    let unexpected = tensors.keys().filter(|name| params.named(name).is_none());
    report.unexpected = unexpected.cloned().collect();
    if report.loaded.is_empty() {
        bail!("no tensor fits this network ({report}): these are the weights of another architecture")
    }
    Ok(report)
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
