//! Arrays of numbers on disk as numpy's `.npy` (format 1.0, little endian, C order), byte for byte what `numpy.save`
//! writes. Writing goes row by row into any writer, so that an array need not lie in memory whole, and leaves it to the
//! caller how a file is replaced. Reading is candle's.
//!
//! Not here: Fortran order, structured types, `.npz`.

use candle_core::{Result, Tensor};
use std::{
    io::{self, Write},
    path::Path,
};

/// numpy pads its header so that the numbers begin at a multiple of this.
const ALIGNMENT: usize = 64;
/// Magic, version and length of the header.
const PREAMBLE: usize = 10;

/// A number that an array can hold.
pub trait Number: Copy {
    /// numpy's name of the type.
    const DESCR: &'static str;
    /// Its bytes, little endian, at the end of `out`.
    fn append_to(self, out: &mut Vec<u8>);
}

impl Number for f32 {
    const DESCR: &'static str = "<f4";
    fn append_to(self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }
}

impl Number for f64 {
    const DESCR: &'static str = "<f8";
    fn append_to(self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }
}

/// What comes before the numbers of an array of this shape.
pub fn begin<T: Number>(out: &mut impl Write, shape: &[usize]) -> io::Result<()> {
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

/// The next numbers.
pub fn append<T: Number>(out: &mut impl Write, values: &[T]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    values.iter().for_each(|value| value.append_to(&mut bytes));
    out.write_all(&bytes)
}

/// A whole array.
pub fn write<T: Number>(out: &mut impl Write, shape: &[usize], values: &[T]) -> io::Result<()> {
    begin::<T>(out, shape)?;
    append(out, values)
}

/// An array of any type that candle has.
///
/// # Errors
/// A file that is missing, cut short, or no array.
pub fn read(path: &Path) -> Result<Tensor> {
    Tensor::read_npy(path)
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
}
