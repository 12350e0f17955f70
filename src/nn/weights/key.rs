//! `FILE#KEY`: selects one of several networks in a file, by the key of its tensors in a checkpoint or by the prefix
//! of their names.

use crate::text::counted;
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

/// Maximum number of networks listed in a message.
const SHOWN: usize = 12;

/// The file of a path, and the key after `#`. If a file with the whole name exists, it is used and there is no key.
pub fn split(path: &Path) -> (PathBuf, Option<String>) {
    let whole = || (path.to_path_buf(), None);
    let Some(text) = path.to_str().filter(|_| !path.exists()) else { return whole() };
    let places = text.char_indices().filter(|(_, c)| *c == '#').map(|(place, _)| place);
    let mut cuts = places.map(|place| (Path::new(&text[..place]), &text[place + 1..]));
    match cuts.rfind(|(file, _)| file.is_file()) {
        Some((file, key)) => (file.into(), Some(key.into())),
        None => whole(),
    }
}

/// The part of a name after `prefix` and a dot; the whole name for an empty prefix.
pub(super) fn begins_with<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    if prefix.is_empty() {
        return Some(name);
    }
    let rest = name.strip_prefix(prefix)?;
    if prefix.ends_with('.') { Some(rest) } else { rest.strip_prefix('.') }
}

/// The entries whose names begin with `prefix`, with the prefix removed.
pub(super) fn below<T>(named: BTreeMap<String, T>, prefix: &str) -> BTreeMap<String, T> {
    named
        .into_iter()
        .filter_map(|(name, value)| Some((begins_with(&name, prefix)?.to_string(), value)))
        .collect()
}

/// A network in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkCandidate {
    pub key: String,
    pub tensors: usize,
    pub parameters: u64,
}

impl fmt::Display for NetworkCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, tensors, parameters } = self;
        write!(f, "`{key}` ({}, {parameters} parameters)", counted(*tensors, "tensor"))
    }
}

/// Error for a file with several networks and no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SeveralNetworks(pub Vec<NetworkCandidate>);

impl fmt::Display for SeveralNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it holds {} networks: choose one as FILE#KEY", self.0.len())?;
        self.0.iter().take(SHOWN).try_for_each(|candidate| write!(f, "\n    {candidate}"))?;
        if self.0.len() > SHOWN { write!(f, "\n    and {} more", self.0.len() - SHOWN) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_behind_the_last_sign_that_no_file_has() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        ["a.pth", "b#1.pth"].iter().try_for_each(|name| std::fs::write(file(name), b""))?;
        for (given, wanted, key) in [
            ("a.pth", "a.pth", None),
            ("a.pth#model", "a.pth", Some("model")),
            ("a.pth#model.0#x", "a.pth", Some("model.0#x")),
            ("b#1.pth", "b#1.pth", None),
            ("b#1.pth#ema", "b#1.pth", Some("ema")),
            ("none.pth#ema", "none.pth#ema", None),
        ] {
            assert_eq!(split(&file(given)), (file(wanted), key.map(String::from)), "{given}");
        }
        Ok(())
    }

    #[test]
    fn prefixes_end_at_dots() {
        assert_eq!(begins_with("ema.conv1", "ema"), Some("conv1"));
        assert_eq!(begins_with("ema.conv1", "ema."), Some("conv1"));
        assert_eq!(begins_with("emac.conv1", "ema"), None);
        assert_eq!(begins_with("a", ""), Some("a"));
    }
}
