//! Names, shapes, numbers and logits against the oracle; and the way back.

use super::{FILES, agrees, expected, fixture, flat};
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use hueristic::{
    backbones::{
        BackboneSpec, Build, Variant,
        exchange::{self, Architecture, Layout, WeightFile},
        input::Input,
    },
    extremes::{apart, largest},
    nn::{
        Mode,
        params::Params,
        weights::{self, Format},
    },
    rng::Rng,
};

/// Tensors that the oracle does not list: weights of accumulators, which PyTorch lacks.
fn compare(file: &WeightFile, name: &str) {
    let wanted = expected(name);
    let wanted = wanted["tensors"].as_object().expect("tensors by name");
    for (tensor, facts) in wanted {
        let ours = file.tensors.get(tensor).unwrap_or_else(|| panic!("{name}: `{tensor}` is missing"));
        assert!(agrees(ours, facts), "{name}: `{tensor}` {:?} differs from {facts}", ours.dims());
    }
    let more = file.tensors.keys().filter(|t| !wanted.contains_key(*t) && !t.ends_with(".weight_sum"));
    assert_eq!(more.collect::<Vec<_>>(), Vec::<&String>::new(), "{name} has more");
}

#[test]
fn every_layout_arrives_under_our_names() -> Result<()> {
    use Architecture::{Alexnet, Vgg16, VggColorizer};
    let cases = [
        ("eccv16.pth", Format::Pytorch, Layout::Eccv16, VggColorizer),
        ("vgg_colorizer.caffemodel", Format::Caffe, Layout::Caffe, VggColorizer),
        ("alexnet_colorizer.caffemodel", Format::Caffe, Layout::Caffe, Alexnet),
        ("caffenet.caffemodel", Format::Caffe, Layout::Caffe, Alexnet),
        ("vgg16.caffemodel", Format::Caffe, Layout::Caffe, Vgg16),
        ("vgg16_legacy.pth", Format::Pytorch, Layout::Torchvision, Vgg16),
        ("alexnet.pth", Format::Pytorch, Layout::Torchvision, Alexnet),
    ];
    for (name, format, layout, architecture) in cases {
        let file = exchange::open(&fixture(name))?;
        assert_eq!(
            (file.format, file.layout, file.architecture),
            (format, layout, Some(architecture)),
            "{name}"
        );
        compare(&file, name);
    }
    Ok(())
}

#[test]
fn element_types_views_and_strides_of_pytorch() -> Result<()> {
    let (tensors, _) = weights::read(&fixture("mixed.pth"))?;
    let wanted = expected("mixed.pth");
    let wanted = wanted["tensors"].as_object().context("tensors")?;
    assert_eq!(tensors.len(), wanted.len());
    for (name, facts) in wanted {
        assert!(agrees(&tensors[name], facts), "`{name}` differs from {facts}");
    }
    let dtypes =
        [("half", DType::F16), ("bfloat16", DType::BF16), ("double", DType::F64), ("long", DType::I64)];
    for (name, dtype) in dtypes {
        assert_eq!(tensors[name].dtype(), dtype, "{name}");
    }
    Ok(())
}

/// ((7 y + 13 x + 5 c) mod 17 − 8) / 8 · scale, `(1, H, W, C)`.
fn picture(wanted: &serde_json::Value, scale: f64) -> Result<Tensor> {
    let [channels, height, width]: [usize; 3] = serde_json::from_value(wanted["input"].clone())?;
    let mut values = vec![];
    for (y, x, c) in
        (0..height * width * channels).map(|i| (i / (width * channels), i / channels % width, i % channels))
    {
        values.push((((7 * y + 13 * x + 5 * c) % 17) as f64 - 8.0) / 8.0 * scale);
    }
    Ok(Tensor::from_vec(values, (1, height, width, channels), &Device::Cpu)?.to_dtype(DType::F32)?)
}

/// Loads the file into the network that its metadata describes, or that is given, and compares logits with PyTorch's.
fn parity(name: &str, given: Option<BackboneSpec>, build: Build, scale: f64) -> Result<()> {
    let file = exchange::open(&fixture(name))?;
    let spec = file.backbone(given.as_ref())?.context("somebody says what it is")?;
    let mut params = Params::new(&Device::Cpu);
    let network = spec.build(&build, &mut params, &Rng::new(0))?;
    let report = weights::load_into(&params, &file.tensors)?;
    assert!(report.is_complete(), "{name}: {report}");
    let wanted = expected(name);
    let head = network.head().name.clone();
    let ours = network.forward(&picture(&wanted, scale)?, &[&head], &Mode::Frozen)?.remove(0);
    let ours = flat(&ours);
    let theirs: Vec<f64> = serde_json::from_value(wanted["logits"].clone())?;
    let (largest, furthest) = (largest(theirs.iter().copied()), apart(&ours, &theirs));
    assert!(furthest <= 1e-5 * largest, "{name}: off by {furthest} where logits reach {largest}");
    Ok(())
}

fn colorizer() -> Build {
    Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(313) }
}

#[test]
fn the_vgg_colorizer_of_pytorch_computes_the_same_logits() -> Result<()> {
    parity("eccv16.pth", None, colorizer(), 50.0)
}

#[test]
fn the_vgg_colorizer_of_caffe_computes_the_same_logits() -> Result<()> {
    parity("vgg_colorizer.caffemodel", None, colorizer(), 50.0)
}

#[test]
fn the_alexnet_colorizer_of_caffe_computes_the_same_logits() -> Result<()> {
    parity("alexnet_colorizer.caffemodel", None, colorizer(), 50.0)
}

#[test]
fn caffenet_computes_the_same_scores() -> Result<()> {
    let build = Build { variant: Variant::Transfer, batch_norm: false, input_channels: 3, outputs: Some(10) };
    // The oracle's has no response normalization, which the file cannot say.
    let spec = "alexnet: { input: bgr_mean, fc: 16, width: 0.02 }";
    parity("caffenet.caffemodel", Some(weights::section(spec)?), build, 100.0)
}

#[test]
fn files_without_a_header_say_what_they_are() -> Result<()> {
    let open = |name: &str| exchange::open(&fixture(name));
    let BackboneSpec::Vgg(vgg) = weights::section(&open("eccv16.pth")?.metadata["backbone"])? else {
        panic!("a VGG colorizer")
    };
    assert!(vgg.affine && !vgg.narrow && !vgg.deep_supervision && vgg.width.get() == 1.0 / 64.0);
    assert_eq!(open("eccv16.pth")?.metadata["colorization"], "temperature: 1.0\n");
    assert_eq!(open("eccv16.pth")?.metadata[exchange::UPSAMPLING], "two_step\n");
    let caffe = open("vgg_colorizer.caffemodel")?;
    let BackboneSpec::Vgg(vgg) = weights::section(&caffe.metadata["backbone"])? else {
        panic!("a VGG colorizer")
    };
    assert!(!vgg.affine);
    let temperature: f64 =
        caffe.metadata["colorization"].trim_start_matches("temperature:").trim().parse()?;
    assert!((temperature - 1.0 / 2.606).abs() < 1e-7, "{temperature}");
    let left_out = caffe.notes.join("\n");
    for layer in ["data_l.weight", "class8_ab.bias", "conv8_313_rh.weight"] {
        assert!(left_out.contains(layer), "{left_out}");
    }
    let BackboneSpec::Alexnet(alexnet) =
        weights::section(&open("alexnet_colorizer.caffemodel")?.metadata["backbone"])?
    else {
        panic!("an AlexNet")
    };
    assert_eq!(alexnet.fc.map(|fc| fc.get()), Some(16));
    assert!(!open("vgg16.caffemodel")?.metadata.contains_key("colorization"));
    assert!(open("vgg16.caffemodel")?.notes.join("").contains("103.939"));
    for (name, input) in [("vgg16.caffemodel", Input::BgrMean), ("vgg16_legacy.pth", Input::RgbUnit)] {
        let spec = open(name)?.backbone(None)?.context("VGG-16 of known shapes")?;
        assert_eq!((spec.name(), spec.input()), ("vgg16", input), "{name}");
    }
    let caffenet = open("caffenet.caffemodel")?;
    assert!(caffenet.backbone(None)?.is_none() && caffenet.notes.join("").contains("preset: caffenet"));
    Ok(())
}

fn same(a: &WeightFile, b: &WeightFile, tolerance: f64, what: &str) {
    let names = |f: &WeightFile| f.tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(a), names(b), "{what}");
    for (name, tensor) in a.tensors.iter().filter(|(name, _)| !name.ends_with("weight_sum")) {
        assert_eq!(tensor.dims(), b.tensors[name].dims(), "{what}: {name}");
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * a.abs();
        assert!(flat(tensor).iter().zip(&flat(&b.tensors[name])).all(near), "{what}: {name} differs");
    }
}

/// Every layout in every container that can hold it, and back.
#[test]
fn what_goes_out_comes_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let containers =
        [(Format::Safetensors, "safetensors"), (Format::Pytorch, "pth"), (Format::Caffe, "caffemodel")];
    for name in FILES.iter().filter(|name| **name != "mixed.pth") {
        let file = exchange::open(&fixture(name))?;
        for (format, extension) in containers {
            for layout in [Layout::Ours, file.layout, Layout::Caffe] {
                let wrong = format == Format::Caffe && layout != Layout::Caffe;
                let path = folder.path().join(format!("{layout}.{extension}"));
                let what = format!("{name} as {layout}.{extension}");
                let saved = exchange::save(&file, layout, format, &path);
                assert_eq!(saved.is_err(), wrong, "{what}: {saved:?}");
                if !wrong {
                    let back = exchange::open(&path).with_context(|| what.clone())?;
                    assert_eq!((back.format, back.architecture), (format, file.architecture), "{what}");
                    // Statistics are multiplied and divided by what was accumulated.
                    same(&file, &back, 3e-7, &what);
                }
            }
        }
    }
    Ok(())
}

/// Leaves the colors as they are: the release has no temperature of its own.
#[test]
fn eccv16_takes_the_temperature_into_its_head() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("out.pth");
    let file = exchange::open(&fixture("vgg_colorizer.caffemodel"))?;
    let notes = exchange::save(&file, Layout::Eccv16, Format::Pytorch, &path)?;
    assert!(notes.iter().any(|note| note.contains("temperature")), "{notes:?}");
    let back = exchange::open(&path)?;
    assert_eq!(back.metadata["colorization"], "temperature: 1.0\n");
    let ratio = flat(&back.tensors["conv8_313.bias"])[0] / flat(&file.tensors["conv8_313.bias"])[0];
    assert!((ratio - 2.606).abs() < 1e-5, "{ratio}");
    Ok(())
}

/// Writes the oracle's eccv16 with one tensor changed, or left out where there is none.
fn changed(
    source: &str,
    name: &str,
    change: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<WeightFile> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("changed.safetensors");
    let (mut tensors, _) = weights::read(&fixture(source))?;
    let tensor = change(&tensors[name])?;
    tensors.insert(name.into(), tensor);
    let list: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    weights::write(&list, &Default::default(), &path)?;
    exchange::open(&path)
}

#[test]
fn bins_of_another_order_are_refused() -> Result<()> {
    changed("eccv16.pth", "model_out.weight", |t| t + 0.004)?;
    let error = changed("eccv16.pth", "model_out.weight", |t| t + 0.005).expect_err("bins 0.55 off");
    assert!(format!("{error:#}").contains("bin 0 has the color"), "{error:#}");
    let error =
        changed("eccv16.pth", "model_out.weight", |t| t.narrow(3, 0, 312)).expect_err("bins are missing");
    assert!(format!("{error:#}").contains("decodes 312 bins"), "{error:#}");
    Ok(())
}

/// The rescaled release multiplies L − 50 by a factor, which goes into the first convolution.
#[test]
fn the_centering_layer_is_folded_in_or_refused() -> Result<()> {
    let plain = exchange::open(&fixture("vgg_colorizer.caffemodel"))?;
    let first = |file: &WeightFile| flat(&file.tensors["conv1_1.weight"])[0];
    let error = changed("vgg_colorizer.caffemodel", "data_l.weight", |t| t * 0.5).expect_err("0.5 L − 50");
    assert!(format!("{error:#}").contains("expect another input"), "{error:#}");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("w.safetensors");
    let (mut tensors, _) = weights::read(&fixture("vgg_colorizer.caffemodel"))?;
    for part in ["data_l.weight", "data_l.bias"] {
        let scaled = (&tensors[part] * 0.5)?;
        tensors.insert(part.into(), scaled);
    }
    let list: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    weights::write(&list, &Default::default(), &path)?;
    assert_eq!(first(&exchange::open(&path)?), 0.5 * first(&plain));
    Ok(())
}

#[test]
fn relatives_of_known_networks_are_named() {
    let zero = Tensor::zeros(1, DType::F32, &Device::Cpu).expect("a tensor");
    let folder = tempfile::tempdir().expect("a folder");
    let open = |names: &[&str]| {
        let path = folder.path().join("w.pth");
        let list: Vec<_> = names.iter().map(|name| (*name, &zero)).collect();
        weights::pth::write(&list, &Default::default(), &path).expect("a writable folder");
        format!("{:#}", exchange::open(&path).expect_err("no network of ours"))
    };
    assert!(open(&["model1.0.weight", "model_class.0.weight"]).contains("conv1_1.bias"));
    assert!(open(&["features.0.weight", "features.1.weight"]).contains("only vgg16"));
    let error = open(&["layer1.0.conv1.weight"]);
    assert!(error.contains("layer1.0.conv1.weight") && error.contains("w.pth"), "{error}");
}
