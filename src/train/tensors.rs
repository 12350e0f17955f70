//! Tensors plus a text in one safetensors file, streamed: writing needs a few kilobytes beyond the tensors, reading
//! the size of the largest tensor. Elements are stored little-endian in memory order, as the format requires. Nothing
//! is transposed here (weight files for exchange are handled elsewhere). The header holds a checksum of the whole file
//! ([`checksum`]).

use crate::{
    atomic_write,
    checksum::{self, Verification},
    guarded,
    nn::weights::{
        checkpoint::STATE,
        safetensors::{self, LONGEST_HEADER},
    },
};
use ::safetensors::tensor::Metadata;
use candle_core::{DType, Device, Tensor};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// Named tensors, in order.
pub type NamedTensors = Vec<(String, Tensor)>;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("damaged: {0}")]
    Damaged(String),
    #[error("not written by this program: its header has no entry {STATE}")]
    Foreign,
    #[error(
        "has layout {version} and this program reads layouts up to {newest}: use the version of the program that wrote \
         it, or delete it to start from the beginning"
    )]
    Layout { version: u32, newest: u32 },
    #[error("{0}")]
    Candle(#[from] candle_core::Error),
}

/// Writes `tensors` and `text` to `path` atomically.
pub fn write(path: &Path, text: &str, tensors: &[(String, Tensor)]) -> io::Result<()> {
    let about = BTreeMap::from([("crc32c", checksum::BLANK), (STATE, text)]);
    let listed = tensors.iter().map(|(name, t)| (name.as_str(), t.dtype(), t.dims().to_vec()));
    let start = safetensors::start(&about, listed)?;
    let place =
        checksum::digits_offset(&start).ok_or_else(|| io::Error::other("a header without a checksum"))?;
    atomic_write::write_with(path, |out| {
        let mut writer = ChecksumWriter { out: &mut *out, crc: 0 };
        writer.write_all(&start)?;
        tensors.iter().try_for_each(|(_, tensor)| safetensors::write_elements(tensor, &mut writer))?;
        let digits = checksum::digits(writer.crc);
        out.seek(SeekFrom::Start(place as u64))?;
        out.write_all(digits.as_bytes())
    })
}

/// A writer that computes the checksum of what it writes.
struct ChecksumWriter<W> {
    out: W,
    crc: u32,
}

impl<W: Write> Write for ChecksumWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes[..written]);
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Verifies the file at `path` and reads its text and tensors (on `device`, in the order written).
pub fn read(path: &Path, device: &Device) -> Result<(String, NamedTensors), ReadError> {
    verify(path)?;
    load(path, device, |_| true)
}

/// As [`read`], of the tensors whose names are wanted, without verification.
pub(super) fn load(
    path: &Path,
    device: &Device,
    wanted: impl Fn(&str) -> bool,
) -> Result<(String, NamedTensors), ReadError> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (_, metadata) = read_header(&mut file, path)?;
    let text = text_of(&metadata)?;
    let mut tensors = vec![];
    let mut bytes = vec![];
    for name in metadata.offset_keys() {
        let info = metadata.info(&name).ok_or_else(|| ReadError::Damaged(format!("no entry for {name}")))?;
        let length = info.data_offsets.1 - info.data_offsets.0;
        if !wanted(&name) {
            file.seek_relative(length as i64)?;
            continue;
        }
        bytes.resize(length, 0);
        file.read_exact(&mut bytes)?;
        let dtype = DType::try_from(info.dtype)?;
        let tensor = guarded::call(|| Tensor::from_raw_buffer(&bytes, dtype, &info.shape, device));
        tensors.push((name, tensor.map_err(|e| ReadError::Damaged(e.to_string()))??));
    }
    Ok((text, tensors))
}

/// Reads the file at `path` and verifies its checksum; false if it has none (earlier versions).
pub fn verify(path: &Path) -> Result<bool, ReadError> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut start, metadata) = read_header(&mut file, path)?;
    text_of(&metadata)?;
    let Some(stated) = checksum::blank_digits(&mut start) else { return Ok(false) };
    let mut sum = ChecksumWriter { out: io::sink(), crc: crc32c::crc32c(&start) };
    io::copy(&mut file, &mut sum)?;
    match checksum::compare(stated, sum.crc) {
        Verification::Mismatch { stated, found } => {
            Err(ReadError::Damaged(format!("its checksum is {found}, and its header says {stated}")))
        }
        Verification::Valid | Verification::Missing => Ok(true),
    }
}

/// Reads only the text, without verification: the cost does not depend on the file's size.
pub fn read_text(path: &Path) -> Result<String, ReadError> {
    text_of(&read_header(&mut BufReader::new(File::open(path)?), path)?.1)
}

fn text_of(metadata: &Metadata) -> Result<String, ReadError> {
    metadata.metadata().as_ref().and_then(|m| m.get(STATE)).cloned().ok_or(ReadError::Foreign)
}

/// The bytes before the first tensor, and the parsed header. Every number is checked against the file's length first.
fn read_header(file: &mut impl Read, path: &Path) -> Result<(Vec<u8>, Metadata), ReadError> {
    let has = path.metadata()?.len();
    let short = |wants: u64| ReadError::Damaged(format!("it should have {wants} bytes and has {has}"));
    if has == 0 {
        return Err(ReadError::Damaged("it is empty".into()));
    }
    if has < 8 {
        return Err(short(8));
    }
    let mut start = vec![0; 8];
    file.read_exact(&mut start)?;
    let length = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i: usize| start[i]));
    if length > LONGEST_HEADER {
        return Err(ReadError::Damaged("it does not begin like a safetensors file".into()));
    }
    if has < 8 + length {
        return Err(short(8 + length));
    }
    start.resize(8 + length as usize, 0);
    file.read_exact(&mut start[8..])?;
    let metadata: Metadata = parse(&start)?;
    let wants = (8 + length).saturating_add(metadata.data_len() as u64);
    if has == wants { Ok((start, metadata)) } else { Err(short(wants)) }
}

/// Parses the header and checks its offsets against the shapes.
fn parse(start: &[u8]) -> Result<Metadata, ReadError> {
    let json = start.get(8..).unwrap_or_default();
    serde_json::from_slice(json).map_err(|e| ReadError::Damaged(format!("its header is unreadable ({e})")))
}
