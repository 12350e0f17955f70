//! Convolution on the GPU: cuDNN if it has an algorithm, a matrix product for 1 × 1 kernels, and im2col products
//! otherwise (f64, first layers with few channels). Bias and ReLU of a forward pass are computed in cuDNN's call where it
//! fuses them, and by a kernel of their own otherwise. x and y have the same dtype, bf16, f32 or f64; filters, biases
//! and their gradients are f32 for the first two.

use super::{axis::Axis, shape::ConvShape};
use crate::device::cuda::{
    Arg, Geometry, Grid, alloc_uninit,
    cudnn::{ConvEpilogue, ConvOperands, ConvPass, ConvStatus, CudnnAxis, CudnnShape, convolve},
    element,
    gemm::{Matrix, gemm},
    launch, modules, narrowed,
};
use crate::op::{compute, wide};
use candle_core::{CudaDevice, CudaStorage, DType, Result, Tensor, bail};

/// Tensor cores require row starts at multiples of 16 bytes (8 bf16 elements).
const ALIGNMENT: usize = 8;
/// cuDNN's tensor-core kernels need at least this many channels; with fewer, im2col is faster.
const FEW_CHANNELS: usize = 8;
/// Most elements of the im2col buffer.
const PATCHES: usize = 1 << 27;

/// Epilogue of a convolution: per-channel bias and ReLU.
#[derive(Clone, Copy, Default)]
pub(super) struct CudaEpilogue {
    pub bias: Option<u64>,
    pub relu: bool,
}

/// Filters `(O, KH, KW, C/groups)` in device memory: of parameters' dtype, or already of the tensors'.
#[derive(Clone, Copy)]
pub(super) struct Filters {
    pub at: u64,
    pub dtype: DType,
}

/// A copy of f32 filters in bf16.
pub(super) fn in_bf16(w: &Tensor) -> Result<Tensor> {
    compute(
        "conv2d filters",
        [w],
        |_| bail!("conv2d: filters are narrowed on a GPU only"),
        |[w]| {
            let (copy, _) = narrowed(w.device(), w.address()?, w.shape().elem_count())?;
            Ok((copy, w.shape().clone()))
        },
    )
}

/// One convolution on one device, its tensors of `dtype`.
#[derive(Clone, Copy)]
pub(super) struct Gpu<'a> {
    pub device: &'a CudaDevice,
    pub shape: &'a ConvShape,
    pub dtype: DType,
}

/// The gradient of a bias: the sums of dy `(rows, channels)` over its rows.
pub(super) fn bias_gradient(
    device: &CudaDevice,
    dtype: DType,
    dy: u64,
    rows: usize,
    channels: usize,
) -> Result<CudaStorage> {
    const MOST_RUNS: usize = 256;
    let (name, sums) = (element("conv2d backward", dtype)?, wide(dtype));
    let run = rows.div_ceil(MOST_RUNS).next_multiple_of(8);
    let runs = rows.div_ceil(run);
    let (_partial, partial) = alloc_uninit(device, runs * channels, sums)?;
    let grid = Grid { blocks: (channels.div_ceil(32) as u32, runs as u32, 1), threads: (32, 8, 1) };
    let args =
        [Arg::Pointer(dy), Arg::Pointer(partial), Arg::count(rows), Arg::length(channels), Arg::length(run)];
    launch(device, modules::ROWS, &format!("sum_runs_{name}"), grid, &args)?;
    let (gradient, at) = alloc_uninit(device, channels, sums)?;
    let args = [Arg::Pointer(partial), Arg::Pointer(at), Arg::length(runs), Arg::length(channels)];
    let join = format!("join_runs_{}", element("conv2d backward", sums)?);
    let grid = Grid { blocks: (channels.div_ceil(32) as u32, 1, 1), threads: (32, 32, 1) };
    launch(device, modules::ROWS, &join, grid, &args)?;
    Ok(gradient)
}

impl Gpu<'_> {
    /// y from x and the filters.
    pub fn forward(&self, x: u64, w: Filters, finish: CudaEpilogue) -> Result<CudaStorage> {
        let (s, device) = (self.shape, self.device);
        let (y, at) = alloc_uninit(device, s.output_len(), self.dtype)?;
        if self.suits_cudnn() {
            let (_held, filters) = self.filters(w)?;
            let epilogue = finish.bias.map(|bias| ConvEpilogue { bias, relu: finish.relu });
            let status = self.cudnn(ConvPass::Y, ConvOperands { x, w: filters, y: at }, epilogue)?;
            if status == ConvStatus::Unfinished {
                self.finish(at, at, (s.output_len() / s.outputs, s.outputs, s.outputs), finish)?;
            }
            if status != ConvStatus::Unsupported {
                return Ok(y);
            }
        }
        self.product_forward(x, w, at, finish)?;
        Ok(y)
    }

    /// x, or its gradient, from y and the filters.
    pub fn adjoint(&self, y: u64, w: Filters, finish: CudaEpilogue) -> Result<CudaStorage> {
        let (s, device) = (self.shape, self.device);
        let (x, at) = alloc_uninit(device, s.input_len(), self.dtype)?;
        let mut done = false;
        if self.suits_cudnn() {
            let (_held, filters) = self.filters(w)?;
            let operands = ConvOperands { x: at, w: filters, y };
            done = self.cudnn(ConvPass::X, operands, None)? != ConvStatus::Unsupported;
        }
        if !done {
            self.product_adjoint(y, w, at)?;
        }
        self.finish(at, at, (s.input_len() / s.inputs, s.inputs, s.inputs), finish)?;
        Ok(x)
    }

    /// The gradient of the filters from x and that of y.
    pub fn filter_gradient(&self, x: u64, dy: u64) -> Result<CudaStorage> {
        let (s, device) = (self.shape, self.device);
        if self.suits_cudnn() {
            let (dw, at) = alloc_uninit(device, s.weight_len(), self.dtype)?;
            let operands = ConvOperands { x, w: at, y: dy };
            if self.cudnn(ConvPass::W, operands, None)? != ConvStatus::Unsupported {
                return self.widened(dw, at);
            }
        }
        self.product_filter_gradient(x, dy)
    }

    /// Whether this is a 1 × 1 convolution with stride 1.
    fn is_product(&self) -> bool {
        let ConvShape { rows, cols, groups, .. } = *self.shape;
        groups == 1 && [rows, cols].iter().all(|a| (a.kernel, a.stride, a.pad) == (1, 1, 0))
    }

    fn suits_cudnn(&self) -> bool {
        !self.is_product() && self.shape.inputs_per_group() >= FEW_CHANNELS && self.dtype != DType::F64
    }

    fn cudnn(&self, pass: ConvPass, at: ConvOperands, epilogue: Option<ConvEpilogue>) -> Result<ConvStatus> {
        let ConvShape { batch, rows, cols, inputs, outputs, groups } = *self.shape;
        let window = |a: Axis| {
            let Axis { input, output, kernel, stride, pad, dilation } = a;
            CudnnAxis { input, output, kernel, stride, pad, dilation }
        };
        let shape = CudnnShape { batch, rows: window(rows), cols: window(cols), inputs, outputs, groups };
        convolve(self.device, pass, &shape, self.dtype, at, epilogue)
    }

    fn name(&self) -> Result<&'static str> {
        element("conv2d", self.dtype)
    }

    /// Applies bias and ReLU to a result `(rows, columns)` with a row pitch, and packs it into `out`.
    fn finish(
        &self,
        y: u64,
        out: u64,
        (rows, columns, pitch): (usize, usize, usize),
        finish: CudaEpilogue,
    ) -> Result<()> {
        if finish.bias.is_none() && !finish.relu && y == out {
            return Ok(());
        }
        let (bias, relu) = (Arg::Pointer(finish.bias.unwrap_or(0)), Arg::Int(i32::from(finish.relu)));
        let width = 16 / self.dtype.size_in_bytes();
        if y == out && columns.is_multiple_of(width) {
            let vectors = rows * columns / width;
            let args = [Arg::Pointer(y), bias, Arg::count(vectors), Arg::length(columns), relu];
            let kernel = format!("finish_vectors_{}", self.name()?);
            return launch(self.device, modules::ROWS, &kernel, Grid::over(vectors), &args);
        }
        let (y, out) = (Arg::Pointer(y), Arg::Pointer(out));
        let args = [y, bias, out, Arg::count(rows), Arg::length(columns), Arg::length(pitch), relu];
        let kernel = format!("finish_rows_{}", self.name()?);
        launch(self.device, modules::ROWS, &kernel, Grid::over(rows * columns), &args)
    }

    /// Converts a bf16 filter gradient to f32.
    fn widened(&self, dw: CudaStorage, at: u64) -> Result<CudaStorage> {
        if self.dtype != DType::BF16 {
            return Ok(dw);
        }
        let n = self.shape.weight_len();
        let (wide, out) = alloc_uninit(self.device, n, DType::F32)?;
        let args = [Arg::Pointer(at), Arg::Pointer(out), Arg::count(n)];
        launch(self.device, modules::ELEMENTWISE, "widen_bf16_f32", Grid::over(n.div_ceil(8)), &args)?;
        Ok(wide)
    }

    /// The filters in the tensors' dtype.
    fn filters(&self, w: Filters) -> Result<(Option<CudaStorage>, u64)> {
        if w.dtype == self.dtype {
            return Ok((None, w.at));
        }
        narrowed(self.device, w.at, self.shape.weight_len()).map(|(held, at)| (Some(held), at))
    }

    /// The filters as a matrix with one row per output, padded to the patch width; for a single group also padded
    /// with zero rows.
    fn filter_matrix(&self, w: Filters) -> Result<(Option<CudaStorage>, Matrix)> {
        let s = self.shape;
        let ((depth, pitch), outputs) = (self.depth(), self.padded_outputs());
        let matrix = |at| Matrix::new(at, self.dtype, pitch).every(s.outputs_per_group() * pitch);
        if pitch == depth && outputs == s.outputs {
            let (held, at) = self.filters(w)?;
            return Ok((held, matrix(at)));
        }
        let (held, at) = alloc_uninit(self.device, outputs * pitch, self.dtype)?;
        let (from, w) = (w.dtype, w.at);
        self.copy(from, self.dtype, (w, at), (s.outputs, depth), (depth, pitch))?;
        if outputs > s.outputs {
            // a copy of zero columns writes zeros
            let rest = at + self.bytes(s.outputs * pitch);
            self.copy(from, self.dtype, (w, rest), (outputs - s.outputs, 0), (depth, pitch))?;
        }
        Ok((Some(held), matrix(at)))
    }

    /// Columns of the result matrix; for a single group, padded to the tensor-core alignment.
    fn padded_outputs(&self) -> usize {
        let s = self.shape;
        if s.groups == 1 { s.outputs.next_multiple_of(ALIGNMENT) } else { s.outputs }
    }

    /// Columns of the patch matrices, without and with padding.
    fn depth(&self) -> (usize, usize) {
        let depth = self.shape.taps() * self.shape.inputs_per_group();
        (depth, depth.next_multiple_of(ALIGNMENT))
    }

    /// Batches of images whose patches fit in the buffer: (first, count).
    fn runs(&self) -> impl Iterator<Item = (usize, usize)> {
        let s = self.shape;
        let image = s.rows.output * s.cols.output * s.groups * self.depth().1;
        let (at_a_time, batch) = ((PATCHES / image.max(1)).clamp(1, s.batch), s.batch);
        (0..batch).step_by(at_a_time).map(move |first| (first, at_a_time.min(batch - first)))
    }

    /// Bytes of `n` elements.
    fn bytes(&self, n: usize) -> u64 {
        (n * self.dtype.size_in_bytes()) as u64
    }

    fn geometry(&self, (first, batch): (usize, usize)) -> Arg<'static> {
        let s = self.shape;
        let axis = |a: Axis| [a.input, a.output, a.kernel, a.stride, a.pad, a.dilation].map(|v| v as i32);
        let rest = [first, batch, s.inputs, s.groups, self.depth().1].map(|v| v as i32);
        Arg::Geometry(Geometry { rows: axis(s.rows), cols: axis(s.cols), rest })
    }

    /// The patches of these images, or the input itself for 1 × 1 convolutions.
    fn patches(&self, x: u64, images: (usize, usize)) -> Result<(Option<CudaStorage>, Matrix)> {
        let s = self.shape;
        let pitch = self.depth().1;
        if self.is_product() && pitch == s.inputs {
            let at = x + self.bytes(images.0 * s.rows.input * s.cols.input * s.inputs);
            return Ok((None, Matrix::new(at, self.dtype, pitch)));
        }
        let rows = images.1 * s.rows.output * s.cols.output;
        let (held, at) = alloc_uninit(self.device, s.groups * rows * pitch, self.dtype)?;
        let args = [Arg::Pointer(x), Arg::Pointer(at), self.geometry(images)];
        let kernel = format!("patches_{}", self.name()?);
        let packs = s.groups * rows * pitch * self.dtype.size_in_bytes() / 16;
        launch(self.device, modules::PATCHES, &kernel, Grid::over(packs), &args)?;
        Ok((Some(held), Matrix::new(at, self.dtype, pitch).every(rows * pitch)))
    }

    fn product_forward(&self, x: u64, w: Filters, y: u64, finish: CudaEpilogue) -> Result<()> {
        let (s, per_group) = (self.shape, self.shape.outputs_per_group());
        let pixels = s.rows.output * s.cols.output;
        let ((_filters, w), pitch) = (self.filter_matrix(w)?, self.padded_outputs());
        for images in self.runs() {
            let rows = images.1 * pixels;
            let out = y + self.bytes(images.0 * pixels * s.outputs);
            let (_held, patches) = self.patches(x, images)?;
            let padded = if pitch == s.outputs {
                None
            } else {
                Some(alloc_uninit(self.device, rows * pitch, self.dtype)?)
            };
            let at = padded.as_ref().map_or(out, |(_, at)| *at);
            let product = Matrix::new(at, self.dtype, pitch).every(per_group);
            let columns = if s.groups == 1 { pitch } else { per_group };
            gemm(
                self.device,
                (rows, columns, self.depth().1),
                s.groups,
                patches,
                w.transposed(),
                product,
                false,
            )?;
            self.finish(at, out, (rows, s.outputs, pitch), finish)?;
        }
        Ok(())
    }

    fn product_adjoint(&self, y: u64, w: Filters, x: u64) -> Result<()> {
        let s = self.shape;
        let ((_filters, w), pitch) = (self.filter_matrix(w)?, self.depth().1);
        for images in self.runs() {
            let rows = images.1 * s.rows.output * s.cols.output;
            let (_held, dy) = self.result(y, images)?;
            let columns = if s.groups == 1 { dy.pitch } else { s.outputs_per_group() };
            let direct = self.is_product() && pitch == s.inputs;
            let out = x + self.bytes(images.0 * s.rows.input * s.cols.input * s.inputs);
            let held = if direct {
                None
            } else {
                Some(alloc_uninit(self.device, s.groups * rows * pitch, self.dtype)?)
            };
            let at = held.as_ref().map_or(out, |(_, at)| *at);
            let patches = Matrix::new(at, self.dtype, pitch).every(rows * pitch);
            gemm(self.device, (rows, pitch, columns), s.groups, dy, w, patches, false)?;
            if !direct {
                let n = images.1 * s.rows.input * s.cols.input * s.inputs;
                let args = [Arg::Pointer(at), Arg::Pointer(x), self.geometry(images)];
                launch(
                    self.device,
                    modules::PATCHES,
                    &format!("gather_{}", self.name()?),
                    Grid::over(n),
                    &args,
                )?;
            }
        }
        Ok(())
    }

    fn product_filter_gradient(&self, x: u64, dy: u64) -> Result<CudaStorage> {
        let (s, sums) = (self.shape, wide(self.dtype));
        let (depth, pitch) = self.depth();
        let outputs = self.padded_outputs();
        let (padded, at) = alloc_uninit(self.device, outputs * pitch, sums)?;
        let per_group = outputs / s.groups;
        for images in self.runs() {
            let rows = images.1 * s.rows.output * s.cols.output;
            let (_patches, patches) = self.patches(x, images)?;
            let (_held, dy) = self.result(dy, images)?;
            let out = Matrix::new(at, sums, pitch).every(per_group * pitch);
            let size = (per_group, pitch, rows);
            gemm(self.device, size, s.groups, dy.transposed(), patches, out, images.0 > 0)?;
        }
        if pitch == depth && outputs == s.outputs {
            return Ok(padded);
        }
        let (packed, out) = alloc_uninit(self.device, s.weight_len(), sums)?;
        self.copy(sums, sums, (at, out), (s.outputs, depth), (pitch, depth))?;
        Ok(packed)
    }

    /// The output gradient of these images as a matrix with tensor-core alignment; the groups are side by side.
    fn result(&self, dy: u64, images: (usize, usize)) -> Result<(Option<CudaStorage>, Matrix)> {
        let s = self.shape;
        let pixels = s.rows.output * s.cols.output;
        let (rows, from) = (images.1 * pixels, dy + self.bytes(images.0 * pixels * s.outputs));
        let pitch = self.padded_outputs();
        if pitch == s.outputs {
            return Ok((None, Matrix::new(from, self.dtype, s.outputs).every(s.outputs_per_group())));
        }
        let (held, at) = alloc_uninit(self.device, rows * pitch, self.dtype)?;
        self.copy(self.dtype, self.dtype, (from, at), (rows, s.outputs), (s.outputs, pitch))?;
        Ok((Some(held), Matrix::new(at, self.dtype, pitch)))
    }

    /// Copies rows of `columns` between pitches, padded with zeros.
    fn copy(
        &self,
        from: DType,
        to: DType,
        (x, y): (u64, u64),
        (rows, columns): (usize, usize),
        (pitch, new_pitch): (usize, usize),
    ) -> Result<()> {
        let kernel = match (from, to) {
            (a, b) if a == b => format!("copy_rows_{}", element("conv2d", a)?),
            (DType::F32, DType::BF16) => "copy_rows_f32_bf16".into(),
            other => bail!("conv2d: no copy of {other:?}"),
        };
        let (columns, pitch, out) = (Arg::length(columns), Arg::length(pitch), Arg::length(new_pitch));
        let args = [Arg::Pointer(x), Arg::Pointer(y), Arg::count(rows), columns, pitch, out];
        launch(self.device, modules::ROWS, &kernel, Grid::over(rows * new_pitch), &args)
    }
}
