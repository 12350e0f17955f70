//! Interpreter of layer tables: builds the rows with their parameters and runs the requested ones. Training,
//! evaluation, data-dependent initialization and calibration all use it. Backbones differ only in their tables.

use super::{
    input::Input,
    kinds::{LayerKind, LayerModule},
    plan::{LiveValues, Plan, Step, inside_dtype},
    summary::Summary,
    table::{Layer, Role, check_size, first_of, reader, tap, taps},
};
use crate::{
    device::keep_layouts,
    nn::{Mode, layers::LayerCall, params::Params},
    ops::tape::{Evaluated, RecordedPass},
    rng::Rng,
};
use candle_core::{Result, Tensor, Var, bail};
use std::sync::Arc;

/// Alignment of prediction pixels with picture pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelGrid {
    /// Pixels between adjacent labels: labels are points at multiples of the stride.
    pub stride: usize,
    /// Whether resizing a map aligns the centers of the first and last samples; otherwise it aligns the outer borders.
    pub align_corners: bool,
    /// Divisor required of a picture's height and width, so that the maps align.
    pub multiple: usize,
}

impl PixelGrid {
    /// Number of labels along an axis of `pixels`: at stride 8, 180 → 23.
    pub fn labels(&self, pixels: usize) -> usize {
        pixels.div_ceil(self.stride)
    }
}

/// Properties of a network other than its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name for messages.
    pub name: &'static str,
    /// Input format of the weights.
    pub input: Input,
    /// Alignment of predictions with the picture.
    pub grid: PixelGrid,
    /// Side of the regions that the reader takes, in cells; `None` without a reader.
    pub region: Option<usize>,
}

/// A network: its table, and the parameters of each row.
#[derive(Clone, Debug)]
pub struct Network {
    interface: Interface,
    rows: Vec<Layer>,
    layers: Vec<Arc<dyn LayerModule>>,
    /// Number of leading rows that are frozen.
    frozen: usize,
}

impl Network {
    /// Adds the parameters of `rows` to `params` in order: `conv1.weight`, `conv1.bias`, …, and the buffers of batch
    /// normalization.
    ///
    /// # Errors
    /// More parameters than fit into memory, channels that do not split into groups, a duplicate name, a tensor that
    /// cannot be allocated on the device.
    pub fn new(interface: Interface, rows: Vec<Layer>, params: &mut Params, rng: &Rng) -> Result<Self> {
        if let Err(reason) = check_size(&rows) {
            bail!("{}: {reason}", interface.name)
        }
        let layers = rows.iter().map(|row| row.kind.build(&row.name, params, rng)).collect::<Result<_>>()?;
        Ok(Self { interface, rows, layers, frozen: 0 })
    }

    /// The table, in the order of computation.
    pub fn layers(&self) -> &[Layer] {
        &self.rows
    }

    /// Name, input and prediction grid.
    pub fn interface(&self) -> Interface {
        self.interface
    }

    /// Alignment of predictions with the picture.
    pub fn grid(&self) -> PixelGrid {
        self.interface.grid
    }

    /// Input format of the weights.
    pub fn input(&self) -> Input {
        self.interface.input
    }

    /// The last row, which the task reads.
    ///
    /// # Panics
    /// On a network without rows, which no backbone has.
    pub fn head(&self) -> &Layer {
        self.rows.last().expect("a backbone has at least one row")
    }

    /// Freezes all rows up to and including the tap `layer`: they use evaluation statistics, record no graph, and
    /// their parameters move to the buffers of `params`. Dropout stays active in training.
    ///
    /// # Errors
    /// An unknown tap.
    pub fn freeze_through(&mut self, layer: &str, params: &mut Params) -> Result<()> {
        self.freeze(self.tap(layer)? + 1, params);
        Ok(())
    }

    /// As [`Network::freeze_through`], for the rows before those of the tap `layer`.
    ///
    /// # Errors
    /// An unknown tap.
    pub fn freeze_before(&mut self, layer: &str, params: &mut Params) -> Result<()> {
        self.tap(layer)?;
        self.freeze(first_of(&self.rows, layer).unwrap_or(0), params);
        Ok(())
    }

    fn freeze(&mut self, count: usize, params: &mut Params) {
        let rows = &self.rows[..count];
        let is_frozen = |owner: &str| rows.iter().any(|row| row.name == owner);
        params.freeze(|name| name.rsplit_once('.').is_some_and(|(owner, _)| is_frozen(owner)));
        self.frozen = self.frozen.max(count);
    }

    /// Unfreezes all input channels of the first convolution except the first: the a and b weights of a network that
    /// is given color.
    ///
    /// # Errors
    /// A first row that is not a convolution or has only a lightness channel.
    pub fn unfreeze_chroma(&mut self, params: &mut Params) -> Result<()> {
        self.layers[0] = self.layers[0].with_chroma(&self.rows[0].name, params)?;
        Ok(())
    }

    /// Output maps, parameters and multiply-accumulates for a picture of `(height, width)` pixels.
    pub fn summary(&self, input: (usize, usize)) -> Result<Summary> {
        Summary::of(&self.rows, input)
    }

    /// x `(B, H, W, C)` → outputs of the named taps, in the requested order. Rows that none of them needs are skipped.
    ///
    /// # Errors
    /// An unknown tap, maps too small for a window.
    pub fn forward(&self, x: &Tensor, taps: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        self.run(x, 0, &self.asked(taps)?, mode)
    }

    /// As [`Network::forward`], with `x` in place of the trunk's output: used by detectors for their regions.
    ///
    /// # Errors
    /// As [`Network::forward`]; a network without a reader, a tap before it.
    pub fn forward_reader(&self, x: &Tensor, taps: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        let Some(first) = reader(&self.rows) else {
            bail!("{}: it has no layers that read a region", self.interface.name)
        };
        self.run(x, self.rows[first].from[0], &self.asked(taps)?, mode)
    }

    /// As [`Network::forward`], with `x` in place of the input of the row `first`.
    ///
    /// # Errors
    /// As [`Network::forward`]; an unknown row, a tap before it.
    pub fn forward_from(&self, first: &str, x: &Tensor, taps: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        match self.rows.iter().find(|row| row.name == first) {
            Some(row) => self.run(x, row.from[0], &self.asked(taps)?, mode),
            None => bail!("{}: there is no row `{first}`", self.interface.name),
        }
    }

    /// Output of row `row`, whether it is a tap or not.
    pub(super) fn output(&self, x: &Tensor, row: usize, mode: &Mode) -> Result<Tensor> {
        Ok(self.run(x, 0, &[row], mode)?.remove(0))
    }

    fn run(&self, x: &Tensor, entry: usize, asked: &[usize], mode: &Mode) -> Result<Vec<Tensor>> {
        let _layouts = keep_layouts(x.device());
        let table = (self.interface.name, self.rows.as_slice());
        let plan = Plan::new(table, (x, entry), asked, |row| self.layers[row].fuses_relu())?;
        if mode.tape().is_some() {
            plan.check_memory(table, self.frozen, x)?;
        }
        let mut values = plan.begin(entry, inside(x)?);
        let mut pass = RecordedPass::new(self.rows.len() + 1, entry, x, mode.tape());
        let mut kept: Vec<Option<Tensor>> = vec![None; asked.len()];
        for step in &plan.steps {
            let (from, layer) = (&self.rows[step.row].from, &self.layers[step.row]);
            let (mode, value) = (self.mode(step.row, mode), step.value());
            let (inputs, wants) = (values.take(from)?, pass.wants(from));
            let call = LayerCall { mode, relu: step.relu.is_some(), wants: &wants };
            let Evaluated { y, backward } = layer.evaluate(&inputs, call)?;
            pass.layer(from, value, layer.learned(mode), backward);
            for (slot, _) in kept.iter_mut().zip(asked).filter(|(_, asked)| **asked + 1 == value) {
                *slot = Some(pass.output(value, &y, x.dtype())?);
            }
            values.put(value, y);
        }
        pass.finish();
        Ok(kept.into_iter().flatten().collect())
    }

    /// Mode of row `i`: frozen rows use `Frozen`, except dropout and unfrozen chroma weights.
    fn mode<'a>(&self, i: usize, mode: &'a Mode) -> &'a Mode {
        let moves = matches!(self.rows[i].kind, LayerKind::Dropout(_)) || self.layers[i].learns_chroma();
        if i < self.frozen && !moves { &Mode::Frozen } else { mode }
    }

    fn asked(&self, taps: &[&str]) -> Result<Vec<usize>> {
        taps.iter().map(|name| self.tap(name)).collect()
    }

    fn tap(&self, name: &str) -> Result<usize> {
        match tap(&self.rows, name) {
            Some(row) => Ok(row),
            None => {
                let names: Vec<&str> = taps(&self.rows).collect();
                bail!(
                    "{}: there is no layer `{name}`; the layers are {}",
                    self.interface.name,
                    names.join(", ")
                )
            }
        }
    }
}

/// The input as layers compute.
fn inside(x: &Tensor) -> Result<Tensor> {
    x.detach().to_dtype(inside_dtype(x))
}

/// Row-by-row execution, for code that modifies a row before the next one reads its output.
impl Network {
    /// The values of a pass of `x` `(B, H, W, C)` to the tap or row `last`, and the rows on that path, in order. Other
    /// heads are not on the path.
    pub(super) fn walk(&self, x: &Tensor, last: usize) -> Result<(LiveValues, Vec<usize>)> {
        let table = (self.interface.name, self.rows.as_slice());
        let plan = Plan::new(table, (x, 0), &[last], |_| false)?;
        Ok((plan.begin(0, inside(x)?), plan.steps.iter().map(|step| step.row).collect()))
    }

    /// The values of a pass of `x` to the head, and its steps, of which some compute the ReLU that follows.
    pub(super) fn steps_to_head(&self, x: &Tensor) -> Result<(LiveValues, Vec<Step>)> {
        let table = (self.interface.name, self.rows.as_slice());
        let fuses = |row: usize| self.layers[row].fuses_relu();
        let plan = Plan::new(table, (x, 0), &[self.rows.len() - 1], fuses)?;
        Ok((plan.begin(0, inside(x)?), plan.steps))
    }

    /// Evaluates row `i` as `call` says.
    pub(super) fn evaluate_row(&self, i: usize, inputs: &[Tensor], call: LayerCall) -> Result<Evaluated> {
        self.layers[i].evaluate(inputs, call)
    }

    /// Output of row `i` with batch statistics and constant parameters: records no graph.
    pub(super) fn step(&self, i: usize, inputs: &[Tensor]) -> Result<Tensor> {
        let call = LayerCall { mode: &Mode::Initialization, relu: false, wants: &[] };
        Ok(self.layers[i].evaluate(inputs, call)?.y)
    }

    /// The weight of row `i`.
    pub(super) fn weight(&self, i: usize) -> Result<&Var> {
        match self.layers[i].weight() {
            Some(weight) => Ok(weight),
            None => bail!("{}: `{}` has no weight", self.interface.name, self.rows[i].name),
        }
    }

    /// The bias of row `i`, if it has one.
    pub(super) fn bias(&self, i: usize) -> Option<&Var> {
        self.layers[i].bias()
    }

    /// The last row before the heads: the input of a new head.
    pub(super) fn last_hidden(&self) -> usize {
        self.rows.iter().rposition(|row| row.role != Role::Head).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbones::{
            kinds::{
                AddRow, AddVectorRow, ChannelwiseRow, ConcatenateRow, FuseRow, GlobalPoolRow, LayerNormRow,
                NearestRow, PoolRow, ResizeRow, SelectChannelsRow, SlidingWindow, UnpackRow,
            },
            table::{TableBuilder, spliced},
        },
        bounded::Positive,
        extremes::between,
        nn::TrainingPass,
        nn::{
            init::Filler,
            layers::{BatchNormOptions, Fillers},
        },
    };
    use candle_core::{DType, Device};
    use std::collections::HashMap;

    fn interface() -> Interface {
        let grid = PixelGrid { stride: 1, align_corners: false, multiple: 1 };
        Interface { name: "drawn", input: Input::Lightness, grid, region: None }
    }

    fn noise(dims: &[usize], std: f64, seed: u64) -> Result<Tensor> {
        Filler::Gaussian { std: Positive::of(std) }.fill(dims, &Rng::new(seed), &Device::Cpu)
    }

    fn fillers() -> Fillers {
        let gaussian = |std| Filler::Gaussian { std: Positive::of(std) };
        Fillers { weight: gaussian(0.4), bias: Some(gaussian(0.1)) }
    }

    /// A graph with rows of every kind: three branches of one convolution, added, concatenated, reduced to a vector.
    fn every_kind() -> Vec<Layer> {
        let mut table = TableBuilder::new(2);
        table.conv("conv", [3, 1, 1, 1, 1], 4, fillers());
        table.batch_norm("bn", BatchNormOptions::PYTORCH).relu("relu", 0.0).tap("stem");
        let stem = table.value();
        let window = SlidingWindow { kernel: 4, stride: 2, pad: 1, dilation: 1 };
        table
            .pool("max", PoolRow::max(2, 2, 0))
            .conv_transpose("up", window, 4, fillers())
            .relu("leaky", 0.2);
        let up = table.tap("up").value();
        table.read(stem);
        table.pool("average", PoolRow::average(2, 2, 0));
        table.push("resize", LayerKind::Resize(ResizeRow { factor: 2, align_corners: false }));
        let smooth = table.tap("smooth").value();
        table.join("sum", LayerKind::Add(AddRow), vec![stem, up]);
        let filler = Filler::Gaussian { std: Positive::of(0.1) };
        let row = ChannelwiseRow { channels: 4, side: 6, filler };
        let sum = table.push("channelwise", LayerKind::Channelwise(row)).value();
        table
            .join("beside", LayerKind::Concatenate(ConcatenateRow), vec![sum, smooth])
            .response_norm("lrn")
            .tap("column");
        table
            .push("ln", LayerKind::LayerNorm(LayerNormRow { channels: 8, eps: 1e-5 }))
            .dropout("drop", "column");
        let map = table.value();
        table.push("mean", LayerKind::GlobalPool(GlobalPoolRow));
        let vector = table.linear("vector", 8, fillers()).value();
        table.join("biased", LayerKind::AddVector(AddVectorRow), vec![map, vector]);
        table.push("select", LayerKind::SelectChannels(SelectChannelsRow { first: 1, count: 6 }));
        let wide = table.push("nearest", LayerKind::Nearest(NearestRow { factor: 2 })).value();
        table.join("fused", LayerKind::Fuse(FuseRow), vec![wide, vector]);
        table.push("global", LayerKind::GlobalPool(GlobalPoolRow)).tap("pooled").role(Role::Head);
        table.push("part", LayerKind::Unpack(UnpackRow { first: 1, side: 1, channels: 6 }));
        table.linear("head", 3, fillers()).tap("head");
        table.rows()
    }

    fn drawn(layers: Vec<Layer>) -> Result<(Network, Params)> {
        let mut params = Params::new(&Device::Cpu);
        let net = Network::new(interface(), layers, &mut params, &Rng::new(1))?;
        Ok((net, params))
    }

    /// Checks every parameter of every kind against central differences along a random direction, in training mode.
    #[test]
    fn gradients_of_every_kind_are_those_of_finite_differences() -> Result<()> {
        let (net, params) = drawn(every_kind())?;
        let (x, weights) = (noise(&[3, 6, 6, 2], 1.0, 2)?, noise(&[3, 1, 1, 3], 1.0, 3)?);
        let pass = || TrainingPass::new(Rng::new(4));
        let loss = |pass: &TrainingPass| -> Result<Tensor> {
            (net.forward(&x, &["head"], &Mode::Train(pass.clone()))?.remove(0) * &weights)?.sum_all()
        };
        let (recorded, mut gradients) = (pass(), HashMap::new());
        recorded.tape.backward(loss(&recorded)?, &mut gradients)?;
        for param in params.iter() {
            let (name, var) = (&param.name, &param.var);
            let direction = noise(var.dims(), 1.0, 5)?;
            let gradient = gradients.get(&var.id()).unwrap_or_else(|| panic!("{name} has no gradient"));
            let analytic = (gradient * &direction)?.sum_all()?.to_scalar::<f32>()?;
            let (start, step) = (var.as_detached_tensor().copy()?, 2e-3);
            let at = |sign: f64| -> Result<f32> {
                var.set(&(&start + (&direction * (sign * step))?)?)?;
                loss(&pass())?.to_scalar::<f32>()
            };
            let numeric = (at(1.0)? - at(-1.0)?) / (2.0 * step as f32);
            var.set(&start)?;
            let scale = analytic.abs().max(numeric.abs()).max(0.1);
            assert!((analytic - numeric).abs() < 0.03 * scale, "{name}: {analytic} and {numeric}");
        }
        Ok(())
    }

    /// The loss at the head, and the gradients by parameter, of a pass that computes in `dtype`.
    fn loss_and_gradients(
        net: &Network,
        x: &Tensor,
        dtype: DType,
    ) -> Result<(f32, HashMap<candle_core::TensorId, Tensor>)> {
        let pass = TrainingPass::new(Rng::new(4));
        let y = net.forward(&x.to_dtype(dtype)?, &["head"], &Mode::Train(pass.clone()))?.remove(0);
        assert_eq!(y.dtype(), dtype);
        let loss = (y.to_dtype(DType::F32)? * noise(&[3, 1, 1, 3], 1.0, 3)?)?.sum_all()?;
        let (value, mut gradients) = (loss.to_scalar()?, HashMap::new());
        pass.tape.backward(loss, &mut gradients)?;
        Ok((value, gradients))
    }

    /// A layer's products and maps are rounded to 8 bits; the gradients of parameters are f32.
    #[test]
    fn every_kind_computes_in_bf16() -> Result<()> {
        let (net, params) = drawn(every_kind())?;
        let x = noise(&[3, 6, 6, 2], 1.0, 2)?.to_dtype(DType::BF16)?;
        let (want, wide) = loss_and_gradients(&net, &x, DType::F32)?;
        let (got, narrow) = loss_and_gradients(&net, &x, DType::BF16)?;
        assert!(got != want && (got - want).abs() < 0.03 * want.abs(), "{got} and {want}");
        let norm = |t: &Tensor| t.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
        for param in params.iter() {
            let [got, want] = [&narrow, &wide].map(|all| &all[&param.var.id()]);
            assert_eq!((got.dtype(), got.dims()), (DType::F32, param.var.dims()), "{}", param.name);
            // The gradient of a bias before a normalization is rounding errors alone.
            let (off, size) = (norm(&(got - want)?)?, norm(want)?);
            assert!(off < 0.25 * size + 0.05, "{}: {off} of {size}", param.name);
        }
        Ok(())
    }

    #[test]
    fn taps_are_what_their_rows_compute_and_nothing_else_is_computed() -> Result<()> {
        let (net, params) = drawn(every_kind())?;
        let x = noise(&[1, 6, 6, 2], 1.0, 2)?;
        let of = |tap: &str| -> Result<Tensor> { Ok(net.forward(&x, &[tap], &Mode::Frozen)?.remove(0)) };
        let together = net.forward(&x, &["column", "stem"], &Mode::Frozen)?;
        assert_eq!(
            (between(&together[0], &of("column")?)?, between(&together[1], &of("stem")?)?),
            (0.0, 0.0)
        );
        assert_eq!((of("up")?.dims4()?, of("smooth")?.dims4()?), ((1, 6, 6, 4), (1, 6, 6, 4)));
        // Rows that no tap needs are not run, so a broken one has no effect.
        params
            .get("up.weight")
            .expect("a weight")
            .set(&noise(&[4, 4, 4, 4], 1.0, 1)?.affine(f64::NAN, 0.0)?)?;
        let smooth = net.forward(&x, &["smooth"], &Mode::Frozen)?.remove(0).sum_all()?.to_scalar::<f32>()?;
        let column = net.forward(&x, &["column"], &Mode::Frozen)?.remove(0).sum_all()?.to_scalar::<f32>()?;
        assert!(smooth.is_finite() && column.is_nan());
        Ok(())
    }

    #[test]
    fn maps_that_do_not_go_together_are_refused_by_name() -> Result<()> {
        let mut table = TableBuilder::new(1);
        table.pool("half", PoolRow::max(2, 2, 0)).tap("half");
        let half = table.value();
        table.join("sum", LayerKind::Add(AddRow), vec![0, half]).tap("sum");
        let (net, _) = drawn(table.rows())?;
        let error = net
            .forward(&noise(&[1, 4, 4, 1], 1.0, 1)?, &["sum"], &Mode::Frozen)
            .expect_err("two sizes")
            .to_string();
        assert!(error.contains("sum") && error.contains("4×4") && error.contains("2×2"), "{error}");
        Ok(())
    }

    /// Refused before anything is computed.
    #[test]
    fn maps_that_no_memory_holds_are_refused() -> Result<()> {
        let mut table = TableBuilder::new(1);
        table.conv("wide", [1, 1, 0, 1, 1], 1 << 20, fillers()).tap("wide");
        let (net, _) = drawn(table.rows())?;
        let x = Tensor::zeros((1, 4000, 4000, 1), DType::F32, &Device::Cpu)?;
        let error = net
            .forward(&x, &["wide"], &Mode::Train(TrainingPass::new(Rng::new(1))))
            .expect_err("67 TB")
            .to_string();
        assert!(error.contains("67108.9 GB") && error.contains("`batch`"), "{error}");
        let table = ("drawn", net.layers());
        let plan = Plan::new(table, (&x, 0), &[0], |_| false)?;
        assert!(plan.check_memory(table, 1, &x).is_ok(), "maps of frozen rows are not kept");
        let error = plan.check_memory(table, 0, &x.to_dtype(DType::BF16)?).expect_err("34 TB").to_string();
        assert!(error.contains("33554.4 GB"), "{error}");
        Ok(())
    }

    /// A network cut at a tap continues with rows of another table; a cut through a shortcut is an error.
    #[test]
    fn tables_are_spliced_where_one_value_passes() -> Result<()> {
        let whole = every_kind();
        let (net, params) = drawn(spliced(&whole, &whole, "stem")?)?;
        assert_eq!((net.layers().len(), params.count()), (whole.len(), drawn(whole.clone())?.1.count()));
        let error = spliced(&whole, &whole, "up").expect_err("`average` reads `stem`").to_string();
        assert!(error.contains("average") && error.contains("up"), "{error}");
        Ok(())
    }
}
