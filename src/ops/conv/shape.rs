//! The shape of a convolution.

use super::axis::Axis;

/// Shape of a convolution: x `(B, H, W, C)`, w `(O, KH, KW, C/groups)`, y `(B, H', W', O)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct ConvShape {
    pub batch: usize,
    pub rows: Axis,
    pub cols: Axis,
    /// C, the channels of x.
    pub inputs: usize,
    /// O, the channels of y.
    pub outputs: usize,
    pub groups: usize,
}

impl ConvShape {
    /// Elements of x.
    pub fn input_len(&self) -> usize {
        self.batch * self.rows.input * self.cols.input * self.inputs
    }
    /// Elements of y.
    pub fn output_len(&self) -> usize {
        self.batch * self.rows.output * self.cols.output * self.outputs
    }
    /// Elements of w.
    pub fn weight_len(&self) -> usize {
        self.outputs * self.taps() * self.inputs_per_group()
    }
    pub fn taps(&self) -> usize {
        self.rows.kernel * self.cols.kernel
    }
    pub fn inputs_per_group(&self) -> usize {
        self.inputs / self.groups
    }
    pub fn outputs_per_group(&self) -> usize {
        self.outputs / self.groups
    }
}
