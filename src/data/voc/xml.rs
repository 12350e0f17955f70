//! One annotation of PASCAL VOC's devkit (`Annotations/ID.xml`): the size of a picture and the objects in it.
//!
//! Parts of persons (heads, hands, feet) and actions are not read. Does not look at the picture itself.

use crate::{boxes::Rect, data::error::DataError};
use roxmltree::{Document, Node};
use std::{path::Path, str::FromStr};

/// What a file says about its picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Name of the picture's file: `2007_000027.jpg`.
    pub filename: String,
    pub width: usize,
    pub height: usize,
    /// In the file's order.
    pub objects: Vec<RecordObject>,
}

/// One object, its class still a name.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordObject {
    pub name: String,
    /// 0-based, corners included: the file's coordinates, which begin at 1, less 1.
    pub bounds: Rect,
    pub difficult: bool,
    pub truncated: bool,
    pub occluded: bool,
}

/// Reads one file. Flags that are absent are false; coordinates may have decimals, as some of VOC2011's have.
///
/// # Errors
/// A file that cannot be read or is no XML, fields that are missing or no numbers, boxes that are inside out. All but
/// the first name the line.
pub fn read(path: &Path) -> Result<Record, DataError> {
    let text = std::fs::read_to_string(path).map_err(|source| DataError::Io { path: path.into(), source })?;
    parse(&text).map_err(|Fault { line, reason }| DataError::List { path: path.into(), line, reason })
}

/// What is wrong, and in which line.
struct Fault {
    line: usize,
    reason: String,
}

impl Fault {
    fn at(node: Node, reason: String) -> Self {
        Self { line: line(node), reason }
    }
}

fn line(node: Node) -> usize {
    node.document().text_pos_at(node.range().start).row as usize
}

fn parse(text: &str) -> Result<Record, Fault> {
    // A byte order mark is no part of the document.
    let document = Document::parse(text.trim_start_matches('\u{feff}'))
        .map_err(|error| Fault { line: error.pos().row as usize, reason: format!("broken XML: {error}") })?;
    let root = document.root_element();
    if root.tag_name().name() != "annotation" {
        let reason =
            format!("<{}> where <annotation> was expected: no VOC annotation", root.tag_name().name());
        return Err(Fault::at(root, reason));
    }
    let size = child(root, "size")?;
    let objects = root.children().filter(|node| node.has_tag_name("object")).map(object);
    Ok(Record {
        filename: text_of(root, "filename")?.1.into(),
        width: side(size, "width")?,
        height: side(size, "height")?,
        objects: objects.collect::<Result<_, _>>()?,
    })
}

fn object(node: Node) -> Result<RecordObject, Fault> {
    Ok(RecordObject {
        name: text_of(node, "name")?.1.into(),
        bounds: bounds(child(node, "bndbox")?)?,
        difficult: flag(node, "difficult")?,
        truncated: flag(node, "truncated")?,
        occluded: flag(node, "occluded")?,
    })
}

fn bounds(node: Node) -> Result<Rect, Fault> {
    let edge = |name| -> Result<f32, Fault> {
        let value: f32 = number(node, name, "a coordinate")?;
        match value.is_finite() {
            true => Ok(value - 1.0),
            false => Err(Fault::at(node, format!("<{name}> is {value}, which is no coordinate"))),
        }
    };
    let rect = Rect::new(edge("xmin")?, edge("ymin")?, edge("xmax")?, edge("ymax")?);
    if rect.x2 < rect.x1 || rect.y2 < rect.y1 {
        return Err(Fault::at(node, "the box is inside out: its minimum is above its maximum".into()));
    }
    Ok(rect)
}

fn side(size: Node, name: &str) -> Result<usize, Fault> {
    match number(size, name, "a number of pixels")? {
        0 => Err(Fault::at(size, format!("<{name}> of the picture is 0"))),
        pixels => Ok(pixels),
    }
}

/// Absent is false.
fn flag(object: Node, name: &str) -> Result<bool, Fault> {
    if child(object, name).is_err() {
        return Ok(false);
    }
    match text_of(object, name)? {
        (_, "0") => Ok(false),
        (_, "1") => Ok(true),
        (node, other) => Err(Fault::at(node, format!("<{name}> is `{other}`, not 0 or 1"))),
    }
}

fn number<T: FromStr>(parent: Node, name: &str, what: &str) -> Result<T, Fault> {
    let (node, text) = text_of(parent, name)?;
    text.parse().map_err(|_| Fault::at(node, format!("<{name}> is `{text}`, not {what}")))
}

/// The child `name` and its text, without the white space around it.
fn text_of<'a, 'i>(parent: Node<'a, 'i>, name: &str) -> Result<(Node<'a, 'i>, &'a str), Fault> {
    let node = child(parent, name)?;
    match node.text().map_or("", str::trim) {
        "" => Err(Fault::at(node, format!("<{name}> is empty"))),
        text => Ok((node, text)),
    }
}

fn child<'a, 'i>(parent: Node<'a, 'i>, name: &str) -> Result<Node<'a, 'i>, Fault> {
    let mut found = parent.children().filter(|node| node.has_tag_name(name));
    let missing = || Fault::at(parent, format!("<{}> has no <{name}>", parent.tag_name().name()));
    found.next().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\u{feff}<annotation>
  <filename>a.jpg</filename>
  <size><width>40</width><height>30</height><depth>3</depth></size>
  <object>
    <name>person</name>
    <truncated>1</truncated>
    <bndbox><xmax>20</xmax><xmin>1</xmin><ymin>2.5</ymin><ymax>30</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></part>
  </object>
  <object>
    <name> cat </name><difficult>1</difficult><occluded>0</occluded>
    <bndbox><xmin>7</xmin><ymin>8</ymin><xmax>7</xmax><ymax>8</ymax></bndbox>
  </object>
</annotation>";

    fn read_text(text: &str) -> Result<Record, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.xml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn coordinates_become_0_based_and_absent_flags_are_false() {
        let record = read_text(FILE).unwrap();
        assert_eq!((record.filename.as_str(), record.width, record.height), ("a.jpg", 40, 30));
        let person = RecordObject {
            name: "person".into(),
            bounds: Rect::new(0.0, 1.5, 19.0, 29.0),
            difficult: false,
            truncated: true,
            occluded: false,
        };
        let cat = RecordObject {
            name: "cat".into(),
            bounds: Rect::new(6.0, 7.0, 6.0, 7.0),
            difficult: true,
            truncated: false,
            occluded: false,
        };
        assert_eq!(record.objects, [person, cat]);
    }

    #[test]
    fn a_picture_may_hold_no_object() {
        let start = FILE.find("  <object>").unwrap();
        let text = format!("{}</annotation>", &FILE[..start]);
        assert!(read_text(&text).unwrap().objects.is_empty());
    }

    #[test]
    fn faults_name_the_file_and_the_line() {
        for (from, to, line, part) in [
            ("<filename>a.jpg</filename>", "", 1, "<annotation> has no <filename>"),
            ("<width>40</width>", "", 3, "<size> has no <width>"),
            ("<height>30<", "<height>0<", 3, "<height> of the picture is 0"),
            ("<width>40<", "<width>-4<", 3, "`-4`, not a number of pixels"),
            ("<name>person</name>", "<name/>", 5, "<name> is empty"),
            ("<truncated>1<", "<truncated>yes<", 6, "`yes`, not 0 or 1"),
            ("<xmax>20</xmax>", "", 7, "<bndbox> has no <xmax>"),
            ("<xmax>20<", "<xmax>x<", 7, "`x`, not a coordinate"),
            ("<xmax>20<", "<xmax>NaN<", 7, "no coordinate"),
            ("<ymax>8<", "<ymax>7<", 12, "inside out"),
            ("</bndbox>\n  </object>\n</annotation>", "</object></annotation>", 12, "broken XML"),
            ("annotation>", "annotations>", 1, "no VOC annotation"),
        ] {
            let error = read_text(&FILE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(&format!("a.xml:{line}: ")) && error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_missing_or_empty_file_is_named() {
        assert!(read(Path::new("no/such.xml")).unwrap_err().to_string().contains("no/such.xml"));
        assert!(read_text("").unwrap_err().to_string().contains("broken XML"));
    }
}
