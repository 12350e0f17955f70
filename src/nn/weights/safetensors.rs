//! Reads and writes the safetensors format: a JSON header, then the tensors one after another. Other writers of this
//! format begin with [`start`] and continue with [`write_elements`].

use super::{
    found::RawWeights,
    layout::{TO_FILE, TO_MEMORY, permuted, permuted_dims},
    positioned,
};
use crate::element::Element;
use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{CpuStorage, Device, Storage, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
};

/// The longest header that the format allows; a larger value means that the file has another format.
pub(crate) const LONGEST_HEADER: u64 = 100_000_000;

/// Bytes of a tensor that are converted to file layout at a time.
const PIECE_BYTES: usize = 4 << 20;

/// Equal input gives equal bytes (the writer of the safetensors crate orders metadata randomly).
pub(super) fn write(
    tensors: &[(&str, &Tensor)],
    metadata: &BTreeMap<String, String>,
    file: &mut impl Write,
) -> Result<()> {
    let listed = tensors.iter().map(|(name, t)| (*name, t.dtype(), permuted_dims(t.dims(), TO_FILE)));
    file.write_all(&start(metadata, listed)?)?;
    for (name, tensor) in tensors {
        write_tensor(&tensor.detach(), file).with_context(|| format!("tensor `{name}`"))?;
    }
    Ok(())
}

/// Writes one tensor in file layout, a few rows at a time, so that the permuted copy is small compared with fc6.
pub(super) fn write_tensor(tensor: &Tensor, file: &mut impl Write) -> Result<()> {
    let tensor = if tensor.rank() == 0 { tensor.reshape(1)? } else { tensor.clone() };
    let (rows, bytes) = (tensor.dim(0)?, tensor.elem_count() * tensor.dtype().size_in_bytes());
    let at_once = (PIECE_BYTES * rows / bytes.max(1)).max(1);
    for start in (0..rows).step_by(at_once) {
        let piece = tensor.narrow(0, start, at_once.min(rows - start))?;
        write_elements(&permuted(&piece, TO_FILE)?, file)?;
    }
    Ok(())
}

/// Writes a file up to its first tensor: the length of the JSON header, and the header with sorted names. `tensors`
/// are names, dtypes and shapes in the order of their elements in the file.
///
/// # Errors
/// A duplicate name, a header longer than the format allows.
pub(crate) fn start<'a>(
    metadata: &BTreeMap<impl Ord + Serialize, impl Serialize>,
    tensors: impl IntoIterator<Item = (&'a str, impl Into<Dtype>, Vec<usize>)>,
) -> io::Result<Vec<u8>> {
    let mut entries: BTreeMap<&str, Value> = BTreeMap::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__", serde_json::to_value(metadata)?);
    }
    let mut offset = 0;
    for (name, dtype, shape) in tensors {
        let dtype = dtype.into();
        let end = offset + shape.iter().product::<usize>() * dtype.bitsize() / 8;
        let info = TensorInfo { dtype, shape, data_offsets: (offset, end) };
        if entries.insert(name, serde_json::to_value(info)?).is_some() {
            return Err(io::Error::other(format!("two tensors are called `{name}`")));
        }
        offset = end;
    }
    let header = serde_json::to_vec(&entries)?;
    let length = header.len().next_multiple_of(8); // so that elements are aligned for who maps the file
    if length as u64 > LONGEST_HEADER {
        return Err(io::Error::other(format!("a header of {length} bytes is too long")));
    }
    let mut start = [&(length as u64).to_le_bytes(), header.as_slice()].concat();
    start.resize(8 + length, b' ');
    Ok(start)
}

/// Writes the values of a tensor in memory order, little endian, with a buffer of a few kilobytes.
///
/// # Errors
/// Dtypes without arithmetic here; errors of `out`.
pub(crate) fn write_elements(tensor: &Tensor, out: &mut impl Write) -> io::Result<()> {
    let tensor = tensor.to_device(&Device::Cpu).and_then(|t| t.contiguous()).map_err(io::Error::other)?;
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
        return Err(io::Error::other("a contiguous tensor on the CPU is not one"));
    };
    match storage {
        CpuStorage::F64(v) => write_chunks(out, &v[from..to], f64::to_le_bytes),
        CpuStorage::F32(v) => write_chunks(out, &v[from..to], f32::to_le_bytes),
        CpuStorage::F16(v) => write_chunks(out, &v[from..to], f16::to_le_bytes),
        CpuStorage::BF16(v) => write_chunks(out, &v[from..to], bf16::to_le_bytes),
        CpuStorage::I64(v) => write_chunks(out, &v[from..to], i64::to_le_bytes),
        CpuStorage::I32(v) => write_chunks(out, &v[from..to], i32::to_le_bytes),
        CpuStorage::I16(v) => write_chunks(out, &v[from..to], i16::to_le_bytes),
        CpuStorage::U32(v) => write_chunks(out, &v[from..to], u32::to_le_bytes),
        CpuStorage::U8(v) => out.write_all(&v[from..to]),
        _ => {
            Err(io::Error::other(format!("numbers of the type {} cannot be saved", tensor.dtype().as_str())))
        }
    }
}

fn write_chunks<T: Copy, const N: usize>(
    out: &mut impl Write,
    values: &[T],
    to_bytes: fn(T) -> [u8; N],
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(N * 8192);
    for chunk in values.chunks(8192) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|v| to_bytes(*v)));
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Tensors in memory layout, and the metadata. `length` is that of the whole file. Tensors of unsupported types are
/// skipped, unless there are no others.
pub(super) fn read(mut file: &File, length: u64) -> Result<RawWeights> {
    let header = read_header(&mut file, length)?;
    let start = length - header.data_len() as u64;
    let mut found = RawWeights::default();
    let mut listed = vec![];
    for name in header.offset_keys() {
        let info = header.info(&name).with_context(|| format!("`{name}` has no entry in the header"))?;
        match element(info.dtype) {
            Some(element) => listed.push((name, element, info)),
            None => {
                let why = format!("element type {} is not supported; store f32", info.dtype);
                found.unread.insert(name, why);
            }
        }
    }
    let tensors: Vec<_> =
        listed.par_iter().map(|(_, element, info)| tensor(file, start, *element, info)).collect();
    for ((name, element, _), tensor) in listed.into_iter().zip(tensors) {
        found.add(name, element, tensor)?;
    }
    if let (true, Some((name, why))) = (found.tensors.is_empty(), found.unread.iter().next()) {
        bail!("tensor `{name}`: {why}")
    }
    found.metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(found)
}

/// Checks every number of the header against the length of the file before allocating memory for it.
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
    ensure!(length == wanted, "it has {length} bytes, but its header lists {wanted}: it is corrupt");
    Ok(header)
}

/// None for complex types and types of less than a byte.
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

/// A tensor in memory layout; the tensors' bytes begin at `start`.
fn tensor(file: &File, start: u64, element: Element, info: &TensorInfo) -> Result<Tensor> {
    let (from, to) = info.data_offsets;
    let offset = start + from as u64;
    if element == Element::F32 && to > from {
        return positioned::floats(file, offset, &info.shape).context("while reading its numbers");
    }
    let mut bytes = vec![0; to - from];
    positioned::read_exact_at(file, &mut bytes, offset).context("while reading its numbers")?;
    Ok(permuted(&element.tensor(&bytes, &info.shape)?, TO_MEMORY)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares every byte of a file with the format's description: this version must write the same files as earlier
    /// ones.
    #[test]
    fn files_are_made_of_these_bytes() -> Result<()> {
        let cpu = &Device::Cpu;
        // (O, KH, KW, I) = (1, 1, 2, 2) in memory is (1, 2, 1, 2) in the file.
        let kernel = Tensor::new(&[1f32, 2., 3., 4.], cpu)?.reshape((1, 1, 2, 2))?;
        let (halves, count) = (Tensor::new(&[f16::from_f32(1.5)], cpu)?, Tensor::new(7i64, cpu)?);
        let named = [("conv.weight", &kernel), ("bias", &halves), ("count", &count)];
        let mut file = vec![];
        write(&named, &BTreeMap::from([("spec".into(), "a: \"1\"".into())]), &mut file)?;
        let header = r#"{"__metadata__":{"spec":"a: \"1\""},"bias":{"dtype":"F16","shape":[1],"data_offsets":[16,18]},"conv.weight":{"dtype":"F32","shape":[1,2,1,2],"data_offsets":[0,16]},"count":{"dtype":"I64","shape":[],"data_offsets":[18,26]}}"#;
        let padded = format!("{header:<width$}", width = header.len().next_multiple_of(8));
        let floats: Vec<u8> = [1f32, 3., 2., 4.].into_iter().flat_map(f32::to_le_bytes).collect();
        let length = (padded.len() as u64).to_le_bytes();
        let expected = [&length, padded.as_bytes(), &floats, &[0, 0x3e], &7i64.to_le_bytes()].concat();
        assert_eq!(String::from_utf8_lossy(&file), String::from_utf8_lossy(&expected));
        assert_eq!(file, expected);
        let twice =
            start(&BTreeMap::<&str, &str>::new(), [("a", Dtype::F32, vec![1]), ("a", Dtype::F32, vec![1])]);
        assert_eq!(twice.unwrap_err().to_string(), "two tensors are called `a`");
        Ok(())
    }
}
