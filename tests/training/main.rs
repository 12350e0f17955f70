//! Training: steps, events, faults, resumption; what is trained, and what probes read of it.

mod events;
mod faults;
mod fit;
mod pretext;
mod probe;
mod probe_frozen;
mod resume;
#[path = "../skipping/mod.rs"]
mod skipping;
mod toy;
