//! The safetensors container, read and written: a JSON header, then the tensors one after another.

use super::{Found, TO_FILE, TO_MEMORY, permuted, permuted_dims};
use crate::element::Element;
use ::safetensors::{
    View,
    tensor::{Dtype, Metadata, TensorInfo},
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

/// The longest header that the format allows; a larger number means that this is some other file.
const LONGEST_HEADER: u64 = 100_000_000;

/// Bytes of a tensor that are brought into file layout at a time.
const PIECE_BYTES: usize = 4 << 20;

/// Equal input gives equal bytes (the writer of the safetensors crate orders metadata by chance).
pub(super) fn write(
    tensors: &[(&str, &Tensor)],
    metadata: &BTreeMap<String, String>,
    file: &mut impl Write,
) -> Result<()> {
    let header = header(tensors, metadata)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (name, tensor) in tensors {
        write_tensor(&tensor.detach(), file).with_context(|| format!("tensor `{name}`"))?;
    }
    Ok(())
}

/// One tensor in file layout, a few rows at a time: the copy that permuting makes stays small beside fc6.
pub(super) fn write_tensor(tensor: &Tensor, file: &mut impl Write) -> Result<()> {
    let tensor = if tensor.rank() == 0 { tensor.reshape(1)? } else { tensor.clone() };
    let rows = tensor.dim(0)?;
    let at_once = (PIECE_BYTES * rows / byte_len(&tensor).max(1)).max(1);
    for start in (0..rows).step_by(at_once) {
        let piece = tensor.narrow(0, start, at_once.min(rows - start))?;
        let piece = permuted(&piece, TO_FILE)?.to_device(&Device::Cpu)?;
        file.write_all(&View::data(&piece))?;
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
        let info = TensorInfo { dtype: tensor.dtype(), shape, data_offsets: (offset, end) };
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

/// Tensors in memory layout, and the metadata. `length` is that of the whole file. Tensors of types that are not read are
/// passed over, unless there are no others.
pub(super) fn read(file: &mut impl Read, length: u64) -> Result<Found> {
    let header = read_header(file, length)?;
    let mut found = Found::default();
    for name in header.offset_keys() {
        let info = header.info(&name).with_context(|| format!("`{name}` has no entry in the header"))?;
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read_exact(&mut bytes).with_context(|| format!("while reading `{name}`"))?;
        match element(info.dtype) {
            Some(element) => {
                let tensor = tensor(element, info, &bytes);
                found.add(name, element, tensor)?;
            }
            None => {
                let why = format!("element type {} is not supported; store f32", info.dtype);
                found.unread.insert(name, why);
            }
        }
    }
    if let (true, Some((name, why))) = (found.tensors.is_empty(), found.unread.iter().next()) {
        bail!("tensor `{name}`: {why}")
    }
    found.metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(found)
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

/// None for complex numbers and for types of less than a byte.
fn element(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::F64 => Element::F64,
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::I64 => Element::I64,
        Dtype::I32 => Element::I32,
        Dtype::I16 => Element::I16,
        Dtype::I8 => Element::I8,
        Dtype::U64 => Element::U64,
        Dtype::U32 => Element::U32,
        Dtype::U16 => Element::U16,
        Dtype::U8 => Element::U8,
        Dtype::BOOL => Element::Bool,
        Dtype::F8_E4M3 => Element::F8E4M3,
        Dtype::F8_E5M2 => Element::F8E5M2,
        Dtype::F8_E4M3FNUZ => Element::F8E4M3Fnuz,
        Dtype::F8_E5M2FNUZ => Element::F8E5M2Fnuz,
        Dtype::F8_E8M0 => Element::F8E8M0,
        _ => return None,
    })
}

fn tensor(element: Element, info: &TensorInfo, bytes: &[u8]) -> Result<Tensor> {
    Ok(permuted(&element.tensor(bytes, &info.shape)?, TO_MEMORY)?)
}
