//! The backward pass over layer graphs against candle's own, on random small graphs of every kind of layer, and its
//! limits: branches that the loss does not read, batches of one, shapes that change, parameters read twice.

use super::{
    input::Input,
    kinds::{
        AddRow, AddVectorRow, ChannelwiseRow, ConcatenateRow, FuseRow, GlobalPoolRow, LayerKind,
        LayerNormRow, NearestRow, PoolRow, ResizeRow, SelectChannelsRow, SlidingWindow, Statistic,
        StopGradientRow, UnpackRow, fused,
    },
    network::{Interface, Network, PixelGrid},
    table::{Layer, TableBuilder, sizes},
};
use crate::{
    bounded::Positive,
    extremes::{between, largest_of},
    nn::{
        Mode, TrainingPass,
        init::Filler,
        layers::{BatchNormOptions, Fillers},
        optim::{Optimizer, OptimizerSpec},
        params::Params,
    },
    ops::{
        activation::{leaky_relu, relu},
        batch_norm::{Running, batch_norm_train},
        conv::{ConvGeometry, conv2d},
        conv_transpose::conv_transpose2d,
        dropout::dropout,
        lrn::{Lrn, lrn},
        pool::{avg_pool2d, max_pool2d},
        resize::resize_bilinear,
        tape::Tape,
    },
    rng::Rng,
};
use candle_core::{DType, Device, Result, Tensor, TensorId, Var};
use proptest::prelude::*;
use std::collections::HashMap;

const SIDE: usize = 7;
const CHANNELS: usize = 3;

fn noise(dims: &[usize], seed: u64) -> Result<Tensor> {
    Filler::Gaussian { std: Positive::of(1.0) }.fill(dims, &Rng::new(seed), &Device::Cpu)
}

fn fillers() -> Fillers {
    let gaussian = |std| Filler::Gaussian { std: Positive::of(std) };
    Fillers { weight: gaussian(0.4), bias: Some(gaussian(0.1)) }
}

fn built(rows: Vec<Layer>) -> Result<(Network, Params)> {
    let grid = PixelGrid { stride: 1, align_corners: false, multiple: 1 };
    let interface = Interface { name: "random", input: Input::Lightness, grid, region: None };
    let mut params = Params::new(&Device::Cpu);
    Ok((Network::new(interface, rows, &mut params, &Rng::new(1))?, params))
}

/// Adds the layer that `choice` stands for, reading value `at` (and `beside` where it joins two), if it fits the sizes and
/// channels in `map`.
fn grow(
    table: &mut TableBuilder,
    (choice, at, beside): (u8, usize, usize),
    map: &[((usize, usize), usize)],
) -> bool {
    let (name, (size, width)) = (format!("row{}", map.len()), map[at]);
    let window = SlidingWindow { kernel: 2, stride: 2, pad: 0, dilation: 1 };
    let fits = |least: usize| size.0.min(size.1) >= least;
    table.read(at);
    let grown = match choice {
        0 => table.conv(&name, [3, 1, 1, 1, 1], 4, fillers()),
        1 if width % 2 == 0 => table.conv(&name, [1, 1, 0, 2, 1], 4, fillers()),
        2 if fits(5) => table.conv(&name, [3, 2, 0, 1, 2], 6, fillers()),
        3 if size.0 <= 8 => table.conv_transpose(&name, window, 3, fillers()),
        4 => table.batch_norm(&name, BatchNormOptions::PYTORCH),
        5 => table.batch_norm(&name, BatchNormOptions::CAFFE),
        6 | 7 => table.relu(&name, 0.0),
        8 => table.relu(&name, 0.2),
        9 if fits(2) => table.pool(&name, PoolRow::max(3, 2, 1)),
        10 if fits(2) => table.pool(&name, PoolRow::average(2, 1, 0)),
        11 if size.0 <= 8 => {
            table.push(&name, LayerKind::Resize(ResizeRow { factor: 2, align_corners: true }))
        }
        12 => table.response_norm(&name),
        13 => table.push(&name, LayerKind::LayerNorm(LayerNormRow { channels: width, eps: 1e-5 })),
        14 => table.dropout(&name, &name),
        15 | 16 if map[beside] == map[at] => table.join(&name, LayerKind::Add(AddRow), vec![at, beside]),
        17 if map[beside].0 == size => {
            table.join(&name, LayerKind::Concatenate(ConcatenateRow), vec![at, beside])
        }
        18 if fits(2) => table.push(&name, LayerKind::GlobalPool(GlobalPoolRow)),
        19 if size == (1, 1) => table.linear(&name, 5, fillers()),
        20 if size.0 == size.1 && size.0 <= 8 => {
            let filler = Filler::Gaussian { std: Positive::of(1.0 / size.0 as f64) };
            let row = ChannelwiseRow { channels: width, side: size.0, filler };
            table.push(&name, LayerKind::Channelwise(row))
        }
        21 if map[beside] == ((1, 1), width) => {
            table.join(&name, LayerKind::AddVector(AddVectorRow), vec![at, beside])
        }
        22 if size == (1, 1) && width % 2 == 0 => {
            table.push(&name, LayerKind::Unpack(UnpackRow { first: width / 2, side: 1, channels: width / 2 }))
        }
        23 if width > 2 => {
            table.push(&name, LayerKind::SelectChannels(SelectChannelsRow { first: 1, count: width - 2 }))
        }
        25 if size.0 <= 8 => table.push(&name, LayerKind::Nearest(NearestRow { factor: 2 })),
        26 if map[beside].0 == (1, 1) && at != beside => {
            table.join(&name, LayerKind::Fuse(FuseRow), vec![at, beside])
        }
        24 => table.push(&name, LayerKind::StopGradient(StopGradientRow)),
        _ => return false,
    };
    grown.tap(&name);
    true
}

/// A graph grown by `choices`, each with the places of the values that it reads.
fn graph(choices: &[(u8, usize, usize)]) -> Vec<Layer> {
    let mut table = TableBuilder::new(CHANNELS);
    table.conv("first", [3, 1, 1, 1, 1], 4, fillers()).tap("first");
    let mut map = vec![((SIDE, SIDE), CHANNELS), ((SIDE, SIDE), 4)];
    for &(choice, at, beside) in choices {
        // Values near the end are the likelier, so that graphs get deep.
        let back = |n: usize| map.len() - 1 - (n % (map.len() - 1).min(3));
        if grow(&mut table, (choice, back(at), back(beside)), &map) {
            let rows = table.clone().rows();
            let size = sizes(&rows, 0, (SIDE, SIDE)).expect("it fits")[rows.len()].expect("computed");
            map.push((size, rows.last().expect("a row").outputs));
        }
    }
    table.rows()
}

/// The values of a pass by operations of candle's graph.
fn by_candle(rows: &[Layer], params: &Params, x: &Tensor, rng: &Rng) -> Result<Vec<Tensor>> {
    let mut values = vec![x.clone()];
    for row in rows {
        let var =
            |which: &str| params.get(&format!("{}.{which}", row.name)).map(|var| var.as_tensor().clone());
        let (weight, bias) = (var("weight"), var("bias"));
        let input = &values[row.from[0]];
        values.push(match &row.kind {
            LayerKind::Conv(kind) => {
                conv2d(input, &weight.expect("a weight"), bias.as_ref(), kind.geometry())?
            }
            LayerKind::ConvTranspose(_) => {
                let geometry = ConvGeometry { stride: 2, ..ConvGeometry::default() };
                conv_transpose2d(input, &weight.expect("a weight"), bias.as_ref(), geometry)?
            }
            LayerKind::Linear(_) => {
                let y = input.flatten_from(1)?.matmul(&weight.expect("a weight").t()?)?;
                y.broadcast_add(&bias.expect("a bias"))?.unsqueeze(1)?.unsqueeze(1)?
            }
            LayerKind::Channelwise(_) => {
                let (b, h, w, c) = input.dims4()?;
                let cells = input.reshape((b, 1, h * w, c))?.transpose(2, 3)?.unsqueeze(3)?;
                let weight = weight.expect("a weight").unsqueeze(0)?.unsqueeze(0)?;
                let y = cells.broadcast_mul(&weight)?.sum(4)?.reshape((b, c, h, w))?;
                y.permute((0, 2, 3, 1))?.contiguous()?
            }
            LayerKind::Pool(pool) if pool.statistic == Statistic::Max => max_pool2d(input, pool.geometry)?,
            LayerKind::Pool(pool) => avg_pool2d(input, pool.geometry)?,
            LayerKind::GlobalPool(_) => input.mean_keepdim((1, 2))?,
            LayerKind::BatchNorm(norm) => {
                let fresh =
                    |value: f64| Var::from_tensor(&Tensor::full(value as f32, norm.channels, x.device())?);
                let running = Running {
                    mean: fresh(0.0)?,
                    var: fresh(1.0)?,
                    weight: Var::zeros(1, DType::F32, x.device())?,
                    deferred: None,
                };
                let affine = weight.as_ref().zip(bias.as_ref());
                batch_norm_train(input, affine, &running, norm.options.momentum, norm.options.eps, false)?
            }
            LayerKind::ResponseNorm(_) => lrn(input, Lrn::ALEXNET)?,
            LayerKind::LayerNorm(norm) => {
                let centered = input.broadcast_sub(&input.mean_keepdim(3)?)?;
                let deviation = (centered.sqr()?.mean_keepdim(3)? + norm.eps)?.sqrt()?;
                let y = centered.broadcast_div(&deviation)?.broadcast_mul(&weight.expect("a scale"))?;
                y.broadcast_add(&bias.expect("a shift"))?
            }
            LayerKind::Activation(act) if act.slope > 0.0 => leaky_relu(input, act.slope)?,
            LayerKind::Activation(_) => relu(input)?,
            LayerKind::Dropout(drop) => dropout(input, drop.share, rng.split(&drop.stream).at(0, 0))?,
            LayerKind::GroupViews(_) => candle_core::bail!("views are not drawn: they change the batch"),
            LayerKind::StopGradient(_) => input.detach(),
            LayerKind::Fuse(_) => fused(input, &values[row.from[1]])?,
            LayerKind::Nearest(_) => by_matrix(input)?,
            LayerKind::Add(_) => (input + &values[row.from[1]])?,
            LayerKind::Concatenate(_) => Tensor::cat(&[input, &values[row.from[1]]], 3)?,
            LayerKind::AddVector(_) => input.broadcast_add(&values[row.from[1]])?,
            LayerKind::Unpack(part) => input.narrow(3, part.first, part.count())?,
            LayerKind::SelectChannels(select) => input.narrow(3, select.first, select.count)?,
            LayerKind::Resize(resize) => {
                let (_, height, width, _) = input.dims4()?;
                resize_bilinear(input, (2 * height, 2 * width), resize.align_corners)?
            }
        });
    }
    Ok(values)
}

/// Twice as many rows and columns: a product with a matrix of ones and zeros for each.
fn by_matrix(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let copies = |n: usize| {
        let value = |i: usize| f32::from(i / n / 2 == i % n);
        Tensor::from_vec((0..2 * n * n).map(value).collect::<Vec<f32>>(), (2 * n, n), x.device())
    };
    let rows = copies(height)?.broadcast_matmul(&x.reshape((batch, height, width * channels))?)?;
    let columns = rows.reshape((batch * 2 * height, width, channels))?;
    copies(width)?.broadcast_matmul(&columns)?.reshape((batch, 2 * height, 2 * width, channels))
}

/// A loss that weighs every element of the given maps differently.
fn loss(maps: &[Tensor]) -> Result<Tensor> {
    let mut total = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for (seed, map) in maps.iter().enumerate() {
        total = (total + (map * noise(map.dims(), 100 + seed as u64)?)?.sum_all()?)?;
    }
    Ok(total)
}

/// Whether an activation reads a value that is 0 but for rounding, as the mean over a single picture after a normalization is:
/// chance decides on which side of the kink it lies, and with it the gradient.
fn lies_at_a_kink(rows: &[Layer], values: &[Tensor]) -> Result<bool> {
    for row in rows.iter().filter(|row| matches!(row.kind, LayerKind::Activation(_))) {
        let read = values[row.from[0]].abs()?.flatten_all()?.to_vec1::<f32>()?;
        if read.iter().any(|value| (f32::MIN_POSITIVE..1e-6).contains(value)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gradients of the parameters and of the input, by the tape and by candle, of a loss on two taps. False, and nothing is
/// compared, for a graph at a kink.
fn compare(rows: &[Layer], batch: usize, tolerance: f64) -> Result<bool> {
    let (net, params) = built(rows.to_vec())?;
    let x = Var::from_tensor(&noise(&[batch, SIDE, SIDE, CHANNELS], 7)?)?;
    let training = TrainingPass::new(Rng::new(3));
    let taps = [rows.len() / 2, rows.len() - 1].map(|row| rows[row].label());
    let maps = net.forward(&x, &taps, &Mode::Train(training.clone()))?;
    let mut ours: HashMap<TensorId, Tensor> = HashMap::new();
    training.tape.backward(loss(&maps)?, &mut ours)?;
    let values = by_candle(rows, &params, &x, &training.rng)?;
    let theirs = [rows.len() / 2, rows.len() - 1].map(|row| values[row + 1].clone());
    for (ours, theirs) in maps.iter().zip(&theirs) {
        close("an output", ours, theirs, (1.0, tolerance))?;
    }
    if lies_at_a_kink(rows, &values)? {
        return Ok(false);
    }
    let store = loss(&theirs)?.backward()?;
    let vars: Vec<_> =
        params.iter().map(|param| (param.name.as_str(), &param.var)).chain([("the input", &x)]).collect();
    // Some gradients are rounding errors alone: of a bias before a normalization, say. They are measured by the others.
    let largest = vars.iter().filter_map(|(_, var)| store.get(var)).map(largest_of);
    let scale = largest.collect::<Result<Vec<_>>>()?.into_iter().fold(1.0, f64::max);
    for (name, var) in vars {
        match (ours.get(&var.id()), store.get(var)) {
            (Some(ours), Some(theirs)) => close(name, ours, theirs, (scale, tolerance))?,
            (None, None) => {}
            (ours, theirs) => {
                panic!("{name}: gradient here {}, in candle {}", ours.is_some(), theirs.is_some())
            }
        }
    }
    Ok(true)
}

/// `scale` is the least of the values by which the difference is measured.
fn close(name: &str, a: &Tensor, b: &Tensor, (scale, tolerance): (f64, f64)) -> Result<()> {
    assert_eq!(a.dims(), b.dims(), "{name}");
    let (apart, scale) = (between(a, b)?, largest_of(b)?.max(scale));
    assert!(apart <= tolerance * scale, "{name}: {apart} apart at {scale}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn random_graphs_have_candles_gradients(
        choices in prop::collection::vec((0u8..27, 0usize..6, 0usize..6), 1..14),
        batch in 1usize..4,
    ) {
        let rows = graph(&choices);
        // Both sides are f32 and sum in another order. Of some 8,000 graphs one was 1.3e-4 apart, with two batch
        // normalizations above a batch of two vectors.
        prop_assume!(compare(&rows, batch, 3e-4).expect("both sides compute"));
    }
}

/// Every kind alone, of each choice that `grow` knows; those that join two maps get both sides of a branch.
#[test]
fn every_kind_alone_has_candles_gradients() -> Result<()> {
    for choice in 0..27 {
        let before: &[(u8, usize, usize)] =
            if matches!(choice, 19 | 21 | 22 | 26) { &[(18, 0, 0)] } else { &[(6, 0, 0)] };
        // a vector is added to or fused with the map that it is the mean of
        let (at, beside) = if matches!(choice, 21 | 26) { (1, 0) } else { (0, 1) };
        let rows = graph(&[before, &[(choice, at, beside)]].concat());
        assert!(compare(&rows, 2, 1e-5)?, "choice {choice} lies at a kink");
        assert!(rows.len() == 3, "choice {choice} does not fit: {rows:?}");
    }
    Ok(())
}

/// The mean of a normalized picture is 0 but for rounding, and a rectifier reads it.
#[test]
fn a_graph_at_a_kink_is_not_compared() -> Result<()> {
    let normalized = [(20, 0, 0), (4, 2, 0), (18, 3, 0)];
    assert!(compare(&graph(&normalized), 1, 1e-3)?);
    assert!(!compare(&graph(&[&normalized[..], &[(6, 3, 0)]].concat()), 1, 1e-3)?);
    Ok(())
}

/// A head that the loss does not read leaves its parameters, and those before it on no other way, without gradients.
#[test]
fn a_branch_that_the_loss_does_not_read_learns_nothing() -> Result<()> {
    let mut table = TableBuilder::new(CHANNELS);
    table.conv("stem", [3, 1, 1, 1, 1], 4, fillers()).relu("relu", 0.0).tap("stem");
    let stem = table.value();
    table.conv("used", [1, 1, 0, 1, 1], 2, fillers()).tap("used");
    table.read(stem);
    table.conv("idle", [1, 1, 0, 1, 1], 2, fillers()).tap("idle");
    let (net, params) = built(table.rows())?;
    let training = TrainingPass::new(Rng::new(1));
    let maps =
        net.forward(&noise(&[1, 5, 5, CHANNELS], 1)?, &["used", "idle"], &Mode::Train(training.clone()))?;
    let mut gradients: HashMap<TensorId, Tensor> = HashMap::new();
    training.tape.backward(maps[0].sqr()?.sum_all()?, &mut gradients)?;
    for param in params.iter() {
        let learns = !param.name.starts_with("idle");
        assert_eq!(gradients.contains_key(&param.var.id()), learns, "{}", param.name);
    }
    Ok(())
}

/// One network read twice in one loss, the second time on what the first put out: gradients are summed, and the tape
/// is empty afterwards.
#[test]
fn passes_that_share_parameters_are_summed() -> Result<()> {
    let mut table = TableBuilder::new(2);
    table.conv("conv", [3, 1, 1, 1, 1], 2, fillers()).relu("relu", 0.0).tap("conv");
    let (rows, (net, params)) = (table.clone().rows(), built(table.rows())?);
    let (x, tape) = (noise(&[2, 4, 4, 2], 1)?, Tape::default());
    let mode = Mode::Eval(tape.clone());
    let first = net.forward(&x, &["conv"], &mode)?.remove(0);
    let between = (&first * 2.0)?; // in candle's graph
    let second = net.forward(&between, &["conv"], &mode)?.remove(0);
    let mut ours: HashMap<TensorId, Tensor> = HashMap::new();
    tape.backward((second.sqr()?.sum_all()? + first.sum_all()?)?, &mut ours)?;
    let run = |x: &Tensor| by_candle(&rows, &params, x, &Rng::new(0)).map(|values| values[2].clone());
    let first = run(&x)?;
    let store = (run(&(&first * 2.0)?)?.sqr()?.sum_all()? + first.sum_all()?)?.backward()?;
    for param in params.iter() {
        close(&param.name, &ours[&param.var.id()], store.get(&param.var).expect("a gradient"), (1.0, 2e-5))?;
    }
    let mut again: HashMap<TensorId, Tensor> = HashMap::new();
    tape.backward(Tensor::zeros((), DType::F32, &Device::Cpu)?, &mut again)?;
    assert!(params.iter().all(|param| !again.contains_key(&param.var.id())), "the tape was used up");
    Ok(())
}

/// A painter and its judge in one step: the judge learns from the painting as it is, the painter through the judge.
struct Rivals {
    painter: Network,
    judge: Network,
    params: Params,
}

impl Rivals {
    fn new() -> Result<Self> {
        let mut painter = TableBuilder::new(2);
        painter.conv("paint", [3, 1, 1, 1, 1], 3, fillers()).relu("relu", 0.2).tap("paint");
        let mut judge = TableBuilder::new(3);
        judge.conv("look", [3, 2, 1, 1, 1], 4, fillers()).batch_norm("bn", BatchNormOptions::CAFFE);
        judge.relu("relu", 0.2).conv("judge", [2, 1, 0, 1, 1], 1, fillers()).tap("judge");
        let (painter, mut params) = built(painter.rows())?;
        let judge = Network::new(painter.interface(), judge.rows(), &mut params, &Rng::new(2))?;
        Ok(Self { painter, judge, params })
    }

    /// The losses of the judge and of the painter, recorded by `pass`; the painter's goes through a judge that learns or
    /// does not.
    fn losses(&self, pass: &TrainingPass, learns: bool) -> Result<[Tensor; 2]> {
        let x = noise(&[3, 4, 4, 2], 1)?;
        let painted = self.painter.forward(&x, &["paint"], &Mode::Train(pass.clone()))?.remove(0);
        let judged = |x: &Tensor, pass| self.judge.forward(x, &["judge"], &Mode::Train(pass));
        let own = judged(&painted.detach(), pass.clone())?.remove(0).sqr()?.mean_all()?;
        let through = if learns { pass.clone() } else { pass.through() };
        Ok([own, judged(&painted, through)?.remove(0).mean_all()?])
    }
}

/// A pass through a network that does not learn from it: the gradients of both are those of two separate steps.
#[test]
fn a_judge_that_is_passed_through_learns_from_its_own_pass_alone() -> Result<()> {
    let gradients = |learns: bool, of: fn([Tensor; 2]) -> Result<Tensor>| -> Result<Vec<Option<Vec<f32>>>> {
        let (rivals, pass, mut found) = (Rivals::new()?, TrainingPass::new(Rng::new(1)), HashMap::new());
        pass.tape.backward(of(rivals.losses(&pass, learns)?)?, &mut found)?;
        let of = |id| found.get(&id).map(|g: &Tensor| g.flatten_all()?.to_vec1::<f32>()).transpose();
        rivals.params.iter().map(|param| of(param.var.id())).collect()
    };
    let together = gradients(false, |[own, through]| own + through)?;
    let own = gradients(true, |[own, _]| Ok(own))?;
    let through = gradients(true, |[_, through]| Ok(through))?;
    let (painter, judge) = together.split_at(2);
    assert!(painter == &through[..2] && judge == &own[2..] && together.iter().all(Option::is_some));
    Ok(())
}

/// The judge's weights are read by the painter's pass and changed by its own: the order must not matter. Its running
/// statistics follow one of the two passes.
#[test]
fn rivals_updated_at_once_are_those_updated_afterwards() -> Result<()> {
    let trained = |at_once: bool| -> Result<Vec<Vec<f32>>> {
        let rivals = Rivals::new()?;
        let spec: OptimizerSpec = serde_json::from_str(OPTIMIZERS[0]).expect("a spec");
        let (all, mut optimizer) = (&rivals.params, Optimizer::new(&spec, &rivals.params)?);
        for step in 0..3 {
            let pass = TrainingPass::new(Rng::new(step));
            let [own, through] = rivals.losses(&pass, false)?;
            let loss = (own + through)?;
            if at_once {
                pass.tape.backward(loss, &mut optimizer.begin(all, 0.01)?)?;
            } else {
                let mut gradients = optimizer.gradients(all);
                gradients.add(&pass.tape, loss)?;
                gradients.finish(None)?;
                optimizer.step(all, &gradients, 0.01)?;
            }
            if step == 0 {
                let weight = all.named("bn.weight_sum").expect("a buffer").to_vec1::<f32>()?;
                assert_eq!(weight, [1.0], "one pass of two");
            }
        }
        all.iter().map(|param| param.var.flatten_all()?.to_vec1::<f32>()).collect()
    };
    assert!(trained(true)? == trained(false)?);
    Ok(())
}

/// The parameters after five steps on pictures of changing size, updated while the backward pass runs or after it.
fn trained(rows: &[Layer], optimizer: &str, at_once: bool, side: usize) -> Result<Vec<f32>> {
    let spec: OptimizerSpec = serde_json::from_str(optimizer).expect("a spec");
    let (net, params) = built(rows.to_vec())?;
    let mut optimizer = Optimizer::new(&spec, &params)?;
    for step in 0..5 {
        let training = TrainingPass::new(Rng::new(step));
        let x = noise(&[1 + step as usize % 3, side + step as usize, side, rows[0].inputs], step)?;
        let last = rows[rows.len() - 1].label();
        let loss = net.forward(&x, &[last], &Mode::Train(training.clone()))?.remove(0).sqr()?.mean_all()?;
        if at_once {
            let mut update = optimizer.begin(&params, 0.01)?;
            training.tape.backward(loss, &mut update)?;
            assert!(update.norm() > 0.0 && update.non_finite().is_none());
        } else {
            let mut gradients = optimizer.gradients(&params);
            gradients.add(&training.tape, loss)?;
            gradients.finish(None)?;
            optimizer.step(&params, &gradients, 0.01)?;
        }
    }
    let flat = params.iter().map(|p| p.var.flatten_all()?.to_vec1::<f32>());
    Ok(flat.collect::<Result<Vec<_>>>()?.concat())
}

const OPTIMIZERS: [&str; 4] = [
    r#"{"adam": {"lr": 0.01, "decay": 0.001}}"#,
    r#"{"adamw": {"lr": 0.01, "decay": 0.1}}"#,
    r#"{"sgd": {"lr": 0.01, "nesterov": true}}"#,
    r#"{"lars": {"lr": 0.01, "decay": 0.001, "trust_coefficient": 0.1}}"#,
];

/// Updates while the backward pass runs equal updates after it, bit for bit.
#[test]
fn an_update_at_once_is_the_update() -> Result<()> {
    let rows = graph(&[(0, 0, 0), (4, 0, 0), (6, 0, 0), (0, 0, 0), (15, 0, 1), (9, 0, 0), (14, 0, 0)]);
    for optimizer in OPTIMIZERS {
        assert_eq!(trained(&rows, optimizer, true, SIDE)?, trained(&rows, optimizer, false, SIDE)?);
    }
    Ok(())
}

/// A weight of 44 MB, whose gradient is never whole.
#[test]
fn a_large_weight_is_updated_in_pieces() -> Result<()> {
    let mut table = TableBuilder::new(3300);
    table.conv("large", [1, 1, 0, 1, 1], 3300, fillers()).tap("large");
    let rows = table.rows();
    for optimizer in OPTIMIZERS {
        let (at_once, after) = (trained(&rows, optimizer, true, 1)?, trained(&rows, optimizer, false, 1)?);
        assert!(at_once == after, "{optimizer}");
    }
    Ok(())
}
