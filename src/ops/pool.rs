//! Max and average pooling with Caffe's geometry.
use candle_core::{Result, Tensor};
/// Window, stride, zero (or −∞) padding on each side, and whether the output size rounds up (Caffe) or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub ceil: bool,
}
impl PoolGeometry {
    /// Output length of one axis, Caffe's rule: ceil((n+2p−k)/s)+1, one less if the last window starts in the padding.
    pub fn out(&self, n: usize) -> usize {
        let _ = n;
        todo!()
    }
}
/// `(B, H, W, C)` → `(B, H', W', C)`; padding counts as −∞; ties send the gradient to the first maximum in scan order.
pub fn max_pool2d(x: &Tensor, g: PoolGeometry) -> Result<Tensor> {
    let _ = (x, g);
    todo!()
}
/// Mean over the window as Caffe counts it: the divisor includes padding, but not what lies beyond it.
pub fn avg_pool2d(x: &Tensor, g: PoolGeometry) -> Result<Tensor> {
    let _ = (x, g);
    todo!()
}
