//! Models of every backbone: their structure, read back without this module, and what onnxruntime computes with them
//! (`scripts/oracles/onnx_models.py`) beside the features of this program.

use super::{
    OnnxModel,
    proto::{AttributeMessage, Extent, GraphMessage, ModelMessage, NodeMessage, ValueMessage},
};
use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        kinds::{AddRow, ConcatenateRow, GroupViewsRow, LayerKind, PoolRow, ResizeRow, SlidingWindow},
        network::Network,
        table::{Layer, TableBuilder, taps},
    },
    bounded::Positive,
    nn::{
        Mode,
        init::Filler,
        layers::{BatchNormOptions, Fillers},
        params::Params,
        weights::{self, Named},
    },
    rng::Rng,
    skipping,
};
use anyhow::Result;
use candle_core::{Device, Tensor};
use prost::Message;
use std::{collections::BTreeMap, path::Path};

fn backbone(yaml: &str) -> Result<BackboneSpec> {
    Ok(serde_json::from_value(crate::yaml::read(yaml)?)?)
}

fn noise(dims: &[usize], seed: u64) -> Result<Tensor> {
    Ok(Filler::Gaussian { std: Positive::of(1.0) }.fill(dims, &Rng::new(seed), &Device::Cpu)?)
}

/// A network with random weights, biases, and statistics.
fn random(spec: &BackboneSpec, rows: Vec<Layer>) -> Result<(Network, Named)> {
    let mut params = Params::new(&Device::Cpu);
    let net = Network::new(spec.interface(), rows, &mut params, &Rng::new(1))?;
    for (seed, (name, var)) in params.all().enumerate() {
        let drawn = noise(var.dims(), seed as u64)?;
        let per_output = (var.elem_count() / var.dims()[0]) as f64;
        var.set(&match name.rsplit_once('.').map_or("", |(_, part)| part) {
            "running_var" => (drawn.abs()? + 0.5)?,
            "weight" if var.rank() > 1 => (drawn * (2.0 / per_output).sqrt())?,
            "weight" => (drawn.abs()? + 0.5)?,
            _ => (drawn * 0.1)?,
        })?;
    }
    Ok((net, params.state().into_iter().collect()))
}

fn rows(spec: &BackboneSpec, batch_norm: bool, outputs: Option<usize>) -> Vec<Layer> {
    spec.table(&Build { variant: Variant::Transfer, batch_norm, outputs, ..spec.plain() })
}

/// As another program reads it.
fn read(path: &Path) -> Result<ModelMessage> {
    Ok(ModelMessage::decode(&std::fs::read(path)?[..])?)
}

fn graph(model: &OnnxModel) -> Result<GraphMessage> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.onnx");
    model.write(&path)?;
    Ok(read(&path)?.graph.expect("a graph"))
}

fn extents(value: &ValueMessage) -> Vec<String> {
    let shape =
        value.kind.as_ref().and_then(|kind| kind.tensor_type.as_ref()?.shape.as_ref()).expect("a shape");
    shape.dim.iter().filter_map(|dim| dim.extent.as_ref()).map(Extent::to_string).collect()
}

fn attribute<'a>(node: &'a NodeMessage, name: &str) -> &'a AttributeMessage {
    node.attribute.iter().find(|attribute| attribute.name == name).expect(name)
}

fn exported(yaml: &str, batch_norm: bool, head: Option<usize>, outputs: &[&str]) -> Result<OnnxModel> {
    let spec = backbone(yaml)?;
    let rows = rows(&spec, batch_norm, head);
    let (_, tensors) = random(&spec, rows.clone())?;
    OnnxModel::new(&spec, &rows, &tensors, &outputs.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Pads, groups, sizes, and names of an AlexNet's first layers and of its head, by hand.
#[test]
fn an_alexnet_is_written_as_it_is_defined() -> Result<()> {
    let model = exported("{ alexnet: { width: 0.1, fc: 16 } }", true, Some(10), &["fc8"])?;
    let graph = graph(&model)?;
    let words: Vec<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
    assert_eq!(words[..5], ["Conv", "BatchNormalization", "Relu", "MaxPool", "Conv"]);
    assert_eq!(words[words.len() - 3..], ["Identity", "Conv", "Flatten"]);
    let [first, pool, second] = [0, 3, 4].map(|at| &graph.node[at]);
    assert_eq!(first.input, ["input", "conv1.weight", "conv1.bias"]);
    assert_eq!((&first.output[0], &graph.node[2].output[0]), (&"conv1.map".into(), &"conv1".into()));
    assert_eq!(attribute(first, "kernel_shape").ints, [11, 11]);
    assert_eq!(attribute(first, "strides").ints, [4, 4]);
    assert_eq!(attribute(pool, "pads").ints, [0, 0, 1, 1], "sizes that round up");
    assert_eq!((&pool.output[0], &pool.name), (&"pool1".into(), &"pool1".into()));
    assert_eq!((attribute(second, "group").i, &attribute(second, "pads").ints), (Some(2), &vec![2; 4]));
    assert_eq!(extents(&graph.input[0]), ["batch", "1", "227", "227"]);
    assert_eq!(
        (graph.output[0].name.as_str(), extents(&graph.output[0])),
        ("fc8", vec!["batch".into(), "10".into()])
    );
    let weight = graph.initializer.iter().find(|tensor| tensor.name == "conv2.weight").expect("a weight");
    assert_eq!((weight.dims.as_slice(), weight.raw_data.len()), (&[24, 4, 5, 5][..], 4 * 24 * 4 * 25));
    let scale = graph.initializer.iter().find(|tensor| tensor.name == "bn1.weight").expect("a scale");
    assert_eq!(scale.raw_data, 1f32.to_le_bytes().repeat(8), "no scale is a scale of one");
    Ok(())
}

#[test]
fn the_size_of_pictures_is_fixed_only_where_it_must_be() -> Result<()> {
    for (yaml, layers, input, output) in [
        (
            "{ alexnet: { width: 0.1, fc: 16 } }",
            &["conv3"][..],
            "height",
            "batch 40 conv3_height conv3_width",
        ),
        ("{ resnet: { width: 0.1, input: rgb_unit } }", &["avgpool"], "height", "batch 48"),
        ("{ vgg16: { width: 0.05, fc: 16, crop: 64 } }", &["pool5", "fc7"], "64", "batch 24 2 2"),
    ] {
        let graph = graph(&exported(yaml, false, None, layers)?)?;
        assert_eq!(extents(&graph.input[0])[2], input, "{yaml}");
        assert_eq!(extents(&graph.output[0]).join(" "), output, "{yaml}");
        // what no output needs is not in the model
        let last = layers.last().expect("an output");
        assert!(graph.node.last().expect("a node").output.iter().any(|name| name == last), "{yaml}");
    }
    Ok(())
}

#[test]
fn metadata_tell_the_input() -> Result<()> {
    let model = exported("{ resnet: { width: 0.1, input: rgb_unit } }", true, None, &["layer1"])?;
    assert!(model.to_string().starts_with("opset 17, "), "{model}");
    let folder = tempfile::tempdir()?;
    model.with("backbone", "resnet: {}").write(&folder.path().join("a.onnx"))?;
    let read = read(&folder.path().join("a.onnx"))?;
    assert_eq!((read.ir_version, read.opset_import[0].version), (8, 17));
    let told: BTreeMap<_, _> =
        read.metadata_props.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
    assert_eq!((told["input"], told["size"], told["backbone"]), ("rgb_unit", "224", "resnet: {}"));
    assert!(told["input_description"].contains("RGB from 0 to 1"));
    Ok(())
}

#[test]
fn what_cannot_be_exported_is_refused_by_name() -> Result<()> {
    let spec = backbone("{ alexnet: { stem: small, width: 0.1, fc: 16 } }")?;
    let own = rows(&spec, false, None);
    let (_, mut tensors) = random(&spec, own.clone())?;
    let refused = |rows: &[Layer], tensors: &Named, output: &str| {
        OnnxModel::new(&spec, rows, tensors, &[output.to_string()]).unwrap_err().to_string()
    };
    assert!(refused(&own, &tensors, "conv9").contains("no layer `conv9`"));
    let mut table = TableBuilder::new(1);
    table.pool("average", PoolRow::average(2, 2, 0)).tap("average");
    let groups = vec![vec![0]].into();
    table.push("views", LayerKind::GroupViews(GroupViewsRow { views: 1, groups })).tap("views");
    let rows = table.rows();
    assert!(refused(&rows, &tensors, "average").contains("`average` (average pool) is not exported"));
    assert!(refused(&rows, &tensors, "views").contains("`average`"));
    tensors.insert("conv1.weight".into(), noise(&[8, 3, 3, 1], 1)?);
    let error = refused(&own, &tensors, "conv1");
    assert!(error.contains("`conv1.weight` is [8, 3, 3, 1]") && error.contains("[8, 5, 5, 1]"), "{error}");
    tensors.remove("conv2.bias");
    tensors.insert("conv1.weight".into(), noise(&[8, 5, 5, 1], 1)?);
    assert!(refused(&own, &tensors, "conv2").contains("`conv2.bias` is missing"));
    Ok(())
}

/// Rows that no backbone has: two resizes, a concatenation, a sum, a transposed and a dilated convolution.
fn every_other_row() -> Vec<Layer> {
    let gaussian = |std| Filler::Gaussian { std: Positive::of(std) };
    let fillers = Fillers { weight: gaussian(0.4), bias: Some(gaussian(0.1)) };
    let mut table = TableBuilder::new(1);
    table.conv("stem", [3, 1, 2, 1, 2], 4, fillers);
    table.batch_norm("bn", BatchNormOptions::PYTORCH).relu("leak", 0.2).tap("stem");
    let stem = table.value();
    table.pool("half", PoolRow::max(2, 2, 0));
    let half = table.value();
    table.push("corners", LayerKind::Resize(ResizeRow { factor: 2, align_corners: true }));
    let corners = table.value();
    table.read(half);
    table.push("borders", LayerKind::Resize(ResizeRow { factor: 2, align_corners: false }));
    let borders = table.value();
    table.read(half);
    let window = SlidingWindow { kernel: 4, stride: 2, pad: 1, dilation: 1 };
    table.conv_transpose("up", window, 4, fillers);
    let up = table.value();
    table.join("sum", LayerKind::Add(AddRow), vec![stem, corners, up]).tap("sum");
    let sum = table.value();
    table.join("column", LayerKind::Concatenate(ConcatenateRow), vec![sum, borders]).response_norm("lrn");
    table.tap("column");
    table.rows()
}

/// Writes a model, an input, and our features for it.
fn write(folder: &Path, name: &str, spec: &BackboneSpec, rows: Vec<Layer>, side: usize) -> Result<()> {
    let outputs: Vec<String> = taps(&rows).map(String::from).collect();
    let (net, tensors) = random(spec, rows.clone())?;
    OnnxModel::new(spec, &rows, &tensors, &outputs)?.write(&folder.join(name).with_extension("onnx"))?;
    // small enough that rounding is not what is measured, and varied
    let x = noise(&[2, side, side, rows[0].inputs], 5)?;
    let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let features = net.forward(&x, &names, &Mode::Frozen)?;
    let mut tensors = vec![("input", x)];
    for (name, map) in names.into_iter().zip(features) {
        let (_, h, w, _) = map.dims4()?;
        let vector = (h, w) == (1, 1);
        // A file of tensors in memory layout has NCHW for NHWC.
        tensors.push((name, if vector { map.flatten_from(1)? } else { map }));
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    weights::write(&tensors, &BTreeMap::new(), &folder.join(name).with_extension("safetensors"))
}

/// Every tap of every backbone, with batch normalization and without.
#[test]
fn onnxruntime_computes_our_features() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, yaml, batch_norm, head) in [
        ("alexnet", "{ alexnet: { width: 0.1, fc: 16 } }", false, None),
        (
            "alexnet_normalized",
            "{ alexnet: { width: 0.1, fc: 16, batch_norm: affine, input: lab } }",
            true,
            Some(10),
        ),
        ("alexnet_small", "{ alexnet: { stem: small, width: 0.1, fc: 16 } }", true, Some(313)),
        ("caffenet", "{ alexnet: { preset: caffenet, width: 0.1, fc: 16 } }", false, Some(10)),
        ("krizhevsky", "{ alexnet: { preset: krizhevsky, width: 0.1, fc: 16 } }", false, None),
        ("donahue", "{ alexnet: { preset: donahue, width: 0.1, fc: 16 } }", false, None),
        ("torchvision", "{ alexnet: { preset: torchvision, width: 0.1, fc: 16 } }", false, Some(10)),
        ("vgg", "{ vgg: { width: 0.05 } }", true, Some(313)),
        ("vgg_affine", "{ vgg: { width: 0.05, affine: true, narrow: true } }", true, Some(2)),
        ("vgg16", "{ vgg16: { width: 0.05, fc: 16, crop: 64 } }", false, Some(10)),
        ("siggraph17", "{ siggraph17: { width: 0.05 } }", true, Some(529)),
        ("resnet18", "{ resnet: { width: 0.1, input: rgb_unit } }", true, Some(10)),
        ("resnet18_absorbed", "{ resnet: { width: 0.1, stem: small } }", false, None),
        ("resnet50", "{ resnet: { depth: 50, width: 0.05 } }", true, Some(10)),
        ("resnet50_small", "{ resnet: { depth: 50, width: 0.05, stem: small } }", false, Some(10)),
    ] {
        let spec = backbone(yaml)?;
        // The one network here without a classifier is not made for one size of pictures.
        let side = if name.starts_with("vgg_") || name == "vgg" { 40 } else { spec.crop() };
        write(folder.path(), name, &spec, rows(&spec, batch_norm, head), side)?;
    }
    write(folder.path(), "others", &backbone("{ vgg: {} }")?, every_other_row(), 10)?;
    let packages = "onnx or onnxruntime";
    let Some(found) = skipping::answer_of_python("onnx_models.py", folder.path(), packages) else {
        return Ok(());
    };
    let found: BTreeMap<String, f64> = serde_json::from_slice(&found)?;
    println!("{found:?}");
    assert_eq!(found.len(), 16);
    assert!(found.values().all(|apart| *apart <= 1e-4), "{found:?}");
    Ok(())
}
