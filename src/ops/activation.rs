//! ReLU with the usual subgradient 0 at 0.
use candle_core::{Result, Tensor};
/// max(x, 0), any shape.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    let _ = x;
    todo!()
}
