//! Result files of PASCAL VOC's devkit: `comp3_det_SET_CLASS.txt` holds the detections of one class, one
//! `ID SCORE X1 Y1 X2 Y2` a line, pixels counted from 1.
//!
//! Which pictures there are is the caller's: identifiers become indices, and indices identifiers, through functions.

use super::detection::Detection;
use crate::{boxes::Rect, whole_file};
use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

/// What can be wrong with a result file.
#[derive(Debug, thiserror::Error)]
pub enum ResultFileError {
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: cannot be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{}:{line}: {reason}", path.display())]
    Line { path: PathBuf, line: usize, reason: String },
}

/// `comp3_det_test_cat.txt`: detections by a network that learned from VOC's training images alone.
pub fn file_name(set: &str, class: &str) -> String {
    format!("comp3_det_{set}_{class}.txt")
}

/// Reads one file; an empty one holds no detections. `index` knows the pictures' identifiers.
///
/// # Errors
/// A file that cannot be read; a line without six fields, with numbers that are none or not finite, or of a picture that
/// `index` does not know.
pub fn read(path: &Path, index: impl Fn(&str) -> Option<usize>) -> Result<Vec<Detection>, ResultFileError> {
    let unreadable = |source| ResultFileError::Unreadable { path: path.into(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            let fault = |reason| ResultFileError::Line { path: path.into(), line: i + 1, reason };
            parse(line, &index).map_err(fault)
        })
        .collect()
}

fn parse(line: &str, index: &impl Fn(&str) -> Option<usize>) -> Result<Detection, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[id, score, x1, y1, x2, y2] = fields.as_slice() else {
        return Err(format!("{} fields where `ID SCORE X1 Y1 X2 Y2` was expected", fields.len()));
    };
    let image = index(id).ok_or_else(|| format!("`{id}` is no picture of the set"))?;
    let number = |text: &str| match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("`{text}` is not a number")),
    };
    let corner = |text: &str| number(text).map(|from_1| (from_1 - 1.0) as f32);
    let bounds = Rect::new(corner(x1)?, corner(y1)?, corner(x2)?, corner(y2)?);
    Ok(Detection { image, score: number(score)?, bounds })
}

/// Writes one file in the order given; a file that is there is replaced whole or not at all. `id` names the pictures.
///
/// # Errors
/// A file that cannot be written.
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
    whole_file::write(path, text.as_bytes())
        .map_err(|source| ResultFileError::Unwritable { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 2] = ["2007_000027", "000004"];

    fn index(id: &str) -> Option<usize> {
        IDS.iter().position(|known| *known == id)
    }

    fn read_text(text: &str) -> Result<Vec<Detection>, ResultFileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file_name("val", "cat"));
        std::fs::write(&path, text).unwrap();
        read(&path, index)
    }

    #[test]
    fn pixels_are_counted_from_1_in_the_file() {
        let got = read_text("000004 0.5 1.000 2.5 3 4\r\n\n2007_000027\t-1e-3 0 0 9 9\n").unwrap();
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
            Detection { image: 0, score: 0.1f32.into(), bounds: Rect::new(3., 2., 1., 0.) },
        ];
        write(&path, &[], |image| IDS[image]).unwrap();
        assert!(read(&path, index).unwrap().is_empty());
        write(&path, &written, |image| IDS[image]).unwrap();
        assert_eq!(read(&path, index).unwrap(), written);
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
        ] {
            let error = read_text(&format!("000004 0.5 1 2 3 4\n{line}\n")).unwrap_err().to_string();
            assert!(error.contains("comp3_det_val_cat.txt:2: ") && error.contains(part), "{error}");
        }
        let error = read(Path::new("no/such.txt"), index).unwrap_err().to_string();
        assert!(error.contains("no/such.txt"), "{error}");
    }
}
