//! numpy's `.npy` format. Output (format 1.0, little endian, C order) is byte-identical to `numpy.save`; it is
//! streamed row by row to any writer, so an array need not fit in memory, and replacing the file is up to the caller.
//! Reading supports formats 1 to 3, both byte orders and both axis orders, and checks the header against the file's
//! length before allocating.
//!
//! Not supported: structured dtypes, strings, objects, complex numbers, `.npz`.

use crate::{element::Element, text::excerpt};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, Write},
    path::Path,
};

/// numpy pads the header so that the data start at a multiple of this.
const ALIGNMENT: usize = 64;
/// Magic, version and length of the header.
const PREAMBLE: usize = 10;
const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header accepted, in bytes; numpy's own limit.
const LONGEST_HEADER: u64 = 10_000;
/// Most axes; numpy's own limit.
const MOST_AXES: usize = 64;

/// An element type that can be written.
pub trait NpyElement: Copy {
    /// numpy's dtype string.
    const DESCR: &'static str;
    /// Appends its little-endian bytes to `out`.
    fn append_to(self, out: &mut Vec<u8>);
}

impl NpyElement for f32 {
    const DESCR: &'static str = "<f4";
    fn append_to(self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }
}

impl NpyElement for f64 {
    const DESCR: &'static str = "<f8";
    fn append_to(self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }
}

/// Writes the header of an array of this shape.
pub fn begin<T: NpyElement>(out: &mut impl Write, shape: &[usize]) -> io::Result<()> {
    let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let tuple =
        if let [one] = sides.as_slice() { format!("({one},)") } else { format!("({})", sides.join(", ")) };
    let text = format!("{{'descr': '{}', 'fortran_order': False, 'shape': {tuple}, }}", T::DESCR);
    let length = (PREAMBLE + text.len() + 1).next_multiple_of(ALIGNMENT) - PREAMBLE;
    let stated = u16::try_from(length).map_err(|_| io::Error::other("an array of too many axes"))?;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&stated.to_le_bytes())?;
    writeln!(out, "{text:<width$}", width = length - 1)
}

/// Appends values to the array.
pub fn append<T: NpyElement>(out: &mut impl Write, values: &[T]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    values.iter().for_each(|value| value.append_to(&mut bytes));
    out.write_all(&bytes)
}

/// Writes a whole array.
pub fn write<T: NpyElement>(out: &mut impl Write, shape: &[usize], values: &[T]) -> io::Result<()> {
    begin::<T>(out, shape)?;
    append(out, values)
}

/// A matrix of f32 that is written row by row; the number of rows is known at the end only.
pub struct RowWriter<W> {
    out: W,
    width: usize,
    rows: usize,
}

impl<W: Write + Seek> RowWriter<W> {
    /// A matrix of rows of `width` values at the start of `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, width: usize) -> io::Result<Self> {
        begin::<f32>(&mut out, &[0, width])?;
        Ok(Self { out, width, rows: 0 })
    }

    /// Appends whole rows.
    ///
    /// # Errors
    /// Those of `out`; values that are no whole rows.
    pub fn append(&mut self, values: &[f32]) -> io::Result<()> {
        if self.width == 0 || !values.len().is_multiple_of(self.width) {
            return Err(io::Error::other(format!("{} values are no rows of {}", values.len(), self.width)));
        }
        self.rows += values.len() / self.width;
        append(&mut self.out, values)
    }

    /// Writes the number of rows into the header, whose length is the same for any number; returns `(rows, width)`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<(usize, usize)> {
        self.out.rewind()?;
        begin::<f32>(&mut self.out, &[self.rows, self.width])?;
        self.out.flush()?;
        Ok((self.rows, self.width))
    }
}

/// Reads a matrix of little-endian f32, as [`RowWriter`] writes it, in blocks of rows.
pub struct RowReader {
    file: BufReader<File>,
    /// Rows left.
    rows: usize,
    width: usize,
}

impl RowReader {
    /// Opens a file of rows.
    ///
    /// # Errors
    /// A file that is missing, truncated, or no such matrix.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut file = BufReader::new(file);
        match NpyHeader::read(&mut file, length)? {
            NpyHeader { element: Element::F32, big_endian: false, fortran: false, shape }
                if shape.len() == 2 =>
            {
                Ok(Self { file, rows: shape[0], width: shape[1] })
            }
            other => bail!("it is no matrix of float32 in C order: {other:?}"),
        }
    }

    /// Length of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The next `count` rows, concatenated; fewer at the end, and none after it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn next_rows(&mut self, count: usize) -> Result<Vec<f32>> {
        let count = count.min(self.rows);
        let mut bytes = vec![0; 4 * count * self.width];
        self.file.read_exact(&mut bytes)?;
        self.rows -= count;
        Ok(bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }
}

/// Reads an array of integers or floats as a CPU tensor.
///
/// # Errors
/// A file that is missing, truncated or not an array; a non-real dtype.
pub fn read(path: &Path) -> Result<Tensor> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let header = NpyHeader::read(&mut file, length)?;
    let mut bytes = vec![];
    file.take(header.bytes().unwrap_or(0)).read_to_end(&mut bytes)?;
    header.tensor(bytes)
}

/// The parsed header.
#[derive(Debug, PartialEq)]
struct NpyHeader {
    element: Element,
    big_endian: bool,
    /// Column-major: the first axis varies fastest.
    fortran: bool,
    shape: Vec<usize>,
}

impl NpyHeader {
    /// `length` is the length of the whole file.
    fn read(file: &mut impl Read, length: u64) -> Result<Self> {
        let mut start = [0; 8];
        file.read_exact(&mut start).context("it is no array of numpy (.npy): it is too short")?;
        ensure!(start.starts_with(MAGIC), "it is no array of numpy (.npy)");
        let (size, field) = match start[6] {
            1 => (u64::from(u16::from_le_bytes(taken(file)?)), 2),
            2 | 3 => (u64::from(u32::from_le_bytes(taken(file)?)), 4),
            other => bail!("its format is {other}.{}; 1 to 3 are read", start[7]),
        };
        ensure!(size <= LONGEST_HEADER, "its header claims {size} bytes: it is corrupt");
        let mut text = vec![];
        file.by_ref().take(size).read_to_end(&mut text)?;
        ensure!(text.len() as u64 == size, "it ends within its header: it is truncated");
        let header = Self::parsed(&String::from_utf8_lossy(&text))?;
        let wanted = header.bytes().and_then(|bytes| bytes.checked_add(start.len() as u64 + field + size));
        ensure!(
            wanted.is_some_and(|wanted| wanted <= length),
            "an array of shape {} does not fit a file of {length} bytes: it is truncated or corrupt",
            excerpt(&header.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×"))
        );
        Ok(header)
    }

    /// `{'descr': '<f8', 'fortran_order': False, 'shape': (313,), }`
    fn parsed(text: &str) -> Result<Self> {
        let value = |key: &str| {
            let quoted = [format!("'{key}':"), format!("\"{key}\":")];
            let place = quoted.iter().find_map(|key| Some(text.find(key.as_str())? + key.len()));
            place.map(|place| text[place..].trim_start())
        };
        let (Some(descr), Some(order), Some(shape)) =
            (value("descr"), value("fortran_order"), value("shape"))
        else {
            bail!("its header is none of numpy's: `{}`", excerpt(text.trim()))
        };
        let (element, big_endian) = element(descr)?;
        let fortran = match () {
            () if order.starts_with("False") => false,
            () if order.starts_with("True") => true,
            () => bail!("its order of axes is neither True nor False: {}", excerpt(order.trim())),
        };
        Ok(Self { element, big_endian, fortran, shape: sides(shape)? })
    }

    /// Size of the data in bytes; None beyond 64 bits.
    fn bytes(&self) -> Option<u64> {
        let count = self.shape.iter().try_fold(1u64, |count, &side| count.checked_mul(side as u64));
        count?.checked_mul(self.element.width() as u64)
    }

    fn tensor(&self, mut bytes: Vec<u8>) -> Result<Tensor> {
        if self.big_endian {
            bytes.chunks_exact_mut(self.element.width()).for_each(<[u8]>::reverse);
        }
        if !self.fortran {
            return self.element.tensor(&bytes, &self.shape);
        }
        let turned: Vec<usize> = self.shape.iter().rev().copied().collect();
        let axes: Vec<usize> = (0..turned.len()).rev().collect();
        Ok(self.element.tensor(&bytes, &turned)?.permute(axes)?.contiguous()?)
    }
}

fn taken<const N: usize>(file: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).context("it ends within its header: it is truncated")?;
    Ok(bytes)
}

/// Parses a quoted dtype string with its byte-order prefix; the flag is true for big endian.
fn element(descr: &str) -> Result<(Element, bool)> {
    let name = descr.strip_prefix(['\'', '"']).and_then(|rest| rest.split(['\'', '"']).next());
    let Some(name) = name else { bail!("its numbers are structured, which is not read: save plain numbers") };
    let element = match name.trim_start_matches(['<', '>', '=', '|']) {
        "f2" | "e" => Element::F16,
        "f4" | "f" => Element::F32,
        "f8" | "d" => Element::F64,
        "i1" | "b" => Element::I8,
        "i2" | "h" => Element::I16,
        "i4" | "i" => Element::I32,
        "i8" | "q" => Element::I64,
        "u1" | "B" => Element::U8,
        "u2" | "H" => Element::U16,
        "u4" | "I" => Element::U32,
        "u8" | "Q" => Element::U64,
        "b1" | "?" => Element::Bool,
        _ => bail!(
            "it holds no real numbers, but the type `{}` of numpy: save float32 or float64",
            excerpt(name)
        ),
    };
    Ok((element, name.starts_with('>')))
}

/// Parses `(2, 3)`, `(313,)` or `()`; Python 2 writes `2L`.
fn sides(text: &str) -> Result<Vec<usize>> {
    let inside = text.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let wrong = || format!("its shape is none: {}", excerpt(text.trim()));
    let (inside, _) = inside.with_context(wrong)?;
    let sides =
        inside.split(',').map(|side| side.trim().trim_end_matches('L')).filter(|side| !side.is_empty());
    let sides: Vec<usize> = sides.map(str::parse).collect::<Result<_, _>>().with_context(wrong)?;
    ensure!(sides.len() <= MOST_AXES, "it has {} axes: it is corrupt", sides.len());
    Ok(sides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// numpy's own bytes, made by scripts/oracles/colorize.py: the array i / 7.
    #[test]
    fn the_bytes_are_those_of_numpy() {
        let oracle: Value = serde_json::from_str(include_str!("../scripts/oracles/colorize.json")).unwrap();
        let cases = oracle["npy"].as_array().unwrap();
        assert_eq!(cases.len(), 3);
        for case in cases {
            let shape: Vec<usize> = serde_json::from_value(case["shape"].clone()).unwrap();
            let (n, mut ours) = (shape.iter().product::<usize>(), vec![]);
            match case["type"].as_str() {
                Some("f4") => {
                    let values: Vec<f32> = (0..n).map(|i| i as f32 / 7.0).collect();
                    write(&mut ours, &shape, &values).unwrap();
                }
                _ => write(&mut ours, &shape, &(0..n).map(|i| i as f64 / 7.0).collect::<Vec<_>>()).unwrap(),
            }
            let hex: String = ours.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, case["bytes"].as_str().unwrap(), "{shape:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut out = file.reopen().unwrap();
        begin::<f32>(&mut out, &[2, 1, 3]).unwrap();
        append(&mut out, &[0f32, -1.5, 2.0]).unwrap();
        append(&mut out, &[f32::MAX, 4.0, 5.0]).unwrap();
        let read = read(file.path()).unwrap();
        assert_eq!(read.dims(), [2, 1, 3]);
        let values = read.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values, [0.0, -1.5, 2.0, f32::MAX, 4.0, 5.0]);
    }

    #[test]
    fn rows_are_written_and_read_in_blocks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut out = RowWriter::new(file.reopen().unwrap(), 2).unwrap();
        assert!(out.append(&[1.0]).is_err(), "half a row");
        out.append(&[0.0, 1.0, 2.0, 3.0]).unwrap();
        out.append(&[4.0, 5.0]).unwrap();
        assert_eq!(out.finish().unwrap(), (3, 2));
        let mut whole = vec![];
        write(&mut whole, &[3, 2], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), whole);
        let mut rows = RowReader::open(file.path()).unwrap();
        let blocks = [2, 2, 2].map(|count| rows.next_rows(count).unwrap());
        assert_eq!(blocks, [vec![0.0, 1.0, 2.0, 3.0], vec![4.0, 5.0], vec![]]);
        // Headers of no row and of as many as there can be are of one length.
        let lengths = [0, usize::MAX].map(|rows| {
            let mut header = vec![];
            begin::<f32>(&mut header, &[rows, usize::MAX]).unwrap();
            header.len()
        });
        assert_eq!(lengths, [128, 128]);
    }

    /// A file with this text as its header.
    fn file(version: u8, text: &str, numbers: &[u8]) -> tempfile::NamedTempFile {
        let length = (text.len() as u32).to_le_bytes();
        let field = if version == 1 { &length[..2] } else { &length[..] };
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = [MAGIC, &[version, 0], field, text.as_bytes(), numbers].concat();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn header(descr: &str, fortran: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
    }

    #[test]
    fn arrays_of_others_are_read() {
        let numbers: Vec<f64> = (0..6).map(f64::from).collect();
        let values = |tensor: &Tensor| {
            let flat =
                tensor.to_dtype(candle_core::DType::F64).and_then(|t| t.flatten_all()?.to_vec1::<f64>());
            flat.unwrap()
        };
        let big: Vec<u8> = numbers.iter().flat_map(|v| (*v as f32).to_be_bytes()).collect();
        let short: Vec<u8> = numbers.iter().flat_map(|v| (*v as u16).to_le_bytes()).collect();
        for (version, descr, order, shape, bytes, wanted) in [
            (1, ">f4", "False", "(2, 3)", &big, [0., 1., 2., 3., 4., 5.]),
            (2, ">f4", "True", "(2, 3)", &big, [0., 2., 4., 1., 3., 5.]),
            (3, "<u2", "False", "(2L, 3L)", &short, [0., 1., 2., 3., 4., 5.]),
        ] {
            let file = file(version, &header(descr, order, shape), bytes);
            let read = read(file.path()).unwrap();
            assert_eq!((read.dims(), values(&read)), ([2, 3].as_slice(), wanted.to_vec()), "{descr} {order}");
        }
        let scalar = read(file(1, &header("|i1", "False", "()"), &[0xfe]).path()).unwrap();
        assert_eq!((scalar.rank(), values(&scalar)), (0, vec![-2.0]));
    }

    /// No memory is taken on the word of a header.
    #[test]
    fn headers_are_checked_against_the_file() {
        let huge = header("<f8", "False", "(1000000000000,)");
        let wraps = header("<f8", "False", "(4294967296, 4294967296, 2)");
        let wide = format!("({})", "1, ".repeat(65));
        for (text, part) in [
            (huge.as_str(), "does not fit a file"),
            (&wraps, "does not fit a file"),
            (&header("<f8", "False", "(2,)"), "does not fit a file"),
            (&header("<f8", "False", "(-1,)"), "its shape is none"),
            (&header("<f8", "False", "(99999999999999999999999,)"), "its shape is none"),
            (&header("<f8", "False", &wide), "65 axes"),
            (&header("<f8", "Maybe", "(1,)"), "neither True nor False"),
            (&header("<c8", "False", "(1,)"), "the type `<c8`"),
            (&header("|O", "False", "(1,)"), "the type `|O`"),
            ("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }", "structured"),
            ("nothing", "none of numpy's"),
        ] {
            let error = read(file(1, text, &[0; 8]).path()).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
        let lies = tempfile::NamedTempFile::new().unwrap();
        for (bytes, part) in [
            (&b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"[..], "claims 4294967295 bytes"),
            (b"\x93NUMPY\x01\x00\xff\x00{", "truncated"),
            (b"\x93NUMPY\x09\x00\x00\x00", "format is 9.0"),
            (b"\x93NUM", "too short"),
            (b"PK\x03\x04\0\0\0\0\0", "no array of numpy"),
        ] {
            std::fs::write(lies.path(), bytes).unwrap();
            let error = format!("{:#}", read(lies.path()).unwrap_err());
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
