//! The update of one parameter: a fused pass over f32 in host memory, and the same rule composed of candle operations
//! for other dtypes. Updates on a GPU are in `cuda.rs`.
//!
//! The fused pass reads and writes weight, gradient and moments once each, in fixed pieces on all threads. Elements
//! are independent, so the result is bit-identical for any number of threads.

use candle_core::{
    CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Storage, Tensor, Var, WithDType, bail,
};
use rayon::prelude::*;
use std::cell::RefCell;

/// Elements per parallel task: a piece and its moments fit in a typical L2 cache. Sums are taken by piece.
pub(super) const PIECE: usize = 1 << 16;

/// Adam's ε, outside the square root. In Caffe it is added after the bias correction of the second moment, in PyTorch
/// before.
pub(super) const DELTA: f64 = 1e-8;

/// The constants of one update of one parameter. `scale` multiplies the gradient, then decay · weight is added.
pub(super) enum UpdateRule {
    Adam(AdamRule),
    Sgd(SgdRule),
}
/// `rate` is the learning rate including both bias corrections; `keep` multiplies the weight before the step.
#[derive(Clone, Copy)]
pub(super) struct AdamRule {
    pub rate: f64,
    pub keep: f64,
    pub delta: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub decay: f64,
    pub scale: f64,
}
#[derive(Clone, Copy)]
pub(super) struct SgdRule {
    pub lr: f64,
    pub momentum: f64,
    pub nesterov: bool,
    pub decay: f64,
    pub scale: f64,
}

/// Updates `var` and its moments once; returns the squared norm of the gradient, before scaling.
pub(super) fn apply(rule: &UpdateRule, var: &Var, grad: &Tensor, moments: &mut [Tensor]) -> Result<f64> {
    if var.shape() != grad.shape() {
        bail!("optimizer: a parameter of {:?} has a gradient of {:?}", var.dims(), grad.dims())
    }
    if is_host_f32(var) && grad.dtype() == DType::F32 {
        return apply_in_place(rule, var, grad, moments);
    }
    match (rule, moments) {
        (UpdateRule::Adam(adam), [m, v]) => adam.composed(var, grad, m, v)?,
        (UpdateRule::Sgd(sgd), [velocity]) => sgd.composed(var, grad, velocity)?,
        (_, moments) => bail!("optimizer: {} moments do not match the rule", moments.len()),
    }
    square_norm(grad)
}

/// As [`apply`] in the memory of f32 tensors of one shape, which may be parts of larger ones.
pub(super) fn apply_in_place(
    rule: &UpdateRule,
    w: &Tensor,
    grad: &Tensor,
    moments: &[Tensor],
) -> Result<f64> {
    match (rule, moments) {
        (UpdateRule::Adam(adam), [m, v]) => adam.fused(w, grad, m, v),
        (UpdateRule::Sgd(sgd), [velocity]) => sgd.fused(w, grad, velocity),
        (_, moments) => bail!("optimizer: {} moments do not match the rule", moments.len()),
    }
}

impl AdamRule {
    fn fused(&self, w: &Tensor, grad: &Tensor, m: &Tensor, v: &Tensor) -> Result<f64> {
        let mut squares = vec![];
        edit(m, |m| {
            edit(v, |v| {
                edit_with(w, grad, |w, g| {
                    let pieces = w.par_chunks_mut(PIECE).zip(g.par_chunks(PIECE));
                    let moments = m.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE));
                    let update = pieces.zip(moments).map(|((w, g), (m, v))| {
                        self.piece(w, g, m, v);
                        piece_squares(g)
                    });
                    squares = update.collect();
                })
            })
        })?;
        Ok(squares.iter().sum())
    }

    fn piece(&self, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let (rate, decay, scale) = (self.rate as f32, self.decay as f32, self.scale as f32);
        let (beta1, beta2, delta) = (self.beta1 as f32, self.beta2 as f32, self.delta as f32);
        let keep = self.keep as f32;
        let (new1, new2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * scale + decay * *w;
            *m = beta1 * *m + new1 * g;
            *v = beta2 * *v + new2 * g * g;
            *w = *w * keep - rate * *m / (v.sqrt() + delta);
        }
    }

    fn composed(&self, var: &Var, grad: &Tensor, m: &mut Tensor, v: &mut Tensor) -> Result<()> {
        let g = decayed(var, grad, self.scale, self.decay)?;
        *m = ((&*m * self.beta1)? + (&g * (1.0 - self.beta1))?)?;
        *v = ((&*v * self.beta2)? + (g.sqr()? * (1.0 - self.beta2))?)?;
        let step = ((&*m * self.rate)? / (v.sqrt()? + self.delta)?)?;
        var.set(&((var.as_detached_tensor() * self.keep)? - step)?)
    }
}

impl SgdRule {
    fn fused(&self, w: &Tensor, grad: &Tensor, velocity: &Tensor) -> Result<f64> {
        let mut squares = vec![];
        edit(velocity, |velocity| {
            edit_with(w, grad, |w, g| {
                let pieces =
                    w.par_chunks_mut(PIECE).zip(g.par_chunks(PIECE)).zip(velocity.par_chunks_mut(PIECE));
                let update = pieces.map(|((w, g), velocity)| {
                    self.piece(w, g, velocity);
                    piece_squares(g)
                });
                squares = update.collect();
            })
        })?;
        Ok(squares.iter().sum())
    }

    fn piece(&self, w: &mut [f32], g: &[f32], velocity: &mut [f32]) {
        let (lr, decay, scale) = (self.lr as f32, self.decay as f32, self.scale as f32);
        let momentum = self.momentum as f32;
        for ((w, g), velocity) in w.iter_mut().zip(g).zip(velocity) {
            let before = *velocity;
            *velocity = momentum * before + lr * (g * scale + decay * *w);
            *w -= if self.nesterov { (1.0 + momentum) * *velocity - momentum * before } else { *velocity };
        }
    }

    fn composed(&self, var: &Var, grad: &Tensor, velocity: &mut Tensor) -> Result<()> {
        let g = decayed(var, grad, self.scale, self.decay)?;
        let new = ((&*velocity * self.momentum)? + (g * self.lr)?)?;
        let step = if self.nesterov {
            ((&new * (1.0 + self.momentum))? - (&*velocity * self.momentum)?)?
        } else {
            new.clone()
        };
        *velocity = new;
        var.set(&(var.as_detached_tensor() - step)?)
    }
}

/// scale · gradient + decay · weight, in the weight's dtype.
pub(super) fn decayed(var: &Var, grad: &Tensor, scale: f64, decay: f64) -> Result<Tensor> {
    (grad.to_dtype(var.dtype())? * scale)? + (var.as_detached_tensor() * decay)?
}

/// Σ v² in double precision.
pub(super) fn square_norm(tensor: &Tensor) -> Result<f64> {
    match read_f32(tensor, squares) {
        Some(sum) => Ok(sum),
        None => tensor.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar(),
    }
}

/// Summed in fixed pieces, so that the result is bit-identical for any number of threads.
fn squares(values: &[f32]) -> f64 {
    let pieces: Vec<f64> = values.par_chunks(PIECE).map(piece_squares).collect();
    pieces.iter().sum()
}

/// Eight running sums, which the compiler vectorizes.
fn piece_squares(values: &[f32]) -> f64 {
    let mut lanes = [0f64; 8];
    let (eights, rest) = values.as_chunks::<8>();
    for eight in eights {
        for (lane, &v) in lanes.iter_mut().zip(eight) {
            *lane += f64::from(v) * f64::from(v);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()
}

/// The elements of a moving average come nearer to those of `var` by `part` of the difference. With `part` below 1, an
/// element that equals the weight stays bit-identical.
pub(super) fn approach(average: &mut Tensor, var: &Var, part: f64) -> Result<()> {
    if !is_host_f32(var) {
        *average = (&*average + ((var.as_detached_tensor() - &*average)? * part)?)?;
        return Ok(());
    }
    let part = part as f32;
    edit_with(average, var, |average, w| {
        let pieces = average.par_chunks_mut(PIECE).zip(w.par_chunks(PIECE));
        pieces.for_each(|(average, w)| average.iter_mut().zip(w).for_each(|(a, w)| *a += part * (w - *a)));
    })
}

/// Exchanges the elements of a moving average and of `var`: on the CPU in place, elsewhere through a copy.
pub(super) fn exchange(average: &mut Tensor, var: &Var) -> Result<()> {
    if !is_host_f32(var) {
        let trained = var.as_detached_tensor().copy()?;
        var.set(average)?;
        *average = trained;
        return Ok(());
    }
    edit(average, |average| {
        edit(var, |w| {
            let pieces = average.par_chunks_mut(PIECE).zip(w.par_chunks_mut(PIECE));
            pieces.for_each(|(average, w)| average.swap_with_slice(w));
            Ok(())
        })
    })
}

fn is_host_f32(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// Runs `read` on the elements of a contiguous f32 tensor in host memory; `None` for any other tensor.
pub(super) fn read_f32<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Option<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => slice("read", storage, layout).ok().map(read),
        _ => None,
    }
}

/// The contiguous f32 elements of a storage.
pub(super) fn slice<'a>(op: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&f32::cpu_storage_as_slice(storage)?[start..end]),
        None => bail!("{op}: a tensor of {:?} is not contiguous", layout.dims()),
    }
}

/// As `slice`, mutable.
pub(super) fn slice_mut<'a>(op: &str, storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (layout.contiguous_offsets(), storage) {
        (Some((start, end)), CpuStorage::F32(values)) => Ok(&mut values[start..end]),
        _ => bail!("{op}: needs a contiguous f32 tensor, given one of {:?}", layout.dims()),
    }
}

/// Borrows a tensor's own memory mutably while `work` runs. candle lends one mutable storage to an in-place operation;
/// nested calls give a fused pass mutable access to the weight and its moments together.
fn edit(tensor: &Tensor, work: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&Edit(RefCell::new(Some(work))))
}
struct Edit<F>(RefCell<Option<F>>);
impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Edit<F> {
    fn name(&self) -> &'static str {
        "optimizer-moment"
    }
    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let values = slice_mut(InplaceOp1::name(self), storage, layout)?;
        self.0.take().map_or(Ok(()), |work| work(values))
    }
}

/// As `edit`, with a second tensor to read; candle rejects a pair that shares memory.
fn edit_with(written: &Tensor, read: &Tensor, work: impl FnOnce(&mut [f32], &[f32])) -> Result<()> {
    written.inplace_op2(read, &EditWith(RefCell::new(Some(work))))
}
struct EditWith<F>(RefCell<Option<F>>);
impl<F: FnOnce(&mut [f32], &[f32])> InplaceOp2 for EditWith<F> {
    fn name(&self) -> &'static str {
        "optimizer-update"
    }
    fn cpu_fwd(
        &self,
        written: &mut CpuStorage,
        written_layout: &Layout,
        read: &CpuStorage,
        read_layout: &Layout,
    ) -> Result<()> {
        let written = slice_mut(InplaceOp2::name(self), written, written_layout)?;
        let read = slice(InplaceOp2::name(self), read, read_layout)?;
        if let Some(work) = self.0.take() {
            work(written, read);
        }
        Ok(())
    }
}
