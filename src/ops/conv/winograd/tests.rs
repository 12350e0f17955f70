use super::super::axis::Axis;
use super::super::{cpu, simd::Element};
use super::*;
use proptest::prelude::*;

const SCHEMES: [Scheme; 5] = [
    Scheme { m: 2, r: 3 },
    Scheme { m: 4, r: 3 },
    Scheme { m: 6, r: 3 },
    Scheme { m: 3, r: 2 },
    Scheme { m: 4, r: 5 },
];

/// So small that small layers are split in every way.
const SMALL: Limits =
    Limits { source: 20_000, filter: 4_000, sums: 8_000, operands: 30_000, outputs: 5_000, kept: 200_000 };

fn axis(input: usize, kernel: usize, stride: usize, pad: usize, dilation: usize) -> Option<Axis> {
    let slack = (input + 2 * pad).checked_sub(dilation * (kernel - 1) + 1)?;
    Some(Axis { input, output: slack / stride + 1, kernel, stride, pad, dilation })
}

fn square(
    batch: usize,
    side: usize,
    [inputs, outputs]: [usize; 2],
    kernel: usize,
    g: [usize; 4],
) -> ConvShape {
    let [stride, pad, dilation, groups] = g;
    let axis = axis(side, kernel, stride, pad, dilation).expect("the kernel fits");
    ConvShape { batch, rows: axis, cols: axis, inputs, outputs, groups }
}

/// Any kernel, with a stride or a dilation.
fn axes() -> impl Strategy<Value = (Axis, Axis)> {
    let spacing = prop_oneof![Just((1, 1)), (1usize..2, 2usize..4), (2usize..4, 1usize..2)];
    (1usize..15, 1usize..15, 1usize..8, 1usize..8, 0usize..7, spacing).prop_filter_map(
        "kernel fits",
        |(h, w, kh, kw, pad, (stride, dilation))| {
            Some((axis(h, kh, stride, pad, dilation)?, axis(w, kw, stride, pad, dilation)?))
        },
    )
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    (axes(), 1usize..5, 1usize..3, 1usize..40, 1usize..60).prop_map(|((rows, cols), batch, groups, c, o)| {
        ConvShape { batch, rows, cols, inputs: c * groups, outputs: o * groups, groups }
    })
}

/// Uniform in ±½.
fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..n).map(|_| next()).collect()
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&v| v as f32).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

/// Greatest error over greatest value, and rms error over rms value; infinite if anything is not finite.
fn errors(got: &[f64], want: &[f64]) -> [f64; 2] {
    assert_eq!(got.len(), want.len());
    let norms = |x: &mut dyn Iterator<Item = f64>| {
        x.fold((0f64, 0f64), |(max, sum), v| {
            (if v.is_finite() { max.max(v.abs()) } else { f64::INFINITY }, sum + v * v)
        })
    };
    let (error, value) =
        (norms(&mut got.iter().zip(want).map(|(a, b)| a - b)), norms(&mut want.iter().copied()));
    let ratio = |error: f64, value: f64| if error == 0.0 { 0.0 } else { error / value };
    [ratio(error.0, value.0), ratio(error.1, value.1).sqrt()]
}

/// The three products of one shape and their operands.
struct Layer<T> {
    x: Vec<T>,
    w: Vec<T>,
    dy: Vec<T>,
    bias: Vec<T>,
    relu: bool,
}

impl Layer<f64> {
    fn new(s: &ConvShape, relu: bool) -> Self {
        Self {
            x: noise(s.input_len(), 1),
            w: noise(s.weight_len(), 2),
            dy: noise(s.output_len(), 3),
            bias: noise(s.outputs.max(s.inputs), 4),
            relu,
        }
    }

    fn narrow(&self) -> Layer<f32> {
        let [x, w, dy, bias] = [&self.x, &self.w, &self.dy, &self.bias].map(|x| narrow(x));
        Layer { x, w, dy, bias, relu: self.relu }
    }
}

impl<T: Real> Layer<T> {
    fn finish(&self, n: usize) -> Epilogue<'_, T> {
        Epilogue { bias: Some(&self.bias[..n]), relu: self.relu }
    }

    fn direct(&self, s: &ConvShape) -> [Vec<T>; 3] {
        [
            cpu::direct_forward(s, &self.x, &self.w, self.finish(s.outputs)),
            cpu::direct_grad_input(s, &self.dy, &self.w, self.finish(s.inputs)),
            cpu::direct_grad_weight(s, &self.x, &self.dy),
        ]
    }

    fn minimal(&self, s: &ConvShape, scheme: Scheme, on: (Simd, Limits)) -> [Vec<T>; 3] {
        [
            forward_on(on, s, &self.x, &self.w, self.finish(s.outputs), scheme),
            grad_input_on(on, s, &self.dy, &self.w, self.finish(s.inputs), scheme),
            grad_weight_on(on, s, &self.x, &self.dy, scheme),
        ]
    }
}

/// All products in f64 and on every instruction set in f32, against the direct products in f64.
fn check(s: &ConvShape, scheme: Scheme, relu: bool, limits: Limits) -> Result<(), TestCaseError> {
    let layer = Layer::new(s, relu);
    let want = layer.direct(s);
    let agree = |got: &[Vec<f64>; 3], most: f64, simd: Simd| {
        for (pass, (got, want)) in got.iter().zip(&want).enumerate() {
            let [max, _] = errors(got, want);
            prop_assert!(max < most, "product {pass} of {scheme:?} on {simd:?}: {max}");
        }
        Ok(())
    };
    agree(&layer.minimal(s, scheme, (Simd::Plain, limits)), 1e-11, Simd::Plain)?;
    let layer = layer.narrow();
    for simd in Simd::available() {
        agree(&layer.minimal(s, scheme, (simd, limits)).map(|y| wide(&y)), 1e-4, simd)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_scheme_is_the_direct_product(s in shapes(), scheme in prop::sample::select(&SCHEMES[..]), relu: bool) {
        check(&s, scheme, relu, LIMITS)?;
    }

    #[test]
    fn work_may_be_split(s in shapes(), scheme in prop::sample::select(&SCHEMES[..])) {
        check(&s, scheme, false, SMALL)?;
    }
}

#[test]
fn whole_layers_are_the_direct_products() {
    // AlexNet's fc6 and a transposed layer, with fewer channels; a dilated one in groups.
    for (s, scheme) in [
        (square(9, 12, [24, 72], 6, [1, 5, 2, 1]), Scheme { m: 6, r: 3 }),
        (square(2, 14, [40, 56], 4, [2, 1, 1, 1]), Scheme { m: 3, r: 2 }),
        (square(2, 13, [34, 66], 3, [1, 2, 2, 2]), Scheme { m: 4, r: 3 }),
    ] {
        for limits in [LIMITS, SMALL] {
            check(&s, scheme, false, limits).expect("the products agree");
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let s = square(5, 15, [48, 80], 3, [1, 1, 1, 1]);
    let fc6 = square(6, 12, [16, 96], 6, [1, 5, 2, 1]);
    for (s, scheme) in [(s, Scheme { m: 4, r: 3 }), (fc6, Scheme { m: 6, r: 3 })] {
        let layer = Layer::new(&s, true).narrow();
        for limits in [LIMITS, SMALL] {
            let bits = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                let all = pool.install(|| layer.minimal(&s, scheme, (f32::simd(), limits)));
                all.map(|y| y.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            };
            let one = bits(1);
            assert!(one == bits(2) && one == bits(3), "{scheme:?}");
        }
    }
}

/// Sums of twelve uniform values: nearly normal, of variance 1.
fn normal(n: usize, seed: u64) -> Vec<f64> {
    noise(n * 12, seed).chunks_exact(12).map(|u| u.iter().sum()).collect()
}

#[test]
fn rounding_errors_stay_small_on_activations() {
    for (scheme, most, kernel, g) in [
        (Scheme { m: 2, r: 3 }, 1e-5, 3, [1, 1, 1, 1]),
        (Scheme { m: 4, r: 3 }, 2e-5, 3, [1, 1, 1, 1]),
        (Scheme { m: 6, r: 3 }, 1e-4, 3, [1, 1, 1, 1]),
        (Scheme { m: 6, r: 3 }, 1e-4, 6, [1, 5, 2, 1]),
        (Scheme { m: 3, r: 2 }, 1e-5, 4, [2, 1, 1, 1]),
        (Scheme { m: 4, r: 5 }, 1e-4, 5, [1, 2, 1, 1]),
    ] {
        let s = square(4, 12, [256, 64], kernel, g);
        let deviation = (2.0 / (s.taps() * s.inputs) as f64).sqrt();
        let layer = Layer {
            x: normal(s.input_len(), 1).into_iter().map(|v| v.max(0.0)).collect(),
            w: normal(s.weight_len(), 2).into_iter().map(|v| v * deviation).collect(),
            dy: normal(s.output_len(), 3),
            bias: vec![0.0; 256],
            relu: false,
        };
        // The same operands: those that f32 represents.
        let layer = layer.narrow();
        let exact = Layer {
            x: wide(&layer.x),
            w: wide(&layer.w),
            dy: wide(&layer.dy),
            bias: vec![0.0; 256],
            relu: false,
        };
        let want = exact.direct(&s);
        for simd in Simd::available() {
            let got = layer.minimal(&s, scheme, (simd, LIMITS));
            for (pass, (got, want)) in got.iter().zip(&want).enumerate() {
                let [max, rms] = errors(&wide(got), want);
                println!("{scheme:?} {kernel} taps, product {pass}, {simd:?}: rms {rms:.1e}, max {max:.1e}");
                assert!(max < most && rms < most, "{scheme:?}, product {pass}, {simd:?}: {rms} {max}");
            }
        }
    }
}

#[test]
fn chosen_by_shape() {
    let all = [Pass::Forward, Pass::GradInput, Pass::GradWeight];
    let chosen = |s: &ConvShape| all.map(|pass| pays(s, pass));
    let (f4, f6) = (Some(Scheme { m: 4, r: 3 }), Some(Scheme { m: 6, r: 3 }));
    assert_eq!(chosen(&square(4, 44, [256, 256], 3, [1, 1, 1, 1])), [f4; 3]);
    assert_eq!(chosen(&square(4, 22, [512, 512], 3, [1, 1, 1, 1])), [f6; 3]);
    assert_eq!(chosen(&square(16, 12, [256, 4096], 6, [1, 5, 2, 1])), [f6; 3]);
    assert_eq!(chosen(&square(4, 44, [256, 512], 4, [2, 1, 1, 1])), [Some(Scheme { m: 3, r: 2 }); 3]);
    // Sixteen tiles are too few summands for a gradient.
    assert_eq!(chosen(&square(16, 4, [512, 512], 3, [1, 1, 1, 1])), [f4, f4, None]);
    for direct in [
        square(4, 44, [256, 256], 3, [2, 1, 1, 1]),
        square(4, 44, [256, 313], 1, [1, 0, 1, 1]),
        square(4, 176, [1, 64], 3, [1, 1, 1, 1]),
        square(1, 12, [256, 4096], 6, [1, 5, 2, 1]),
    ] {
        assert_eq!(chosen(&direct), [None; 3], "{direct:?}");
    }
}
