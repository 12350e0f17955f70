//! The networks of other colorizers: their figures, the outputs of definitions in PyTorch with the same weights
//! (`scripts/oracles/colorizers.py`), weight files, and gradients of their losses.

use super::hashed::{fill, value};
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor, TensorId, Var};
use hueristic::{
    backbones::{
        BackboneSpec,
        dahl::DahlSpec,
        exchange::{self, Architecture, Layout},
        iizuka::{self, IizukaSpec},
        larsson::LarssonSpec,
        siggraph17::{CLASS_HEAD, COLOR_HEAD, Siggraph17Spec},
        summary::Summary,
    },
    bounded::{Count, Positive},
    color::decode::Decode,
    data::Batch,
    extremes::{between, largest_of},
    nn::{
        Mode, TrainingPass,
        params::Params,
        weights::{self, Format},
    },
    pretext::{
        colorizer::{Colorizer, ColorizerSpec},
        colorizer_task::{ColorizerTask, ColorizerTaskSpec},
        dahl::DahlTaskSpec,
        hints::{self, Hint},
        iizuka::IizukaTaskSpec,
        larsson::LarssonTaskSpec,
        siggraph17::{Siggraph17Stage, Siggraph17TaskSpec},
    },
    rng::Rng,
    train::task::Task,
};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

type Answers = BTreeMap<String, Tensor>;

fn answers() -> Result<Answers> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/colorizers.safetensors");
    Ok(weights::read(&path)?.0)
}

/// Compares with a share of the largest value.
fn close(name: &str, ours: &Tensor, theirs: &Tensor) -> Result<()> {
    assert_eq!(ours.dims(), theirs.dims(), "{name}");
    let (apart, scale) = (between(ours, theirs)?, largest_of(theirs)?);
    assert!(scale > 0.1 && apart < 1e-4 * scale, "{name}: {apart} of {scale}");
    Ok(())
}

fn siggraph17(width: f64) -> BackboneSpec {
    BackboneSpec::Siggraph17(Siggraph17Spec { width: Positive::of(width), ..Siggraph17Spec::default() })
}

fn dahl(width: f64) -> BackboneSpec {
    BackboneSpec::Dahl(DahlSpec { width: Positive::of(width), ..DahlSpec::default() })
}

fn iizuka(width: f64, crop: usize) -> BackboneSpec {
    let (width, crop) = (Positive::of(width), Count::of(crop));
    BackboneSpec::Iizuka(IizukaSpec { width, crop, ..IizukaSpec::default() })
}

fn larsson(width: f64, batch_norm: bool) -> BackboneSpec {
    BackboneSpec::Larsson(LarssonSpec { width: Positive::of(width), batch_norm, ..LarssonSpec::default() })
}

fn parameters(backbone: &BackboneSpec, task: &dyn ColorizerSpec) -> Result<usize> {
    Ok(Summary::of(&backbone.table(&task.build()), (256, 256))?.parameters())
}

#[test]
fn sizes_are_those_of_the_definitions() -> Result<()> {
    assert_eq!(parameters(&siggraph17(1.0), &Siggraph17TaskSpec::default())?, 34_187_027);
    // The authors' file of weights has 588,203,256 bytes, of which 588,164,096 are these numbers.
    assert_eq!(parameters(&larsson(1.0, false), &LarssonTaskSpec::default())?, 147_041_024);
    // VGG-16 up to conv4_3 has 7,635,264; the decoder has 501,575 weights, and twice 2,053 scales and shifts.
    assert_eq!(parameters(&dahl(1.0), &DahlTaskSpec::default())?, 7_635_264 + 501_575 + 2 * NORMALIZED);
    Ok(())
}

/// Adds a tensor of the script's values.
fn put(state: &mut Answers, name: String, dims: &[usize]) -> Result<()> {
    let tensor = value(&name, dims)?;
    state.insert(name, tensor);
    Ok(())
}

/// The transposed convolutions of the Caffe release.
const TRANSPOSED: [&str; 3] = ["conv8_1", "conv9_1", "conv10_1"];

/// Adds a convolution's weight `[outputs, K, inputs]`, or a transposed one's `[inputs, K, outputs]`, and its bias.
fn put_conv(state: &mut Answers, name: &str, [first, kernel, last]: [usize; 3]) -> Result<()> {
    put(state, format!("{name}.weight"), &[first, kernel, kernel, last])?;
    let transposed = name.contains("up") || TRANSPOSED.contains(&name);
    put(state, format!("{name}.bias"), &[if transposed { last } else { first }])
}

/// Channels that Dahl's decoder normalizes: conv4_3, conv3_3, conv2_2, conv1_2, the input; 128, 64, 3 and 3 of its own,
/// and the output.
const NORMALIZED: usize = 512 + 256 + 128 + 64 + 3 + 128 + 64 + 3 + 3 + 2;

/// A state dict with the names of the release, of an eighth of its channels, in our memory layout.
fn release() -> Result<Answers> {
    let mut state = Answers::new();
    let blocks = [(4, 8, 2), (8, 16, 2), (16, 32, 3), (32, 64, 3), (64, 64, 3), (64, 64, 3), (64, 64, 3)];
    let mut norms = vec![("model8.5".to_string(), 32), ("model9.3".to_string(), 16)];
    for (block, (inputs, outputs, convs)) in (1..).zip(blocks) {
        for i in 0..convs {
            let inputs = if i == 0 { inputs } else { outputs };
            put_conv(&mut state, &format!("model{block}.{}", 2 * i), [outputs, 3, inputs])?;
        }
        norms.push((format!("model{block}.{}", 2 * convs), outputs));
    }
    for (name, shape) in [
        ("model8up.0", [64, 4, 32]),
        ("model3short8.0", [32, 3, 32]),
        ("model8.1", [32, 3, 32]),
        ("model8.3", [32, 3, 32]),
        ("model9up.0", [32, 4, 16]),
        ("model2short9.0", [16, 3, 16]),
        ("model9.1", [16, 3, 16]),
        ("model10up.0", [16, 4, 16]),
        ("model1short10.0", [16, 3, 8]),
        ("model10.1", [16, 3, 16]),
        ("model_class.0", [529, 1, 32]),
        ("model_out.0", [2, 1, 16]),
    ] {
        put_conv(&mut state, name, shape)?;
    }
    for (norm, channels) in norms {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            put(&mut state, format!("{norm}.{part}"), &[channels])?;
        }
        state.insert(format!("{norm}.num_batches_tracked"), Tensor::new(0i64, &Device::Cpu)?);
    }
    Ok(state)
}

fn write(state: &Answers, path: &Path) -> Result<()> {
    let list: Vec<(&str, &Tensor)> = state.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    weights::pth::write(&list, &Default::default(), path)
}

#[test]
fn siggraph17_computes_what_the_release_does() -> Result<()> {
    let (folder, answers) = (tempfile::tempdir()?, answers()?);
    let path = folder.path().join("siggraph17.pth");
    write(&release()?, &path)?;
    let (colorizer, spec) = Colorizer::open(&path, &Device::Cpu)?;
    assert_eq!((spec.name(), colorizer.takes_hints()), ("siggraph17", true));
    let light = (&answers["siggraph17.light"] - 50.0)?;
    close("ab", &colorizer.color(&light, Decode::Mean)?, &answers["siggraph17.plain"])?;
    let hint = Hint { top: 4, left: 10, height: 5, width: 5, ab: [60.0, -40.0] };
    let hints = hints::map(&[vec![hint]], (24, 32), &Device::Cpu)?;
    let map = colorizer.output_map(&light, Some(&hints))?;
    close("ab with a hint", &colorizer.decode_map(&map, Decode::Mean)?, &answers["siggraph17.hinted"])?;
    let input = colorizer.input(&light, Some(&hints))?;
    let classes = colorizer.network().forward(&input, &[CLASS_HEAD], &Mode::Frozen)?.remove(0);
    let every: Vec<u32> = (0..529).step_by(23).collect();
    let classes = classes.index_select(&Tensor::new(every, &Device::Cpu)?, 3)?;
    close("classes", &classes, &answers["siggraph17.classes"])
}

/// The Caffe release with the same channels, with its subsampling layers and another head.
fn caffe_release() -> Result<Answers> {
    let mut state = Answers::new();
    let (mut layers, mut norms) = (vec![], vec![("conv8_3norm", 32), ("conv9_2norm", 16)]);
    for name in ["conv4", "conv5", "conv6", "conv7"] {
        layers.extend(
            (1..=3)
                .map(|i| (format!("{name}_{i}"), [64, 3, if (name, i) == ("conv4", 1) { 32 } else { 64 }])),
        );
    }
    norms.extend([("conv1_2norm", 8), ("conv2_2norm", 16), ("conv3_3norm", 32), ("conv4_3norm", 64)]);
    norms.extend([("conv5_3norm", 64), ("conv6_3norm", 64), ("conv7_3norm", 64)]);
    let others = [
        ("bw_conv1_1", [8, 3, 1]),
        ("ab_conv1_1", [8, 3, 3]),
        ("conv1_2", [8, 3, 8]),
        ("conv2_1", [16, 3, 8]),
        ("conv2_2", [16, 3, 16]),
        ("conv3_1", [32, 3, 16]),
        ("conv3_2", [32, 3, 32]),
        ("conv3_3", [32, 3, 32]),
        ("conv8_1", [64, 4, 32]),
        ("conv3_3_short", [32, 3, 32]),
        ("conv8_2", [32, 3, 32]),
        ("conv8_3", [32, 3, 32]),
        ("conv9_1", [32, 4, 16]),
        ("conv2_2_short", [16, 3, 16]),
        ("conv9_2", [16, 3, 16]),
        ("conv10_1", [16, 4, 16]),
        ("conv1_2_short", [16, 3, 8]),
        ("conv10_2", [16, 3, 16]),
        ("conv10_ab", [2, 1, 16]),
        ("pred_313", [313, 1, 384]),
    ];
    layers.extend(others.map(|(name, shape)| (name.to_string(), shape)));
    for (name, shape) in layers {
        put_conv(&mut state, &name, shape)?;
    }
    for first in ["bw_conv1_1.weight", "ab_conv1_1.weight"] {
        state.insert(first.into(), (&state[first] / 100.0)?);
    }
    for (norm, channels) in norms {
        for part in ["running_mean", "running_var"] {
            put(&mut state, format!("{norm}.{part}"), &[channels])?;
        }
        state.insert(format!("{norm}.weight_sum"), Tensor::new(&[999f32], &Device::Cpu)?);
    }
    state.insert("conv1_2norm_ss.weight".into(), Tensor::ones((8, 1, 1, 1), DType::F32, &Device::Cpu)?);
    Ok(state)
}

#[test]
fn siggraph17_of_caffe_computes_what_that_release_does() -> Result<()> {
    let (folder, answers, state) = (tempfile::tempdir()?, answers()?, caffe_release()?);
    let path = folder.path().join("model.caffemodel");
    let list: Vec<(&str, &Tensor)> = state.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    weights::caffe::write("release", &list, &TRANSPOSED, &path)?;
    let (colorizer, spec) = Colorizer::open(&path, &Device::Cpu)?;
    assert!(spec.section()?.contains("output_scale: 100"), "{}", spec.section()?);
    let light = (&answers["siggraph17.light"] - 50.0)?;
    close("ab", &colorizer.color(&light, Decode::Mean)?, &answers["siggraph17_caffe.plain"])?;
    let hint = Hint { top: 4, left: 10, height: 5, width: 5, ab: [60.0, -40.0] };
    let hints = hints::map(&[vec![hint]], (24, 32), &Device::Cpu)?;
    let map = colorizer.output_map(&light, Some(&hints))?;
    close("ab with a hint", &colorizer.decode_map(&map, Decode::Mean)?, &answers["siggraph17_caffe.hinted"])?;
    let notes = exchange::open(&path)?.notes.join("\n");
    for said in ["pred_313", "conv1_2norm_ss", "conv8_529 is not in the file", "sum of bw_conv1_1"] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
    Ok(())
}

#[test]
fn files_of_siggraph17_go_back_and_are_refused_when_broken() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [path, back] = ["siggraph17.pth", "back.pth"].map(|name| folder.path().join(name));
    let state = release()?;
    write(&state, &path)?;
    let file = exchange::open(&path)?;
    assert_eq!((file.layout, file.architecture), (Layout::Siggraph17, Some(Architecture::Siggraph17)));
    exchange::save(&file, Layout::Siggraph17, Format::Pytorch, &back)?;
    let (again, _) = weights::read(&back)?;
    assert_eq!(again.keys().collect::<Vec<_>>(), state.keys().collect::<Vec<_>>());
    for (name, tensor) in &state {
        assert_eq!(between(&again[name].to_dtype(tensor.dtype())?, tensor)?, 0.0, "{name}");
    }
    for (name, wanted) in [("model9.1.bias", "conv9_2.bias"), ("model_out.0.weight", "conv10_ab")] {
        let mut broken = state.clone();
        broken.remove(name);
        write(&broken, &path)?;
        let error = format!("{:#}", exchange::open(&path).err().context(name)?);
        assert!(error.contains(wanted) && error.contains("siggraph17.pth"), "{error}");
    }
    let mut broken = state;
    broken.insert("model4.0.weight".into(), value("x", &[64, 3, 3, 31])?);
    write(&broken, &path)?;
    let error = format!("{:#}", Colorizer::open(&path, &Device::Cpu).err().context("another shape")?);
    assert!(error.contains("no colorizer that can be used"), "{error}");
    Ok(())
}

/// In the classification the color head's loss leaves the shared layers alone, in the regression that of the classes does.
#[test]
fn each_stage_of_siggraph17_trains_the_shared_layers_by_its_own_head() -> Result<()> {
    for (stage, trains, other) in [
        (Siggraph17Stage::Classification, CLASS_HEAD, COLOR_HEAD),
        (Siggraph17Stage::Regression, COLOR_HEAD, CLASS_HEAD),
    ] {
        let task = Siggraph17TaskSpec { stage, ..Siggraph17TaskSpec::default() };
        let mut params = Params::new(&Device::Cpu);
        let net = task.adapted(&siggraph17(0.125)).build(&task.build(), &mut params, &Rng::new(1))?;
        params.all().try_for_each(|(name, var)| fill(name, var))?;
        let x = value("x", &[2, 16, 16, 4])?;
        let learning = |head: &str| -> Result<Vec<String>> {
            let training = TrainingPass::new(Rng::new(2));
            let map = net.forward(&x, &[head], &Mode::Train(training.clone()))?.remove(0);
            let mut gradients: HashMap<TensorId, Tensor> = HashMap::new();
            training.tape.backward(map.sqr()?.sum_all()?, &mut gradients)?;
            let learns = params.iter().filter(|param| gradients.contains_key(&param.var.id()));
            Ok(learns.map(|param| param.name.clone()).collect())
        };
        let (own, aside) = (learning(trains)?, learning(other)?);
        assert!(own.iter().any(|name| name == "conv1_1.weight"), "{stage:?}: {own:?}");
        let shared = |name: &String| (1..=8).any(|block| name.starts_with(&format!("conv{block}_")));
        let wrong =
            aside.iter().filter(|name| shared(name) && !name.contains("_short") && !name.contains("529"));
        assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&String>::new(), "{stage:?}");
        assert!(aside.iter().any(|name| name.starts_with(other)), "{stage:?}: {aside:?}");
    }
    Ok(())
}

/// A colorizer with the scripts' weights.
fn filled(task: &dyn ColorizerSpec, backbone: &BackboneSpec) -> Result<Colorizer> {
    let mut params = Params::new(&Device::Cpu);
    let colorizer = Colorizer::new(task, backbone, &mut params, &Rng::new(1))?;
    params.all().try_for_each(|(name, var)| fill(name, var))?;
    Ok(colorizer)
}

/// The answers are RGB and ab of networks that see a gray picture, given as bytes.
#[test]
fn other_colorizers_compute_what_their_definitions_do() -> Result<()> {
    let answers = answers()?;
    let cases: [(&str, Box<dyn ColorizerSpec>, BackboneSpec); 5] = [
        ("dahl", Box::new(DahlTaskSpec::default()), dahl(0.125)),
        ("iizuka", Box::new(IizukaTaskSpec::default()), iizuka(0.125, 32)),
        ("iizuka_small", Box::new(IizukaTaskSpec::default()), iizuka(0.125, 64)),
        ("larsson", Box::new(LarssonTaskSpec::default()), larsson(0.125, true)),
        ("larsson_plain", Box::new(LarssonTaskSpec::default()), larsson(0.125, false)),
    ];
    let gray = &answers["gray"];
    for (name, task, backbone) in cases {
        let colorizer = filled(&*task, &backbone)?;
        let light = colorizer.gray().of_pictures(gray)?;
        let (map, wanted) = (colorizer.output_map(&light, None)?, &answers[&format!("{name}.map")]);
        assert_eq!(map.dims(), wanted.dims(), "{name}");
        let (apart, scale) = (between(&map, wanted)?, largest_of(wanted)?);
        assert!(scale > 0.1 && apart < 5e-4 * scale, "{name}: {apart} of {scale}");
        // Bytes may be rounded otherwise.
        let (ab, wanted) = (colorizer.ab(&map, &light, Decode::Mean)?, &answers[&format!("{name}.ab")]);
        let off = (&ab - wanted)?.abs()?.flatten_all()?.to_vec1::<f32>()?;
        let far = off.iter().filter(|off| **off > 0.2).count();
        let vivid = largest_of(wanted)?;
        assert!(
            vivid > 2.0 && far * 33 <= off.len(),
            "{name}: {far} of {} differ, largest {vivid}",
            off.len()
        );
    }
    Ok(())
}

/// Given the size of its global stream, the network computes the same in one pass as in parts.
#[test]
fn the_streams_of_iizuka_go_together() -> Result<()> {
    let (task, backbone) = (IizukaTaskSpec::default(), iizuka(0.125, 32));
    let colorizer = filled(&task, &backbone)?;
    let x = value("x", &[2, 32, 32, 1])?;
    let net = colorizer.network();
    let whole = net.forward(&x, &[iizuka::COLOR_HEAD, iizuka::LOCAL, iizuka::GLOBAL], &Mode::Frozen)?;
    let fused = hueristic::backbones::kinds::fused(&whole[1], &whole[2])?;
    let parts = net.forward_from(iizuka::FUSION, &fused, &[iizuka::COLOR_HEAD], &Mode::Frozen)?;
    assert_eq!(between(&parts[0], &whole[0])?, 0.0);
    Ok(())
}

fn pictures(count: usize, side: usize) -> Result<Batch> {
    let values = value("pictures", &[count * side * side * 3])?.to_vec1::<f32>()?;
    let bytes: Vec<u8> = values.iter().map(|v| (127.0 + 1270.0 * v).clamp(0.0, 255.0) as u8).collect();
    let pixels = Tensor::from_vec(bytes, (count, side, side, 3), &Device::Cpu)?;
    let labels: Vec<u32> = (0..count as u32).collect();
    let labels = Some(Tensor::new(labels, &Device::Cpu)?);
    Ok(Batch { pixels, labels, indices: (0..count).collect(), frames: vec![] })
}

/// The loss of one step, with the same random choices every time.
fn loss(task: &mut ColorizerTask, batch: &Batch, training: &TrainingPass) -> Result<Tensor> {
    Ok(task.step(batch, training)?.loss)
}

/// The derivative of a task's loss along a random direction of each parameter against central differences.
fn check_gradients(task: &dyn ColorizerTaskSpec, backbone: &BackboneSpec, side: usize) -> Result<()> {
    let (batch, name) = (pictures(2, side)?, task.name());
    let mut learner = ColorizerTask::new(task, (&task.adapted(backbone), 2), &Rng::new(1), &Device::Cpu)?;
    learner.params().all().try_for_each(|(name, var)| fill(name, var))?;
    let pass = || TrainingPass::new(Rng::new(4));
    let (recorded, mut gradients) = (pass(), HashMap::<TensorId, Tensor>::new());
    let first = loss(&mut learner, &batch, &recorded)?;
    let size = first.to_scalar::<f32>()?;
    recorded.tape.backward(first, &mut gradients)?;
    let params: Vec<(String, Var)> =
        learner.params().iter().map(|param| (param.name.clone(), param.var.clone())).collect();
    let mut compared = 0;
    for (param, var) in params {
        let Some(gradient) = gradients.get(&var.id()) else { continue };
        if !WATCHED.iter().any(|watched| param.starts_with(watched)) {
            continue;
        }
        let direction = value(&format!("direction {param}"), var.dims())?;
        let analytic = (gradient * &direction)?.sum_all()?.to_scalar::<f32>()?;
        let (start, step) = (var.as_detached_tensor().copy()?, 3e-4);
        let mut at = |sign: f64| -> Result<f32> {
            var.set(&(&start + (&direction * (sign * step))?)?)?;
            Ok(loss(&mut learner, &batch, &pass())?.to_scalar()?)
        };
        let numeric = (at(1.0)? - at(-1.0)?) / (2.0 * step as f32);
        var.set(&start)?;
        let scale = analytic.abs().max(numeric.abs());
        assert!(scale > 0.0, "{name}, {param}: the loss does not depend on it");
        // The rounding error of the losses, and kinks of ReLUs in between.
        let allowed = 0.08 * scale + 4e-7 * size / step as f32;
        assert!((analytic - numeric).abs() < allowed, "{name}, {param}: {analytic} and {numeric}");
        compared += 1;
    }
    assert!(compared >= 3, "{name}: {compared} parameters");
    Ok(())
}

/// The layers next to the losses. Deeper ones have kinks in between, and normalize maps of a few cells.
const WATCHED: [&str; 8] =
    ["conv8_529", "conv10_ab", "uv_conv", "uv", "ab_conv", "classes.weight", "hue", "chroma"];

#[test]
fn losses_have_the_gradients_of_finite_differences() -> Result<()> {
    check_gradients(&Siggraph17TaskSpec::default(), &siggraph17(0.125), 16)?;
    check_gradients(&DahlTaskSpec::default(), &dahl(0.125), 16)?;
    check_gradients(&IizukaTaskSpec::default(), &iizuka(0.125, 32), 32)?;
    check_gradients(&IizukaTaskSpec::default(), &iizuka(0.125, 64), 32)?;
    let samples =
        LarssonTaskSpec { samples: Count::of(6), border: Count::of(4), ..LarssonTaskSpec::default() };
    check_gradients(&samples, &larsson(0.125, true), 32)
}
