//! Reads PASCAL VOC annotations (`Annotations/ID.xml`): image size and objects, as written by the devkit and
//! compatible tools.
//!
//! Person parts (heads, hands, feet), poses and actions are not read. The image itself is not opened.

use super::encoding;
use crate::{boxes::Rect, data::error::DataError, guarded, text::excerpt};
use roxmltree::{Document, Error, Node, ParsingOptions};
use std::{fs::File, io::Read, path::Path, str::FromStr};

/// Most XML nodes of a file: far more than in any real annotation.
const MOST_NODES: u32 = 1 << 20;

/// Most bytes read of a file.
const MOST_BYTES: u64 = 64 << 20;

/// The content of an annotation file.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Name of the image file, if given: `2007_000027.jpg`.
    pub filename: Option<String>,
    /// Width and height in pixels, if given.
    pub size: Option<(usize, usize)>,
    /// In the file's order.
    pub objects: Vec<AnnotatedObject>,
}

/// One object with its class name.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnotatedObject {
    pub name: String,
    /// 0-based, corners inclusive; the file's coordinates are 1-based.
    pub bounds: Rect,
    pub difficult: bool,
    /// Informational flags: invalid values count as false.
    pub truncated: bool,
    pub occluded: bool,
}

/// Reads one file. Absent, empty or unspecified flags are false; coordinates may be fractional, as in some of
/// VOC2011.
///
/// # Errors
/// An unreadable file, invalid XML, missing or non-numeric fields, inverted boxes. All but the first name
/// the line.
pub fn read(path: &Path) -> Result<Annotation, DataError> {
    with(path, |root| record(root, size(root)?))
}

/// Reads what is needed to score detections: an invalid size is ignored.
///
/// # Errors
/// As [`read`], except for the size.
pub fn read_objects(path: &Path) -> Result<Annotation, DataError> {
    with(path, |root| record(root, size(root).unwrap_or_default()))
}

/// An error with its line.
struct XmlFault {
    line: usize,
    reason: String,
}

impl XmlFault {
    fn at(node: Node, reason: String) -> Self {
        Self { line: line(node), reason }
    }
}

fn line(node: Node) -> usize {
    node.document().text_pos_at(node.range().start).row as usize
}

fn with(path: &Path, of: impl Fn(Node) -> Result<Annotation, XmlFault>) -> Result<Annotation, DataError> {
    let io = |source| DataError::Io { path: path.into(), source };
    let mut bytes = vec![];
    // a longer file is truncated, so it fails to parse
    File::open(path).map_err(io)?.take(MOST_BYTES).read_to_end(&mut bytes).map_err(io)?;
    let text = encoding::decode(&bytes).map_err(|reason| DataError::Table { path: path.into(), reason })?;
    parse(&text, of).map_err(|XmlFault { line, reason }| DataError::List { path: path.into(), line, reason })
}

fn parse(text: &str, of: impl Fn(Node) -> Result<Annotation, XmlFault>) -> Result<Annotation, XmlFault> {
    let options = ParsingOptions { nodes_limit: MOST_NODES, ..ParsingOptions::default() };
    let document = guarded::call(|| Document::parse_with_options(text, options))
        .map_err(|panicked| XmlFault { line: 1, reason: panicked.to_string() })?
        .map_err(broken)?;
    let root = document.root_element();
    if !is(root, "annotation") {
        let name = excerpt(root.tag_name().name());
        return Err(XmlFault::at(
            root,
            format!("<{name}> where <annotation> was expected: no VOC annotation"),
        ));
    }
    of(root)
}

fn broken(error: Error) -> XmlFault {
    let reason = match error {
        Error::DtdDetected => {
            "has a document type with which entities can be defined; none is read: remove the <!DOCTYPE …>"
                .into()
        }
        Error::NodesLimitReached => {
            format!("holds more than {MOST_NODES} elements: no annotation of a picture")
        }
        _ => format!("broken XML: {}", excerpt(&error.to_string())),
    };
    XmlFault { line: error.pos().row as usize, reason }
}

fn record(root: Node, size: Option<(usize, usize)>) -> Result<Annotation, XmlFault> {
    Ok(Annotation {
        filename: given(root, "filename").map(|(_, text)| text.into()),
        size,
        objects: root.children().filter(|node| is(*node, "object")).map(object).collect::<Result<_, _>>()?,
    })
}

fn object(node: Node) -> Result<AnnotatedObject, XmlFault> {
    Ok(AnnotatedObject {
        name: text_of(node, "name")?.1.into(),
        bounds: bounds(child(node, "bndbox")?)?,
        difficult: difficult(node)?,
        truncated: remark(node, "truncated"),
        occluded: remark(node, "occluded"),
    })
}

fn bounds(node: Node) -> Result<Rect, XmlFault> {
    let edge = |name| -> Result<f32, XmlFault> {
        let value: f32 = number(node, name, "a coordinate")?;
        match value.is_finite() {
            true => Ok(value - 1.0),
            false => Err(XmlFault::at(node, format!("<{name}> is {value}, which is no coordinate"))),
        }
    };
    let rect = Rect::new(edge("xmin")?, edge("ymin")?, edge("xmax")?, edge("ymax")?);
    if rect.x2 < rect.x1 || rect.y2 < rect.y1 {
        return Err(XmlFault::at(node, "the box is inverted: its minimum is above its maximum".into()));
    }
    Ok(rect)
}

/// Width and height; `None` if `<size>` is absent or empty.
fn size(root: Node) -> Result<Option<(usize, usize)>, XmlFault> {
    let Ok(node) = child(root, "size") else { return Ok(None) };
    if given(node, "width").is_none() && given(node, "height").is_none() {
        return Ok(None);
    }
    Ok(Some((side(node, "width")?, side(node, "height")?)))
}

/// An integer; tools with float tables write `500.0`.
fn side(size: Node, name: &str) -> Result<usize, XmlFault> {
    let what = "a number of pixels";
    let pixels: f64 = number(size, name, what)?;
    if pixels == 0.0 {
        return Err(XmlFault::at(size, format!("<{name}> of the picture is 0")));
    }
    if pixels < 0.0 || pixels.fract() != 0.0 || pixels > f64::from(u32::MAX) {
        return Err(XmlFault::at(size, format!("<{name}> is `{pixels}`, not {what}")));
    }
    Ok(pixels as usize)
}

/// Affects scoring, so invalid values are errors.
fn difficult(object: Node) -> Result<bool, XmlFault> {
    let Some((node, text)) = given(object, "difficult") else { return Ok(false) };
    flag(text).ok_or_else(|| XmlFault::at(node, format!("<difficult> is `{}`, not 0 or 1", excerpt(text))))
}

/// A flag, or a fraction above 0.
fn remark(object: Node, name: &str) -> bool {
    let Some((_, text)) = given(object, name) else { return false };
    flag(text).unwrap_or_else(|| text.parse::<f64>().is_ok_and(|share| share > 0.0))
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" => Some(true),
        "false" | "no" | "unspecified" => Some(false),
        number => match number.parse::<f64>() {
            Ok(0.0) => Some(false),
            Ok(1.0) => Some(true),
            _ => None,
        },
    }
}

fn number<T: FromStr>(parent: Node, name: &str, what: &str) -> Result<T, XmlFault> {
    let (node, text) = text_of(parent, name)?;
    text.parse().map_err(|_| XmlFault::at(node, format!("<{name}> is `{}`, not {what}", excerpt(text))))
}

/// The child `name` and its trimmed text.
fn text_of<'a, 'i>(parent: Node<'a, 'i>, name: &str) -> Result<(Node<'a, 'i>, &'a str), XmlFault> {
    let node = child(parent, name)?;
    given(parent, name).ok_or_else(|| XmlFault::at(node, format!("<{name}> is empty")))
}

/// As [`text_of`]; `None` where the child is absent or empty.
fn given<'a, 'i>(parent: Node<'a, 'i>, name: &str) -> Option<(Node<'a, 'i>, &'a str)> {
    let node = child(parent, name).ok()?;
    node.text().map(str::trim).filter(|text| !text.is_empty()).map(|text| (node, text))
}

fn child<'a, 'i>(parent: Node<'a, 'i>, name: &str) -> Result<Node<'a, 'i>, XmlFault> {
    let mut found = parent.children().filter(|node| is(*node, name));
    let missing = || XmlFault::at(parent, format!("<{}> has no <{name}>", parent.tag_name().name()));
    found.next().ok_or_else(missing)
}

/// Whether an element has this name, in any namespace.
fn is(node: Node, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

#[cfg(test)]
mod tests;
