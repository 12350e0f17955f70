//! ReLU with the usual subgradient 0 at 0 (candle's has 1), leaky ReLU, tanh and the logistic sigmoid, on the threads of
//! all layers. NaN propagates, so that a diverged network shows in its loss.

use super::{
    cpu::{Float, Stored, by_dtype, by_stored, map, map2},
    in_place::{ElementRule, fits, in_place},
    sum::sum_on_cpu,
    tape::{Evaluated, Gradient},
};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output};
#[cfg(feature = "cuda")]
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, launch, modules::ELEMENTWISE},
    op::{CudaInput, CudaOutput},
};
use candle_core::{Result, Tensor, WithDType};

/// max(x, 0), any shape, f32, f64 or bf16.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    leaky_relu(x, 0.0)
}

/// max(x, `slope`·x) for a slope in [0, 1]; shapes and types as [`relu`]. The subgradient at 0 is `slope`.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    apply(Relu { slope }, [x])
}

/// tanh(x), any shape, f32 or f64.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    apply(Saturation::Tanh, [x])
}

/// 1 / (1 + e⁻ˣ); shapes and types as [`tanh`].
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    apply(Saturation::Sigmoid, [x])
}

/// max(a + b, 0), on the CPU in one pass; outside of candle's graph.
///
/// # Errors
/// Two shapes or dtypes.
pub fn sum_relu(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() { sum_on_cpu(a, b, true) } else { relu(&(a.detach() + b.detach())?) }
}

/// [`leaky_relu`], outside of candle's graph; only the result is kept for the gradient.
pub fn leaky_relu_recorded(x: &Tensor, slope: f64) -> Result<Evaluated> {
    let y = leaky_relu(&x.detach(), slope)?;
    let kept = y.clone(); // positive where x is
    Ok(Evaluated::of_input(y, move |dy| Ok(gated_gradient(&kept, dy, slope)?.into())))
}

/// max(x, slope·x).
struct Relu {
    slope: f64,
}

impl Op<1> for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        Ok(by_stored!(x, T => {
            let elements = x.elements::<T>()?;
            let y = if self.slope == 0.0 {
                map(elements, Stored::rectify)
            } else {
                let slope = <T as Stored>::Wide::from_f64(self.slope);
                map(elements, |x| x.leak(x, slope))
            };
            output(y, x.shape())
        }))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, inputs: [CudaInput; 1]) -> Result<CudaOutput> {
        over_elements("relu", inputs, &[Arg::Double(self.slope)])
    }

    fn backward(&self, _: [&Tensor; 1], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(relu_gradient(y, dy, self.slope)?)])
    }
}

/// The input gradient of a (leaky) ReLU from its output y and the gradient of y; not recorded in the graph.
fn relu_gradient(y: &Tensor, dy: &Tensor, slope: f64) -> Result<Tensor> {
    compute(
        "relu gradient",
        [y, dy],
        |[y, dy]| {
            let gate = Gate { slope };
            Ok(by_stored!(y, T => {
                let rule = |y: T, dy: T| gate.apply(dy, y);
                output(map2(y.elements()?, dy.elements()?, rule), y.shape())
            }))
        },
        #[cfg(feature = "cuda")]
        |inputs| over_elements("relu_gradient", inputs, &[Arg::Double(slope)]),
    )
}

/// The input gradient of a (leaky) ReLU from its output y, in the memory of `dy` if nothing else holds that.
///
/// # Errors
/// Those of the device.
pub fn gated_gradient(y: &Tensor, dy: Gradient, slope: f64) -> Result<Tensor> {
    match dy.owned() {
        Ok(dy) if fits(&dy, y) => in_place(Gate { slope }, dy, y),
        Ok(dy) => relu_gradient(y, &dy, slope),
        Err(shared) => relu_gradient(y, shared.tensor(), slope),
    }
}

/// dy where a (leaky) ReLU's output y is positive, else slope·dy.
struct Gate {
    slope: f64,
}

impl ElementRule for Gate {
    const NAME: &'static str = "relu gradient";

    fn apply<T: Stored>(&self, dy: T, y: T) -> T {
        if self.slope == 0.0 { y.gate(dy) } else { y.leak(dy, T::Wide::from_f64(self.slope)) }
    }
}

/// Activations whose derivative is a function of their value.
#[derive(Clone, Copy)]
enum Saturation {
    Tanh,
    Sigmoid,
}

impl Saturation {
    fn value<T: Float>(self, x: T) -> T {
        match self {
            Self::Tanh => x.tanh(),
            Self::Sigmoid => T::one() / (T::one() + (-x).exp()),
        }
    }

    /// dy times the derivative where the value is y.
    fn gradient<T: Float>(self, y: T, dy: T) -> T {
        match self {
            Self::Tanh => dy * (T::one() - y * y),
            Self::Sigmoid => dy * (y * (T::one() - y)),
        }
    }
}

impl Op<1> for Saturation {
    fn name(&self) -> &'static str {
        match self {
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
        }
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        Ok(by_dtype!(x, T => output(map(x.elements::<T>()?, |x| self.value(x)), x.shape())))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, inputs: [CudaInput; 1]) -> Result<CudaOutput> {
        over_elements(self.name(), inputs, &[])
    }

    fn backward(&self, _: [&Tensor; 1], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let dx = compute(
            "gradient of an activation",
            [y, dy],
            |[y, dy]| {
                Ok(by_dtype!(y, T => {
                    output(map2(y.elements::<T>()?, dy.elements()?, |y, dy| self.gradient(y, dy)), y.shape())
                }))
            },
            #[cfg(feature = "cuda")]
            |inputs| over_elements(&format!("{}_gradient", self.name()), inputs, &[]),
        )?;
        Ok([Some(dx)])
    }
}

/// Launches an elementwise kernel with arguments (inputs, result, number of elements, `rest`), all tensors with the shape
/// and dtype of the first.
#[cfg(feature = "cuda")]
fn over_elements<const N: usize>(kernel: &str, inputs: [CudaInput; N], rest: &[Arg]) -> Result<CudaOutput> {
    let x = inputs[0];
    let (device, dtype, shape) = (x.device(), x.dtype(), x.shape());
    if let Some(other) = inputs.iter().find(|input| input.dtype() != dtype) {
        candle_core::bail!("{}: arguments of {dtype:?} and {:?}: one type wanted", x.op, other.dtype());
    }
    let mut args = Vec::new();
    for input in inputs {
        args.push(Arg::Pointer(input.address()?));
    }
    let (storage, result) = alloc_uninit(device, shape, dtype)?;
    let n = shape.elem_count();
    args.extend([Arg::Pointer(result), Arg::count(n)]);
    args.extend_from_slice(rest);
    let packs = n.div_ceil(16 / dtype.size_in_bytes());
    launch(device, ELEMENTWISE, &format!("{kernel}_{}", x.element()?), Grid::over(packs), &args)?;
    Ok((storage, shape.clone()))
}
