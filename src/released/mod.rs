//! Released colorizers by name: the catalog `configs/weights.yaml`, compiled in, and the cache of their files. The files
//! are not read here, only hashed.

mod cache;
mod catalog;

pub use cache::{WeightCache, cache_folder};
pub use catalog::{Release, ReleaseError, releases};
