//! One stage's run directory: lock, resolved spec, manifest, metrics, events, checkpoints, pictures, log.
use anyhow::Result;
use std::path::{Path, PathBuf};

/// An open, locked run directory. A second process gets an error that names the holder's pid.
pub struct RunDir {
    path: PathBuf, /* lock file handle … */
}
impl RunDir {
    /// Creates or reopens; writes spec.yaml on creation.
    pub fn open(path: &Path, spec_yaml: &str) -> Result<Self> {
        let _ = (path, spec_yaml);
        todo!()
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// A run is finished when its manifest says so and its outputs hash to what the manifest lists.
    pub fn is_finished(path: &Path) -> bool {
        let _ = path;
        todo!()
    }
    pub fn finish(self, manifest: Manifest) -> Result<()> {
        let _ = manifest;
        todo!()
    }
}
/// manifest.json: git commit, features, version, host, device, data fingerprints, seed, start, end, wall seconds, steps, result metrics,
/// SHA-256 of each output.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Manifest {/* … */}
