//! PASCAL VOC detection result files: `comp3_det_SET_CLASS.txt` contains the detections of one class, one `ID SCORE
//! X1 Y1 X2 Y2` per line, in 1-based pixels.
//!
//! The caller provides the mapping between image identifiers and indices.

use super::detection::Detection;
use crate::{
    atomic_write,
    boxes::Rect,
    text::{self, excerpt},
};
use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

/// Errors of reading and writing result files.
#[derive(Debug, thiserror::Error)]
pub enum ResultFileError {
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: cannot be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{}:{line}: {reason}", path.display())]
    Line { path: PathBuf, line: usize, reason: String },
}

/// `comp3_det_test_cat.txt`: comp3 is the competition restricted to VOC training data.
pub fn file_name(set: &str, class: &str) -> String {
    format!("comp3_det_{set}_{class}.txt")
}

/// Reads one file; an empty one has no detections. `index` maps image identifiers to indices.
///
/// # Errors
/// An unreadable file; a line without six fields, with invalid or non-finite numbers, an unknown image or an
/// inverted box; normalized coordinates.
pub fn read(path: &Path, index: impl Fn(&str) -> Option<usize>) -> Result<Vec<Detection>, ResultFileError> {
    read_sized(path, index, |_| None)
}

/// As [`read`]; `size` is the width and height of an image, if known.
///
/// # Errors
/// As [`read`]; a box far outside its image.
pub fn read_sized(
    path: &Path,
    index: impl Fn(&str) -> Option<usize>,
    size: impl Fn(usize) -> Option<(usize, usize)>,
) -> Result<Vec<Detection>, ResultFileError> {
    let text =
        text::read(path).map_err(|source| ResultFileError::Unreadable { path: path.into(), source })?;
    let fault = |line, reason| ResultFileError::Line { path: path.into(), line, reason };
    let lines = || text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let detection = |(i, line)| {
        let parsed = parse(line, &index).and_then(|found| near(found, size(found.image)));
        parsed.map_err(|reason| fault(i + 1, reason))
    };
    let found: Vec<Detection> = lines().map(detection).collect::<Result<_, _>>()?;
    if let Some((first, _)) = lines().next().filter(|_| in_shares(&found)) {
        let reason =
            "all boxes are between 0 and 1, like normalized coordinates; give 1-based pixel coordinates";
        return Err(fault(first + 1, reason.into()));
    }
    Ok(found)
}

fn parse(line: &str, index: &impl Fn(&str) -> Option<usize>) -> Result<Detection, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[id, score, x1, y1, x2, y2] = fields.as_slice() else {
        return Err(format!("{} fields where `ID SCORE X1 Y1 X2 Y2` was expected", fields.len()));
    };
    let image = index(id).ok_or_else(|| format!("`{}` is no picture of the set", excerpt(id)))?;
    let number = |text: &str| match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("`{}` is not a number", excerpt(text))),
    };
    let score = number(score)?;
    let [left, top, right, bottom] = [number(x1)?, number(y1)?, number(x2)?, number(y2)?];
    if right < left || bottom < top {
        return Err(format!(
            "the box is inverted: {left} {top} {right} {bottom}; the last two are its right and bottom pixels, not a \
             width and a height"
        ));
    }
    let from_0 = |from_1: f64| (from_1 - 1.0) as f32;
    Ok(Detection {
        image,
        score,
        bounds: Rect::new(from_0(left), from_0(top), from_0(right), from_0(bottom)),
    })
}

/// Rejects boxes that are entirely outside the image or exceed it by more than its size.
fn near(found: Detection, size: Option<(usize, usize)>) -> Result<Detection, String> {
    let Some((width, height)) = size else { return Ok(found) };
    let Rect { x1, y1, x2, y2 } = found.bounds;
    let (w, h) = (width as f32, height as f32);
    let outside = x1 >= w || y1 >= h || x2 < -1.0 || y2 < -1.0;
    let far = x1 < -w || y1 < -h || x2 > 2.0 * w || y2 > 2.0 * h;
    if outside || far {
        let corners = [x1, y1, x2, y2].map(|v| (v + 1.0).to_string()).join(" ");
        return Err(format!("the box {corners} is far outside its image of {width}×{height} pixels"));
    }
    Ok(found)
}

/// Whether all coordinates are in [0, 1] with some fractional: normalized instead of pixel coordinates.
fn in_shares(found: &[Detection]) -> bool {
    let corners = || found.iter().flat_map(|d| [d.bounds.x1, d.bounds.y1, d.bounds.x2, d.bounds.y2]);
    corners().all(|v| (-1.0..=0.0).contains(&v)) && corners().any(|v| v.fract() != 0.0)
}

/// Writes one file atomically, in the given order. `id` maps image indices to identifiers.
///
/// # Errors
/// An unwritable file.
pub fn write<'a>(
    path: &Path,
    detections: &[Detection],
    id: impl Fn(usize) -> &'a str,
) -> Result<(), ResultFileError> {
    let mut text = String::new();
    for Detection { image, score, bounds } in detections {
        let Rect { x1, y1, x2, y2 } = bounds;
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(|from_0| from_0 + 1.0);
        // writing to a string does not fail
        let _ = writeln!(text, "{} {score} {x1} {y1} {x2} {y2}", id(*image));
    }
    atomic_write::write(path, text.as_bytes())
        .map_err(|source| ResultFileError::Unwritable { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 2] = ["2007_000027", "000004"];

    const SIZES: [(usize, usize); 2] = [(500, 300), (600, 600)];

    fn index(id: &str) -> Option<usize> {
        IDS.iter().position(|known| *known == id)
    }

    fn read_text(text: &str) -> Result<Vec<Detection>, ResultFileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file_name("val", "cat"));
        std::fs::write(&path, text).unwrap();
        read_sized(&path, index, |image| Some(SIZES[image]))
    }

    #[test]
    fn pixels_are_counted_from_1_in_the_file() {
        let got = read_text("\u{feff}000004 0.5 1.000 2.5 3 4\r\n\n2007_000027\t-1e-3 0 0 9 9\n").unwrap();
        let first = Detection { image: 1, score: 0.5, bounds: Rect::new(0., 1.5, 2., 3.) };
        let second = Detection { image: 0, score: -0.001, bounds: Rect::new(-1., -1., 8., 8.) };
        assert_eq!(got, [first, second]);
        assert!(read_text("").unwrap().is_empty());
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file_name("test", "cat"));
        let written = [
            Detection { image: 1, score: 1e-9, bounds: Rect::new(0., 1.5, 2.25, 499.) },
            Detection { image: 0, score: 0.1f32.into(), bounds: Rect::new(3., 2., 3., 2.) },
        ];
        write(&path, &[], |image| IDS[image]).unwrap();
        let read = || super::read(&path, index).unwrap();
        assert!(read().is_empty());
        write(&path, &written, |image| IDS[image]).unwrap();
        assert_eq!(read(), written);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some("000004 0.000000001 1 2.5 3.25 500"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a partial file was left behind");
    }

    #[test]
    fn faults_name_the_file_and_the_line() {
        for (line, part) in [
            ("000004 0.5 1 2 3", "5 fields"),
            ("000004 0.5 1 2 3 4 5", "7 fields"),
            ("000005 0.5 1 2 3 4", "`000005` is no picture of the set"),
            ("000004 high 1 2 3 4", "`high` is not a number"),
            ("000004 NaN 1 2 3 4", "`NaN` is not a number"),
            ("000004 0.5 1 2 inf 4", "`inf` is not a number"),
            ("000004 1e999 1 2 3 4", "`1e999` is not a number"),
            ("000004 0.5 50 60 10 70", "inverted: 50 60 10 70"),
            ("000004 0.5 50 60 70 59.5", "inverted"),
            ("000004 0.5 -NaN 60 70 90", "`-NaN` is not a number"),
            ("2007_000027 0.5 501 1 510 9", "the box 501 1 510 9 is far outside its image of 500×300 pixels"),
            ("2007_000027 0.5 1 302 9 310", "far outside"),
            ("2007_000027 0.5 -20 1 -5 9", "far outside"),
            ("2007_000027 0.5 1 1 5000 9", "far outside"),
            ("2007_000027 0.5 1 -900 9 9", "far outside"),
        ] {
            let error = read_text(&format!("000004 0.5 1 2 3 4\n{line}\n")).unwrap_err().to_string();
            assert!(error.contains("comp3_det_val_cat.txt:2: ") && error.contains(part), "{error}");
        }
        let long = read_text(&format!("000004 {} 1 2 3 4", "9x".repeat(5000))).unwrap_err().to_string();
        assert!(long.chars().count() < 400, "{} characters", long.chars().count());
        let error = read(Path::new("no/such.txt"), index).unwrap_err().to_string();
        assert!(error.contains("no/such.txt"), "{error}");
    }

    #[test]
    fn boxes_may_stand_over_the_edge_and_pixels_are_boxes() {
        let lines = "2007_000027 0.5 -3 0 503.5 300\n2007_000027 0.5 7 7 7 7\n000004 0.1 600 600 700 601\n";
        assert_eq!(read_text(lines).unwrap().len(), 3);
        assert_eq!(read_text("000004 0.5 1 1 1 1\n").unwrap().len(), 1);
    }

    #[test]
    fn shares_of_a_picture_are_no_pixels() {
        let shares = "\n000004 0.5 0.25 0.1 0.5 1\n000004 0.4 0 0 1 1\n";
        let error = read_text(shares).unwrap_err().to_string();
        assert!(error.contains("cat.txt:2: all boxes are between 0 and 1"), "{error}");
        assert!(read_text(&format!("{shares}000004 0.5 3 3 9 9\n")).is_ok(), "one of pixels");
    }
}
