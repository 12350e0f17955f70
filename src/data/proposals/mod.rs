//! Boxes proposed on pictures.
use super::{annotated::Annotated, error::DataError, source::Split};
use crate::boxes::Rect;
use serde::{Deserialize, Serialize};
use std::path::Path;
/// Where boxes are proposed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProposalSpec {
    #[default]
    SelectiveSearch,
}
impl ProposalSpec {
    /// files
    pub fn files(&self) -> Vec<&Path> {
        vec![]
    }
}
/// boxes
pub struct Proposals;
impl Proposals {
    /// boxes
    pub fn of(&self, _: &str) -> &[Rect] {
        &[]
    }
}
/// obtain
pub fn obtain(_: &ProposalSpec, _: &dyn Annotated, _: Split, _: &Path) -> Result<Proposals, DataError> {
    Ok(Proposals)
}
