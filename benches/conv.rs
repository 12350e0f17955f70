//! What each convolution of the AlexNet colorizer (batch 16, 180²) and the VGG colorizer (batch 4, 176²) achieves of what
//! the machine can do: `cargo bench --bench conv [name part] [--threads N] [--bf16 [--fastest]]`.
//!
//! One line for each pass (forward, backward-data, backward-filter), median of several rounds. `nominal` counts the
//! multiply-adds of all taps, also those in the padding; a layer that skips its padding can exceed the peak by it. `valid`
//! counts taps inside the picture only; the share of the peak is of those. The peak is that of multiply-adds in
//! registers, the bandwidth that of a copy, both measured by this program ([`machine`]). Bytes are the least that a pass can
//! move: each operand read once and the result written once. The last line times the `gemm` crate for comparison.
//!
//! With `--bf16`, activations and their gradients are bf16; filters and their gradients stay f32. With `--fastest`, bits
//! may be those of the fastest instruction, and the peak is that of `vdpbf16ps` where the processor has it.

#[path = "conv/machine.rs"]
mod machine;

use candle_core::{DType, Device, Result, Tensor};
use clap::Parser;
use hueristic::{
    device::{Compute, DeviceSpec},
    ops::conv::{ConvGeometry, conv2d, conv2d_input_grad, conv2d_weight_grad},
};
use machine::Machine;
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

/// One layer with its sizes.
struct Layer {
    name: &'static str,
    batch: usize,
    side: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    geometry: ConvGeometry,
}

impl From<&Row> for Layer {
    fn from(&(name, batch, side, inputs, outputs, kernel, [stride, pad, dilation, groups]): &Row) -> Self {
        let geometry = ConvGeometry { stride, pad, dilation, groups };
        Self { name, batch, side, inputs, outputs, kernel, geometry }
    }
}

impl Layer {
    fn out(&self) -> usize {
        self.geometry.out(self.side, self.kernel)
    }

    /// Floating-point operations for that many (row, tap) pairs along each axis.
    fn flop(&self, pairs: usize) -> f64 {
        let Self { batch, inputs, outputs, geometry, .. } = self;
        2.0 * (batch * pairs * pairs * outputs * inputs / geometry.groups) as f64
    }

    /// With all taps, and with those inside the picture.
    fn flops(&self) -> [f64; 2] {
        let ConvGeometry { stride, pad, dilation, .. } = self.geometry;
        let (side, taps) = (self.side, 0..self.kernel);
        let inside = |row: usize| {
            taps.clone().filter(|tap| (pad..pad + side).contains(&(row * stride + tap * dilation))).count()
        };
        [self.out() * self.kernel, (0..self.out()).map(inside).sum()].map(|pairs| self.flop(pairs))
    }

    /// Bytes of x, y and w together: every pass reads two of them and writes the third.
    fn bytes(&self, activations: DType) -> f64 {
        let Self { batch, side, inputs, outputs, kernel, geometry, .. } = self;
        let (x, y) = (batch * side * side * inputs, batch * self.out() * self.out() * outputs);
        let w = outputs * kernel * kernel * inputs / geometry.groups;
        (activations.size_in_bytes() * (x + y) + size_of::<f32>() * w) as f64
    }

    /// Seconds of the three passes.
    fn times(&self, activations: DType) -> Result<[f64; 3]> {
        let &Self { batch, side, inputs, outputs, kernel: k, geometry: g, .. } = self;
        let out = self.out();
        let x = ramp(&[batch, side, side, inputs])?.to_dtype(activations)?;
        let w = ramp(&[outputs, k, k, inputs / g.groups])?;
        let dy = ramp(&[batch, out, out, outputs])?.to_dtype(activations)?;
        let bias = Tensor::zeros(outputs, DType::F32, &Device::Cpu)?;
        Ok([
            median(|| conv2d(&x, &w, Some(&bias), g).map(drop))?,
            median(|| conv2d_input_grad((side, side), &w, &dy, g).map(drop))?,
            median(|| conv2d_weight_grad(&x, (k, k), &dy, g).map(drop))?,
        ])
    }

    fn print(&self, machine: &Machine, activations: DType) -> Result<()> {
        let ([nominal, valid], bytes) = (self.flops(), self.bytes(activations));
        for (pass, seconds) in ["forward", "data", "filter"].into_iter().zip(self.times(activations)?) {
            let [all, inside, moved] = [nominal, valid, bytes].map(|amount| amount / seconds / 1e9);
            println!(
                "{:<15} {pass:<8}{:>9.2}{:>10.2}{all:>9.0}{inside:>8.0}{:>7.0} %{:>9.1}{moved:>7.1}{:>7.0} %",
                self.name,
                seconds * 1e3,
                nominal / 1e9,
                100.0 * inside / machine.gflops,
                bytes / 1e6,
                100.0 * moved / machine.copy,
            );
        }
        Ok(())
    }
}

fn ramp(dims: &[usize]) -> Result<Tensor> {
    let n: usize = dims.iter().product();
    let values = (0..n).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5).collect();
    Tensor::from_vec::<_, f32>(values, dims, &Device::Cpu)
}

/// `gemm` on a square product, single precision, all threads.
fn gemm_reference(machine: &Machine) -> Result<()> {
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
    let flop = 2.0 * (n as f64).powi(3);
    let gflops = flop / seconds / 1e9;
    let share = 100.0 * gflops / machine.gflops;
    println!(
        "{:<15} {:<8}{:>9.2}{:>10.2}{gflops:>9.0}{gflops:>8.0}{share:>7.0} %",
        "gemm 2048³",
        "",
        seconds * 1e3,
        flop / 1e9
    );
    Ok(())
}

#[derive(Parser)]
struct Options {
    /// Only layers whose name contains this
    #[arg(default_value = "")]
    name: String,
    #[arg(long, default_value_t = 0, help = "Compute threads; 0: one per core")]
    threads: usize,
    /// Activations in bf16
    #[arg(long)]
    bf16: bool,
    /// The fastest instructions for bf16, even if they give other bits
    #[arg(long, requires = "bf16")]
    fastest: bool,
    /// Cargo passes this one.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let o = Options::parse();
    rayon::ThreadPoolBuilder::new().num_threads(o.threads).build_global()?;
    Compute { device: DeviceSpec::Cpu, deterministic: !o.fastest, ..Compute::default() }.open()?;
    let activations = if o.bf16 { DType::BF16 } else { DType::F32 };
    let machine = Machine::measure(o.fastest);
    println!(
        "{} threads: peak {:.0} GFLOP/s ({}), copy {:.1} GB/s",
        rayon::current_num_threads(),
        machine.gflops,
        machine.instructions,
        machine.copy
    );
    println!(
        "layer           pass           ms     GFLOP  nominal   valid  of peak       MB   GB/s  of copy"
    );
    let wanted = LAYERS.iter().filter(|row| row.0.contains(&o.name));
    wanted.map(Layer::from).try_for_each(|layer| layer.print(&machine, activations))?;
    Ok(gemm_reference(&machine)?)
}
