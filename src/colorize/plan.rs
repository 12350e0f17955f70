//! Output planning before anything is written: outputs must not collide or overwrite inputs, and existing files are
//! replaced only on request.

use super::{encoding::ImageFormat, inputs::InputPicture};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// Output options of a run.
#[derive(Clone, Debug, Default)]
pub struct OutputOptions {
    /// Output folder. Pictures found below a named folder keep their subfolders.
    pub folder: PathBuf,
    /// None: the input's format if its extension is PNG, JPEG or WebP, else PNG.
    pub format: Option<ImageFormat>,
    /// Whether existing files may be replaced; inputs never are.
    pub overwrite: bool,
    /// Also write FOLDER-montages/STEM.png: beside the folder, since a score takes every picture in it for a result.
    pub montage: bool,
    /// Also write FOLDER-distributions/STEM.png.
    pub distribution: bool,
    /// Also write STEM-logits.npy.
    pub logits: bool,
    /// An .npy file for full-size ab; `{stem}` is replaced by the picture's name without extension.
    pub ab: Option<String>,
}

/// One picture and its output files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColorizeJob {
    pub input: PathBuf,
    pub result: PathBuf,
    pub format: ImageFormat,
    pub montage: Option<PathBuf>,
    pub distribution: Option<PathBuf>,
    pub logits: Option<PathBuf>,
    pub ab: Option<PathBuf>,
}

/// Why a plan is rejected.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("{} and {} would both become {}; use separate output folders (--out)",
        first.display(), second.display(), output.display())]
    Collision { output: PathBuf, first: PathBuf, second: PathBuf },
    #[error("{} is an input and would be overwritten; choose another folder (--out)", .0.display())]
    OverInput(PathBuf),
    #[error("{} exists already{}; give --overwrite to replace, or choose another folder (--out)",
        first.display(), if *.count > 1 { format!(", with {} more", .count - 1) } else { String::new() })]
    Exists { first: PathBuf, count: usize },
    #[error(
        "{pattern} is one file for {pictures} pictures; put {{stem}} into its name, as in 'ab/{{stem}}.npy'"
    )]
    OneArray { pattern: String, pictures: usize },
    #[error("{}: a picture needs a name", .0.display())]
    Nameless(PathBuf),
}

/// Creates a job for every input.
///
/// # Errors
/// See [`PlanError`]; nothing has been written then.
pub fn plan(inputs: &[InputPicture], options: &OutputOptions) -> Result<Vec<ColorizeJob>, PlanError> {
    if let Some(pattern) = options.ab.as_ref().filter(|pattern| inputs.len() > 1 && !pattern.contains(STEM)) {
        return Err(PlanError::OneArray { pattern: pattern.clone(), pictures: inputs.len() });
    }
    let jobs: Vec<ColorizeJob> = inputs.iter().map(|input| job(input, options)).collect::<Result<_, _>>()?;
    check_collisions(&jobs)?;
    let outputs: Vec<&Path> = jobs.iter().flat_map(ColorizeJob::outputs).collect();
    check_outputs(&outputs, inputs, options.overwrite)?;
    Ok(jobs)
}

/// Checks that no output is an input, and that none exists already unless `overwrite`.
///
/// # Errors
/// The first output that is refused.
pub fn check_outputs(outputs: &[&Path], inputs: &[InputPicture], overwrite: bool) -> Result<(), PlanError> {
    let inputs: HashSet<PathBuf> = inputs.iter().map(|input| canonical(&input.path)).collect();
    if let Some(output) = outputs.iter().find(|output| inputs.contains(&canonical(output))) {
        return Err(PlanError::OverInput(output.into()));
    }
    let mut present = outputs.iter().filter(|path| path.exists());
    match present.next() {
        Some(first) if !overwrite => {
            Err(PlanError::Exists { first: first.into(), count: 1 + present.count() })
        }
        _ => Ok(()),
    }
}

/// Placeholder for the picture's name.
const STEM: &str = "{stem}";

fn job(input: &InputPicture, options: &OutputOptions) -> Result<ColorizeJob, PlanError> {
    let stem = input.path.file_stem().ok_or_else(|| PlanError::Nameless(input.path.clone()))?;
    let subfolder = input.subfolder.join(stem);
    let beside = |ending: &str| {
        let mut path = options.folder.join(&subfolder).into_os_string();
        path.push(ending);
        PathBuf::from(path)
    };
    let apart = |kind: &str| {
        let name = options.folder.file_name().map(|name| format!("{}-{kind}", name.to_string_lossy()));
        let folder =
            name.map_or_else(|| options.folder.join(kind), |name| options.folder.with_file_name(name));
        let mut path = folder.join(&subfolder).into_os_string();
        path.push(".png");
        PathBuf::from(path)
    };
    let format = options.format.or_else(|| ImageFormat::of(&input.path)).unwrap_or(ImageFormat::Png);
    Ok(ColorizeJob {
        input: input.path.clone(),
        result: beside(&format!(".{}", format.extension())),
        format,
        montage: options.montage.then(|| apart("montages")),
        distribution: options.distribution.then(|| apart("distributions")),
        logits: options.logits.then(|| beside("-logits.npy")),
        ab: options.ab.as_ref().map(|pattern| pattern.replace(STEM, &subfolder.to_string_lossy()).into()),
    })
}

impl ColorizeJob {
    /// All files that the job writes.
    pub fn outputs(&self) -> impl Iterator<Item = &Path> {
        let extras = [&self.montage, &self.distribution, &self.logits, &self.ab];
        std::iter::once(self.result.as_path()).chain(extras.into_iter().flatten().map(PathBuf::as_path))
    }
}

/// Two pictures with the same stem are rejected even if their results have different extensions, since their
/// additional outputs would collide.
fn check_collisions(jobs: &[ColorizeJob]) -> Result<(), PlanError> {
    let mut taken: HashMap<PathBuf, &ColorizeJob> = HashMap::new();
    for job in jobs {
        let stem = job.result.with_extension("");
        for output in job.outputs().map(Path::to_path_buf).chain([stem]) {
            if let Some(other) = taken.insert(output.clone(), job) {
                let (first, second) = (other.input.clone(), job.input.clone());
                return Err(PlanError::Collision { output, first, second });
            }
        }
    }
    Ok(())
}

/// The canonical path, as far as it exists.
fn canonical(path: &Path) -> PathBuf {
    let beside = || {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(beside).unwrap_or_else(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(paths: &[&str]) -> Vec<InputPicture> {
        paths.iter().map(|path| InputPicture { path: path.into(), subfolder: PathBuf::new() }).collect()
    }

    fn options() -> OutputOptions {
        OutputOptions { folder: "no/such/folder".into(), ..OutputOptions::default() }
    }

    fn refusal(paths: &[&str], options: &OutputOptions) -> String {
        plan(&inputs(paths), options).unwrap_err().to_string()
    }

    #[test]
    fn results_keep_their_stem_and_their_kind() {
        let jobs = plan(&inputs(&["p/a.JPEG", "b.tif", "c.d.webp"]), &options()).unwrap();
        let results: Vec<_> = jobs.iter().map(|job| job.result.to_str().unwrap()).collect();
        assert_eq!(results, ["no/such/folder/a.jpg", "no/such/folder/b.png", "no/such/folder/c.d.webp"]);
        let png = plan(&inputs(&["a.jpg"]), &OutputOptions { format: Some(ImageFormat::Png), ..options() })
            .unwrap();
        assert_eq!((png[0].result.to_str(), png[0].format), (Some("no/such/folder/a.png"), ImageFormat::Png));
    }

    #[test]
    fn everything_of_a_picture_is_named_after_it_and_pictures_have_folders_of_their_own() {
        let options = OutputOptions {
            montage: true,
            distribution: true,
            logits: true,
            ab: Some("x/{stem}.npy".into()),
            ..options()
        };
        let deep = InputPicture { path: "p/deep/a.b.png".into(), subfolder: "deep".into() };
        let jobs = plan(&[deep], &options).unwrap();
        let outputs: Vec<_> = jobs[0].outputs().map(|p| p.to_str().unwrap()).collect();
        let folders =
            ["", "-montages", "-distributions"].map(|kind| format!("no/such/folder{kind}/deep/a.b.png"));
        assert_eq!(outputs[..3], folders);
        assert_eq!(outputs[3..], ["no/such/folder/deep/a.b-logits.npy", "x/deep/a.b.npy"]);
        let here = OutputOptions { folder: ".".into(), ..options };
        let montage = job(&inputs(&["a.png"])[0], &here).unwrap().montage;
        assert_eq!(montage, Some("./montages/a.png".into()));
    }

    #[test]
    fn outputs_that_meet_are_refused() {
        let said = refusal(&["p/a.jpg", "q/a.png"], &options());
        assert!(said.contains("p/a.jpg and q/a.png would both become no/such/folder/a;"), "{said}");
        let logits =
            OutputOptions { logits: true, ab: Some("no/such/folder/{stem}-logits.npy".into()), ..options() };
        assert!(refusal(&["a.png"], &logits).contains("a-logits.npy"));
        let one = OutputOptions { ab: Some("ab.npy".into()), ..options() };
        assert!(refusal(&["a.png", "b.png"], &one).contains("ab.npy is one file for 2 pictures"));
        assert!(plan(&inputs(&["a.png"]), &one).is_ok());
    }

    #[test]
    fn files_are_not_replaced_unasked_and_inputs_never() {
        let dir = tempfile::tempdir().unwrap();
        let (photo, out) = (dir.path().join("a.png"), dir.path().join("out"));
        std::fs::create_dir(&out).unwrap();
        std::fs::write(&photo, "x").unwrap();
        std::fs::write(out.join("a.png"), "x").unwrap();
        let input = [InputPicture { path: photo, subfolder: PathBuf::new() }];
        let into = |folder: &Path, overwrite| {
            plan(&input, &OutputOptions { folder: folder.into(), overwrite, ..OutputOptions::default() })
        };
        assert!(into(&out, false).unwrap_err().to_string().contains("exists already; give --overwrite"));
        assert!(into(&out, true).is_ok());
        for folder in [dir.path().to_owned(), out.join("..")] {
            let said = into(&folder, true).unwrap_err().to_string();
            assert!(said.contains("is an input and would be overwritten"), "{said}");
        }
    }
}
