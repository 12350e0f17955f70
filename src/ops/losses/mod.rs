//! Losses over the last axis, each one fused op: stable, summed in f64 in a fixed order, with a gradient of the size of
//! the logits and nothing else of that size. All return scalar tensors of shape `()` on the logits' device; on a GPU nothing
//! is read back.

mod binary;
mod cross_entropy;
mod elements;
mod smooth_l1;
mod soft_encoded;
mod sparse_target;

pub use binary::bce_with_logits;
pub use cross_entropy::cross_entropy;
pub use smooth_l1::smooth_l1;
pub use soft_encoded::{SoftCrossEntropy, soft_encoded_cross_entropy};
