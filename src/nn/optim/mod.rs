//! Optimizers: Adam (Kingma and Ba 2015) with coupled L2 decay and SGD with momentum, both as in Caffe, with
//! learning-rate and decay multipliers by name pattern, accumulation over several passes, and clipping.
//!
//! One update, in Caffe's order: the gradients of all passes are summed, the sum is clipped to a global L2 norm and
//! divided by the number of passes ([`Gradients`]); then decay · weight is added and the rule applied ([`Optimizer`]).
//! The caller passes the scheduled learning rate: see [`super::schedule`].
//!
//! With g the resulting gradient, decay included:
//!
//! * Adam: m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w − lr·√(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + 1e-8).
//! * SGD: V ← μV + lr·g, w ← w − V, the rate inside the velocity. Nesterov: w ← w − ((1+μ)V − μV_before).

mod at_once;
#[cfg(feature = "cuda")]
mod cuda;
mod gradients;
mod multipliers;
mod optimizer;
mod spec;
mod update;

pub use at_once::UpdateAtOnce;
pub use gradients::Gradients;
pub use multipliers::{Multiplier, caffe_pairs};
pub use optimizer::Optimizer;
pub use spec::{AdamSpec, OptimizerSpec, SgdSpec};
