//! Pretext tasks.
