//! What a program says of itself in manifests and in `--version`: the commit it was built from, and its features.

use std::sync::OnceLock;

/// Every feature of the crate and whether this build has it.
const FEATURES: [(&str, bool); 4] = [
    ("hub", cfg!(feature = "hub")),
    ("cifar", cfg!(feature = "cifar")),
    ("cuda", cfg!(feature = "cuda")),
    ("nccl", cfg!(feature = "nccl")),
];

/// Known to the binary alone: a library with the commit in it would be compiled anew for every one.
static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// Says, once and before anything runs, which commit the program was built from.
pub fn built_from(commit: &'static str) {
    // A second word changes nothing: what has been written says the first.
    let _ = COMMIT.set(commit);
}

/// The commit that the program was built from; None in programs that do not say.
pub fn commit() -> Option<&'static str> {
    COMMIT.get().copied()
}

/// The features that were built in.
pub fn features() -> Vec<String> {
    FEATURES.iter().filter(|(_, built)| *built).map(|(name, _)| name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_the_crate_is_recorded() {
        let manifest = include_str!("../../Cargo.toml");
        let table = manifest.split("[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
        let mut declared: Vec<&str> =
            table.lines().filter_map(|line| line.split_once(" = [")).map(|f| f.0).collect();
        declared.retain(|name| *name != "default");
        assert_eq!(declared, FEATURES.map(|(name, _)| name));
        assert_eq!(features().contains(&"hub".to_string()), cfg!(feature = "hub"));
        assert_eq!(features().contains(&"cuda".to_string()), cfg!(feature = "cuda"));
    }
}
