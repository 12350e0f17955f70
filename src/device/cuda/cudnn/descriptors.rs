//! cuDNN's descriptions of tensors, filters and convolutions, destroyed with their owner.

use super::{Algorithm, ConvPass, CudnnShape, Key, failure};
use crate::device::Precision;
use candle_core::{
    DType,
    cuda_backend::cudarc::cudnn::{CudnnError, result as cudnn, sys},
};
use std::ffi::c_int;

/// Defines the owner of a descriptor.
macro_rules! descriptor {
    ($name:ident, $raw:ident, $create:ident, $destroy:path) => {
        pub(super) struct $name(pub sys::$raw);

        impl $name {
            fn new() -> Result<Self, CudnnError> {
                cudnn::$create().map(Self)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: created by `new` and destroyed here alone. A failure would only leak host memory.
                let _ = unsafe { $destroy(self.0) };
            }
        }
    };
}

descriptor!(
    TensorDescriptor,
    cudnnTensorDescriptor_t,
    create_tensor_descriptor,
    cudnn::destroy_tensor_descriptor
);
descriptor!(
    FilterDescriptor,
    cudnnFilterDescriptor_t,
    create_filter_descriptor,
    cudnn::destroy_filter_descriptor
);
descriptor!(
    ConvolutionDescriptor,
    cudnnConvolutionDescriptor_t,
    create_convolution_descriptor,
    cudnn::destroy_convolution_descriptor
);

descriptor!(
    ActivationDescriptor,
    cudnnActivationDescriptor_t,
    create_activation_descriptor,
    destroy_activation_descriptor
);

/// cudarc has no wrapper for it.
unsafe fn destroy_activation_descriptor(raw: sys::cudnnActivationDescriptor_t) -> Result<(), CudnnError> {
    // SAFETY: guaranteed by the caller.
    unsafe { sys::cudnnDestroyActivationDescriptor(raw).result() }
}

/// Of one convolution.
pub(super) struct Descriptors {
    pub x: TensorDescriptor,
    pub w: FilterDescriptor,
    pub y: TensorDescriptor,
    pub convolution: ConvolutionDescriptor,
}

/// x, w, y, convolution.
type Raw = (
    sys::cudnnTensorDescriptor_t,
    sys::cudnnFilterDescriptor_t,
    sys::cudnnTensorDescriptor_t,
    sys::cudnnConvolutionDescriptor_t,
);

impl TensorDescriptor {
    /// Of an NHWC tensor with the dimensions N, C, H, W.
    fn of(dtype: DType, [n, c, h, w]: [usize; 4]) -> Result<Self, CudnnError> {
        let made = Self::new()?;
        let dims = [n, c, h, w].map(length);
        // SAFETY: just made.
        unsafe { cudnn::set_tensor4d_descriptor(made.0, FORMAT, data_type(dtype), dims)? };
        Ok(made)
    }
}

const FORMAT: sys::cudnnTensorFormat_t = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;

/// cuDNN rejects the largest number.
fn length(v: usize) -> c_int {
    c_int::try_from(v).unwrap_or(c_int::MAX)
}

impl Descriptors {
    /// Errors: cuDNN rejects the shape.
    pub fn new(key: &Key) -> Result<Self, CudnnError> {
        let CudnnShape { batch, rows, cols, inputs, outputs, groups } = key.shape;
        let tensor = |h, w, channels| TensorDescriptor::of(key.dtype, [batch, channels, h, w]);
        let (x, y) = (tensor(rows.input, cols.input, inputs)?, tensor(rows.output, cols.output, outputs)?);
        let (w, convolution) = (FilterDescriptor::new()?, ConvolutionDescriptor::new()?);
        let filter = [outputs, inputs / groups, rows.kernel, cols.kernel].map(length);
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let [p, s, d] = [(rows.pad, cols.pad), (rows.stride, cols.stride), (rows.dilation, cols.dilation)]
            .map(|(r, c)| (length(r), length(c)));
        let sums = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        let c = convolution.0;
        // SAFETY: just made.
        unsafe {
            cudnn::set_filter4d_descriptor(w.0, data_type(key.dtype), FORMAT, filter)?;
            cudnn::set_convolution2d_descriptor(c, p.0, p.1, s.0, s.1, d.0, d.1, mode, sums)?;
            cudnn::set_convolution_group_count(c, length(groups))?;
            cudnn::set_convolution_math_type(c, math(key))?;
        }
        Ok(Self { x, w, y, convolution })
    }

    pub fn raw(&self) -> Raw {
        (self.x.0, self.w.0, self.y.0, self.convolution.0)
    }

    /// Restricts the arithmetic to that of the selected algorithm.
    pub fn set_math(&self, math: sys::cudnnMathType_t) -> candle_core::Result<()> {
        // SAFETY: the descriptor is alive.
        unsafe { cudnn::set_convolution_math_type(self.convolution.0, math).map_err(failure) }
    }
}

/// Of the epilogue of a forward pass.
pub(super) struct FusedDescriptors {
    pub bias: TensorDescriptor,
    /// Without and with a ReLU; None where cuDNN does not fuse it.
    activations: [Option<ActivationDescriptor>; 2],
}

impl FusedDescriptors {
    /// None for other passes. cuDNN adds a bias without an activation only in one algorithm.
    pub fn new(key: &Key, algorithm: Algorithm) -> Option<Self> {
        use sys::cudnnActivationMode_t::{CUDNN_ACTIVATION_IDENTITY, CUDNN_ACTIVATION_RELU};
        const ADDS_ALONE: sys::cudnnConvolutionFwdAlgo_t =
            sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
        if key.pass != ConvPass::Y {
            return None;
        }
        let bias = TensorDescriptor::of(key.dtype, [1, key.shape.outputs, 1, 1]).ok()?;
        let adds_alone = matches!(algorithm, Algorithm::Y(a) if a == ADDS_ALONE);
        let identity =
            if adds_alone { ActivationDescriptor::of(CUDNN_ACTIVATION_IDENTITY).ok() } else { None };
        Some(Self { bias, activations: [identity, ActivationDescriptor::of(CUDNN_ACTIVATION_RELU).ok()] })
    }

    /// The activation, if it can be fused.
    pub fn activation(&self, relu: bool) -> Option<sys::cudnnActivationDescriptor_t> {
        self.activations[usize::from(relu)].as_ref().map(|activation| activation.0)
    }

    /// Notes that cuDNN refused this one.
    pub fn give_up(&mut self, relu: bool) {
        self.activations[usize::from(relu)] = None;
    }
}

impl ActivationDescriptor {
    fn of(mode: sys::cudnnActivationMode_t) -> Result<Self, CudnnError> {
        let made = Self::new()?;
        // A NaN must reach the loss, where it stops the update.
        let nan = sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN;
        // SAFETY: just made.
        unsafe { cudnn::set_activation_descriptor(made.0, mode, nan, 0.0)? };
        Ok(made)
    }
}

/// The math types that cuDNN may use.
fn math(key: &Key) -> sys::cudnnMathType_t {
    match (key.dtype, key.precision) {
        (DType::BF16, _) => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        (_, Precision::Tf32) => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
        _ => sys::cudnnMathType_t::CUDNN_FMA_MATH,
    }
}

fn data_type(dtype: DType) -> sys::cudnnDataType_t {
    match dtype {
        DType::BF16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        _ => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    }
}
