//! Linear filters along one axis of pictures, each picture with filters of its own: what random crops that are resized,
//! mirror images and blur have in common. Not differentiable.

use crate::op::{CpuInput, CpuOutput, compute, output};
#[cfg(feature = "cuda")]
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, device_ptr, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

/// The filters of N output pictures along an axis. Output position `to` of picture n is the weighted sum of neighboring
/// input samples.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisFilters {
    /// Input picture of each output picture.
    sources: Vec<u32>,
    /// Output positions.
    to: usize,
    /// Samples that an output position reads.
    taps: usize,
    /// First sample of each output position, `(N, to)`.
    starts: Vec<u32>,
    /// `(N, to, taps)`
    weights: Vec<f32>,
}

impl AxisFilters {
    /// Filters over an axis of `from` samples: for each output picture, its input picture and, for each output position,
    /// its center in samples (the first sample reaches from 0 to 1). `kernel` gives a sample's weight by its distance
    /// from the center, 0 from `reach` on; weights are normalized, so that what lies outside does not count.
    pub fn new(
        from: usize,
        pictures: &[(usize, Vec<f64>)],
        kernel: impl Fn(usize, f64) -> f64 + Sync,
        reach: f64,
    ) -> Self {
        let taps = ((2.0 * reach).ceil() as usize + 1).min(from);
        let to = pictures.first().map_or(0, |(_, centers)| centers.len());
        let of_picture = |(n, (_, centers)): (usize, &(usize, Vec<f64>))| {
            let filter = |center: &f64| window((from, taps), *center, reach, |distance| kernel(n, distance));
            centers.iter().map(filter).unzip::<_, _, Vec<u32>, Vec<Vec<f32>>>()
        };
        let filters = pictures.par_iter().enumerate().map(of_picture).collect::<Vec<_>>();
        let mut all = Self {
            sources: vec![],
            to,
            taps,
            starts: Vec::with_capacity(pictures.len() * to),
            weights: vec![],
        };
        for ((source, _), (starts, weights)) in pictures.iter().zip(filters) {
            all.sources.push(*source as u32);
            all.starts.extend(starts);
            all.weights.extend(weights.into_iter().flatten());
        }
        all
    }
}

/// First sample and normalized weights of one output position.
fn window(
    (from, taps): (usize, usize),
    center: f64,
    reach: f64,
    kernel: impl Fn(f64) -> f64,
) -> (u32, Vec<f32>) {
    let start = ((center - reach).floor().max(0.0) as usize).min(from - taps);
    let weights = (start..start + taps).map(|sample| kernel((sample as f64 + 0.5 - center).abs()));
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    if sum > 0.0 {
        return (start as u32, weights.into_iter().map(|weight| (weight / sum) as f32).collect());
    }
    let nearest = (center as usize).clamp(start, start + taps - 1) - start;
    (start as u32, (0..taps).map(|tap| if tap == nearest { 1.0 } else { 0.0 }).collect())
}

/// Applies filters along axis 1 or 2 of f32 `(B, H, W, C)`, of which the output pictures are made: `(N, to, W, C)` or
/// `(N, H, to, C)`.
///
/// # Errors
/// Another dtype or axis; filters for other pictures.
pub fn filter_axis(x: &Tensor, axis: usize, filters: &AxisFilters) -> Result<Tensor> {
    let (batch, h, w, c) = x.dims4()?;
    let (outer, from, inner) = if axis == 1 { (1, h, w * c) } else { (h, w, c) };
    let is_inside = filters.sources.iter().all(|source| (*source as usize) < batch)
        && filters.starts.iter().all(|start| *start as usize + filters.taps <= from);
    if x.dtype() != DType::F32 || !(1..=2).contains(&axis) || !is_inside {
        bail!("{NAME}: these filters do not fit axis {axis} of {:?} {:?}", x.dtype(), x.dims())
    }
    let mut shape = [filters.sources.len(), h, w, c];
    shape[axis] = filters.to;
    let op = FilterAxis { filters, outer, from, inner, shape };
    compute(
        NAME,
        [x],
        |[x]| op.cpu(x),
        #[cfg(feature = "cuda")]
        |[x]| op.cuda(x),
    )
}

const NAME: &str = "filter_axis";

struct FilterAxis<'a> {
    filters: &'a AxisFilters,
    /// Positions before the axis, on it, and after it.
    outer: usize,
    from: usize,
    inner: usize,
    shape: [usize; 4],
}

impl FilterAxis<'_> {
    fn cpu(&self, x: CpuInput) -> Result<CpuOutput> {
        let Self { filters: AxisFilters { sources, to, taps, starts, weights }, outer, from, inner, shape } =
            self;
        let x = x.elements::<f32>()?;
        let mut y = vec![0f32; shape.iter().product()];
        let runs = y.par_chunks_mut((to * inner).max(1)).enumerate();
        runs.for_each(|(run, out)| {
            let (picture, line) = (run / outer, run % outer);
            let line = &x[(sources[picture] as usize * outer + line) * from * inner..][..from * inner];
            for (j, out) in out.chunks_exact_mut(*inner).enumerate() {
                let at = picture * to + j;
                let samples = line[starts[at] as usize * inner..].chunks_exact(*inner);
                for (sample, weight) in samples.zip(&weights[at * taps..][..*taps]) {
                    out.iter_mut().zip(sample).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        });
        Ok(output(y, shape.to_vec()))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, x: CudaInput) -> Result<CudaOutput> {
        let Self { filters: AxisFilters { sources, to, taps, starts, weights }, outer, from, inner, shape } =
            self;
        let device = x.device();
        let on = candle_core::Device::Cuda(device.clone());
        let indices: Vec<u32> = sources.iter().chain(starts).copied().collect();
        // Drawn anew for each batch: not worth caching.
        let indices = Tensor::from_vec(indices, sources.len() + starts.len(), &on)?;
        let weights = Tensor::from_slice(weights, weights.len(), &on)?;
        let shape = candle_core::Shape::from(shape.to_vec());
        let (out, y) = alloc_uninit(device, &shape, DType::F32)?;
        let pointers = [x.address()?, y, device_ptr(NAME, &indices)?, device_ptr(NAME, &weights)?];
        let lengths = [sources.len(), *outer, *from, *to, *inner, *taps].map(Arg::length);
        let args = [&pointers.map(Arg::Pointer)[..], &lengths[..]].concat();
        launch(device, modules::RESIZE, NAME, Grid::over(shape.elem_count()), &args)?;
        Ok((out, shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn tent(_: usize, distance: f64) -> f64 {
        (1.0 - distance).max(0.0)
    }

    fn ramp() -> Tensor {
        let values: Vec<f32> = (0..2 * 3 * 4).map(|i| i as f32).collect();
        Tensor::from_vec(values, (2, 3, 4, 1), &Device::Cpu).unwrap()
    }

    fn filtered(axis: usize, filters: &AxisFilters) -> Vec<f32> {
        filter_axis(&ramp(), axis, filters).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn samples_are_read_between_mirrored_and_of_another_picture() {
        let centers = vec![0.5, 2.0, 3.5];
        let columns = AxisFilters::new(4, &[(0, centers), (1, vec![3.5, 2.5, 1.5])], tent, 1.0);
        let rows: Vec<f32> =
            vec![0., 1.5, 3., 4., 5.5, 7., 8., 9.5, 11., 15., 14., 13., 19., 18., 17., 23., 22., 21.];
        assert_eq!(filtered(2, &columns), rows);
        let rows = AxisFilters::new(3, &[(1, vec![1.0])], tent, 1.0);
        assert_eq!(filtered(1, &rows), [14.0, 15.0, 16.0, 17.0]);
    }

    #[test]
    fn what_lies_outside_does_not_count() {
        let all = AxisFilters::new(3, &[(0, vec![0.0, 1.5, 9.0])], |_, _| 1.0, 5.0);
        assert_eq!(filtered(1, &all), [4.0, 5.0, 6.0, 7.0].repeat(3));
        // beyond the reach of the kernel: the nearest sample
        let far = AxisFilters::new(3, &[(0, vec![9.0])], tent, 1.0);
        assert_eq!(filtered(1, &far), [8.0, 9.0, 10.0, 11.0]);
    }

    #[test]
    fn filters_of_other_pictures_are_refused() {
        let filters = |from, source| AxisFilters::new(from, &[(source, vec![0.5])], tent, 1.0);
        assert!(filter_axis(&ramp(), 1, &filters(3, 2)).is_err());
        assert!(filter_axis(&ramp(), 3, &filters(3, 0)).is_err());
        let long = AxisFilters::new(9, &[(0, vec![8.5])], tent, 1.0);
        assert!(filter_axis(&ramp(), 1, &long).is_err());
    }
}
