//! Parses an array element: flags, dimensions, name, and items, which are arrays again in cells and structs.

use super::element::{Budget, Elements, MatElement, MatType};
use crate::text::excerpt;
use std::collections::BTreeMap;

/// One array of a MAT-file, with two or more dimensions, in column-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum MatValue {
    /// A numeric or logical (0, 1) array as f64; 64-bit integers beyond 2⁵³ are rounded.
    Numeric {
        dims: Vec<usize>,
        values: Vec<f64>,
    },
    Cell {
        dims: Vec<usize>,
        items: Vec<MatValue>,
    },
    /// A struct array: every field has one value per struct, so a plain struct has one. Unsupported fields are
    /// omitted.
    Struct {
        fields: BTreeMap<String, Vec<MatValue>>,
    },
    /// The rows of a character array, one per line, without padding.
    Text(String),
}

/// Deepest nesting of cells and structs.
const MAX_DEPTH: usize = 64;
/// Bits of an array's flags.
const COMPLEX: u32 = 0x800;

/// An array with its name.
pub(super) struct Array {
    pub name: String,
    /// `Err` with the reason if it, or something in it, is unsupported.
    pub value: Result<MatValue, String>,
}

/// Reads an array. The outer error is damage, the inner one an unsupported type.
pub(super) fn read(matrix: &MatElement, budget: &mut Budget, depth: usize) -> Result<Array, String> {
    if depth > MAX_DEPTH {
        return Err(format!("cells are nested more than {MAX_DEPTH} levels deep; the file is not valid"));
    }
    if matrix.data.is_empty() {
        budget.take(0)?;
        let value = Ok(MatValue::Numeric { dims: vec![0, 0], values: vec![] });
        return Ok(Array { name: String::new(), value });
    }
    let mut parts = Elements::new(matrix.data, matrix.order);
    let flags = parts.expect(MatType::U32, "an array's flags")?;
    let flags = flags.data.first_chunk().map(|&bytes| matrix.order.u32(bytes));
    let flags = flags.ok_or("an array without flags; the file is damaged")?;
    if flags & 0xff == 17 {
        // Opaque objects have no dimensions.
        let name = text(&parts.required("an object's name")?, budget)?;
        return Ok(Array { name, value: Err(unread("an object")) });
    }
    let dims = dims(&parts.required("an array's dimensions")?, budget)?;
    let name = text(&parts.required("an array's name")?, budget)?;
    let value = items(flags, dims, &mut parts, budget, depth).map_err(|fault| named(&name, &fault))?;
    Ok(Array { name, value })
}

fn named(name: &str, fault: &str) -> String {
    if name.is_empty() { fault.to_owned() } else { format!("variable `{}`: {fault}", excerpt(name)) }
}

fn unread(what: &str) -> String {
    format!("{what} is not read")
}

/// The dimensions, whose product is checked for overflow.
fn dims(element: &MatElement, budget: &mut Budget) -> Result<Vec<usize>, String> {
    let numbers = element.numbers(budget)?;
    let dims: Vec<usize> = numbers.iter().map(|&n| n as usize).collect();
    let negative = numbers.iter().any(|&n| n < 0.0);
    let product = dims.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    if dims.len() < 2 || negative || product.is_none() {
        return Err(format!("an array of {}; the file is damaged", sides(&numbers)));
    }
    Ok(dims)
}

/// Formats dimensions for a message.
fn sides(dims: &[impl ToString]) -> String {
    let sides: Vec<String> = dims.iter().map(ToString::to_string).collect();
    format!("the dimensions {}", excerpt(&sides.join(" × ")))
}

fn text(element: &MatElement, budget: &mut Budget) -> Result<String, String> {
    Ok(element.characters(budget)?.into_iter().collect())
}

fn items(
    flags: u32,
    dims: Vec<usize>,
    parts: &mut Elements,
    budget: &mut Budget,
    depth: usize,
) -> Result<Result<MatValue, String>, String> {
    match flags & 0xff {
        1 => cell(dims, parts, budget, depth),
        2 => structs(&dims, parts, budget, depth),
        3 => Ok(Err(unread("an object"))),
        4 => characters(&dims, parts, budget).map(Ok),
        5 => Ok(Err(unread("a sparse array"))),
        6..=15 if flags & COMPLEX != 0 => Ok(Err(unread("a complex array"))),
        6..=15 => numeric(dims, parts, budget).map(Ok),
        16 => Ok(Err(unread("a function"))),
        class => Err(format!("an array of an unknown class ({class}); the file is damaged")),
    }
}

fn numeric(dims: Vec<usize>, parts: &mut Elements, budget: &mut Budget) -> Result<MatValue, String> {
    let values = parts.required("an array's data")?.numbers(budget)?;
    if values.len() != dims.iter().product::<usize>() {
        return Err(format!("{} numbers in an array of {}; the file is damaged", values.len(), sides(&dims)));
    }
    Ok(MatValue::Numeric { dims, values })
}

fn characters(dims: &[usize], parts: &mut Elements, budget: &mut Budget) -> Result<MatValue, String> {
    let columns: Vec<char> = parts.required("a text")?.characters(budget)?;
    let rows = dims.first().copied().unwrap_or(0);
    // The dimensions may count bytes or UTF-16 units; irrelevant for a single row.
    if rows <= 1 {
        return Ok(MatValue::Text(columns.into_iter().collect()));
    }
    if columns.len() != dims.iter().product::<usize>() {
        return Err(format!(
            "{} characters in a text of {}; the file is damaged",
            columns.len(),
            sides(dims)
        ));
    }
    // An empty text with many rows must not become as many empty lines.
    let rows = rows.min(columns.len());
    let row = |r: usize| columns.iter().skip(r).step_by(rows.max(1)).collect::<String>();
    let lines: Vec<String> = (0..rows).map(|r| row(r).trim_end_matches([' ', '\0']).to_owned()).collect();
    Ok(MatValue::Text(lines.join("\n")))
}

fn cell(
    dims: Vec<usize>,
    parts: &mut Elements,
    budget: &mut Budget,
    depth: usize,
) -> Result<Result<MatValue, String>, String> {
    let (mut items, mut refused) = (vec![], None);
    for _ in 0..dims.iter().product() {
        match inner(parts, "an item of a cell", budget, depth)? {
            Ok(value) => items.push(value),
            Err(reason) => refused = Some(reason),
        }
    }
    Ok(refused.map_or(Ok(MatValue::Cell { dims, items }), Err))
}

fn structs(
    dims: &[usize],
    parts: &mut Elements,
    budget: &mut Budget,
    depth: usize,
) -> Result<Result<MatValue, String>, String> {
    let names = field_names(parts, budget)?;
    let count: usize = dims.iter().product();
    let mut fields: BTreeMap<String, Vec<MatValue>> =
        names.iter().map(|name| (name.clone(), vec![])).collect();
    if fields.len() != names.len() {
        return Err("a struct with two fields of one name; the file is damaged".into());
    }
    let mut refused: BTreeMap<&String, String> = BTreeMap::new();
    for _ in 0..if names.is_empty() { 0 } else { count } {
        for name in &names {
            match (inner(parts, "a field of a struct", budget, depth)?, fields.get_mut(name)) {
                (Ok(value), Some(values)) => values.push(value),
                (Err(reason), _) => drop(refused.insert(name, reason)),
                (Ok(_), None) => {}
            }
        }
    }
    fields.retain(|name, _| !refused.contains_key(name));
    match refused.into_values().next() {
        Some(reason) if fields.is_empty() => Ok(Err(reason)),
        _ => Ok(Ok(MatValue::Struct { fields })),
    }
}

fn inner(
    parts: &mut Elements,
    what: &str,
    budget: &mut Budget,
    depth: usize,
) -> Result<Result<MatValue, String>, String> {
    Ok(read(&parts.expect(MatType::Matrix, what)?, budget, depth + 1)?.value)
}

/// The names of a struct's fields: fixed length, zero-terminated.
fn field_names(parts: &mut Elements, budget: &mut Budget) -> Result<Vec<String>, String> {
    let length = parts.required("the length of field names")?.numbers(budget)?;
    let length = length.first().map_or(0, |&n| n as usize);
    let names = parts.required("the names of fields")?;
    if length == 0 {
        return if names.data.is_empty() { Ok(vec![]) } else { Err("fields without names".into()) };
    }
    budget.take(names.data.len())?;
    let name = |bytes: &[u8]| {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    Ok(names.data.chunks(length).map(name).collect())
}
