//! How names of members form samples, as in WebDataset: the key is the path up to the first dot of the file name, the
//! extension is what follows, in lower case.

/// Extensions of pictures. `seg.png` is none of them: it belongs to something else of the sample.
const PICTURES: [&str; 7] = ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"];

/// What a member is to its sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Picture,
    /// A class number or name.
    Class,
    /// An object with the label under a stated key.
    Json,
    /// A label or a caption.
    Text,
    /// Not used: masks, embeddings, …
    Other,
}

impl Role {
    /// Of an extension in lower case.
    pub fn of(extension: &str) -> Self {
        match extension {
            "cls" => Self::Class,
            "json" => Self::Json,
            "txt" => Self::Text,
            picture if PICTURES.contains(&picture) => Self::Picture,
            _ => Self::Other,
        }
    }
}

/// Key and extension of a member; None for a file name without a dot, or with one in front.
pub(super) fn split(name: &str) -> Option<(&str, String)> {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = file + name[file..].find('.').filter(|dot| *dot > 0)?;
    Some((&name[..dot], name[dot + 1..].to_lowercase()))
}

/// Whether WebDataset reserves the name for itself: `__index__`.
pub(super) fn is_reserved(name: &str) -> bool {
    !name.contains('/') && name.starts_with("__") && name.ends_with("__")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_dot_of_the_file_name() {
        for (name, key, extension) in [
            ("0007.jpg", "0007", "jpg"),
            ("a.b/c/0007.SEG.Png", "a.b/c/0007", "seg.png"),
            ("./0007.cls", "./0007", "cls"),
            ("frame.0001.jpg", "frame", "0001.jpg"),
            ("ü.", "ü", ""),
        ] {
            assert_eq!(split(name), Some((key, extension.into())), "{name}");
        }
        for name in ["README", "a.b/README", ".hidden.jpg", "a/.hidden", ""] {
            assert_eq!(split(name), None, "{name}");
        }
        assert!(is_reserved("__index__") && !is_reserved("a/__index__") && !is_reserved("__a.jpg"));
        assert_eq!(
            [Role::of("jpeg"), Role::of("seg.png"), Role::of("cls")],
            [Role::Picture, Role::Other, Role::Class]
        );
    }
}
