//! Files of color hints for photographs, CSV or YAML. A hint is a pixel of the original photograph with a color:
//!
//! ```text
//! x,y,color          # or x,y,a,b
//! 120,80,#c83220
//! 300,212,-20,35,12  # radius in pixels
//! ```
//!
//! or, in YAML, `- { x: 120, y: 80, color: '#c83220' }` and `- { x: 300, y: 212, ab: [-20, 35], radius: 12 }`. A hint covers
//! the square of 2·radius + 1 pixels around its pixel, as far as that is in the photograph.

use super::inputs::InputPicture;
use crate::{color::lab::srgb8_to_lab, pretext::hints::Hint, yaml};
use serde::Deserialize;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// Extensions of hint files; the first decides where several are there.
const EXTENSIONS: [&str; 3] = ["csv", "yaml", "yml"];
/// Largest |a| and |b|.
const MOST_AB: f32 = 110.0;
/// Short side of a photograph per pixel of the default radius: 3 at 256.
const SIDE_PER_RADIUS: usize = 85;

/// Why hints are refused.
#[derive(Debug, thiserror::Error)]
pub enum HintError {
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {reason}", path.display())]
    Line { path: PathBuf, line: usize, reason: String },
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("{} is one file for {pictures} pictures; give a folder with a file of hints for each, named after it, as in \
             hints/STEM.csv", path.display())]
    OneFile { path: PathBuf, pictures: usize },
    #[error("{} is for no picture: none has the name {}", path.display(), path.file_stem().unwrap_or_default().display())]
    NoPicture { path: PathBuf },
    #[error("{}: holds no hints (STEM.csv or STEM.yaml)", .0.display())]
    Empty(PathBuf),
}

/// One hint of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
struct HintPoint {
    /// Line of the file; 0 in YAML.
    line: usize,
    x: usize,
    y: usize,
    ab: [f32; 2],
    radius: Option<usize>,
}

/// The hints of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct HintFile {
    path: PathBuf,
    points: Vec<HintPoint>,
}

/// Hint files by picture.
pub type HintFiles = HashMap<PathBuf, HintFile>;

/// Reads the hints of `pictures`: `path` is the file of a single picture, or a folder of files with the names of pictures.
/// Pictures without a file have no hints.
///
/// # Errors
/// Files that cannot be read, lines that are no hints, a file for no picture.
pub fn open(path: &Path, pictures: &[InputPicture]) -> Result<HintFiles, HintError> {
    match pictures {
        _ if path.is_dir() => in_folder(path, pictures),
        [picture] => Ok(HintFiles::from([(picture.path.clone(), HintFile::read(path)?)])),
        _ => Err(HintError::OneFile { path: path.into(), pictures: pictures.len() }),
    }
}

fn in_folder(folder: &Path, pictures: &[InputPicture]) -> Result<HintFiles, HintError> {
    let unreadable = |source| HintError::Unreadable { path: folder.into(), source };
    let mut files = HintFiles::new();
    let mut found: Vec<PathBuf> = vec![];
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        found.push(entry.map_err(unreadable)?.path());
    }
    found.retain(|path| extension(path).is_some());
    found.sort();
    for path in found {
        let named = |picture: &&InputPicture| picture.path.file_stem() == path.file_stem();
        let mut own = pictures.iter().filter(named).peekable();
        if own.peek().is_none() {
            return Err(HintError::NoPicture { path });
        }
        let file = HintFile::read(&path)?;
        for picture in own {
            files.entry(picture.path.clone()).or_insert_with(|| file.clone());
        }
    }
    if files.is_empty() { Err(HintError::Empty(folder.into())) } else { Ok(files) }
}

/// The extension of a hint file.
fn extension(path: &Path) -> Option<&'static str> {
    let own = path.extension()?.to_str()?.to_ascii_lowercase();
    EXTENSIONS.into_iter().find(|extension| *extension == own)
}

/// A hint in YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct YamlHint {
    x: usize,
    y: usize,
    color: Option<String>,
    ab: Option<[f32; 2]>,
    radius: Option<usize>,
}

impl HintFile {
    fn read(path: &Path) -> Result<Self, HintError> {
        let text =
            fs::read_to_string(path).map_err(|source| HintError::Unreadable { path: path.into(), source })?;
        let file = |reason: String| HintError::File { path: path.into(), reason };
        let points = match extension(path) {
            Some("csv") => csv(path, &text)?,
            Some(_) => yaml_points(&text).map_err(file)?,
            None => return Err(file("give a .csv or .yaml file of hints".into())),
        };
        if points.is_empty() {
            return Err(file("holds no hints".into()));
        }
        Ok(Self { path: path.into(), points })
    }

    /// The hints as rectangles of a picture of this height and width.
    ///
    /// # Errors
    /// A hint outside of it, by its line.
    pub fn within(&self, (height, width): (usize, usize)) -> Result<Vec<Hint>, HintError> {
        let usual = (height.min(width) / SIDE_PER_RADIUS).max(1);
        let hint = |point: &HintPoint| {
            let HintPoint { line, x, y, ab, radius } = *point;
            if x >= width || y >= height {
                let reason = format!("({x}, {y}) is outside of the picture, which is {width}×{height}");
                return Err(match line {
                    0 => HintError::File { path: self.path.clone(), reason },
                    line => HintError::Line { path: self.path.clone(), line, reason },
                });
            }
            let radius = radius.unwrap_or(usual);
            let span = |at: usize, n: usize| {
                let first = at.saturating_sub(radius);
                (first, at.saturating_add(radius).min(n - 1) + 1 - first)
            };
            let ((top, height), (left, width)) = (span(y, height), span(x, width));
            Ok(Hint { top, left, height, width, ab })
        };
        self.points.iter().map(hint).collect()
    }
}

fn csv(path: &Path, text: &str) -> Result<Vec<HintPoint>, HintError> {
    let mut points = vec![];
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim().trim_start_matches('\u{feff}');
        let heads = content.to_ascii_lowercase().starts_with("x,y");
        if content.is_empty() || content.starts_with('#') || (heads && points.is_empty()) {
            continue;
        }
        let wrong = |reason| HintError::Line { path: path.into(), line, reason };
        points.push(csv_point(line, content).map_err(wrong)?);
    }
    Ok(points)
}

fn csv_point(line: usize, content: &str) -> Result<HintPoint, String> {
    let fields: Vec<&str> = content.split(',').map(str::trim).collect();
    let usage = || format!("`{content}` is no hint: write x,y,#RRGGBB or x,y,a,b, and a radius if you like");
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("`{text}` is no number of pixels"));
    let chroma = |text: &str| text.parse::<f32>().map_err(|_| format!("`{text}` is no number"));
    let (ab, radius) = match fields[..] {
        [_, _, color] if color.starts_with('#') => (hex(color)?, None),
        [_, _, color, radius] if color.starts_with('#') => (hex(color)?, Some(number(radius)?)),
        [_, _, a, b] => ([chroma(a)?, chroma(b)?], None),
        [_, _, a, b, radius] => ([chroma(a)?, chroma(b)?], Some(number(radius)?)),
        _ => return Err(usage()),
    };
    Ok(HintPoint { line, x: number(fields[0])?, y: number(fields[1])?, ab: checked(ab)?, radius })
}

fn yaml_points(text: &str) -> Result<Vec<HintPoint>, String> {
    let hints = yaml::read::<Vec<YamlHint>>(text).map_err(|error| error.to_string())?;
    let point = |(number, hint): (usize, YamlHint)| {
        let YamlHint { x, y, color, ab, radius } = hint;
        let ab = match (color, ab) {
            (Some(color), None) => hex(&color),
            (None, Some(ab)) => checked(ab),
            _ => Err("give either `color` or `ab`".into()),
        };
        let ab = ab.map_err(|reason| format!("hint {number}: {reason}"))?;
        Ok(HintPoint { line: 0, x, y, ab, radius })
    };
    (1..).zip(hints).map(point).collect()
}

/// a and b of `#RRGGBB`.
fn hex(color: &str) -> Result<[f32; 2], String> {
    let digits = color.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii());
    let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let [_, red, green, blue] =
        value.ok_or_else(|| format!("`{color}` is no color: write #RRGGBB, as in #c83220"))?.to_be_bytes();
    let [_, a, b] = srgb8_to_lab([red, green, blue]);
    Ok([a, b])
}

fn checked(ab: [f32; 2]) -> Result<[f32; 2], String> {
    match ab.into_iter().find(|value| !value.is_finite() || value.abs() > MOST_AB) {
        Some(wrong) => {
            Err(format!("{wrong} is no a or b of a color: they lie between −{MOST_AB} and {MOST_AB}"))
        }
        None => Ok(ab),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<HintFile, HintError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        HintFile::read(&path)
    }

    #[test]
    fn both_formats_give_the_same_hints() -> Result<(), HintError> {
        let csv = read("a.csv", "x,y,color\n# the roof\n10, 20, #ff0000\n\n3,4,-20,35.5,2\n")?;
        let yaml = read(
            "a.yaml",
            "- { x: 10, y: 20, color: '#ff0000' }\n- { x: 3, y: 4, ab: [-20, 35.5], radius: 2 }",
        )?;
        let hints = csv.within((340, 400))?;
        assert_eq!(hints, yaml.within((340, 400))?);
        // Red is a = 80.1, b = 67.2 (scikit-image). The default radius is 4 for a side of 340.
        assert!((hints[0].ab[0] - 80.1).abs() < 0.1 && (hints[0].ab[1] - 67.2).abs() < 0.1);
        assert_eq!((hints[0].top, hints[0].left, hints[0].height, hints[0].width), (16, 6, 9, 9));
        assert_eq!(hints[1], Hint { top: 2, left: 1, height: 5, width: 5, ab: [-20.0, 35.5] });
        Ok(())
    }

    #[test]
    fn squares_end_at_the_border() -> Result<(), HintError> {
        let file = read("a.csv", "0,9,1,2,3")?;
        assert_eq!(file.within((10, 3))?, [Hint { top: 6, left: 0, height: 4, width: 3, ab: [1.0, 2.0] }]);
        Ok(())
    }

    #[test]
    fn faults_are_named_by_line() {
        for (text, wanted) in [
            ("1,2,#fff", ":1: `#fff` is no color"),
            ("1,2,3,4\n1,2", ":2: `1,2` is no hint"),
            ("1,2,3,400", ":1: 400 is no a or b"),
            ("1.5,2,3,4", ":1: `1.5` is no number of pixels"),
            ("# nothing", "holds no hints"),
        ] {
            let error = read("a.csv", text).expect_err(text).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        for (text, wanted) in [
            ("- { x: 1, y: 2 }", "hint 1: give either"),
            ("- { x: 1, y: 2, colour: red }", "unknown field"),
            ("x: 1", "invalid type"),
        ] {
            let error = read("a.yaml", text).expect_err(text).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let error =
            read("a.csv", "\n5,2,3,4").expect("a hint").within((3, 5)).expect_err("outside").to_string();
        assert!(error.contains(":2: (5, 2) is outside of the picture, which is 5×3"), "{error}");
    }

    #[test]
    fn files_belong_to_pictures_by_their_stem() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let picture = |name: &str| InputPicture { path: PathBuf::from(name), subfolder: PathBuf::new() };
        let pictures = [picture("old/a.jpg"), picture("old/b.png")];
        fs::write(folder.path().join("a.csv"), "1,2,3,4")?;
        let files = open(folder.path(), &pictures).expect("hints for a");
        assert_eq!(files.keys().collect::<Vec<_>>(), [&PathBuf::from("old/a.jpg")]);
        let error = open(&folder.path().join("a.csv"), &pictures).expect_err("one file").to_string();
        assert!(error.contains("one file for 2 pictures"), "{error}");
        fs::write(folder.path().join("c.yaml"), "- { x: 1, y: 1, ab: [0, 0] }")?;
        let error = open(folder.path(), &pictures).expect_err("c").to_string();
        assert!(error.contains("c.yaml is for no picture"), "{error}");
        Ok(())
    }
}
