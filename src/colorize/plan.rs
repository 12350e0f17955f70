//! What is written where, settled before anything is: no two outputs meet, no input is overwritten, nothing that exists is
//! replaced unasked.

use super::{encoding::Format, inputs::Input};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// What is wanted of every picture beside the picture itself, and where it goes.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Where results go; those of pictures found below a named folder keep their folders.
    pub folder: PathBuf,
    /// None: as the input, where that is a PNG, JPEG or WebP by its ending, else PNG.
    pub format: Option<Format>,
    /// Whether existing files may be replaced; an input never is.
    pub overwrite: bool,
    /// STEM-montage.png beside the result.
    pub montage: bool,
    /// STEM-distribution.png beside the result.
    pub distribution: bool,
    /// STEM-logits.npy beside the result.
    pub logits: bool,
    /// An .npy file for ab at full size; `{stem}` in it stands for the picture's name without its ending.
    pub ab: Option<String>,
}

/// One picture and everything that is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub input: PathBuf,
    pub result: PathBuf,
    pub format: Format,
    pub montage: Option<PathBuf>,
    pub distribution: Option<PathBuf>,
    pub logits: Option<PathBuf>,
    pub ab: Option<PathBuf>,
}

/// Why the work does not begin.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("{} and {} would both become {}; color them into folders of their own (--out)",
        first.display(), second.display(), output.display())]
    Collision { output: PathBuf, first: PathBuf, second: PathBuf },
    #[error("{} would be overwritten, which is an input; choose another folder (--out)", .0.display())]
    OverInput(PathBuf),
    #[error("{} exists already{}; give --overwrite to replace, or choose another folder (--out)",
        first.display(), if *.count > 1 { format!(", and so do {} more", .count - 1) } else { String::new() })]
    Exists { first: PathBuf, count: usize },
    #[error(
        "{pattern} is one file for {pictures} pictures; put {{stem}} into its name, as in 'ab/{{stem}}.npy'"
    )]
    OneArray { pattern: String, pictures: usize },
    #[error("{}: a picture needs a name", .0.display())]
    Nameless(PathBuf),
}

/// A job for every input.
///
/// # Errors
/// See [`PlanError`]; nothing has been written then.
pub fn plan(inputs: &[Input], wanted: &Wanted) -> Result<Vec<Job>, PlanError> {
    if let Some(pattern) = wanted.ab.as_ref().filter(|pattern| inputs.len() > 1 && !pattern.contains(STEM)) {
        return Err(PlanError::OneArray { pattern: pattern.clone(), pictures: inputs.len() });
    }
    let jobs: Vec<Job> = inputs.iter().map(|input| job(input, wanted)).collect::<Result<_, _>>()?;
    check_collisions(&jobs)?;
    check_inputs(&jobs)?;
    let present: Vec<&Path> = jobs.iter().flat_map(Job::outputs).filter(|path| path.exists()).collect();
    match present.first() {
        Some(first) if !wanted.overwrite => {
            Err(PlanError::Exists { first: first.to_path_buf(), count: present.len() })
        }
        _ => Ok(jobs),
    }
}

/// What a picture's name stands in for.
const STEM: &str = "{stem}";

fn job(input: &Input, wanted: &Wanted) -> Result<Job, PlanError> {
    let stem = input.path.file_stem().ok_or_else(|| PlanError::Nameless(input.path.clone()))?;
    let below = input.below.join(stem);
    let beside = |ending: &str| {
        let mut path = wanted.folder.join(&below).into_os_string();
        path.push(ending);
        PathBuf::from(path)
    };
    let format = wanted.format.or_else(|| Format::of(&input.path)).unwrap_or(Format::Png);
    Ok(Job {
        input: input.path.clone(),
        result: beside(&format!(".{}", format.ending())),
        format,
        montage: wanted.montage.then(|| beside("-montage.png")),
        distribution: wanted.distribution.then(|| beside("-distribution.png")),
        logits: wanted.logits.then(|| beside("-logits.npy")),
        ab: wanted.ab.as_ref().map(|pattern| pattern.replace(STEM, &below.to_string_lossy()).into()),
    })
}

impl Job {
    /// Every file that the job writes.
    pub fn outputs(&self) -> impl Iterator<Item = &Path> {
        let extras = [&self.montage, &self.distribution, &self.logits, &self.ab];
        std::iter::once(self.result.as_path()).chain(extras.into_iter().flatten().map(PathBuf::as_path))
    }
}

/// Two pictures of one name are refused even where their endings tell the results apart: what lies beside them would not.
fn check_collisions(jobs: &[Job]) -> Result<(), PlanError> {
    let mut taken: HashMap<PathBuf, &Job> = HashMap::new();
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

fn check_inputs(jobs: &[Job]) -> Result<(), PlanError> {
    let inputs: HashMap<PathBuf, ()> = jobs.iter().map(|job| (real(&job.input), ())).collect();
    match jobs.iter().flat_map(Job::outputs).find(|output| inputs.contains_key(&real(output))) {
        Some(output) => Err(PlanError::OverInput(output.into())),
        None => Ok(()),
    }
}

/// The path without links and detours, as far as it exists.
fn real(path: &Path) -> PathBuf {
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

    fn inputs(paths: &[&str]) -> Vec<Input> {
        paths.iter().map(|path| Input { path: path.into(), below: PathBuf::new() }).collect()
    }

    fn wanted() -> Wanted {
        Wanted { folder: "no/such/folder".into(), ..Wanted::default() }
    }

    fn refusal(paths: &[&str], wanted: &Wanted) -> String {
        plan(&inputs(paths), wanted).unwrap_err().to_string()
    }

    #[test]
    fn results_keep_their_stem_and_their_kind() {
        let jobs = plan(&inputs(&["p/a.JPEG", "b.tif", "c.d.webp"]), &wanted()).unwrap();
        let results: Vec<_> = jobs.iter().map(|job| job.result.to_str().unwrap()).collect();
        assert_eq!(results, ["no/such/folder/a.jpg", "no/such/folder/b.png", "no/such/folder/c.d.webp"]);
        let png = plan(&inputs(&["a.jpg"]), &Wanted { format: Some(Format::Png), ..wanted() }).unwrap();
        assert_eq!((png[0].result.to_str(), png[0].format), (Some("no/such/folder/a.png"), Format::Png));
    }

    #[test]
    fn everything_beside_a_result_is_named_after_it() {
        let wanted = Wanted {
            montage: true,
            distribution: true,
            logits: true,
            ab: Some("x/{stem}.npy".into()),
            ..wanted()
        };
        let deep = Input { path: "p/deep/a.b.png".into(), below: "deep".into() };
        let jobs = plan(&[deep], &wanted).unwrap();
        let outputs: Vec<_> = jobs[0].outputs().map(|p| p.to_str().unwrap()).collect();
        let endings = [".png", "-montage.png", "-distribution.png", "-logits.npy"];
        let beside = endings.map(|ending| format!("no/such/folder/deep/a.b{ending}"));
        assert_eq!(outputs[..4], beside);
        assert_eq!(outputs[4], "x/deep/a.b.npy");
    }

    #[test]
    fn outputs_that_meet_are_refused() {
        let said = refusal(&["p/a.jpg", "q/a.png"], &wanted());
        assert!(said.contains("p/a.jpg and q/a.png would both become no/such/folder/a;"), "{said}");
        let montage = Wanted { montage: true, ..wanted() };
        assert!(refusal(&["a.png", "a-montage.png"], &montage).contains("a-montage.png"));
        assert!(plan(&inputs(&["a.png", "a-montage.png"]), &wanted()).is_ok());
        let one = Wanted { ab: Some("ab.npy".into()), ..wanted() };
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
        let input = [Input { path: photo, below: PathBuf::new() }];
        let into = |folder: &Path, overwrite| {
            plan(&input, &Wanted { folder: folder.into(), overwrite, ..Wanted::default() })
        };
        assert!(into(&out, false).unwrap_err().to_string().contains("exists already; give --overwrite"));
        assert!(into(&out, true).is_ok());
        for folder in [dir.path().to_owned(), out.join("..")] {
            let said = into(&folder, true).unwrap_err().to_string();
            assert!(said.contains("which is an input"), "{said}");
        }
    }
}
