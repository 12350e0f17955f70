//! Hub addresses: `hf://OWNER/REPO/FILE[@REVISION]` for a file, `hf://OWNER/REPO[@REVISION]` for a model repository.
//! A revision is a branch, tag or commit and may contain slashes; names may not contain `@`. Parsing is strict and
//! round-trips exactly.

use crate::text::excerpt;
use std::{fmt, path::Path, str::FromStr};

const SCHEME: &str = "hf://";
/// The longest owner or repository name that the hub allows.
const LONGEST_NAME: usize = 96;
const FILE_FORM: &str = "hf://OWNER/REPO/FILE or hf://OWNER/REPO/FILE@REVISION";
const REPO_FORM: &str = "hf://OWNER/REPO or hf://OWNER/REPO@BRANCH";

/// Whether a path is meant as an address. Includes `hf:/` with a missing slash, so that it is not treated as a local
/// path.
pub fn is_address(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("hf:/")))
}

/// A model repository at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    pub owner: String,
    pub name: String,
    /// None: `main`
    pub revision: Option<String>,
}

/// A file in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub repo: Repo,
    /// Path in the repository, separated by `/`.
    pub file: String,
}

/// An invalid address, with the reason and the expected form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address on the hub: {reason}; write {form}")]
pub struct AddressError {
    text: String,
    reason: String,
    form: &'static str,
}

impl Repo {
    /// The hub's identifier, `OWNER/NAME`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The file `name` in it, at the same revision.
    pub fn file(&self, name: &str) -> Address {
        Address { repo: self.clone(), file: name.into() }
    }

    fn suffix(&self) -> String {
        self.revision.iter().map(|revision| format!("@{revision}")).collect()
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.id(), self.suffix())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}{}", self.repo.id(), self.file, self.repo.suffix())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parse = || {
            let (mut parts, revision) = parts(text)?;
            let repo = repo(&mut parts, revision)?;
            let file: Vec<&str> = parts.collect();
            check_file(&file)?;
            Ok(Self { repo, file: file.join("/") })
        };
        parse().map_err(|reason| AddressError { text: excerpt(text), reason, form: FILE_FORM })
    }
}

impl FromStr for Repo {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parse = || {
            let (mut parts, revision) = parts(text)?;
            let repo = repo(&mut parts, revision)?;
            match parts.next() {
                None => Ok(repo),
                Some("") => Err("it ends in a slash".into()),
                Some(file) => Err(format!("unexpected `{file}` after the repository")),
            }
        };
        parse().map_err(|reason| AddressError { text: excerpt(text), reason, form: REPO_FORM })
    }
}

/// Splits an address into its path components and the revision.
fn parts(text: &str) -> Result<(std::str::Split<'_, char>, Option<String>), String> {
    let rest = text.strip_prefix(SCHEME).ok_or_else(|| format!("it does not begin with `{SCHEME}`"))?;
    let (path, revision) = match rest.split_once('@') {
        Some((path, revision)) => (path, Some(check_revision(revision)?)),
        None => (rest, None),
    };
    Ok((path.split('/'), revision))
}

fn repo<'a>(parts: &mut impl Iterator<Item = &'a str>, revision: Option<String>) -> Result<Repo, String> {
    let owner = check_name("owner", parts.next().unwrap_or_default())?;
    if matches!(owner, "datasets" | "spaces" | "models" | "buckets" | "kernels") {
        return Err(format!("`{owner}` is a kind of repository, not an owner; only models are addressed so"));
    }
    let name = check_name("repository", parts.next().unwrap_or_default())?;
    Ok(Repo { owner: owner.into(), name: name.into(), revision })
}

/// The hub's naming rule: letters, digits, `-`, `_` and `.`; no `-` or `.` at either end, and not doubled.
fn check_name<'a>(what: &str, name: &'a str) -> Result<&'a str, String> {
    let edge = |c: char| matches!(c, '-' | '.');
    if name.is_empty() {
        return Err(format!("it has no {what}"));
    }
    if let Some(c) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        let (name, c) = (excerpt(name), excerpt(&c.to_string()));
        return Err(format!("the {what} `{name}` holds `{c}`; names are letters, digits, `-`, `_` and `.`"));
    }
    if name.starts_with(edge) || name.ends_with(edge) || name.contains("..") || name.contains("--") {
        return Err(format!("the {what} `{name}` begins or ends with `-` or `.`, or doubles one"));
    }
    if name.len() > LONGEST_NAME {
        return Err(format!("the {what} `{}` is longer than {LONGEST_NAME} characters", excerpt(name)));
    }
    Ok(name)
}

/// Validates a repository id: `OWNER/NAME` or, for the oldest data sets, `NAME`.
///
/// # Errors
/// Why not.
pub fn check_repository(id: &str) -> Result<(), String> {
    let name = match id.split_once('/') {
        Some((owner, name)) => check_name("owner", owner).map(|_| name)?,
        None => id,
    };
    if let Some((name, rest)) = name.split_once('/') {
        return Err(format!("unexpected `{}` after the repository `{name}`", excerpt(rest)));
    }
    check_name("repository", name).map(drop)
}

/// Validates the path of a file in a repository, which becomes a path below the cache folder.
///
/// # Errors
/// Why not.
pub fn check_path(path: &str) -> Result<(), String> {
    let drive = path.as_bytes().get(1) == Some(&b':') && path.starts_with(|c: char| c.is_ascii_alphabetic());
    if path.starts_with('/') || drive {
        return Err(format!(
            "`{}` is an absolute path; give the file's path in the repository",
            excerpt(path)
        ));
    }
    check_file(&path.split('/').collect::<Vec<_>>())
}

fn check_file(parts: &[&str]) -> Result<(), String> {
    match parts {
        [] | [""] => return Err("it names no file in the repository".into()),
        [.., ""] => return Err("it ends in a slash: that is a folder, not a file".into()),
        _ => {}
    }
    for part in parts {
        match *part {
            "" => return Err("it has two slashes in a row".into()),
            "." | ".." => return Err(format!("the file's path has a `{part}` in it")),
            part if part.contains(|c: char| c.is_control() || c == '\\') => {
                return Err(format!(
                    "the file's path holds a backslash or a control character: `{}`",
                    excerpt(part)
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Validates a revision by Git's rules for reference names.
///
/// # Errors
/// Why `revision` is invalid.
pub fn check_revision(revision: &str) -> Result<String, String> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    if revision.is_empty() {
        return Err("no revision follows the `@`".into());
    }
    if revision.contains('@') {
        return Err("it has more than one `@`".into());
    }
    if revision.contains(odd)
        || revision.contains("..")
        || revision.starts_with(['/', '-'])
        || revision.split('/').any(str::is_empty)
    {
        return Err(format!("`{}` cannot be a branch, a tag or a commit", excerpt(revision)));
    }
    Ok(revision.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_back() {
        for (text, owner, name, file, revision) in [
            ("hf://a/b/c", "a", "b", "c", None),
            ("hf://a-b/c_d.e/x/y z/w.safetensors", "a-b", "c_d.e", "x/y z/w.safetensors", None),
            ("hf://a/b/w.safetensors@v1.0", "a", "b", "w.safetensors", Some("v1.0")),
            ("hf://a/b/w@refs/pr/1", "a", "b", "w", Some("refs/pr/1")),
            ("hf://a/b/..c", "a", "b", "..c", None),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.repo.owner.as_str(), address.repo.name.as_str()), (owner, name));
            assert_eq!((address.file.as_str(), address.repo.revision.as_deref()), (file, revision));
            assert_eq!(address.to_string(), text);
        }
        let repo: Repo = "hf://a/b@x/y".parse().unwrap();
        assert_eq!((repo.id().as_str(), repo.revision.as_deref()), ("a/b", Some("x/y")));
        assert_eq!(
            (repo.to_string().as_str(), repo.file("c").to_string().as_str()),
            ("hf://a/b@x/y", "hf://a/b/c@x/y")
        );
    }

    #[test]
    fn what_is_no_address_says_why() {
        let long = format!("hf://a/{}/c", "b".repeat(97));
        for (text, why) in [
            ("a/b/c", "does not begin"),
            ("hf:/a/b/c", "does not begin"),
            ("HF://a/b/c", "does not begin"),
            ("hf://", "no owner"),
            ("hf:///b/c", "no owner"),
            ("hf://a", "no repository"),
            ("hf://a//c", "no repository"),
            ("hf://a/b", "no file"),
            ("hf://a/b/", "no file"),
            ("hf://a/b@main", "no file"),
            ("hf://a/b/c/", "a folder"),
            ("hf://a/b//c", "two slashes"),
            ("hf://a/b/../c", "a `..`"),
            ("hf://a/b/c/..", "a `..`"),
            ("hf://a/b/./c", "a `.`"),
            ("hf://a/b/c\\d", "backslash"),
            ("hf://../b/c", "the owner `..`"),
            ("hf://a/-b/c", "the repository `-b`"),
            ("hf://a b/c/d", "holds ` `"),
            ("hf://ä/b/c", "holds `ä`"),
            (&long, "longer than 96"),
            ("hf://datasets/a/b/c", "a kind of repository"),
            ("hf://a/b/c@", "no revision"),
            ("hf://a/b/c@x@y", "more than one `@`"),
            ("hf://a/b/c@x y", "cannot be a branch"),
            ("hf://a/b/c@x..y", "cannot be a branch"),
            ("hf://a/b/c@/x", "cannot be a branch"),
            ("hf://a/b/c@x:y", "cannot be a branch"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(text) && error.ends_with(FILE_FORM), "{error}");
        }
        for (text, why) in [
            ("hf://a", "no repository"),
            ("hf://a/b/", "ends in a slash"),
            ("hf://a/b/c", "unexpected `c` after the repository"),
            ("a/b", "does not begin"),
        ] {
            let error = text.parse::<Repo>().unwrap_err().to_string();
            assert!(error.contains(why) && error.ends_with(REPO_FORM), "{error}");
        }
    }

    #[test]
    fn what_a_spec_names_stays_in_its_repository() {
        for good in ["data/train-0.parquet", "a", ".hidden/a..b"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in ["../a", "a/../../b", "/etc/a", "C:/a", "c:a", "a\\..\\b", "a//b", "./a", "a/", "", "a\0b"]
        {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        assert_eq!((check_repository("o/r"), check_repository("mnist")), (Ok(()), Ok(())));
        for bad in ["../r", "o/..", "o/r/s", "/r", "o\\r", "o/", "", "a..b/c"] {
            assert!(check_repository(bad).is_err(), "{bad}");
        }
        for bad in ["../x", "a/../b", "/x", "a\\b", "-x", "", "a b"] {
            assert!(check_revision(bad).is_err(), "{bad}");
        }
        assert_eq!(check_revision("refs/convert/parquet"), Ok("refs/convert/parquet".into()));
    }

    #[test]
    fn a_slash_that_was_lost_still_means_an_address() {
        assert!(["hf://a/b/c", "hf:/a/b/c", "HF://a"].iter().all(|text| is_address(Path::new(text))));
        assert!(["hf", "hf:", "a/hf://b", "hé:/x", ""].iter().all(|text| !is_address(Path::new(text))));
    }
}
