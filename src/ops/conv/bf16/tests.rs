//! Products of bf16 against f64 and against the model of the tile instruction.

use super::super::axis::Axis;
use super::super::gather_gemm::Epilogue;
use super::super::shape::ConvShape;
use super::kernel::Kernel;
use super::{forward_by, grad_input_by, grad_weight_by};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use proptest::prelude::*;

/// A layer's operands.
struct Operands {
    x: Vec<bf16>,
    w: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<bf16>,
}

fn axes() -> impl Strategy<Value = Axis> {
    (1usize..12, 1usize..5, 1usize..4, 0usize..4, 1usize..3)
        .prop_filter("kernel fits", |&(n, k, _, p, d)| n + 2 * p > d * (k - 1))
        .prop_map(|(input, kernel, stride, pad, dilation)| {
            let output = (input + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
            Axis { input, output, kernel, stride, pad, dilation }
        })
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    let channels = || prop::sample::select(vec![1usize, 3, 16, 20, 32, 40, 64]);
    (axes(), axes(), 1usize..5, channels(), channels(), 1usize..3).prop_map(
        |(rows, cols, batch, inputs, outputs, groups)| ConvShape {
            batch,
            rows,
            cols,
            inputs: inputs * groups,
            outputs: outputs * groups,
            groups,
        },
    )
}

/// Numbers around zero: the sum of a few terms of a sequence without a short period.
fn numbers(len: usize, seed: usize) -> Vec<f32> {
    let part = |i: usize| ((i as f64 * 0.754_877_666 + seed as f64 * 0.569_840_29).fract() - 0.5) as f32;
    (0..len).map(|i| part(i) + part(3 * i + 1) + part(7 * i + 2)).collect()
}

fn narrow(x: &[f32]) -> Vec<bf16> {
    x.iter().map(|&x| bf16::from_f32(x)).collect()
}

fn operands(s: &ConvShape) -> Operands {
    Operands {
        x: narrow(&numbers(s.input_len(), 1)),
        w: numbers(s.weight_len(), 2),
        bias: numbers(s.inputs.max(s.outputs), 3),
        dy: narrow(&numbers(s.output_len(), 4)),
    }
}

/// The three products, as bits.
fn products(kernel: Kernel, s: &ConvShape, of: &Operands) -> (Vec<u16>, Vec<u16>, Vec<u32>) {
    let bits = |values: Vec<bf16>| values.reinterpret_cast().to_vec();
    let biased = Epilogue { bias: Some(&of.bias[..s.outputs]), relu: true };
    let y = bits(forward_by(kernel, s, &of.x, &of.w, biased));
    let dx = bits(grad_input_by(kernel, s, &of.dy, &of.w, Epilogue { bias: None, relu: false }));
    let dw = grad_weight_by(kernel, s, &of.x, &of.dy).iter().map(|dw| dw.to_bits()).collect();
    (y, dx, dw)
}

fn wide(x: &[bf16]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

/// `visit(output pixel and channel, input pixel and channel, filter)` for every product of the layer.
fn visit(s: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let (inputs, outputs) = (s.inputs_per_group(), s.outputs_per_group());
    for n in 0..s.batch {
        for (oy, ky) in (0..s.rows.output).flat_map(|o| (0..s.rows.kernel).map(move |k| (o, k))) {
            let Some(iy) = s.rows.input_of(oy, ky) else { continue };
            for (ox, kx) in (0..s.cols.output).flat_map(|o| (0..s.cols.kernel).map(move |k| (o, k))) {
                let Some(ix) = s.cols.input_of(ox, kx) else { continue };
                let y = ((n * s.rows.output + oy) * s.cols.output + ox) * s.outputs;
                let x = ((n * s.rows.input + iy) * s.cols.input + ix) * s.inputs;
                let tap = ky * s.cols.kernel + kx;
                for (o, i) in (0..s.outputs).flat_map(|o| (0..inputs).map(move |i| (o, i))) {
                    visit(y + o, x + o / outputs * inputs + i, (o * s.taps() + tap) * inputs + i);
                }
            }
        }
    }
}

/// The three products in f64 of the same operands.
fn exact(s: &ConvShape, of: &Operands) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (x, w, dy) = (wide(&of.x), wide(&narrow(&of.w)), wide(&of.dy));
    let mut y: Vec<f64> = (0..s.output_len()).map(|i| f64::from(of.bias[i % s.outputs])).collect();
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    visit(s, |at_y, at_x, at_w| {
        y[at_y] += x[at_x] * w[at_w];
        dx[at_x] += dy[at_y] * w[at_w];
        dw[at_w] += dy[at_y] * x[at_x];
    });
    y.iter_mut().for_each(|y| *y = y.max(0.0));
    (y, dx, dw)
}

/// Each result is the exact one, rounded once after an error of sums in f32.
fn is_rounded(got: impl Iterator<Item = f64>, exact: &[f64], rounding: f64) -> bool {
    let most = exact.iter().fold(0f64, |most, e| most.max(e.abs()));
    let worst = got
        .zip(exact)
        .map(|(got, want)| ((got - want).abs() - rounding * want.abs()) / most)
        .fold(0.0, f64::max);
    if worst > 1e-6 {
        eprintln!("worst {worst} of {most}");
    }
    worst <= 1e-6
}

fn is_exact_for(kernel: Kernel, s: &ConvShape) -> bool {
    let of = operands(s);
    let (y, dx, dw) = products(kernel, s, &of);
    let (want_y, want_dx, want_dw) = exact(s, &of);
    let wide = |bits: Vec<u16>| bits.into_iter().map(|bits| bf16::from_bits(bits).to_f64());
    is_rounded(wide(y), &want_y, 1.0 / 256.0)
        && is_rounded(wide(dx), &want_dx, 1.0 / 256.0)
        && is_rounded(dw.into_iter().map(|bits| f64::from(f32::from_bits(bits))), &want_dw, 0.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_are_exact_but_for_one_rounding(s in shapes()) {
        for kernel in Kernel::available() {
            prop_assert!(is_exact_for(kernel, &s), "{kernel:?}");
        }
    }

    #[test]
    fn kernels_have_the_bits_of_tiles(s in shapes()) {
        let of = operands(&s);
        let tiles = products(Kernel::Model, &s, &of);
        for kernel in Kernel::available().into_iter().filter(|&kernel| kernel != Kernel::Dot) {
            prop_assert_eq!(&products(kernel, &s, &of), &tiles, "{:?}", kernel);
        }
    }
}

/// A layer whose sums are long, in several tasks.
const LONG: ConvShape = ConvShape {
    batch: 5,
    rows: Axis { input: 13, output: 13, kernel: 3, stride: 1, pad: 1, dilation: 1 },
    cols: Axis { input: 9, output: 9, kernel: 3, stride: 1, pad: 1, dilation: 1 },
    inputs: 200,
    outputs: 300,
    groups: 1,
};

#[test]
fn long_sums_are_exact_but_for_one_rounding() {
    for kernel in Kernel::available().into_iter().filter(|&kernel| kernel != Kernel::Model) {
        assert!(is_exact_for(kernel, &LONG), "{kernel:?}");
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let of = operands(&LONG);
    let kernel = *Kernel::available().last().expect("the model is always there");
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| products(kernel, &LONG, &of))
    };
    let one = with(1);
    assert!(with(2) == one && with(5) == one);
}

#[test]
fn nan_and_infinity_come_through() {
    let one = Axis { input: 1, output: 1, kernel: 1, stride: 1, pad: 0, dilation: 1 };
    let s = ConvShape { batch: 3, rows: one, cols: one, inputs: 2, outputs: 1, groups: 1 };
    let x = narrow(&[f32::NAN, 1.0, f32::INFINITY, 1.0, 2.0, 3.0]);
    for kernel in Kernel::available() {
        let y = forward_by(kernel, &s, &x, &[1.0, 1.0], Epilogue { bias: None, relu: true });
        assert!(y[0].is_nan() && y[1] == bf16::INFINITY && y[2].to_f32() == 5.0, "{kernel:?}: {y:?}");
    }
}

#[test]
fn numbers_below_the_normal_range_are_zero() {
    let one = Axis { input: 1, output: 1, kernel: 1, stride: 1, pad: 0, dilation: 1 };
    let s = ConvShape { batch: 2, rows: one, cols: one, inputs: 1, outputs: 1, groups: 1 };
    let least = f32::MIN_POSITIVE;
    // A denormal factor, and a product below the normal range.
    let x = [bf16::from_bits(0x0040), bf16::from_f32(least)];
    for kernel in Kernel::available() {
        for w in [2f32.powi(100), 0.5] {
            let y = forward_by(kernel, &s, &x, &[w], Epilogue { bias: None, relu: false });
            let tiny = [0.0, least * w].map(|y| if y < least { 0.0 } else { y });
            assert_eq!([y[0].to_f32(), y[1].to_f32()], tiny, "{kernel:?} {w}");
        }
    }
}
