//! SBD's masks (Hariharan et al., ICCV 2011): MATLAB files with a struct `GTcls`, whose field `Segmentation` is the
//! mask. Boundaries are not read.

use crate::data::{
    annotated::Mask,
    error::DataError,
    mat::{self, MatValue},
};
use std::path::Path;

/// Reads the mask of `cls/ID.mat`.
///
/// # Errors
/// Not a MAT-file, or no matrix of integers from 0 to 255 in that field.
pub fn read_mask(path: &Path) -> Result<Mask, DataError> {
    let variables = mat::read(path)?;
    let mask = variables.get("GTcls").and_then(segmentation).and_then(mask);
    mask.ok_or_else(|| {
        let reason = "no mask of SBD: GTcls.Segmentation should be a matrix of classes (0 to 255)".into();
        DataError::Table { path: path.into(), reason }
    })
}

fn segmentation(truth: &MatValue) -> Option<&MatValue> {
    match truth {
        MatValue::Struct { fields } => fields.get("Segmentation")?.first(),
        _ => None,
    }
}

/// Converts the column-major matrix to row-major labels.
fn mask(matrix: &MatValue) -> Option<Mask> {
    let MatValue::Numeric { dims, values } = matrix else { return None };
    let &[height, width] = &dims[..] else { return None };
    let label = |&value: &f64| Some(value as u8).filter(|label| f64::from(*label) == value);
    let columns: Vec<u8> = values.iter().map(label).collect::<Option<_>>()?;
    let rows = (0..height).flat_map(|row| columns.iter().skip(row).step_by(height));
    Some(Mask { width, height, labels: rows.copied().collect() })
}
