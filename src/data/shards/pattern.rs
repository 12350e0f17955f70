//! Names of shards: braces as in a shell (`train-{000000..000146}.tar`, `{a,b}.tar`), wildcards and folders of this machine.

use crate::text::excerpt;
use std::path::{Path, PathBuf};

/// Most shards of a split.
const MOST: usize = 1_000_000;
pub(super) const FORM: &str = "write `train-{000000..000146}.tar`";

/// Replaces the braces of a pattern, the last ones first: `{0..1}{a,b}` gives `0a`, `0b`, `1a`, `1b`. Numbers have as many
/// digits as the bound that begins with a zero.
///
/// # Errors
/// Braces without a pair, or with neither a range nor a comma in them; too many names.
pub(super) fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return match pattern.contains('}') {
            true => Err(format!("`{}` has a `}}` without `{{`; {FORM}", excerpt(pattern))),
            false => Ok(vec![pattern.into()]),
        };
    };
    let (group, after) = rest
        .split_once('}')
        .ok_or_else(|| format!("`{}` has a `{{` without `}}`; {FORM}", excerpt(pattern)))?;
    let (parts, endings) = (alternatives(group)?, expand(after)?);
    if parts.len().saturating_mul(endings.len()) > MOST {
        return Err(format!("`{}` names more than {MOST} shards", excerpt(pattern)));
    }
    let names = |part: &String| endings.iter().map(|end| format!("{before}{part}{end}")).collect::<Vec<_>>();
    Ok(parts.iter().flat_map(names).collect())
}

/// The texts that a pair of braces stands for.
fn alternatives(group: &str) -> Result<Vec<String>, String> {
    if group.contains(',') && !group.contains('{') {
        return Ok(group.split(',').map(String::from).collect());
    }
    let wrong = || format!("`{{{}}}` is neither a range of numbers nor a list; {FORM}", excerpt(group));
    let (first, last) = group.split_once("..").ok_or_else(wrong)?;
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<usize>().ok()).flatten();
    let (from, to) = number(first).zip(number(last)).ok_or_else(wrong)?;
    if from > to || to - from >= MOST {
        return Err(format!("the range `{{{}}}` runs backward, or is too long; {FORM}", excerpt(group)));
    }
    let padded = [first, last].into_iter().filter(|text| text.len() > 1 && text.starts_with('0'));
    let digits = padded.map(str::len).max().unwrap_or(0);
    Ok((from..=to).map(|number| format!("{number:0digits$}")).collect())
}

/// The shards of this machine that a pattern names: those of braces whether they exist or not, those of a wildcard or of
/// a folder in the order of their names.
///
/// # Errors
/// A malformed pattern; a folder or a wildcard without shards.
pub(super) fn local(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let none = |what: &str| format!("{what}; expected tar files: a folder of them, or {FORM}");
    if pattern.is_dir() {
        let inside = glob::Pattern::escape(&pattern.to_string_lossy()) + "/*.tar";
        return found(&inside)?.ok_or_else(|| none("no file in this folder ends in .tar"));
    }
    let text = pattern.to_str().ok_or("is not UTF-8; rename it")?;
    let mut all = Vec::new();
    for name in expand(text)? {
        // A file may be called so.
        if !name.contains(['*', '?', '[']) || Path::new(&name).exists() {
            all.push(name.into());
        } else {
            all.extend(found(&name)?.ok_or_else(|| none("no file has such a name"))?);
        }
    }
    Ok(all)
}

/// The shards that a pattern names on a server.
#[derive(Debug, PartialEq)]
pub(super) enum RemoteShards {
    /// At these addresses.
    At(Vec<String>),
    /// The files of the folder with this address whose names match.
    Listed { folder: String, names: glob::Pattern },
}

/// What a pattern names on a server: braces name shards, a folder or a wildcard in the last part of an `s3://` address lists
/// them.
///
/// # Errors
/// A malformed pattern; a folder or wildcards of a web server, which has no lists.
pub(super) fn remote(pattern: &str) -> Result<RemoteShards, String> {
    let in_store = pattern.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("s3://"));
    if in_store && (pattern.ends_with('/') || pattern.contains('*')) {
        let (folder, name) = pattern.rsplit_once('/').unwrap_or((pattern, ""));
        if folder.contains(['*', '{']) || name.contains('{') {
            return Err(format!(
                "has a wildcard beside braces, or in a folder's name; {FORM}, or `train-*.tar`"
            ));
        }
        let names = glob::Pattern::new(if name.is_empty() { "*.tar" } else { name });
        let names = names.map_err(|error| format!("is no pattern: {error}"))?;
        return Ok(RemoteShards::Listed { folder: folder.into(), names });
    }
    if !pattern
        .to_lowercase()
        .split(['?', '{'])
        .next()
        .is_some_and(|path| path.ends_with(".tar") || pattern.contains('{'))
    {
        return Err(format!("does not name shards (`.tar`); {FORM}"));
    }
    if pattern.contains('*') {
        return Err(format!("cannot be searched with a wildcard; {FORM}"));
    }
    expand(pattern).map(RemoteShards::At)
}

/// Files that match a wildcard, sorted; None without any.
fn found(wildcard: &str) -> Result<Option<Vec<PathBuf>>, String> {
    let entries = glob::glob(wildcard).map_err(|error| format!("is no pattern: {error}"))?;
    let files: Vec<PathBuf> = entries.flatten().filter(|path| path.is_file()).collect();
    Ok(Some(files).filter(|files| !files.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_expanded_as_in_a_shell() {
        for (pattern, names) in [
            ("a.tar", &["a.tar"][..]),
            ("t-{008..010}.tar", &["t-008.tar", "t-009.tar", "t-010.tar"]),
            ("{9..11}", &["9", "10", "11"]),
            ("{0..1}/{a,b}", &["0/a", "0/b", "1/a", "1/b"]),
            ("{3..3}", &["3"]),
        ] {
            assert_eq!(expand(pattern).unwrap(), names, "{pattern}");
        }
        for pattern in
            ["a{0..", "a}", "a{0}", "a{}", "{2..1}", "{a..c}", "{0..9999999}", "{-1..2}", "{{a,b}}", "{0..1"]
        {
            assert!(expand(pattern).is_err(), "{pattern}");
        }
        assert!(expand("{0..999999}{0..9}").unwrap_err().contains("more than"));
    }

    #[test]
    fn folders_of_a_store_are_listed() {
        let listed = |pattern: &str| match remote(pattern) {
            Ok(RemoteShards::Listed { folder, names }) => Some((folder, names.as_str().to_string())),
            _ => None,
        };
        assert_eq!(listed("s3://b/a/"), Some(("s3://b/a".into(), "*.tar".into())));
        assert_eq!(listed("S3://b/a/t-*.tar"), Some(("S3://b/a".into(), "t-*.tar".into())));
        assert_eq!(
            remote("s3://b/t-{0..1}.tar"),
            Ok(RemoteShards::At(vec!["s3://b/t-0.tar".into(), "s3://b/t-1.tar".into()]))
        );
        for pattern in
            ["s3://b/*/t.tar", "s3://b/{0..1}/*.tar", "https://a/", "https://a/t-*.tar", "s3://b/t-[*.tar"]
        {
            assert!(remote(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn folders_and_wildcards_name_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        ["b-[1].tar", "a.tar", "notes.txt"]
            .iter()
            .for_each(|name| std::fs::write(dir.path().join(name), "").unwrap());
        let at = |name: &str| dir.path().join(name);
        assert_eq!(local(dir.path()).unwrap(), [at("a.tar"), at("b-[1].tar")]);
        assert_eq!(local(&at("*.tar")).unwrap(), [at("a.tar"), at("b-[1].tar")]);
        assert_eq!(local(&at("b-[1].tar")).unwrap(), [at("b-[1].tar")]);
        assert_eq!(
            local(&at("c-{0..1}.tar")).unwrap(),
            [at("c-0.tar"), at("c-1.tar")],
            "missing ones are named later"
        );
        assert!(local(&at("c*.tar")).unwrap_err().contains("no file has such a name"));
        std::fs::create_dir(at("empty")).unwrap();
        assert!(local(&at("empty")).unwrap_err().contains("in this folder"));
    }
}
