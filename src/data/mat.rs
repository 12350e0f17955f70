//! Reads MATLAB MAT-files, version 5 (MATLAB 5 to 7, Octave's `-v6` and `-v7`, SciPy), in which proposals, splits and
//! segmentations are published. Plain or zlib-compressed elements of either byte order, after MathWorks' "MAT-File
//! Format".
//!
//! Supported: numeric arrays of every class, logical arrays, strings, cells and structs. Complex and sparse arrays,
//! objects and functions are skipped with a warning. Versions 4 and 7.3 (HDF5) and writing are not supported.

mod array;
mod element;

use super::error::DataError;
use crate::{guarded, text::excerpt};
pub use array::MatValue;
use element::{Budget, ByteOrder, Elements, MatElement, MatType};
use flate2::read::ZlibDecoder;
use std::{collections::BTreeMap, fs, io::Read, path::Path};

/// Length of the header; the last four bytes are version and byte order.
const HEADER: usize = 128;
const SIGNATURE_OF_HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";
/// Largest file, and largest total of decompressed elements: the format's limit for a variable.
const MAX_BYTES: u64 = 1 << 31;

/// Every variable of a MAT-file, by name.
///
/// # Errors
/// An unreadable file, not a MAT-file or another version, truncated or inconsistent content, more than 2 GiB
/// when decompressed.
pub fn read(path: &Path) -> Result<BTreeMap<String, MatValue>, DataError> {
    let io = |source| DataError::Io { path: path.into(), source };
    let table = |reason: String| DataError::Table { path: path.into(), reason };
    let size = fs::metadata(path).map_err(io)?.len();
    if size > MAX_BYTES {
        return Err(table(format!("{size} bytes are more than a MAT-file of version 5 may have (2 GiB)")));
    }
    let (variables, passed_over) = parse(&fs::read(path).map_err(io)?).map_err(table)?;
    for (name, reason) in passed_over {
        tracing::warn!("{}: variable `{}` is skipped: {reason}", path.display(), excerpt(&name));
    }
    Ok(variables)
}

type Variables = BTreeMap<String, MatValue>;

/// The variables, and the skipped ones with the reason.
fn parse(bytes: &[u8]) -> Result<(Variables, Vec<(String, String)>), String> {
    let order = order_of(bytes)?;
    let (mut variables, mut passed_over, mut budget) = (Variables::new(), vec![], Budget::default());
    let mut unfolded = MAX_BYTES;
    let mut elements = Elements::new(bytes.get(HEADER..).unwrap_or_default(), order);
    while let Some(element) = elements.next()? {
        let plain = match element.kind {
            MatType::Compressed => inflate(element.data, &mut unfolded)?,
            _ => vec![],
        };
        let matrix = match element.kind {
            MatType::Compressed => {
                Elements::new(&plain, order).expect(MatType::Matrix, "a compressed variable")?
            }
            MatType::Matrix => element,
            other => {
                return Err(format!("expected a variable, got {other:?} data; the file is damaged"));
            }
        };
        keep(&matrix, &mut budget, &mut variables, &mut passed_over)?;
    }
    Ok((variables, passed_over))
}

fn keep(
    matrix: &MatElement,
    budget: &mut Budget,
    variables: &mut Variables,
    passed_over: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let array = array::read(matrix, budget, 0)?;
    match array.value {
        Ok(value) => drop(variables.insert(array.name, value)),
        Err(reason) => passed_over.push((array.name, reason)),
    }
    Ok(())
}

fn order_of(bytes: &[u8]) -> Result<ByteOrder, String> {
    if bytes.starts_with(SIGNATURE_OF_HDF5)
        || bytes.get(512..).is_some_and(|b| b.starts_with(SIGNATURE_OF_HDF5))
    {
        return Err("saved as version 7.3, which is HDF5; save it again with `save(FILE, '-v7')`".into());
    }
    let Some(&[.., low, high, first, second]) = bytes.get(..HEADER) else {
        return Err(format!("{} bytes are no MAT-file, which begins with a header of {HEADER}", bytes.len()));
    };
    let order = match (first, second) {
        (b'I', b'M') => ByteOrder::Little,
        (b'M', b'I') => ByteOrder::Big,
        _ => return Err("not a MAT-file of version 5 by its header; save it with `save(FILE, '-v7')`".into()),
    };
    match order.u16([low, high]) >> 8 {
        1 => Ok(order),
        version => Err(format!("a MAT-file of version {version}.*; save it again with `save(FILE, '-v7')`")),
    }
}

/// Decompresses one element, up to `allowed` bytes.
fn inflate(data: &[u8], allowed: &mut u64) -> Result<Vec<u8>, String> {
    let mut plain = vec![];
    let read = guarded::call(|| ZlibDecoder::new(data).take(*allowed + 1).read_to_end(&mut plain));
    let read = read.map_err(|e| e.to_string()).and_then(|read| read.map_err(|e| e.to_string()));
    read.map_err(|e| format!("a compressed variable cannot be unfolded: {e}; the file is damaged"))?;
    *allowed = allowed.checked_sub(plain.len() as u64).ok_or("unfolds to more than 2 GiB")?;
    Ok(plain)
}

#[cfg(test)]
mod tests;
