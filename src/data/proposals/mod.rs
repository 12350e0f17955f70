//! Boxes proposed on pictures.
use serde::{Deserialize, Serialize};
/// Where boxes are proposed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProposalSpec {
    #[default]
    SelectiveSearch,
}
