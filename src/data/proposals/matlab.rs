//! Published proposals: a MATLAB file whose variable `boxes` is a cell array with one four-column matrix per image,
//! in the order of the image set. The columns are y1 x1 y2 x2, 1-based. Read as x1 y1 x2 y2 they would be valid but
//! wrong boxes, so boxes outside their image are rejected when the set is known.

use super::Proposals;
use crate::{
    boxes::Rect,
    data::{
        error::DataError,
        mat::{self, MatValue},
    },
    text::excerpt,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// Meaning of the four columns of boxes in MATLAB files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Columns of boxes")]
pub enum BoxFormat {
    /// Selective Search's format: y1 x1 y2 x2, 1-based.
    #[default]
    YxyxFromOne,
    /// x1 y1 x2 y2, 0-based, a matrix instead of a cell array: used for a few single images.
    XyxyFromZero,
}

/// Reads the proposals of the images `ids`, in their order. A second variable with image names is checked against
/// them.
///
/// # Errors
/// Not a MATLAB file, no variable `boxes`, a different number or set of images, invalid matrices.
pub fn read(path: &Path, columns: BoxFormat, ids: &[String]) -> Result<Proposals, DataError> {
    let variables = mat::read(path)?;
    parse(&variables, columns, ids).map_err(|reason| DataError::Table { path: path.into(), reason })
}

fn parse(
    variables: &BTreeMap<String, MatValue>,
    columns: BoxFormat,
    ids: &[String],
) -> Result<Proposals, String> {
    let boxes = variables.get("boxes").ok_or_else(|| {
        let names: Vec<&str> = variables.keys().map(String::as_str).collect();
        format!("has no variable `boxes`, but {}; give a file of proposals", excerpt(&names.join(", ")))
    })?;
    let matrices: &[MatValue] = match (boxes, columns) {
        (MatValue::Cell { items, .. }, BoxFormat::YxyxFromOne) => items,
        (matrix @ MatValue::Numeric { .. }, BoxFormat::XyxyFromZero) => std::slice::from_ref(matrix),
        (MatValue::Numeric { .. }, BoxFormat::YxyxFromOne) => {
            return Err("`boxes` is a matrix, not a cell array with one for each picture; if it holds x1 y1 x2 y2 of one \
                        picture, counted from 0, say `columns: xyxy_from_zero`"
                .into());
        }
        _ => return Err("`boxes` is no array of matrices".into()),
    };
    if matrices.len() != ids.len() {
        return Err(format!(
            "has boxes of {} images, but the set has {}; give the file of this image set",
            matrices.len(),
            ids.len()
        ));
    }
    compare_names(variables, ids)?;
    let pictures = ids.iter().zip(matrices).map(|(id, matrix)| {
        let rects = rects(matrix, columns).map_err(|reason| format!("picture `{id}`: {reason}"))?;
        Ok((id.clone(), rects))
    });
    Proposals::new(pictures.collect::<Result<_, String>>()?)
}

/// Checks every cell array with one string per image against the identifiers.
fn compare_names(variables: &BTreeMap<String, MatValue>, ids: &[String]) -> Result<(), String> {
    for (variable, value) in variables {
        let MatValue::Cell { items, .. } = value else { continue };
        let text = |item: &MatValue| if let MatValue::Text(text) = item { Some(text.clone()) } else { None };
        let Some(names) = items.iter().map(text).collect::<Option<Vec<String>>>() else { continue };
        let same =
            |(name, id): (&String, &String)| Path::new(name).file_stem().is_some_and(|s| s == id.as_str());
        let pairs = || names.iter().zip(ids);
        if names.len() == ids.len()
            && let Some(at) = pairs().position(|pair| !same(pair))
        {
            let (name, id) = (&names[at], &ids[at]);
            return Err(format!(
                "image {} is `{}` in its variable `{}`, but `{id}` in the set; give the file of this image set",
                at + 1,
                excerpt(name),
                excerpt(variable)
            ));
        }
    }
    Ok(())
}

fn rects(matrix: &MatValue, columns: BoxFormat) -> Result<Vec<Rect>, String> {
    let MatValue::Numeric { dims, values } = matrix else { return Err("its boxes are no matrix".into()) };
    if values.is_empty() {
        return Ok(vec![]);
    }
    let &[rows, 4] = dims.as_slice() else {
        let dims = excerpt(&dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" × "));
        return Err(format!("its boxes are a matrix of {dims}, not of 4 columns"));
    };
    let column = |c: usize| &values[c * rows..(c + 1) * rows];
    let ([x1, y1, x2, y2], first) = match columns {
        BoxFormat::YxyxFromOne => ([1, 0, 3, 2].map(column), 1.0),
        BoxFormat::XyxyFromZero => ([0, 1, 2, 3].map(column), 0.0),
    };
    let corner = |value: f64| (value - first) as f32;
    let rect = |i: usize| Rect::new(corner(x1[i]), corner(y1[i]), corner(x2[i]), corner(y2[i]));
    let rects: Vec<Rect> = (0..rows).map(rect).collect();
    match rects.iter().find(|b| b.x1 < 0.0 || b.y1 < 0.0) {
        Some(wrong) => {
            Err(format!("{wrong} begins before the picture; are the columns others (`columns:`)?"))
        }
        None => Ok(rects),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, values: &[f64]) -> MatValue {
        MatValue::Numeric { dims: vec![rows, values.len() / rows], values: values.to_vec() }
    }

    fn cell(items: Vec<MatValue>) -> MatValue {
        MatValue::Cell { dims: vec![1, items.len()], items }
    }

    fn variables(boxes: MatValue, names: &[&str]) -> BTreeMap<String, MatValue> {
        let names = names.iter().map(|name| MatValue::Text((*name).into())).collect();
        BTreeMap::from([("boxes".into(), boxes), ("images".into(), cell(names))])
    }

    fn ids(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn columns_are_turned_round_and_counted_from_zero() {
        let boxes = cell(vec![matrix(2, &[1., 5., 1., 3., 20., 30., 40., 25.]), matrix(1, &[])]);
        let read =
            parse(&variables(boxes, &["a.jpg", "b"]), BoxFormat::YxyxFromOne, &ids(&["a", "b"])).unwrap();
        assert_eq!(read.of("a").unwrap(), [Rect::new(0., 0., 39., 19.), Rect::new(2., 4., 24., 29.)]);
        assert_eq!(read.of("b").unwrap(), []);
        let single = BTreeMap::from([("boxes".into(), matrix(1, &[0., 3., 9., 8.]))]);
        let read = parse(&single, BoxFormat::XyxyFromZero, &ids(&["a"])).unwrap();
        assert_eq!(read.of("a").unwrap(), [Rect::new(0., 3., 9., 8.)]);
    }

    #[test]
    fn files_of_other_sets_are_refused() {
        let boxes = || cell(vec![matrix(1, &[1., 1., 9., 9.])]);
        let fault = |variables: &BTreeMap<_, _>, ids_: &[&str]| {
            parse(variables, BoxFormat::YxyxFromOne, &ids(ids_)).unwrap_err()
        };
        assert!(
            fault(&variables(boxes(), &["a"]), &["a", "b"]).contains("boxes of 1 images, but the set has 2")
        );
        assert!(fault(&variables(boxes(), &["a"]), &["b"]).contains("image 1 is `a`"));
        assert!(fault(&BTreeMap::new(), &["a"]).contains("no variable `boxes`"));
        assert!(fault(&variables(matrix(1, &[1.; 4]), &[]), &["a"]).contains("columns: xyxy_from_zero"));
        assert!(fault(&variables(cell(vec![matrix(1, &[1.; 5])]), &[]), &["a"]).contains("4 columns"));
        assert!(fault(&variables(cell(vec![matrix(1, &[0., 0., 9., 9.])]), &[]), &["a"]).contains("columns"));
        assert!(
            fault(&variables(cell(vec![matrix(1, &[9., 9., 2., 2.])]), &[]), &["a"]).contains("invalid box")
        );
    }
}
