//! Between-layer calibration of Krähenbühl et al. (ICLR 2016). The weights of a network without batch normalization
//! are scaled until every layer has the same ratio of gradient to weight. The network's function is unchanged up to
//! one constant factor.
//!
//! Each round computes r = √(mean ∂W² / mean W²) of every layer for a random N(0, 1) gradient at the output, and r* =
//! (∏ r · σ)^(1/K) with σ the mean standard deviation of the outputs of the K-layer network, then sets W, b ← √(r /
//! r*)·(W, b). A layer whose gradient is too large is scaled up, which lowers its gradient and raises its norm. The
//! exponent ½, undamped, is that of the authors' code. Each bias is also multiplied by the scale of its layer's input,
//! which the factors of earlier layers have changed.
//!
//! Two differences from that code: every round uses the same random gradient, so the ratios converge instead of
//! fluctuating with each draw; and the rounds end when every r is within 1 % of r*, a bound on r and not on its
//! logarithm.
//!
//! **The input.** The authors' graph begins with a layer that centers L and is calibrated too, so their network
//! expects s·(L − 50), with s 0.693. Here s is a factor on the input that is calibrated like a layer and finally
//! multiplied into the first convolution: applying W to s·(L − 50) equals applying s·W to L − 50, zero padding
//! included, so all networks here still take L − 50. The function is the same, but a step of the same learning rate is
//! not: conv1 learns as if its rate were 1/s² of the authors', and its own r is r*/s². By default (`input: false`)
//! only trained layers are calibrated, and all of them end with the same r. The gradient of a single factor is one
//! random number. It is therefore computed per picture and the squares are summed, which has the same mean over random
//! output gradients.
//!
//! Out of scope: networks with batch normalization (absorb it first) or with other layers that are not homogeneous.

use super::{
    kinds::LayerKind,
    network::Network,
    table::{Layer, Role},
};
use crate::{
    bounded::{Count, Positive},
    extremes::largest,
    nn::{Mode, init::Filler},
    ops::{
        conv::{ConvGeometry, conv2d},
        tape::Tape,
    },
    rng::Rng,
};
use candle_core::{DType, Result, Tensor, TensorId, Var, bail};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fmt};

/// Outputs, standard deviation and bias of the temporary layer appended to a network without a head.
const HEAD: (usize, f64, f64) = (1000, 0.01, 1.0);
/// Largest deviation of ln σ from the value of a homogeneous network.
const STRAY: f64 = 0.25;

/// Calibration settings of a spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalibrationSpec {
    /// maximum number of rounds
    pub rounds: Count,
    /// largest relative deviation of each ratio from r*
    pub tolerance: Positive,
    /// whether a factor on the input is calibrated as a layer
    pub input: bool,
}

impl Default for CalibrationSpec {
    fn default() -> Self {
        Self { rounds: Count::of(10), tolerance: Positive::of(0.01), input: false }
    }
}

/// The ratios of one round, before its factors are applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// √(mean ∂W² / mean W²), in the order of [`Calibration::layers`].
    pub ratios: Vec<f64>,
    /// r*.
    pub target: f64,
    /// Mean over output channels of the standard deviation of the output.
    pub deviation: f64,
}

impl Round {
    /// The largest |ln (r / r*)|.
    pub fn spread(&self) -> f64 {
        largest(self.ratios.iter().map(|ratio| (ratio / self.target).ln()))
    }
}

/// Result of a calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The calibrated layers: `input` if included, those of the network, and `added head` for a temporary head.
    pub layers: Vec<String>,
    /// All rounds; the last one holds the final ratios.
    pub rounds: Vec<Round>,
    /// Whether the last round's ratios were within the tolerance.
    pub converged: bool,
    /// Whether the output was scaled as that of a homogeneous network.
    pub homogeneous: bool,
    /// s, folded into the first convolution; 1 if the input was not calibrated.
    pub input_scale: f64,
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(last)) = (self.rounds.first(), self.rounds.last()) else { return Ok(()) };
        writeln!(f, "{:12}  {:>11}  {:>11}", "ratio of", "before", "after")?;
        for ((layer, before), after) in self.layers.iter().zip(&first.ratios).zip(&last.ratios) {
            writeln!(f, "{layer:12}  {before:>11.4e}  {after:>11.4e}")?;
        }
        let how = if self.converged { "converged" } else { "not converged" };
        write!(
            f,
            "{how} after {} rounds: ratios within {:.1} % of ",
            self.rounds.len(),
            100.0 * last.spread()
        )?;
        write!(f, "{:.4e}", last.target)?;
        if self.layers.first().is_some_and(|layer| layer == "input") {
            write!(f, "; input scale {:.4}, now in the first convolution", self.input_scale)?;
        }
        if !self.homogeneous {
            write!(f, "\nthe network is not homogeneous: scaling its layers changed its function")?;
        }
        Ok(())
    }
}

/// Calibrates a network on one batch of its inputs `(B, H, W, C)`. A network without a head gets a temporary layer
/// after it; an existing head is calibrated too. Deep-supervision heads are unchanged.
///
/// # Errors
/// Batch normalization; sums and concatenations, whose branches cannot be scaled independently; a layer that
/// outputs only zeros or has a zero gradient, such as a zero head or the layers before it; maps too small for a
/// window.
pub fn calibrate(
    spec: &CalibrationSpec,
    network: &Network,
    batch: &Tensor,
    rng: &Rng,
) -> Result<Calibration> {
    check_layers(network.layers())?;
    let mut net = Net::new(spec, network, batch, rng)?;
    let noise = noise_like(&net.output(&Tape::default())?, rng)?;
    let (mut deviation, mut rounds, mut homogeneous) = (net.walk(None)?, vec![], true);
    let mut converged = false;
    for number in 1..=spec.rounds.get() {
        let round = net.round(&noise, deviation)?;
        tracing::info!("calibration round {number}: ratios within {:.1} %", 100.0 * round.spread());
        converged = round.spread() < spec.tolerance.get();
        let factors: Vec<f64> = round.ratios.iter().map(|ratio| (ratio / round.target).sqrt()).collect();
        rounds.push(round);
        if converged {
            break;
        }
        let before = deviation;
        deviation = net.walk(Some(&factors))?;
        let foreseen = before.ln() + factors.iter().map(|factor| factor.ln()).sum::<f64>();
        homogeneous &= (deviation.ln() - foreseen).abs() <= STRAY;
    }
    if !homogeneous {
        tracing::warn!(
            "calibration: the network is not homogeneous, so scaling its layers changes its function"
        );
    }
    if !converged {
        let last = net.round(&noise, deviation)?;
        converged = last.spread() < spec.tolerance.get();
        rounds.push(last);
    }
    let (layers, input_scale) = (net.names(), net.fold_input()?);
    Ok(Calibration { layers, rounds, converged, homogeneous, input_scale })
}

/// Checks that a network with these rows can be calibrated.
///
/// # Errors
/// The row that prevents calibration, and the remedy.
pub fn check_layers(layers: &[Layer]) -> Result<()> {
    for row in layers {
        match row.kind {
            LayerKind::BatchNorm(_) | LayerKind::LayerNorm(_) => bail!(
                "calibration: the network has {} normalization (`{}`), which undoes every scale: absorb it first \
                 (`hueristic weights absorb`)",
                row.kind.word(),
                row.name
            ),
            LayerKind::Add(_) | LayerKind::Concatenate(_) => bail!(
                "calibration: `{}` joins several branches ({}); scaling one branch changes the function of the \
                 network: only chains of layers can be rescaled",
                row.name,
                row.kind.word()
            ),
            _ => {}
        }
    }
    Ok(())
}

/// The ratios of an unmodified network, by the same random gradient as in [`calibrate`]: one round without an update.
///
/// # Errors
/// As [`calibrate`].
pub fn ratios(network: &Network, batch: &Tensor, rng: &Rng) -> Result<Round> {
    let spec = CalibrationSpec { input: false, ..CalibrationSpec::default() };
    let mut net = Net::new(&spec, network, batch, rng)?;
    let noise = noise_like(&net.output(&Tape::default())?, rng)?;
    let deviation = net.walk(None)?;
    net.round(&noise, deviation)
}

fn noise_like(output: &Tensor, rng: &Rng) -> Result<Tensor> {
    Filler::Gaussian { std: Positive::of(1.0) }.fill(output.dims(), &rng.split("gradient"), output.device())
}

/// The network with its optional input factor and temporary head.
struct Net<'a> {
    network: &'a Network,
    /// The row whose output is used: the head, or the last hidden row.
    last: usize,
    /// The rows from the input to `last`, in order.
    way: Vec<usize>,
    batch: Tensor,
    /// s, one copy per picture.
    input: Option<Var>,
    /// Weight and bias.
    head: Option<(Var, Var)>,
    /// Mean |input| of every layer that has a bias.
    sizes: Vec<f64>,
}

impl<'a> Net<'a> {
    fn new(spec: &CalibrationSpec, network: &'a Network, batch: &Tensor, rng: &Rng) -> Result<Self> {
        let (device, batch) = (batch.device(), batch.detach());
        let one = || Var::ones((batch.dim(0)?, 1, 1, 1), DType::F32, device);
        let headless = network.head().role != Role::Head;
        let last = if headless { network.last_hidden() } else { network.layers().len() - 1 };
        let (outputs, std, bias) = HEAD;
        let head = || -> Result<(Var, Var)> {
            let filler = Filler::Gaussian { std: Positive::of(std) };
            let inputs = network.layers()[last].outputs;
            let weight = filler.fill((outputs, 1, 1, inputs), &rng.split("head"), device)?;
            let bias = Filler::Constant { value: bias }.fill(outputs, rng, device)?;
            Ok((Var::from_tensor(&weight)?, Var::from_tensor(&bias)?))
        };
        let (_, way) = network.walk(&batch, last)?;
        Ok(Self {
            network,
            last,
            way,
            input: if spec.input { Some(one()?) } else { None },
            head: if headless { Some(head()?) } else { None },
            batch,
            sizes: vec![],
        })
    }

    /// The rows with weights.
    fn weighted(&self) -> impl Iterator<Item = (usize, &'a Layer)> {
        let rows = self.network.layers();
        self.way.iter().map(|i| (*i, &rows[*i])).filter(|(_, row)| row.kind.has_weights())
    }

    fn names(&self) -> Vec<String> {
        let layers = self.weighted().map(|(_, row)| row.name.clone());
        let input = self.input.iter().map(|_| "input".to_string());
        input.chain(layers).chain(self.head.iter().map(|_| "added head".to_string())).collect()
    }

    /// Forward pass that records gradients of every weight.
    fn output(&self, tape: &Tape) -> Result<Tensor> {
        let x = match &self.input {
            Some(scale) => self.batch.broadcast_mul(scale)?,
            None => self.batch.clone(),
        };
        let y = self.network.output(&x, self.last, &Mode::Eval(tape.clone()))?;
        match &self.head {
            Some((weight, bias)) => conv2d(&y, weight, Some(bias), ConvGeometry::default()),
            None => Ok(y),
        }
    }

    /// Ratios of the current weights, and their target.
    fn round(&mut self, noise: &Tensor, deviation: f64) -> Result<Round> {
        let (tape, mut gradients) = (Tape::default(), HashMap::new());
        tape.backward((self.output(&tape)? * noise)?.sum_all()?, &mut gradients)?;
        let mut ratios = vec![];
        if let Some(scale) = &self.input {
            let pictures = self.batch.dim(0)? as f64;
            ratios.push(ratio("the input", scale, &gradients)? * pictures.sqrt());
        }
        for (i, row) in self.weighted() {
            ratios.push(ratio(&row.name, self.network.weight(i)?, &gradients)?);
        }
        if let Some((weight, _)) = &self.head {
            ratios.push(ratio("the temporary head", weight, &gradients)?);
        }
        let logs = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() + deviation.ln();
        let target = (logs / ratios.len() as f64).exp();
        Ok(Round { ratios, target, deviation })
    }

    /// Runs the layers in order. With `factors`, multiplies each weight and bias by its factor, and first each bias by
    /// the change in scale of the layer's input. Returns the standard deviation of the output.
    fn walk(&mut self, factors: Option<&[f64]>) -> Result<f64> {
        let mut steps = Steps { factors: factors.map(<[f64]>::iter), before: &self.sizes, sizes: vec![] };
        let mut x = self.batch.clone();
        if let Some(scale) = &self.input {
            multiply(scale, steps.factor())?;
            x = x.broadcast_mul(&scale.as_detached_tensor())?;
        }
        let (mut values, way) = self.network.walk(&x, self.last)?;
        for i in way {
            let row = &self.network.layers()[i];
            let inputs = values.take(&row.from)?;
            if row.kind.has_weights() {
                steps.take(&row.name, &inputs[0], self.network.weight(i)?, self.network.bias(i))?;
            }
            x = self.network.step(i, &inputs)?;
            values.put(i + 1, x.clone());
        }
        if let Some((weight, bias)) = &self.head {
            steps.take("the temporary head", &x, weight, Some(bias))?;
            let [weight, bias] = [weight, bias].map(Var::as_detached_tensor);
            x = conv2d(&x, &weight, Some(&bias), ConvGeometry::default())?;
        }
        self.sizes = steps.sizes;
        deviation(&x)
    }

    /// Multiplies the input factor into the first convolution and returns it.
    fn fold_input(&mut self) -> Result<f64> {
        let Some(scale) = self.input.take() else { return Ok(1.0) };
        let scale = mean(&scale)?;
        if let Some((first, _)) = self.weighted().next() {
            multiply(self.network.weight(first)?, scale)?;
        }
        Ok(scale)
    }
}

/// State of one pass through the layers.
struct Steps<'a> {
    factors: Option<std::slice::Iter<'a, f64>>,
    /// Mean |input| of every layer at the last bias update.
    before: &'a [f64],
    /// The current values.
    sizes: Vec<f64>,
}

impl Steps<'_> {
    /// Factor of the next layer; 1 without scaling.
    fn factor(&mut self) -> f64 {
        self.factors.as_mut().and_then(|factors| factors.next().copied()).unwrap_or(1.0)
    }

    fn take(&mut self, name: &str, x: &Tensor, weight: &Var, bias: Option<&Var>) -> Result<()> {
        let size = mean(&x.abs()?)?;
        if !size.is_finite() {
            bail!(
                "calibration: the input of {name} is not finite: the weights before it are too large or damaged"
            )
        }
        if size <= 0.0 {
            bail!("calibration: the input of {name} is all zeros: the layers before it are dead")
        }
        let before = self.before.get(self.sizes.len()).copied().unwrap_or(size);
        self.sizes.push(size);
        if self.factors.is_none() {
            return Ok(());
        }
        let factor = self.factor();
        multiply(weight, factor)?;
        bias.map_or(Ok(()), |bias| multiply(bias, factor * size / before))
    }
}

fn multiply(var: &Var, factor: f64) -> Result<()> {
    var.set(&var.as_detached_tensor().affine(factor, 0.0)?)
}

/// √(mean ∂W² / mean W²)
fn ratio(name: &str, weight: &Var, gradients: &HashMap<TensorId, Tensor>) -> Result<f64> {
    let square = |x: &Tensor| mean(&x.to_dtype(DType::F64)?.sqr()?);
    let gradient = gradients.get(&weight.id()).map_or(Ok(0.0), |gradient| square(&gradient.detach()))?;
    let ratio = (gradient / square(&weight.as_detached_tensor())?).sqrt();
    if !ratio.is_finite() || ratio <= 0.0 {
        bail!(
            "calibration: the ratio of gradient to weight of {name} is {ratio}: its weights are zero or a layer \
             after them is dead or zero; calibrate trained or initialized weights, without a zero head"
        )
    }
    Ok(ratio)
}

fn mean(x: &Tensor) -> Result<f64> {
    x.to_dtype(DType::F64)?.flatten_all()?.mean(0)?.to_scalar()
}

/// Mean over channels of the standard deviation over batch and positions of `(B, H, W, C)`.
fn deviation(x: &Tensor) -> Result<f64> {
    let rows = x.to_dtype(DType::F64)?.flatten(0, 2)?;
    let centered = rows.broadcast_sub(&rows.mean_keepdim(0)?)?;
    let deviation = mean(&centered.sqr()?.mean(0)?.sqrt()?)?;
    if !deviation.is_finite() {
        bail!("calibration: the output of the network is not finite: its weights are too large or damaged")
    }
    if deviation <= 0.0 {
        bail!(
            "calibration: the output is the same for every picture and position: give more pictures or other weights"
        )
    }
    Ok(deviation)
}
