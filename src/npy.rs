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
