//! GFLOP/s of each convolution of the AlexNet colorizer (batch 16, 180²) and the VGG colorizer (batch 4, 176²):
//! `cargo bench --bench conv [name part]`.
//!
//! Figures are nominal: 2 · multiply-adds of all taps, those in the padding too, so that a layer that skips its padding
//! can exceed the processor's peak. Median of several rounds. The last line times the `gemm` crate for comparison.

use candle_core::{DType, Device, Result, Tensor};
use hueristic::ops::conv::{ConvGeometry, conv2d, conv2d_input_grad, conv2d_weight_grad};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Name, batch, input side, input channels, output channels, kernel, then stride, padding, dilation, groups.
type Row = (&'static str, usize, usize, usize, usize, usize, [usize; 4]);

const LAYERS: &[Row] = &[
    ("alexnet conv1", 16, 180, 1, 96, 11, [4, 5, 1, 1]),
    ("alexnet conv2", 16, 23, 96, 256, 5, [1, 2, 1, 2]),
    ("alexnet conv3", 16, 12, 256, 384, 3, [1, 1, 1, 1]),
    ("alexnet conv4", 16, 12, 384, 384, 3, [1, 1, 1, 2]),
    ("alexnet conv5", 16, 12, 384, 256, 3, [1, 1, 1, 2]),
    ("alexnet fc6", 16, 12, 256, 4096, 6, [1, 5, 2, 1]),
    ("alexnet fc7", 16, 12, 4096, 4096, 1, [1, 0, 1, 1]),
    ("alexnet fc8", 16, 12, 4096, 313, 1, [1, 0, 1, 1]),
    ("vgg conv1_1", 4, 176, 1, 64, 3, [1, 1, 1, 1]),
    ("vgg conv1_2", 4, 176, 64, 64, 3, [2, 1, 1, 1]),
    ("vgg conv2_1", 4, 88, 64, 128, 3, [1, 1, 1, 1]),
    ("vgg conv2_2", 4, 88, 128, 128, 3, [2, 1, 1, 1]),
    ("vgg conv3_1", 4, 44, 128, 256, 3, [1, 1, 1, 1]),
    ("vgg conv3_2", 4, 44, 256, 256, 3, [1, 1, 1, 1]),
    ("vgg conv3_3", 4, 44, 256, 256, 3, [2, 1, 1, 1]),
    ("vgg conv4_1", 4, 22, 256, 512, 3, [1, 1, 1, 1]),
    ("vgg conv4_2", 4, 22, 512, 512, 3, [1, 1, 1, 1]),
    ("vgg conv5_1", 4, 22, 512, 512, 3, [1, 2, 2, 1]),
    ("vgg conv8_1", 4, 44, 256, 512, 4, [2, 1, 1, 1]),
    ("vgg conv8_2", 4, 44, 256, 256, 3, [1, 1, 1, 1]),
    ("vgg head", 4, 44, 256, 313, 1, [1, 0, 1, 1]),
];

/// Seconds of the median of several runs after one to warm up.
fn median(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (times.len() < 15 && started.elapsed().as_secs_f64() < 0.6) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn layer(&(name, batch, side, inputs, outputs, k, [stride, pad, dilation, groups]): &Row) -> Result<()> {
    let g = ConvGeometry { stride, pad, dilation, groups };
    let out = g.out(side, k);
    let ramp = |dims: &[usize]| {
        let n: usize = dims.iter().product();
        let values = (0..n).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5).collect();
        Tensor::from_vec::<_, f32>(values, dims, &Device::Cpu)
    };
    let x = ramp(&[batch, side, side, inputs])?;
    let w = ramp(&[outputs, k, k, inputs / groups])?;
    let dy = ramp(&[batch, out, out, outputs])?;
    let bias = Tensor::zeros(outputs, DType::F32, &Device::Cpu)?;
    let flop = 2.0 * (batch * out * out * outputs * k * k * inputs / groups) as f64;
    let times = [
        median(|| conv2d(&x, &w, Some(&bias), g).map(drop))?,
        median(|| conv2d_input_grad((side, side), &w, &dy, g).map(drop))?,
        median(|| conv2d_weight_grad(&x, (k, k), &dy, g).map(drop))?,
    ];
    let [forward, input, weight] = times.map(|t| flop / t / 1e9);
    let total: f64 = times.iter().sum::<f64>() * 1e3;
    println!("{name:<16}{:>9.2}{forward:>10.0}{input:>12.0}{weight:>13.0}{total:>11.1}", flop / 1e9);
    Ok(())
}

/// `gemm` on a square product, single precision, all threads.
fn gemm_reference() -> Result<()> {
    let n = 2048;
    let (a, b) = (vec![0.5f32; n * n], vec![0.25f32; n * n]);
    let mut c = vec![0f32; n * n];
    let seconds = median(|| {
        // SAFETY: three n × n row-major matrices with the strides stated.
        unsafe {
            gemm::gemm(
                n,
                n,
                n,
                c.as_mut_ptr(),
                1,
                n as isize,
                false,
                a.as_ptr(),
                1,
                n as isize,
                b.as_ptr(),
                1,
                n as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(0),
            );
        }
        Ok(())
    })?;
    println!("gemm 2048³      {:>9.2}{:>10.0}", 17.18, 2.0 * (n as f64).powi(3) / seconds / 1e9);
    Ok(())
}

fn main() -> Result<()> {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    println!("layer              GFLOP   forward  grad-input  grad-weight   total ms   (nominal GFLOP/s)");
    LAYERS.iter().filter(|row| row.0.contains(&wanted)).try_for_each(layer)?;
    gemm_reference()
}
