//! Path resolution: expands `~` and `$VAR`, and resolves relative paths against the folder of the spec file. Hub
//! addresses are not changed.

use super::error::Diagnostic;
use crate::{hub, nn::weights, text::excerpt};
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

/// A path relative to the working directory, and an optional notice for the user.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResolvedPath {
    pub path: PathBuf,
    pub notice: Option<String>,
}

/// Resolves the path `text` of a spec in `folder`; an empty `folder` is the working directory. Earlier versions
/// resolved against the working directory: a path that exists only there is used, with a notice.
///
/// # Errors
/// An unset variable; no home folder.
pub(super) fn resolve(text: &str, folder: &Path) -> Result<ResolvedPath, Diagnostic> {
    let text = expand(text)?;
    let (path, once) = (place(&text, folder), PathBuf::from(text));
    if once.is_absolute() || once == path || exists(&path) || !exists(&once) {
        return Ok(ResolvedPath { path, notice: None });
    }
    let shown = |path: &Path| excerpt(&path.display().to_string());
    let notice = format!(
        "using `{}` of the working directory because `{}` does not exist; paths in a spec are relative to its \
         folder: write `{}`",
        shown(&once),
        shown(&path),
        shown(&spelling_in(folder, &once))
    );
    Ok(ResolvedPath { path: once, notice: Some(notice) })
}

/// As [`resolve`], without the fallback to the working directory.
///
/// # Errors
/// As there.
pub(super) fn resolve_in(text: &str, folder: &Path) -> Result<PathBuf, Diagnostic> {
    Ok(place(&expand(text)?, folder))
}

fn place(path: &str, folder: &Path) -> PathBuf {
    let stays = path.is_empty() || hub::is_address(Path::new(path)) || Path::new(path).is_absolute();
    if stays || folder.as_os_str().is_empty() { path.into() } else { join_in(folder, path) }
}

/// Whether the path exists. A `#KEY` suffix is not part of a weight file's name.
fn exists(path: &Path) -> bool {
    path.exists() || weights::split(path).1.is_some()
}

/// Joins `path` to `folder`, removing a leading `.` and any `..` that leaves a regular folder. A `..` that leaves a
/// symbolic link is kept, since it leads elsewhere.
fn join_in(folder: &Path, path: &str) -> PathBuf {
    let (mut folder, mut rest) = (folder.to_path_buf(), path);
    loop {
        match rest.split_once('/').unwrap_or((rest, "")) {
            (".", after) => rest = after,
            ("..", after) if is_plain(&folder) => {
                folder.pop();
                rest = after;
            }
            _ => break,
        }
        rest = rest.trim_start_matches('/');
    }
    match (rest, folder.as_os_str().is_empty()) {
        ("", true) => ".".into(),
        ("", false) => folder,
        _ => folder.join(rest),
    }
}

/// Whether the path ends in a folder name that is not a symbolic link.
fn is_plain(folder: &Path) -> bool {
    folder.file_name().is_some() && fs::symlink_metadata(folder).is_ok_and(|entry| entry.is_dir())
}

/// The spelling, in a spec in `folder`, of a path relative to the working directory.
fn spelling_in(folder: &Path, path: &Path) -> PathBuf {
    let Ok(here) = env::current_dir() else { return path.into() };
    let way = fs::canonicalize(folder).ok().and_then(|folder| relative(&folder, &here));
    way.unwrap_or(here).join(path)
}

/// Relative path between two absolute folders without `..`; None if they share only the root.
pub(crate) fn relative(from: &Path, to: &Path) -> Option<PathBuf> {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    (shared > 1 || up.clone().count() == 0).then(|| up.chain(to.components().skip(shared)).collect())
}

/// Replaces a leading `~` and variables.
fn expand(text: &str) -> Result<String, Diagnostic> {
    if hub::is_address(Path::new(text)) {
        return Ok(text.into());
    }
    let (mut expanded, mut rest) = tilde(text)?;
    while let Some((before, after)) = rest.split_once('$') {
        let (name, behind) = variable(after)?;
        expanded += before;
        expanded += &if name.is_empty() { "$".into() } else { value(name)? };
        rest = behind;
    }
    Ok(expanded + rest)
}

/// Expands `~` in a command-line path. Shells do not expand it in quotes, and most do not after `--out=`.
///
/// # Errors
/// No home folder; no text, as of a variable of the shell that is not set.
pub(crate) fn expand_home(path: OsString) -> Result<PathBuf, Diagnostic> {
    let Some(text) = path.to_str() else { return Ok(path.into()) };
    if text.is_empty() {
        return Err(Diagnostic::new("expected a path, got empty text"));
    }
    tilde(text).map(|(home, rest)| PathBuf::from(home + rest))
}

/// The home folder for a leading `~`, and the rest.
fn tilde(text: &str) -> Result<(String, &str), Diagnostic> {
    match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok((home()?, rest)),
        _ => Ok((String::new(), text)),
    }
}

/// The name of a variable after its `$` (empty if there is none), and the rest.
fn variable(text: &str) -> Result<(&str, &str), Diagnostic> {
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let is_name = |name: &str| name.chars().all(is_part) && name.starts_with(|c: char| !c.is_ascii_digit());
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').filter(|(name, _)| is_name(name)).ok_or_else(|| {
            Diagnostic::new("expected the name of a variable in `${…}`: letters, digits and `_`")
        });
    }
    let (name, rest) = text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()));
    Ok(if is_name(name) { (name, rest) } else { ("", text) })
}

fn value(name: &str) -> Result<String, Diagnostic> {
    let name_shown = excerpt(name);
    match env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        Err(env::VarError::NotUnicode(_)) => {
            Err(Diagnostic::new(format!("the environment variable `{name_shown}` is not UTF-8")))
        }
        _ => Err(Diagnostic::new(format!("the environment variable `{name_shown}` is not set"))
            .note("set it, or write the folder itself")),
    }
}

fn home() -> Result<String, Diagnostic> {
    let home = env::home_dir().and_then(|home| home.into_os_string().into_string().ok());
    home.filter(|home| !home.is_empty()).ok_or_else(|| {
        Diagnostic::new("`~` stands for the home folder, and none is known").note("write the folder itself")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, folder: &str) -> String {
        resolve_in(text, Path::new(folder)).unwrap().display().to_string()
    }

    #[test]
    fn relative_paths_begin_at_the_folder() {
        // The folders are those of the crate, where tests run.
        for (text, folder, want) in [
            ("photos", "src/spec", "src/spec/photos"),
            ("./photos/", "src/spec", "src/spec/photos/"),
            ("../a/../b", "src/spec", "src/a/../b"),
            ("../../a.pth#x/../y", "src/spec", "a.pth#x/../y"),
            ("../../../a", "src/spec", "../a"),
            ("../..//a", "src/spec", "a"),
            ("..", "src", "."),
            (".", "src", "src"),
            ("../a", "no/such", "no/such/../a"),
            ("../a", "src/..", "src/../../a"),
            ("../a", "/", "/../a"),
            ("./a", "", "./a"),
            ("", "src", ""),
            ("/a/../b", "src", "/a/../b"),
            ("hf://me/it/$HOME/~", "src", "hf://me/it/$HOME/~"),
            ("a~", "src", "src/a~"),
            ("~a/b", "src", "src/~a/b"),
        ] {
            assert_eq!(at(text, folder), want, "{text} in {folder}");
        }
    }

    #[test]
    fn ways_out_of_links_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("a/real"), dir.path().join("link"));
        fs::create_dir_all(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(join_in(&link, "../b"), link.join("../b"));
        assert_eq!(join_in(&real, "../b"), dir.path().join("a/b"));
    }

    #[test]
    fn variables_and_the_home_are_expanded() {
        // Cargo sets both variables.
        let root = env!("CARGO_MANIFEST_DIR");
        for (text, want) in [
            ("$CARGO_MANIFEST_DIR/a", format!("{root}/a")),
            ("${CARGO_MANIFEST_DIR}a/$CARGO_PKG_NAME-x", format!("{root}a/{}-x", env!("CARGO_PKG_NAME"))),
            ("/b/$CARGO_PKG_NAMEé", format!("/b/{}é", env!("CARGO_PKG_NAME"))),
            ("/b/$/$1/a$", "/b/$/$1/a$".into()),
        ] {
            assert_eq!(at(text, "src"), want);
        }
        for (text, fault) in [
            ("$NO_SUCH_VARIABLE_/a", "`NO_SUCH_VARIABLE_` is not set"),
            ("a/${NO_SUCH_VARIABLE_}", "`NO_SUCH_VARIABLE_` is not set"),
            ("${CARGO_PKG_NAME", "`${…}`"),
            ("${CARGO_PKG_NAME:-a}", "`${…}`"),
            ("${}", "`${…}`"),
        ] {
            let said = expand(text).unwrap_err().message;
            assert!(said.contains(fault), "{text}: {said}");
        }
    }

    #[test]
    fn ways_between_folders() {
        let way = |from: &str, to: &str| {
            relative(Path::new(from), Path::new(to)).map(|way| way.display().to_string())
        };
        assert_eq!(way("/a/b/c", "/a/d"), Some("../../d".into()));
        assert_eq!(way("/a/b", "/a/b/c"), Some("c".into()));
        assert_eq!(way("/a", "/a"), Some(String::new()));
        assert_eq!(way("/", "/a"), Some("a".into()));
        assert_eq!(way("/a", "/b"), None);
    }
}
