//! Redaction of what is given to others about a run, by upload or on a page: the host name is removed, and absolute paths are reduced to their last
//! component, since home folders contain user names.

use crate::train::manifest::Manifest;
use serde_yaml::Value;

/// Placeholder for the host name.
const REDACTED: &str = "withheld";

/// The manifest without host name and absolute paths.
pub(crate) fn manifest(of: &Manifest) -> Manifest {
    let mut public = of.clone();
    public.machine.host = REDACTED.into();
    let texts = public.warnings.iter_mut().chain(&mut public.error).chain([&mut public.about.device]);
    texts.for_each(|text| *text = redact_text(text));
    public
}

/// Redacts all absolute paths in the texts of `value` and returns the originals.
pub(crate) fn redact_paths(value: &mut Value) -> Vec<String> {
    match value {
        Value::String(text) => {
            let short = redact_text(text);
            let long = (short != *text).then(|| std::mem::replace(text, short));
            long.into_iter().collect()
        }
        Value::Sequence(items) => items.iter_mut().flat_map(redact_paths).collect(),
        Value::Mapping(entries) => entries.iter_mut().flat_map(|(_, value)| redact_paths(value)).collect(),
        Value::Tagged(tagged) => redact_paths(&mut tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) => vec![],
    }
}

/// Redacts a text that is an absolute path, or else every word in it that is one.
pub(crate) fn redact_text(text: &str) -> String {
    if let Some(last) = last_component(text) {
        return last.into();
    }
    let separates = |c: char| c.is_whitespace() || "'\"`()[]{},;=<>".contains(c);
    let words = text.split_inclusive(separates).map(|word| {
        let (word, end) = word.split_at(word.trim_end_matches(separates).len());
        // In messages a path may be followed by a colon or a period: `/a/b.png: no such file`.
        let path = word.trim_end_matches([':', '.']);
        let last = last_component(path).unwrap_or(path);
        format!("{last}{}{end}", &word[path.len()..])
    });
    words.collect()
}

/// Last component of an absolute path (Unix, Windows, or in a home folder); None for other text.
fn last_component(text: &str) -> Option<&str> {
    let drive = |t: &str| matches!(t.as_bytes(), [d, b':', b'/' | b'\\', ..] if d.is_ascii_alphabetic());
    let absolute = text.starts_with(['/', '\\']) || text.starts_with("~") || drive(text);
    let last = text.trim_end_matches(['/', '\\']).rsplit_once(['/', '\\'])?.1;
    absolute.then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_are_shortened() {
        for (text, short) in [
            ("/home/ann/data/train", "train"),
            ("/home/ann/my pictures/", "my pictures"),
            ("~/data", "data"),
            ("~ann/data", "data"),
            ("C:\\Users\\ann\\x.npy", "x.npy"),
            ("c:/Users/ann/x.npy", "x.npy"),
            ("\\\\server\\ann\\x", "x"),
            ("cannot read `/home/ann/a.png`: it is broken", "cannot read `a.png`: it is broken"),
            ("3 images: /home/ann/a.png: broken. /b/c.", "3 images: a.png: broken. c."),
            ("data/train", "data/train"),
            ("../data/train", "../data/train"),
            ("hf://owner/repo/file", "hf://owner/repo/file"),
            ("loss / step", "loss / step"),
            ("3/4 of ~5 images", "3/4 of ~5 images"),
        ] {
            assert_eq!(redact_text(text), short, "{text}");
        }
    }

    #[test]
    fn every_text_of_a_spec_is_looked_at() {
        let yaml = "a: { b: [1, /x/ann/y, { c: /z/ann }] }\nd: relative/e";
        let mut value: Value = serde_yaml::from_str(yaml).unwrap();
        assert_eq!(redact_paths(&mut value), ["/x/ann/y", "/z/ann"]);
        assert_eq!(
            value,
            serde_yaml::from_str::<Value>("a: { b: [1, y, { c: ann }] }\nd: relative/e").unwrap()
        );
    }

    #[test]
    fn the_manifest_names_no_host() {
        let mut manifest = Manifest::begin();
        manifest.machine.host = "zoes-desk".into();
        manifest.warnings = vec!["/home/zoe/a.png cannot be read".into()];
        let public = serde_json::to_string(&super::manifest(&manifest)).unwrap();
        assert!(!public.contains("zoe") && public.contains("a.png cannot be read"), "{public}");
    }
}
