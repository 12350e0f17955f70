//! What the surface decides and a spec does not.

use crate::data::source::Locations;
use candle_core::Device;
use std::path::PathBuf;

/// What the surface decides and a spec does not.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Folder of run directories; an experiment's lie in `out/NAME/`.
    pub out: PathBuf,
    /// Where local copies of data sets lie.
    pub locations: Locations,
    pub device: Device,
}
