//! The colorization loss on an NVIDIA GPU: colors are encoded on the device, one warp per color; nothing is read
//! back.

use super::{NAME, SoftCrossEntropy};
use crate::{
    color::encode::SoftCode,
    device::cuda::{Arg, Grid, device_ptr, launch, modules},
    ops::losses::sparse_target::{RowEntropies, SparseTarget, gpu, uninit},
};
use candle_core::{DType, Result, Tensor, bail};

/// Lanes of a warp, the most neighbors.
const LANES: usize = 32;

/// Parameters of the loss.
pub(super) struct Scoring<'a> {
    pub batch: usize,
    /// Label pixels per image.
    pub pixels: usize,
    pub code: &'a SoftCode,
    pub weights: Option<&'a [f32]>,
    pub gray_gate: Option<f32>,
}

impl Scoring<'_> {
    /// logits `(B·pixels, Q)`; colors f32 `(B·pixels·2)`, contiguous.
    pub fn loss(&self, logits: &Tensor, colors: &Tensor) -> Result<SoftCrossEntropy> {
        let (target, target_entropies) = self.target(&colors.contiguous()?)?;
        let entropies = RowEntropies::new(logits, target)?;
        let sums = entropies.sums_cuda(Some(&target_entropies), self.per_image())?;
        let weighted = sums.get(0)?;
        Ok(SoftCrossEntropy {
            loss: entropies.into_loss(weighted.clone())?,
            unweighted: sums.get(1)?,
            weighted,
            target_entropy: sums.get(2)?,
            pixels: self.pixels,
        })
    }

    fn per_image(&self) -> f64 {
        1.0 / self.batch as f64
    }

    /// The soft code of every pixel, and the codes' entropies.
    fn target(&self, colors: &Tensor) -> Result<(SparseTarget, Tensor)> {
        let (n, k, device) = (self.batch * self.pixels, self.code.neighbors(), colors.device());
        if k > LANES {
            bail!(
                "{NAME}: a GPU encodes over at most {LANES} neighbors, got {k}; use fewer, or the processor"
            );
        }
        let gates = self.gates(colors)?;
        let centers = self.code.bins().centers_on(device)?;
        let weights = self.weights.map(|weights| self.code.weights_on(weights, device)).transpose()?;
        // SAFETY: `soft_codes` writes them.
        let (target, entropies) = unsafe {
            let (classes, shares) =
                (uninit((n, k), DType::U32, device)?, uninit((n, k), DType::F64, device)?);
            let row_weights = uninit(n, DType::F64, device)?;
            (SparseTarget { classes, shares, row_weights }, uninit(n, DType::F64, device)?)
        };
        let at = |tensor: &Option<Tensor>| tensor.as_ref().map_or(Ok(0), |tensor| device_ptr(NAME, tensor));
        let pointers = [
            device_ptr(NAME, colors)?,
            device_ptr(NAME, &centers)?,
            at(&weights)?,
            at(&gates)?,
            device_ptr(NAME, &target.classes)?,
            device_ptr(NAME, &target.shares)?,
            device_ptr(NAME, &target.row_weights)?,
            device_ptr(NAME, &entropies)?,
        ];
        let scale = -0.5 / (self.code.sigma() * self.code.sigma());
        let numbers = [Arg::Float(scale), Arg::Double(self.per_image()), Arg::count(n)];
        let lengths = [self.pixels, self.code.bins().len(), k].map(Arg::length);
        let args = [&pointers.map(Arg::Pointer)[..], &numbers, &lengths].concat();
        launch(gpu(colors)?, modules::COLOR, "soft_codes", Grid::warps(n), &args)?;
        Ok((target, entropies))
    }

    /// f64 `(B)`: 1 for every image with a pixel beyond the threshold in a or b, 0 for the gray ones.
    fn gates(&self, colors: &Tensor) -> Result<Option<Tensor>> {
        let Some(threshold) = self.gray_gate else { return Ok(None) };
        // SAFETY: `gray_gates` writes them.
        let gates = unsafe { uninit(self.batch, DType::F64, colors.device())? };
        let args = [
            Arg::Pointer(device_ptr(NAME, colors)?),
            Arg::Pointer(device_ptr(NAME, &gates)?),
            Arg::Float(threshold),
            Arg::length(2 * self.pixels),
        ];
        launch(gpu(colors)?, modules::COLOR, "gray_gates", Grid::blocks(self.batch, 256), &args)?;
        Ok(Some(gates))
    }
}
