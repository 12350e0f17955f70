//! Losses over the last axis as fused ops: numerically stable, accumulated in f64 in a fixed order, with no
//! intermediate of the logits' size except the gradient. All return scalar tensors of shape `()` on the logits'
//! device; on a GPU nothing is read back.

mod binary;
mod cross_entropy;
mod elements;
mod nt_xent;
mod smooth_l1;
mod soft_encoded;
mod sparse_target;
mod squares;

pub use binary::bce_with_logits;
pub use cross_entropy::cross_entropy;
pub use nt_xent::{NtXent, nt_xent};
pub use smooth_l1::smooth_l1;
pub use soft_encoded::{SoftCrossEntropy, soft_encoded_cross_entropy};
pub use squares::squared_distance;
