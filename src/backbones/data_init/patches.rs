//! Input patches of a convolution: a sample of its positions, gathered group by group in the memory order of its
//! weights.

use crate::{
    backbones::kinds::{ConvRow, SlidingWindow},
    rng::Rng,
};
use candle_core::{DType, Device, Result, Tensor, bail};
use rand::seq::index;
use rayon::prelude::*;

/// Patches in memory at a time.
const AT_ONCE: usize = 4096;

/// Sampled window positions on a layer's input maps.
pub(super) struct Patches<'a> {
    conv: &'a ConvRow,
    maps: &'a [Tensor],
    /// Positions in the output `(B, H', W')` of each map, ascending.
    positions: Vec<Vec<usize>>,
}

impl<'a> Patches<'a> {
    /// Draws at most `most` positions without replacement from all positions of all maps `(B, H, W, C)`.
    pub fn sample(conv: &'a ConvRow, maps: &'a [Tensor], most: usize, rng: &Rng) -> Result<Self> {
        let sizes = maps.iter().map(|map| positions(conv, map)).collect::<Result<Vec<usize>>>()?;
        let all: usize = sizes.iter().sum();
        let mut drawn = index::sample(&mut rng.at(0, 0), all, most.min(all)).into_vec();
        drawn.sort_unstable();
        let (mut positions, mut first) = (vec![], 0);
        for size in sizes {
            let within = drawn.iter().filter(|at| (first..first + size).contains(*at));
            positions.push(within.map(|at| at - first).collect());
            first += size;
        }
        Ok(Self { conv, maps, positions })
    }

    pub fn count(&self) -> usize {
        self.positions.iter().map(Vec::len).sum()
    }

    /// Numbers in a patch of one group.
    pub fn fan_in(&self) -> usize {
        self.conv.window.kernel.pow(2) * self.channels()
    }

    fn channels(&self) -> usize {
        self.conv.inputs / self.conv.groups
    }

    /// Calls `take` with all patches of a group in chunks, f64 `(n, fan-in)` in the order KH, KW, C on the CPU. Every
    /// pass yields the same patches in the same order.
    pub fn for_each(&self, group: usize, mut take: impl FnMut(Tensor) -> Result<()>) -> Result<()> {
        for (map, positions) in self.maps.iter().zip(&self.positions).filter(|(_, p)| !p.is_empty()) {
            let dims = map.dims4()?;
            let values = map.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?;
            let values = values.to_vec1::<f32>()?;
            for positions in positions.chunks(AT_ONCE) {
                let fan_in = self.fan_in();
                let mut patches = vec![0f64; positions.len() * fan_in];
                patches
                    .par_chunks_mut(fan_in)
                    .zip(positions)
                    .for_each(|(patch, &at)| self.gather(&values, dims, group, at, patch));
                take(Tensor::from_vec(patches, (positions.len(), fan_in), &Device::Cpu)?)?;
            }
        }
        Ok(())
    }

    /// Gathers one patch; positions outside the map are 0.
    fn gather(
        &self,
        values: &[f32],
        (_, height, width, inputs): (usize, usize, usize, usize),
        group: usize,
        at: usize,
        patch: &mut [f64],
    ) {
        let SlidingWindow { kernel, stride, pad, dilation } = self.conv.window;
        let geometry = self.conv.geometry();
        let (rows, columns) = (geometry.out(height, kernel), geometry.out(width, kernel));
        let (image, row, column) = (at / (rows * columns), at / columns % rows, at % columns);
        let channels = self.channels();
        for (tap, out) in patch.chunks_exact_mut(channels).enumerate() {
            let y = (row * stride + tap / kernel * dilation).checked_sub(pad).filter(|y| *y < height);
            let x = (column * stride + tap % kernel * dilation).checked_sub(pad).filter(|x| *x < width);
            if let (Some(y), Some(x)) = (y, x) {
                let start = ((image * height + y) * width + x) * inputs + group * channels;
                let pixel = &values[start..start + channels];
                out.iter_mut().zip(pixel).for_each(|(out, value)| *out = f64::from(*value));
            }
        }
    }
}

/// Number of positions of a convolution on a map.
fn positions(conv: &ConvRow, map: &Tensor) -> Result<usize> {
    let (batch, height, width, channels) = map.dims4()?;
    let (geometry, kernel) = (conv.geometry(), conv.window.kernel);
    let count = batch * geometry.out(height, kernel) * geometry.out(width, kernel);
    if count == 0 || channels != conv.inputs {
        bail!("a window of {kernel} cells does not fit on maps of {:?} (B, H, W, C)", map.dims())
    }
    Ok(count)
}
