//! Pickles and archives as torch.save makes them, opcode by opcode: what a checkpoint may hold beside its weights.

use std::io::{Cursor, Write};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

pub(crate) fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// A number of 64 bits.
pub(crate) fn long(value: i64) -> Vec<u8> {
    [[0x8a, 8].as_slice(), &value.to_le_bytes()].concat()
}

pub(crate) fn tuple(values: &[i64]) -> Vec<u8> {
    [b"(".to_vec(), values.iter().flat_map(|v| long(*v)).collect(), b"t".to_vec()].concat()
}

/// A dict of names and values.
pub(crate) fn dict<K: AsRef<str>>(pairs: &[(K, Vec<u8>)]) -> Vec<u8> {
    let inside = pairs.iter().flat_map(|(name, value)| [text(name.as_ref()), value.clone()].concat());
    [b"}(".to_vec(), inside.collect(), b"u".to_vec()].concat()
}

pub(crate) fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// What a call would make of these arguments.
pub(crate) fn call(module: &str, name: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
    [global(module, name), b"(".to_vec(), arguments.concat(), b"tR".to_vec()].concat()
}

/// Numbers outside the pickle, of one of PyTorch's types.
pub(crate) fn storage(kind: &str, key: usize, count: usize) -> Vec<u8> {
    let key = text(&key.to_string());
    let parts = [text("storage"), global("torch", kind), key, text("cuda:0"), long(count as i64)];
    [b"(".to_vec(), parts.concat(), b"tQ".to_vec()].concat()
}

/// `_rebuild_tensor_v2`, contiguous; `more` are arguments behind the usual ones.
pub(crate) fn tensor(kind: &str, key: usize, shape: &[i64], more: &[Vec<u8>]) -> Vec<u8> {
    let count: i64 = shape.iter().product();
    let strides: Vec<i64> = (1..=shape.len()).map(|axis| shape[axis..].iter().product()).collect();
    let storage = storage(kind, key, count as usize);
    let usual = [storage, long(0), tuple(shape), tuple(&strides), b"\x89".to_vec(), b"N".to_vec()];
    call("torch._utils", "_rebuild_tensor_v2", &[usual.as_slice(), more].concat())
}

/// A file around a value and its storages.
pub(crate) fn file(value: &[u8], storages: &[Vec<u8>]) -> Vec<u8> {
    file_called("w", value, storages)
}

/// The same, saved under a name.
pub(crate) fn file_called(stem: &str, value: &[u8], storages: &[Vec<u8>]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut entry = |name: String, bytes: &[u8]| {
        zip.start_file(format!("{stem}/{name}"), options).expect("a new entry");
        zip.write_all(bytes).expect("memory");
    };
    entry("data.pkl".into(), &[b"\x80\x02", value, b"."].concat());
    for (key, bytes) in storages.iter().enumerate() {
        entry(format!("data/{key}"), bytes);
    }
    zip.finish().expect("memory").into_inner()
}

/// The bytes of floats.
pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A small state dict: `conv1.weight` of 1, 2 in storage `key`, `conv1.bias` of 3, 4 in the next one.
pub(crate) fn state_dict(prefix: &str, key: usize) -> Vec<u8> {
    dict(&[
        (format!("{prefix}conv1.weight"), tensor("FloatStorage", key, &[2, 1], &[])),
        (format!("{prefix}conv1.bias"), tensor("FloatStorage", key + 1, &[2], &[])),
    ])
}

/// The storages of a [`state_dict`].
pub(crate) fn two() -> Vec<Vec<u8>> {
    vec![floats(&[1.0, 2.0]), floats(&[3.0, 4.0])]
}
