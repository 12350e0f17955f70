//! The user-facing surface: commands, reports, scores, the hub; and the layering of modules.

mod analysis;
mod cli;
mod cluster;
mod colorize;
mod contributing;
mod evaluate;
mod features;
mod floors;
#[cfg(feature = "hub")]
mod hub;
mod init;
mod jobs;
mod oracles;
mod page;
mod report;
mod report_transfer;
mod runs;
mod schema;
mod score;
#[path = "../skipping/mod.rs"]
mod skipping;
mod spec_paths;
#[cfg(feature = "study")]
mod study;
mod weight_sources;

#[cfg(not(feature = "hub"))]
#[test]
fn hub() {
    skipping::skipped("built without the feature `hub`", "its tests");
}

#[cfg(not(feature = "study"))]
#[test]
fn study() {
    skipping::skipped("built without the feature `study`", "its tests");
}
