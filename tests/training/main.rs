//! Training: updates, events, faults, resuming; pretext tasks and probes.

mod events;
mod faults;
mod fit;
mod monitor;
mod pretext;
mod probe;
mod probe_frozen;
mod probe_single_label;
mod resume;
#[path = "../skipping/mod.rs"]
mod skipping;
mod toy;
