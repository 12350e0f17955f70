//! Convolution against known answers: a direct sum, finite differences, candle's own convolution, the adjoint identity,
//! and itself on another number of threads.

use super::on_devices::{device, on_every_device};
use candle_core::{DType, Result, Tensor, Var};
use hueristic::extremes::{apart, largest};
use hueristic::ops::activation::relu;
use hueristic::ops::conv::{ConvGeometry, conv2d, conv2d_input_grad, conv2d_relu, conv2d_weight_grad};
use hueristic::ops::conv_transpose::{conv_transpose2d, conv_transpose2d_relu};
use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A convolution to check.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    size: (usize, usize),
    inputs: usize,
    outputs: usize,
    kernel: (usize, usize),
    g: ConvGeometry,
}

const fn case(
    (batch, h, w): (usize, usize, usize),
    (inputs, outputs): (usize, usize),
    kernel: (usize, usize),
    [stride, pad, dilation, groups]: [usize; 4],
) -> Case {
    Case { batch, size: (h, w), inputs, outputs, kernel, g: ConvGeometry { stride, pad, dilation, groups } }
}

/// Odd and even sizes, non-square inputs and kernels, stride ≠ and > kernel, dilation, groups, short and long channel
/// runs, batches on both sides of the tile height.
const CASES: &[Case] = &[
    case((1, 5, 7), (3, 4), (3, 3), [1, 1, 1, 1]),
    case((2, 7, 5), (2, 3), (3, 2), [2, 1, 1, 1]),
    case((3, 6, 6), (17, 5), (1, 1), [1, 0, 1, 1]),
    case((2, 5, 4), (18, 50), (1, 1), [2, 0, 1, 1]),
    case((2, 9, 8), (4, 6), (2, 2), [3, 0, 1, 2]),
    case((1, 8, 11), (20, 7), (2, 3), [4, 1, 2, 1]),
    case((3, 7, 7), (6, 6), (3, 3), [1, 1, 1, 6]),
    case((2, 5, 6), (5, 10), (3, 3), [2, 1, 1, 5]),
    case((2, 12, 12), (3, 4), (6, 6), [1, 5, 2, 1]),
    case((9, 4, 3), (34, 66), (3, 3), [1, 1, 1, 2]),
    case((16, 3, 3), (16, 17), (3, 3), [1, 2, 2, 1]),
    case((9, 5, 5), (17, 19), (3, 3), [2, 1, 1, 1]),
    case((3, 11, 6), (1, 9), (5, 4), [4, 2, 1, 1]),
    case((4, 6, 7), (16, 49), (4, 4), [2, 1, 1, 1]),
    case((1, 1, 1), (70, 3), (1, 1), [1, 0, 1, 1]),
    case((2, 3, 3), (40, 4), (3, 3), [1, 4, 1, 1]),
];

/// Shapes where every packing block and panel width is in play, too large for a direct sum in a test.
const LARGE: &[Case] = &[
    case((16, 12, 12), (256, 100), (6, 6), [1, 5, 2, 1]),
    case((4, 22, 20), (160, 313), (3, 3), [1, 2, 2, 1]),
    case((5, 23, 23), (96, 256), (5, 5), [1, 2, 1, 2]),
    case((3, 45, 44), (1, 96), (11, 11), [4, 5, 1, 1]),
    case((2, 9, 7), (2600, 50), (1, 1), [1, 0, 1, 1]),
    case((4, 30, 31), (64, 64), (3, 3), [2, 1, 1, 1]),
];

impl Case {
    fn out(&self) -> (usize, usize) {
        (self.g.out(self.size.0, self.kernel.0), self.g.out(self.size.1, self.kernel.1))
    }
    /// Of f32: layers of several taps may be computed by minimal filtering.
    fn tolerance(&self) -> f64 {
        if self.kernel == (1, 1) { 1e-5 } else { 1e-4 }
    }
    fn x_dims(&self) -> [usize; 4] {
        [self.batch, self.size.0, self.size.1, self.inputs]
    }
    fn w_dims(&self) -> [usize; 4] {
        [self.outputs, self.kernel.0, self.kernel.1, self.inputs / self.g.groups]
    }
    fn y_dims(&self) -> [usize; 4] {
        [self.batch, self.out().0, self.out().1, self.outputs]
    }
    /// x, w, dy and a bias.
    fn tensors(&self, dtype: DType) -> Result<(Tensor, Tensor, Tensor, Tensor)> {
        let make = |dims: &[usize], seed| random(dims, seed).and_then(|t| t.to_dtype(dtype));
        Ok((
            make(&self.x_dims(), 1)?,
            make(&self.w_dims(), 2)?,
            make(&self.y_dims(), 3)?,
            make(&[self.outputs], 4)?,
        ))
    }
}

/// Uniform values in [-1, 1), f64, from one seed.
fn random(dims: &[usize], seed: u64) -> Result<Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f64> = (0..dims.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, dims, &device())
}

fn values(t: &Tensor) -> Result<Vec<f64>> {
    t.to_dtype(DType::F64)?.contiguous()?.flatten_all()?.to_vec1()
}

/// Largest difference relative to the largest magnitude of `want`.
fn distance(got: &Tensor, want: &Tensor) -> Result<f64> {
    assert_eq!(got.dims(), want.dims());
    let (got, want) = (values(got)?, values(want)?);
    let scale = 1e-12 + largest(want.iter().copied());
    Ok(apart(&got, &want) / scale)
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(values(a)?.iter().zip(values(b)?).map(|(a, b)| a * b).sum())
}

/// The definition, seven loops in f64: calls `visit(x index, w index, y index)` for each product of the convolution.
fn each_product(c: &Case, mut visit: impl FnMut(usize, usize, usize)) {
    let (ci, co) = (c.inputs / c.g.groups, c.outputs / c.g.groups);
    let (oh, ow) = c.out();
    let place = |o: usize, k: usize, n: usize| {
        (o * c.g.stride + k * c.g.dilation).checked_sub(c.g.pad).filter(|&i| i < n)
    };
    for n in 0..c.batch {
        for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
            for (ky, kx) in (0..c.kernel.0).flat_map(|a| (0..c.kernel.1).map(move |b| (a, b))) {
                let (Some(iy), Some(ix)) = (place(y, ky, c.size.0), place(x, kx, c.size.1)) else { continue };
                for o in 0..c.outputs {
                    for i in 0..ci {
                        let at_x = ((n * c.size.0 + iy) * c.size.1 + ix) * c.inputs + o / co * ci + i;
                        let at_w = ((o * c.kernel.0 + ky) * c.kernel.1 + kx) * ci + i;
                        visit(at_x, at_w, ((n * oh + y) * ow + x) * c.outputs + o);
                    }
                }
            }
        }
    }
}

/// y, dx and dw by the definition.
fn direct(c: &Case, x: &Tensor, w: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
    let (vx, vw, vdy) = (values(x)?, values(w)?, values(dy)?);
    let (mut y, mut dx, mut dw) = (vec![0.0; vdy.len()], vec![0.0; vx.len()], vec![0.0; vw.len()]);
    each_product(c, |i, k, o| {
        y[o] += vx[i] * vw[k];
        dx[i] += vdy[o] * vw[k];
        dw[k] += vdy[o] * vx[i];
    });
    let tensor = |v: Vec<f64>, like: &Tensor| Tensor::from_vec(v, like.dims(), &device());
    Ok((tensor(y, dy)?, tensor(dx, x)?, tensor(dw, w)?))
}

/// The products in one dtype: y, dx, dw.
fn ours(c: &Case, x: &Tensor, w: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
    Ok((
        conv2d(x, w, None, c.g)?,
        conv2d_input_grad(c.size, w, dy, c.g)?,
        conv2d_weight_grad(x, c.kernel, dy, c.g)?,
    ))
}

#[test]
fn equals_the_definition_in_f64_and_f32() {
    on_every_device(|| -> Result<()> {
        for c in CASES {
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                let (x, w, dy, _) = c.tensors(dtype)?;
                let (want, got) = (direct(c, &x, &w, &dy)?, ours(c, &x, &w, &dy)?);
                for (name, got, want) in [("y", got.0, want.0), ("dx", got.1, want.1), ("dw", got.2, want.2)]
                {
                    let d = distance(&got, &want)?;
                    assert!(d < tolerance, "{name} of {c:?} in {dtype:?} is off by {d:e}");
                }
            }
        }
        Ok(())
    });
}

#[test]
fn f32_agrees_with_f64_on_large_shapes() {
    on_every_device(|| -> Result<()> {
        for c in LARGE {
            let (x, w, dy, _) = c.tensors(DType::F32)?;
            let wide = |t: &Tensor| t.to_dtype(DType::F64);
            let want = ours(c, &wide(&x)?, &wide(&w)?, &wide(&dy)?)?;
            let got = ours(c, &x, &w, &dy)?;
            for (name, got, want) in [("y", got.0, want.0), ("dx", got.1, want.1), ("dw", got.2, want.2)] {
                let d = distance(&got, &want)?;
                assert!(d < c.tolerance(), "{name} of {c:?} is off by {d:e}");
            }
        }
        Ok(())
    });
}

/// candle's convolution, NCHW and OIHW, is right (and slow).
#[test]
fn agrees_with_candle_on_large_shapes() {
    on_every_device(|| -> Result<()> {
        for c in LARGE {
            let (x, w, dy, bias) = c.tensors(DType::F32)?;
            let (nchw, oihw) =
                (x.permute((0, 3, 1, 2))?.contiguous()?, w.permute((0, 3, 1, 2))?.contiguous()?);
            let g = &c.g;
            let want = nchw.conv2d(&oihw, g.pad, g.stride, g.dilation, g.groups)?.permute((0, 2, 3, 1))?;
            let want = want.broadcast_add(&bias)?;
            assert_eq!(want.dims(), dy.dims());
            let d = distance(&conv2d(&x, &w, Some(&bias), c.g)?, &want)?;
            assert!(d < c.tolerance(), "{c:?} is off by {d:e}");
        }
        Ok(())
    });
}

#[test]
fn the_three_products_are_adjoint() {
    on_every_device(|| -> Result<()> {
        for c in CASES.iter().chain(LARGE) {
            let (x, w, dy, _) = c.tensors(DType::F64)?;
            let (y, dx, dw) = ours(c, &x, &w, &dy)?;
            let (one, two, three) = (dot(&y, &dy)?, dot(&dx, &x)?, dot(&dw, &w)?);
            // Cancellation: a sum of n products of size one has magnitude about √n, and rounding about n·ε.
            let scale = y.elem_count() as f64;
            assert!((one - two).abs() < 1e-12 * scale && (one - three).abs() < 1e-12 * scale, "{c:?}");
        }
        Ok(())
    });
}

/// A layer as a function of x, w and perhaps a bias.
type Layer<'a> = dyn Fn(&Tensor, &Tensor, Option<&Tensor>) -> Result<Tensor> + 'a;

/// A layer whose loss is a fixed random projection of its result.
struct Probe<'a> {
    layer: &'a Layer<'a>,
    projection: Tensor,
}

impl Probe<'_> {
    fn loss(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        ((self.layer)(x, w, bias)? * &self.projection)?.sum_all()
    }

    /// Central differences of every element of argument `which` against the graph's gradient.
    fn check(&self, args: [&Tensor; 3], with_bias: bool, what: &str) -> Result<()> {
        let vars = [Var::from_tensor(args[0])?, Var::from_tensor(args[1])?, Var::from_tensor(args[2])?];
        let grads = self.loss(&vars[0], &vars[1], with_bias.then_some(vars[2].as_tensor()))?.backward()?;
        for (which, var) in vars.iter().enumerate().take(if with_bias { 3 } else { 2 }) {
            let grad = values(grads.get(var).expect("a gradient for each variable"))?;
            let start = values(var)?;
            // Every element of small arguments, an even sample of large ones.
            for i in (0..start.len()).step_by(start.len().div_ceil(60)) {
                let at = |delta: f64| -> Result<f64> {
                    let mut moved = start.clone();
                    moved[i] += delta;
                    let moved = Tensor::from_vec(moved, var.dims(), &device())?;
                    let mut args = args;
                    args[which] = &moved;
                    self.loss(args[0], args[1], with_bias.then_some(args[2]))?.to_scalar()
                };
                let slope = (at(1e-4)? - at(-1e-4)?) / 2e-4;
                let off = (slope - grad[i]).abs() / (1.0 + slope.abs());
                assert!(off < 1e-7, "{what}: argument {which}, element {i}: {slope} against {}", grad[i]);
            }
        }
        Ok(())
    }
}

/// The projection without the elements that a small step could carry over the kink of the ReLU.
fn off_the_kink(projection: &Tensor, sums: &Tensor) -> Result<Tensor> {
    projection * sums.abs()?.ge(1e-2)?.to_dtype(DType::F64)?
}

#[test]
fn conv2d_gradients_equal_finite_differences() {
    on_every_device(|| -> Result<()> {
        for c in CASES {
            let (x, w, _, bias) = c.tensors(DType::F64)?;
            let projection = random(&c.y_dims(), 5)?;
            let layer = |x: &Tensor, w: &Tensor, b: Option<&Tensor>| conv2d(x, w, b, c.g);
            let probe = Probe { layer: &layer, projection: projection.clone() };
            probe.check([&x, &w, &bias], true, &format!("{c:?} with bias"))?;
            probe.check([&x, &w, &bias], false, &format!("{c:?}"))?;
            for with_bias in [false, true] {
                let projection =
                    off_the_kink(&projection, &conv2d(&x, &w, with_bias.then_some(&bias), c.g)?)?;
                let layer = |x: &Tensor, w: &Tensor, b: Option<&Tensor>| conv2d_relu(x, w, b, c.g);
                let probe = Probe { layer: &layer, projection };
                probe.check([&x, &w, &bias], with_bias, &format!("{c:?} with relu"))?;
            }
        }
        Ok(())
    });
}

#[test]
fn conv_transpose2d_gradients_equal_finite_differences() {
    on_every_device(|| -> Result<()> {
        for c in CASES {
            // The case read backwards: from its output channels and size to its input channels.
            let (oh, ow) = c.out();
            let result =
                [c.batch, c.g.transposed_out(oh, c.kernel.0), c.g.transposed_out(ow, c.kernel.1), c.inputs];
            if result.contains(&0) {
                continue;
            }
            let (x, w, bias) = (random(&c.y_dims(), 1)?, random(&c.w_dims(), 2)?, random(&[c.inputs], 3)?);
            let projection = random(&result, 5)?;
            let layer = |x: &Tensor, w: &Tensor, b: Option<&Tensor>| conv_transpose2d(x, w, b, c.g);
            let probe = Probe { layer: &layer, projection: projection.clone() };
            probe.check([&x, &w, &bias], true, &format!("transposed {c:?}"))?;
            let layer = |x: &Tensor, w: &Tensor, b: Option<&Tensor>| conv_transpose2d_relu(x, w, b, c.g);
            let projection = off_the_kink(&projection, &conv_transpose2d(&x, &w, Some(&bias), c.g)?)?;
            let probe = Probe { layer: &layer, projection };
            probe.check([&x, &w, &bias], true, &format!("transposed {c:?} with relu"))?;
        }
        Ok(())
    });
}

/// Blocks of the depth that a tile skips, since its taps all fall in the padding, must not skip the ReLU.
#[test]
fn a_fused_relu_is_the_relu_of_the_result() {
    on_every_device(|| -> Result<()> {
        for c in CASES.iter().chain(LARGE) {
            let (x, w, dy, bias) = c.tensors(DType::F32)?;
            for bias in [None, Some(&bias)] {
                let (got, want) = (conv2d_relu(&x, &w, bias, c.g)?, relu(&conv2d(&x, &w, bias, c.g)?)?);
                assert_eq!(distance(&got, &want)?, 0.0, "{c:?}");
            }
            if c.g.groups == 1 {
                let (got, want) =
                    (conv_transpose2d_relu(&dy, &w, None, c.g)?, conv_transpose2d(&dy, &w, None, c.g)?);
                assert_eq!(distance(&got, &relu(&want)?)?, 0.0, "transposed {c:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_fused_relu_shows_nan_and_has_gradient_zero_at_zero() {
    on_every_device(|| -> Result<()> {
        let g = ConvGeometry::default();
        let w = Tensor::ones((1, 1, 1, 1), DType::F32, &device())?;
        let x =
            Var::from_tensor(&Tensor::new(&[f32::NAN, 0.0, -1.0, 2.0], &device())?.reshape((1, 2, 2, 1))?)?;
        let y = conv2d_relu(&x, &w, None, g)?;
        let (first, rest) = (y.flatten_all()?.to_vec1::<f32>()?[0], y.flatten_all()?.narrow(0, 1, 3)?);
        assert!(first.is_nan());
        assert_eq!(rest.to_vec1::<f32>()?, [0.0, 0.0, 2.0]);
        let grads = y.sum_all()?.backward()?;
        let dx = grads.get(&x).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(dx[1..], [0.0, 0.0, 1.0]);
        Ok(())
    });
}

#[test]
fn conv_transpose2d_agrees_with_candle() -> Result<()> {
    for c in CASES.iter().filter(|c| c.g.groups == 1) {
        let (_, w, dy, _) = c.tensors(DType::F64)?;
        let (nchw, oihw) = (dy.permute((0, 3, 1, 2))?.contiguous()?, w.permute((0, 3, 1, 2))?.contiguous()?);
        let want =
            nchw.conv_transpose2d(&oihw, c.g.pad, 0, c.g.stride, c.g.dilation)?.permute((0, 2, 3, 1))?;
        let d = distance(&conv_transpose2d(&dy, &w, None, c.g)?, &want)?;
        assert!(d < 1e-12, "{c:?} is off by {d:e}");
    }
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() -> Result<()> {
    for c in CASES.iter().chain(LARGE) {
        let (x, w, dy, _) = c.tensors(DType::F32)?;
        let on = |threads: usize| -> Result<Vec<Vec<u32>>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            let (y, dx, dw) = pool.install(|| ours(c, &x, &w, &dy))?;
            let bits = |t: Tensor| -> Result<Vec<u32>> {
                Ok(t.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
            };
            Ok(vec![bits(y)?, bits(dx)?, bits(dw)?])
        };
        let alone = on(1)?;
        assert!(on(2)? == alone && on(5)? == alone, "{c:?}");
    }
    Ok(())
}

#[test]
fn strided_views_are_read_as_they_are_meant() {
    on_every_device(|| -> Result<()> {
        let c = CASES[1];
        let (x, w, dy, _) = c.tensors(DType::F64)?;
        let twisted = |t: &Tensor| t.permute((3, 1, 0, 2))?.contiguous()?.permute((2, 1, 3, 0));
        let want = ours(&c, &x, &w, &dy)?;
        let got = ours(&c, &twisted(&x)?, &twisted(&w)?, &twisted(&dy)?)?;
        assert_eq!(values(&got.0)?, values(&want.0)?);
        assert_eq!(values(&got.1)?, values(&want.1)?);
        assert_eq!(values(&got.2)?, values(&want.2)?);
        // A narrow view has an offset into its storage.
        let tail = conv2d(&x.narrow(0, 1, 1)?, &w, None, c.g)?;
        assert_eq!(values(&tail)?, values(&want.0.narrow(0, 1, 1)?)?);
        Ok(())
    });
}

#[test]
fn only_tracked_arguments_get_gradients() {
    on_every_device(|| -> Result<()> {
        let c = CASES[0];
        let (x, w, _, bias) = c.tensors(DType::F64)?;
        let vw = Var::from_tensor(&w)?;
        let grads = conv2d(&x, &vw, Some(&bias), c.g)?.sum_all()?.backward()?;
        assert!(grads.get(&vw).is_some() && grads.get(&x).is_none() && grads.get(&bias).is_none());
        let vx = Var::from_tensor(&x)?;
        // x as the result of other operations: its gradient must travel on to the variable.
        let grads = conv2d(&(vx.as_tensor() * 2.0)?, &w, None, c.g)?.sum_all()?.backward()?;
        assert!(grads.get(&vx).is_some() && grads.get(&w).is_none());
        Ok(())
    });
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_name() {
    on_every_device(|| -> Result<()> {
        let (x, w) = (random(&[1, 4, 4, 6], 1)?, random(&[4, 3, 3, 2], 2)?);
        let g = ConvGeometry { groups: 2, ..Default::default() };
        let refused = |e: Result<Tensor>| e.expect_err("an error").to_string();
        assert!(refused(conv2d(&x, &w, None, g)).contains("conv2d"));
        let g = ConvGeometry { groups: 3, ..Default::default() };
        assert!(refused(conv2d(&x, &w, None, g)).contains("groups"));
        let w = random(&[4, 5, 5, 6], 2)?;
        assert!(refused(conv2d(&x, &w, None, ConvGeometry::default())).contains("nothing to compute"));
        let g = ConvGeometry { stride: 0, ..Default::default() };
        assert!(refused(conv2d(&x, &w, None, g)).contains("at least 1"));
        let (w, bias) = (random(&[4, 3, 3, 6], 2)?, random(&[5], 3)?);
        assert!(refused(conv2d(&x, &w, Some(&bias), ConvGeometry::default())).contains("bias"));
        Ok(())
    });
}
