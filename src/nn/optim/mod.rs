//! Optimizers: Adam (Kingma and Ba 2015) with coupled L2 decay and SGD with momentum, both as in Caffe, AdamW (Loshchilov
//! and Hutter 2019) as in PyTorch, and LARS (You et al. 2017) as in SimCLR; with learning-rate and decay multipliers by
//! name pattern, accumulation over several passes, clipping, and a moving average of the weights ([`WeightAverage`]).
//!
//! One update, in Caffe's order: the gradients of all passes are summed, the sum is clipped to a global L2 norm and
//! divided by the number of passes ([`Gradients`]); then decay · weight is added and the rule applied ([`Optimizer`]).
//! The caller passes the scheduled learning rate: see [`super::schedule`].
//!
//! With g the resulting gradient, decay included:
//!
//! * Adam: m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w − lr·√(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + 1e-8).
//! * AdamW: the same with g without decay, after w ← w − lr·decay·w, and with ε = 1e-8 added to √(v/(1−β₂ᵗ)), as in
//!   `torch.optim.AdamW`. Without `decay` there is none; PyTorch's default is 0.01.
//! * SGD: V ← μV + lr·g, w ← w − V, the rate inside the velocity. Nesterov: w ← w − ((1+μ)V − μV_before). While the rate
//!   is constant, both equal `torch.optim.SGD`, whose velocity does not contain it.
//! * LARS: SGD with the rate of each weight times its trust ratio; no decay of biases, scales and shifts ([`LarsSpec`]).

mod at_once;
mod average;
#[cfg(feature = "cuda")]
mod cuda;
mod gradients;
mod multipliers;
mod optimizer;
mod spec;
mod trust;
mod update;

pub use at_once::UpdateAtOnce;
pub use average::{EmaSpec, WeightAverage};
pub use gradients::Gradients;
pub use multipliers::{Multiplier, caffe_pairs, freeze_all, uncovered};
pub use optimizer::Optimizer;
pub use spec::{AdamSpec, LarsSpec, OptimizerSpec, SgdSpec};
