//! The contrastive loss of SimCLR (Chen, Kornblith, Norouzi and Hinton 2020, equation 1).

use super::cross_entropy;
use crate::device::{keep_layouts, table};
use candle_core::{Result, Tensor, bail};

/// The loss, and the similarities that it is computed from.
pub struct NtXent {
    /// Mean over all views, in nats: scalar.
    pub loss: Tensor,
    /// Cosine / temperature of each view with each, `(2B, 2B)`; a view with itself is −10⁹.
    pub similarities: Tensor,
    /// The other view of the same picture, u32 `(2B)`.
    pub partners: Tensor,
}

/// Normalized temperature-scaled cross entropy. `z` `(2B, D)` f32 or f64 holds two views of each of B pictures: row i and
/// row B + i. Each view is to find the other among all views but itself. The mean over 2B views, as in the paper; the
/// authors' code adds two means over B, which is twice as much.
///
/// # Errors
/// An odd number of rows, a temperature that is not positive.
pub fn nt_xent(z: &Tensor, temperature: f64) -> Result<NtXent> {
    let (rows, _) = z.dims2()?;
    if rows == 0 || rows % 2 != 0 || temperature <= 0.0 {
        bail!(
            "nt_xent: two views of each picture and a positive temperature wanted, got {rows} and {temperature}"
        )
    }
    let _layouts = keep_layouts(z.device());
    let norm = (z.sqr()?.sum_keepdim(1)? + SMALLEST)?.sqrt()?;
    let unit = z.broadcast_div(&norm)?;
    let itself = Tensor::eye(rows, z.dtype(), z.device())?.affine(-1e9, 0.0)?;
    let similarities = (unit.matmul(&unit.t()?.contiguous()?)?.affine(1.0 / temperature, 0.0)? + itself)?;
    let half = rows as u32 / 2;
    let partners: Vec<u32> = (half..2 * half).chain(0..half).collect();
    let partners = table(&partners, z.device())?;
    let loss = cross_entropy(&similarities, &partners, None)?;
    Ok(NtXent { loss, similarities: similarities.detach(), partners })
}

/// Squared length below which a vector counts as zero.
const SMALLEST: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn loss(z: &[[f64; 2]; 4], temperature: f64) -> f64 {
        let z = Tensor::new(z, &Device::Cpu).unwrap();
        nt_xent(&z, temperature).unwrap().loss.to_scalar().unwrap()
    }

    #[test]
    fn known_losses() {
        // all alike: one among three
        assert!((loss(&[[1.0, 0.0]; 4], 0.5) - 3f64.ln()).abs() < 1e-9);
        // partners alike, strangers opposite: e¹ᐟᵀ against e¹ᐟᵀ + 2·e⁻¹ᐟᵀ
        let z = [[2.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-3.0, 0.0]];
        let want = (1.0 + 2.0 * (-4f64).exp()).ln();
        assert!((loss(&z, 0.5) - want).abs() < 1e-9);
        // strangers alike, partners opposite
        let z = [[2.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]];
        let want = -(((-2f64).exp()) / (2f64.exp() + 2.0 * (-2f64).exp())).ln();
        assert!((loss(&z, 0.5) - want).abs() < 1e-9);
    }

    #[test]
    fn odd_batches_and_temperatures_are_refused() {
        let z = |rows| Tensor::ones((rows, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(nt_xent(&z(3), 0.5).is_err() && nt_xent(&z(0), 0.5).is_err() && nt_xent(&z(4), 0.0).is_err());
    }
}
