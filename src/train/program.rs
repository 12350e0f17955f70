//! Build information for manifests and `--version`: commit and features.

use std::sync::OnceLock;

/// Every feature of the crate, and whether this build has it.
const FEATURES: [(&str, bool); 7] = [
    ("hub", cfg!(feature = "hub")),
    ("cifar", cfg!(feature = "cifar")),
    ("study", cfg!(feature = "study")),
    ("stores", cfg!(feature = "stores")),
    ("mpi", cfg!(feature = "mpi")),
    ("cuda", cfg!(feature = "cuda")),
    ("nccl", cfg!(feature = "nccl")),
];

/// Set by the binary only: a library that contained the commit would be recompiled for every commit.
static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// Records the commit of the build. Call once at start-up.
pub fn set_commit(commit: &'static str) {
    // Only the first call counts, since its value may have been written already.
    let _ = COMMIT.set(commit);
}

/// Commit of the build; None if the program did not record one.
pub fn commit() -> Option<&'static str> {
    COMMIT.get().copied()
}

/// Enabled features.
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
