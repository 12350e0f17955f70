//! CONTRIBUTING.md quotes code that is in the tree, line for line, and names files that exist.

use std::{collections::HashSet, fs, path::Path};

/// The trimmed lines of all Rust and CUDA files below a folder.
fn lines(folder: &Path, found: &mut HashSet<String>) {
    for path in fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
        let is_code = path.extension().is_some_and(|extension| extension == "rs" || extension == "cu");
        if path.is_dir() {
            lines(&path, found);
        } else if is_code {
            let text = fs::read_to_string(&path).expect("text");
            found.extend(text.lines().map(|line| line.trim().to_string()));
        }
    }
}

#[test]
fn quoted_code_is_in_the_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let mut tree = HashSet::new();
    ["src", "tests"].iter().for_each(|folder| lines(&root.join(folder), &mut tree));
    let blocks = text.split("```").skip(1).step_by(2);
    let code = blocks.filter_map(|b| b.strip_prefix("rust\n").or_else(|| b.strip_prefix("cuda\n")));
    let quoted: Vec<&str> = code.flat_map(str::lines).map(str::trim).filter(|l| !l.is_empty()).collect();
    let strange: Vec<&&str> = quoted.iter().filter(|line| !tree.contains(**line)).collect();
    assert!(quoted.len() > 50 && strange.is_empty(), "not in the tree:\n{strange:#?}");
}

#[test]
fn named_files_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let named = text.split('`').skip(1).step_by(2);
    let paths = named.filter(|name| {
        let folder = ["src/", "tests/", "scripts/"].iter().any(|folder| name.starts_with(folder));
        folder && !name.contains([' ', '*', '{', ':']) && !name.contains("NAME")
    });
    let missing: Vec<&str> = paths.filter(|name| !root.join(name).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
