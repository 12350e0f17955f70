//! From YAML to results: specs and their errors, complete experiments of every kind.

mod colorizers;
mod cross_channel;
mod evaluation;
mod experiment;
mod home;
mod key_errors;
mod lengths;
mod monitor;
mod networks;
mod ranks;
mod ranks_faults;
mod schema;
mod shards;
mod single_label;
#[path = "../skipping/mod.rs"]
mod skipping;
mod spec_errors;
mod spec_round_trip;
mod split_brain;
mod sweep;
mod threads;
mod transfer;
mod views;
