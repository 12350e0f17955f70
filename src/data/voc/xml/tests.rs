//! Annotations as the devkit and other tools write them, and broken ones.

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

fn read_bytes(
    bytes: &[u8],
    read: fn(&Path) -> Result<Annotation, DataError>,
) -> Result<Annotation, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.xml");
    std::fs::write(&path, bytes).unwrap();
    read(&path)
}

fn read_text(text: &str) -> Result<Annotation, DataError> {
    read_bytes(text.as_bytes(), read)
}

fn person() -> AnnotatedObject {
    AnnotatedObject {
        name: "person".into(),
        bounds: Rect::new(0.0, 1.5, 19.0, 29.0),
        difficult: false,
        truncated: true,
        occluded: false,
    }
}

#[test]
fn coordinates_become_0_based_and_absent_flags_are_false() {
    let record = read_text(FILE).unwrap();
    assert_eq!((record.filename.as_deref(), record.size), (Some("a.jpg"), Some((40, 30))));
    let cat = AnnotatedObject {
        name: "cat".into(),
        bounds: Rect::new(6.0, 7.0, 6.0, 7.0),
        difficult: true,
        truncated: false,
        occluded: false,
    };
    assert_eq!(record.objects, [person(), cat]);
}

#[test]
fn a_picture_may_hold_no_object() {
    let start = FILE.find("  <object>").unwrap();
    let text = format!("{}</annotation>", &FILE[..start]);
    assert!(read_text(&text).unwrap().objects.is_empty());
}

#[test]
fn flags_are_read_as_tools_write_them() {
    let with = |name: &str, value: &str| {
        let text = FILE.replace("<truncated>1</truncated>", &format!("<{name}>{value}</{name}>"));
        read_text(&text).map(|record| record.objects[0].clone())
    };
    for (value, expected) in [
        ("", false),
        (" \n", false),
        ("0", false),
        ("1", true),
        ("0.0", false),
        ("1.0", true),
        ("True", true),
        ("FALSE", false),
        ("yes", true),
        ("Unspecified", false),
    ] {
        assert_eq!(with("difficult", value).unwrap().difficult, expected, "difficult `{value}`");
        assert_eq!(with("truncated", value).unwrap().truncated, expected, "truncated `{value}`");
        assert_eq!(with("occluded", value).unwrap().occluded, expected, "occluded `{value}`");
    }
    for (value, expected) in [("0.0597", true), ("2", true), ("-1", false), ("Left", false), ("NaN", false)] {
        assert_eq!(with("truncated", value).unwrap().truncated, expected, "truncated `{value}`");
        assert_eq!(with("occluded", value).unwrap().occluded, expected, "occluded `{value}`");
        let fault = with("difficult", value).unwrap_err().to_string();
        assert!(fault.contains(&format!("a.xml:6: <difficult> is `{value}`, not 0 or 1")), "{fault}");
    }
}

#[test]
fn what_is_not_given_may_be_absent_or_empty() {
    let size = "<size><width>40</width><height>30</height><depth>3</depth></size>";
    for absent in ["", "<size/>", "<size><width/><height></height><depth/></size>"] {
        let record = read_text(&FILE.replace(size, absent)).unwrap();
        assert_eq!((record.size, record.objects.len()), (None, 2), "{absent}");
    }
    for absent in ["", "<filename/>", "<filename> </filename>"] {
        let record = read_text(&FILE.replace("<filename>a.jpg</filename>", absent)).unwrap();
        assert_eq!((record.filename, record.size), (None, Some((40, 30))), "{absent}");
    }
    let decimal = read_text(&FILE.replace("<width>40<", "<width>40.0<")).unwrap();
    assert_eq!(decimal.size, Some((40, 30)));
    let namespaced =
        FILE.replace("<annotation>", "<annotation xmlns=\"http://example.org/voc\" verified=\"yes\">");
    assert_eq!(read_text(&namespaced).unwrap(), read_text(FILE).unwrap());
}

#[test]
fn scoring_does_not_ask_for_a_size() {
    for wrong in ["<width>0<", "<width>-4<", "<width>wide<", "<width>40.5<"] {
        let text = FILE.replace("<width>40<", wrong);
        assert!(read_text(&text).is_err(), "{wrong}");
        let record = read_bytes(text.as_bytes(), read_objects).unwrap();
        assert_eq!((record.size, record.objects[0].clone()), (None, person()), "{wrong}");
    }
    assert_eq!(read_bytes(FILE.as_bytes(), read_objects).unwrap(), read_text(FILE).unwrap());
}

/// A picture of another name than ASCII can write, as the encodings of old editors have it.
#[test]
fn declared_encodings_are_followed() {
    let body = &FILE["\u{feff}".len()..].replace("a.jpg", "café.jpg");
    let text = |label: &str| format!("<?xml version=\"1.0\" encoding=\"{label}\"?>\n{body}");
    let latin: Vec<u8> = text("ISO-8859-1").chars().map(|c| c as u8).collect();
    let utf16: Vec<u8> = text("UTF-16").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [latin, utf16, text("utf-8").into_bytes(), text("utf-16").into_bytes()] {
        let record = read_bytes(&bytes, read).unwrap();
        assert_eq!((record.filename.as_deref(), record.objects.len()), (Some("café.jpg"), 2));
    }
    let fault = read_bytes(b"<annotation><filename>caf\xe9.jpg</filename></annotation>", read).unwrap_err();
    assert!(fault.to_string().contains("a.xml: not UTF-8"), "{fault}");
}

#[test]
fn faults_name_the_file_and_the_line() {
    for (from, to, line, part) in [
        ("<width>40</width>", "", 3, "<size> has no <width>"),
        ("<height>30<", "<height>0<", 3, "<height> of the picture is 0"),
        ("<width>40<", "<width>-4<", 3, "`-4`, not a number of pixels"),
        ("<name>person</name>", "<name/>", 5, "<name> is empty"),
        ("<xmax>20</xmax>", "", 7, "<bndbox> has no <xmax>"),
        ("<xmax>20<", "<xmax>x<", 7, "`x`, not a coordinate"),
        ("<xmax>20<", "<xmax>NaN<", 7, "no coordinate"),
        ("<ymax>8<", "<ymax>7<", 12, "inverted"),
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

#[test]
fn hostile_files_are_refused_in_few_words() {
    let dtd = "<!DOCTYPE a [<!ENTITY b \"cc\">]><annotation>&b;</annotation>";
    assert!(read_text(dtd).unwrap_err().to_string().contains("remove the <!DOCTYPE …>"));
    let deep = format!("<annotation>{}", "<a>".repeat(1_000_000));
    assert!(read_text(&deep).is_err(), "an error, not an overflow of the stack");
    let many = format!("<annotation>{}</annotation>", "<a/>".repeat(1 << 20));
    assert!(read_text(&many).unwrap_err().to_string().contains("more than 1048576 elements"));
    let long = "x".repeat(100_000);
    for text in [
        format!("<annotation><{long}></annotation>"),
        format!("<{long}/>"),
        FILE.replace("<xmax>20<", &format!("<xmax>{long}<")),
        FILE.replace("<truncated>1</truncated>", &format!("<difficult>{long}</difficult>")),
    ] {
        let fault = read_text(&text).unwrap_err().to_string();
        assert!(fault.chars().count() < 400, "{} characters", fault.chars().count());
    }
}
