//! Probes of frozen features.
