//! Images, tables, devkits and their faults; batches; generated scenes; proposals.

mod decode;
mod loader;
mod proposals;
mod scenes;
mod shards;
#[path = "../skipping/mod.rs"]
mod skipping;
mod sources;
mod voc;

#[cfg(not(feature = "cifar"))]
#[test]
fn cifar() {
    skipping::skipped("built without the feature `cifar`", "its tests");
}
