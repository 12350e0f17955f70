//! [`crate::whole_file`], by the names that this floor knows.

pub use crate::whole_file::{fill as write, link, sweep, write as write_bytes};
