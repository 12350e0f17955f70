//! Writes state dicts as `torch.save` does: a zip archive for `torch.load(path, weights_only=True)`.

use crate::nn::weights::{
    layout::{atomically, dims_in_file},
    safetensors::write_tensor,
};
use anyhow::{Context, Result, bail};
use candle_core::{DType, Tensor};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Seek, Write},
    path::Path,
};
use zip::{ZipWriter, write::SimpleFileOptions};

/// Entry of the archive with this program's metadata, JSON; PyTorch reads none below `extra`.
pub(super) const HEADER: &str = "extra/hueristic.json";

/// Writes tensors in memory layout as a state dict, in the given order, atomically: integers as int64, all others as
/// float32. `metadata`, if any, is stored in an entry that PyTorch leaves unread. Equal input gives equal bytes.
///
/// # Errors
/// A duplicate name, a folder that cannot be written, a full disk.
pub fn write(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>, path: &Path) -> Result<()> {
    let mut names = BTreeSet::new();
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !names.insert(*name)) {
        bail!("two tensors are called `{name}`")
    }
    atomically(path, |file| archive(tensors, metadata, file))
}

fn archive(
    tensors: &[(&str, &Tensor)],
    metadata: &BTreeMap<String, String>,
    file: &mut (impl Write + Seek),
) -> Result<()> {
    let mut zip = ZipWriter::new(file);
    // Readers can memory-map the values if they are aligned to 64 bytes.
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::DEFAULT)
        .with_alignment(64);
    let mut entry = |name: &str, bytes: &[u8]| -> Result<()> {
        zip.start_file(format!("archive/{name}"), options)?;
        Ok(zip.write_all(bytes)?)
    };
    entry("data.pkl", &pickle(tensors))?;
    entry("byteorder", b"little")?;
    if !metadata.is_empty() {
        entry(HEADER, &serde_json::to_vec(metadata)?)?;
    }
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        let tensor = tensor.detach().to_dtype(stored(tensor))?;
        let large = tensor.elem_count() * tensor.dtype().size_in_bytes() > u32::MAX as usize;
        zip.start_file(format!("archive/data/{index}"), options.large_file(large))?;
        write_tensor(&tensor, &mut zip).with_context(|| format!("tensor `{name}`"))?;
    }
    zip.start_file("archive/version", options)?;
    zip.write_all(b"3\n")?;
    zip.finish()?;
    Ok(())
}

fn stored(tensor: &Tensor) -> DType {
    if tensor.dtype().is_int() { DType::I64 } else { DType::F32 }
}

/// Protocol 2: `OrderedDict()` filled with `name: _rebuild_tensor_v2(storage, 0, shape, strides, False,
/// OrderedDict())`.
fn pickle(tensors: &[(&str, &Tensor)]) -> Vec<u8> {
    const DICT: &[u8] = b"ccollections\nOrderedDict\n)R";
    let mut out = [b"\x80\x02", DICT, b"("].concat();
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(if stored(tensor) == DType::I64 {
            b"ctorch\nLongStorage\n".as_slice()
        } else {
            b"ctorch\nFloatStorage\n"
        });
        text(&mut out, &index.to_string());
        text(&mut out, "cpu");
        integer(&mut out, tensor.elem_count());
        out.extend(b"tQK\x00");
        let shape = dims_in_file(tensor.dims());
        let stride = |axis: usize| shape[axis + 1..].iter().product();
        tuple(&mut out, &shape);
        tuple(&mut out, &(0..shape.len()).map(stride).collect::<Vec<_>>());
        out.push(0x89);
        out.extend(DICT);
        out.extend(b"tR");
    }
    out.extend(b"u.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn tuple(out: &mut Vec<u8>, items: &[usize]) {
    out.push(b'(');
    items.iter().for_each(|item| integer(out, *item));
    out.push(b't');
}

fn integer(out: &mut Vec<u8>, value: usize) {
    match i32::try_from(value) {
        Ok(value) => {
            out.push(b'J');
            out.extend(value.to_le_bytes());
        }
        Err(_) => {
            out.extend([0x8a, 8]);
            out.extend((value as i64).to_le_bytes());
        }
    }
}
