//! What an analysis leaves: text for the terminal, and files in one folder.

use crate::{
    atomic_write,
    train::{
        panel::{RgbTile, panel},
        picture,
        task::ImagePanel,
    },
};
use anyhow::{Context, Result};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Result of an analysis.
#[derive(Debug, Default)]
pub struct AnalysisOutput {
    /// Tables and what they say.
    pub text: String,
    /// Contents by file name.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// Pictures that could not be read, with the reasons.
    pub failed: Vec<(PathBuf, String)>,
}

impl AnalysisOutput {
    /// Adds the panel of `tiles` as a PNG.
    ///
    /// # Errors
    /// Titles that cannot be drawn.
    pub fn add_panel(&mut self, name: &'static str, tiles: &[Vec<RgbTile>], titles: &[&str]) -> Result<()> {
        let side = tiles.iter().flatten().map(|(width, height, _)| *width.max(height)).max().unwrap_or(1);
        let (width, height, rgb) = panel(tiles, titles, (LEAST_TILE / side.max(1)).max(1))?;
        let png = picture::encode(&ImagePanel { name: name.into(), width, height, rgb })?;
        self.files.push((name, png));
        Ok(())
    }

    /// Writes all files.
    ///
    /// # Errors
    /// A folder or file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            atomic_write::write(&path, bytes)
                .with_context(|| format!("cannot write {}: is the disk full?", path.display()))?;
        }
        Ok(())
    }
}

/// Smaller tiles are enlarged to about this side, in pixels.
const LEAST_TILE: usize = 256;

impl fmt::Display for AnalysisOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.trim_end())?;
        let mut unread = self.failed.iter();
        unread.try_for_each(|(path, reason)| write!(f, "\n{}: {reason}", path.display()))
    }
}
