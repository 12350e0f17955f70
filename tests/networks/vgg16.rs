//! VGG-16: its published figures, what it expects of pictures, the same logits as PyTorch (`scripts/oracles/vgg16.py`), and
//! the semantic interpretability test from pictures to report.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use hueristic::{
    backbones::{BackboneSpec, Build, Variant, input::Input, summary::Summary, vgg16::Vgg16Spec},
    bounded::{Count, Positive},
    color::decode::Decode,
    data::{
        scenes::{CLASSES, Scenes},
        source::{Dataset, Split},
    },
    evaluation::interpretability::{Classifier, classify_renderings, renderings},
    extremes::{between, largest_of},
    metrics::interpretability::{Answer, Record, Renderings},
    nn::{Mode, params::Params, weights},
    pretext::{colorization::ColorizationSpec, colorizer::Colorizer},
    report::interpretability::{InterpretabilityResult, ReportLimits, write_interpretability},
    rng::Rng,
    train::panel::RgbTile,
};
use rand::RngExt;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const NARROW: f64 = 0.03;

fn spec(crop: usize, width: f64, fc: Option<usize>) -> Vgg16Spec {
    let (crop, width, fc) = (Count::of(crop), Positive::of(width), fc.map(Count::of));
    Vgg16Spec { crop, width, fc, ..Vgg16Spec::default() }
}
fn build(classes: usize) -> Build {
    Build { variant: Variant::Transfer, batch_norm: false, input_channels: 3, outputs: Some(classes) }
}
fn summary(spec: Vgg16Spec, classes: usize) -> Result<Summary> {
    let crop = spec.crop.get();
    Ok(Summary::of(&BackboneSpec::Vgg16(spec).table(&build(classes)), (crop, crop))?)
}
fn oracle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles").join(name)
}
fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}
fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(between(a, b)?)
}

#[test]
fn the_figures_are_the_papers() -> Result<()> {
    let full = summary(Vgg16Spec::default(), 1000)?;
    assert_eq!((full.parameters(), full.macs()), (138_357_544, 15_470_264_320));
    assert_eq!((full.map("pool5"), full.map("fc6")), (Some((7, 7)), Some((1, 1))));
    insta::assert_snapshot!("vgg16_224", full);
    Ok(())
}

#[test]
fn pools_round_up_and_fc6_sees_what_they_leave() -> Result<()> {
    // Rounded down, 225 pixels would leave 7×7 too.
    assert_eq!(summary(spec(225, NARROW, None), 10)?.map("pool5"), Some((8, 8)));
    for crop in [17, 32, 33, 64, 225] {
        assert_eq!(summary(spec(crop, NARROW, None), 10)?.map("fc8"), Some((1, 1)), "{crop}");
    }
    let error = summary(spec(16, NARROW, None), 10).unwrap_err().to_string();
    assert!(error.contains("pool5") && error.contains("16×16 picture"), "{error}");
    Ok(())
}

#[test]
fn it_runs_and_starts_undecided() -> Result<()> {
    let mut params = Params::new(&Device::Cpu);
    let net = BackboneSpec::Vgg16(spec(32, 0.05, Some(16))).build(&build(10), &mut params, &Rng::new(1))?;
    let x = Tensor::ones((2, 32, 32, 3), DType::F32, &Device::Cpu)?;
    let maps = net.forward(&x, &["conv1_2", "pool3", "fc7", "fc8"], &Mode::Frozen)?;
    let dims: Vec<_> = maps.iter().map(|map| map.dims().to_vec()).collect();
    assert_eq!(dims, [[2, 32, 32, 8], [2, 4, 4, 16], [2, 1, 1, 16], [2, 1, 1, 10]]);
    assert!(flat(&maps[3])?.iter().all(|logit| *logit == 0.0));
    assert!(flat(&maps[2])?.iter().any(|value| *value > 0.0));
    Ok(())
}

/// torchvision's names, fully connected weights as it flattens them, its own layers.
#[test]
fn logits_equal_pytorch() -> Result<()> {
    let (answers, _) = weights::read(&oracle("vgg16_answers.safetensors"))?;
    for (name, input) in [("caffe", Input::BgrMean), ("torchvision", Input::RgbUnit)] {
        let corner = input.read(&answers["pictures"])?.narrow(1, 0, 4)?.narrow(2, 0, 4)?;
        assert!(difference(&corner, &answers[&format!("{name}.corner")])? < 1e-4, "{name}");
        let spec = Vgg16Spec { input, ..spec(64, NARROW, Some(16)) };
        let classifier = Classifier::open(&oracle("vgg16_torch.safetensors"), Some(&spec), &Device::Cpu)?;
        let logits = classifier.logits(&answers["pictures"])?;
        let theirs = &answers[&format!("{name}.logits")];
        let scale = largest_of(theirs)?;
        let difference = difference(&logits, theirs)?;
        assert!(difference < 1e-4 * scale, "{name}: {difference} of {scale}");
    }
    Ok(())
}

/// A file with random weights, its last layer included, and what it says of itself.
fn random(spec: &Vgg16Spec, classes: usize, path: &Path, header: bool) -> Result<()> {
    let backbone = BackboneSpec::Vgg16(spec.clone());
    let mut params = Params::new(&Device::Cpu);
    backbone.build(&build(classes), &mut params, &Rng::new(7))?;
    let last = params.named("fc8.weight").expect("in the table");
    let mut stream = Rng::new(8).at(0, 0);
    let values: Vec<f32> = (0..last.elem_count()).map(|_| stream.random::<f32>() - 0.5).collect();
    last.set(&Tensor::from_vec(values, last.shape(), &Device::Cpu)?)?;
    let text = serde_yaml::to_string(&serde_json::to_value(&backbone)?)?;
    let header = if header { BTreeMap::from([("backbone".to_string(), text)]) } else { BTreeMap::new() };
    weights::save(&params, &header, path)
}

#[test]
fn files_say_what_they_are_or_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (named, bare) = (folder.path().join("named.safetensors"), folder.path().join("bare.safetensors"));
    let small = spec(32, NARROW, Some(16));
    random(&small, 10, &named, true)?;
    random(&small, 10, &bare, false)?;
    let classifier = Classifier::open(&named, None, &Device::Cpu)?;
    assert_eq!((classifier.spec(), classifier.classes()), (&small, 10));
    assert_eq!(Classifier::open(&bare, Some(&small), &Device::Cpu)?.classes(), 10);
    let refused = |path: &Path, spec: Option<&Vgg16Spec>| {
        format!("{:#}", Classifier::open(path, spec, &Device::Cpu).expect_err("does not fit"))
    };
    let error = refused(&bare, None);
    assert!(error.contains("bare.safetensors") && error.contains("input: bgr_mean"), "{error}");
    let error = refused(&bare, Some(&spec(64, NARROW, Some(16))));
    assert!(error.contains("of another shape: fc6.weight ([16, 16, 2, 2] here, [16, 16, 1, 1]"), "{error}");
    let error = refused(&oracle("weights_torch.safetensors"), Some(&small));
    assert!(error.contains("fc8.bias"), "{error}");
    Ok(())
}

#[test]
fn pictures_are_scaled_to_eight_sevenths_and_cut() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("w.safetensors");
    random(&spec(28, NARROW, Some(16)), 10, &path, true)?;
    let classifier = Classifier::open(&path, None, &Device::Cpu)?;
    // 64×40 at a short side of 32 is 51×32. A bright frame as wide as the cut takes off changes nothing.
    let picture = |frame: u8| {
        let value = |y: usize, x: usize| if (8..56).contains(&y) { (x * 6) as u8 } else { frame };
        let pixels: Vec<u8> = (0..64 * 40).flat_map(|i| [value(i / 40, i % 40); 3]).collect();
        Tensor::from_vec(pixels, (1, 64, 40, 3), &Device::Cpu)
    };
    let (dark, bright) = (classifier.logits(&picture(0)?)?, classifier.logits(&picture(255)?)?);
    assert_eq!(flat(&dark)?, flat(&bright)?);
    assert_eq!(dark.dims(), [1, 10]);
    let error = classifier.classify(&picture(0)?, &[10]).unwrap_err().to_string();
    assert!(error.contains("class 10 is none of the classifier's 10"), "{error}");
    assert!(classifier.classify(&picture(0)?, &[1, 2]).is_err());
    Ok(())
}

/// From a dozen scenes to files, with random weights on both sides.
#[test]
fn from_pictures_to_report() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("vgg16.safetensors");
    random(&spec(32, NARROW, Some(16)), CLASSES.len(), &path, true)?;
    let classifier = Classifier::open(&path, None, &Device::Cpu)?;
    let backbone: BackboneSpec = serde_json::from_str(r#"{"alexnet": {"stem": "small", "width": 0.05}}"#)?;
    let mut params = Params::new(&Device::Cpu);
    let colorizer = Colorizer::new(&ColorizationSpec::default(), &backbone, &mut params, &Rng::new(2))?;
    let scenes = Scenes::new(12, 32, 3, Split::Val);
    let pixels = (0..12).map(|i| Ok(scenes.image(i)?.pixels)).collect::<Result<Vec<_>>>()?.concat();
    let pictures = Tensor::from_vec(pixels, (12, 32, 32, 3), &Device::Cpu)?;
    let pictures = renderings(&colorizer, &pictures, Decode::Mean)?;
    assert!(flat_u8(&pictures.gray)?.chunks(3).all(|p| p[0].abs_diff(p[1]) <= 1 && p[1].abs_diff(p[2]) <= 1));
    let classes: Vec<u32> = (0..12).filter_map(|i| scenes.label(i)).collect();
    let records = classify_renderings(&classifier, &pictures, &(0..12).collect::<Vec<_>>(), &classes)?;
    assert_eq!(records.len(), 12);
    for (record, class) in records.iter().zip(&classes) {
        let Renderings { original, gray, recolored } = &record.answers;
        assert_eq!(record.class, *class);
        for answer in [original, gray, recolored] {
            assert_eq!((answer.top.len(), (answer.rank as usize) < 5), (5, answer.score(*class).is_some()));
        }
    }
    assert!(records.iter().any(|r| r.answers.original != r.answers.gray), "color changes some answer");
    let names = CLASSES.map(String::from).to_vec();
    let result = result(names, records);
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interpretability_scenes");
    let _ = fs::remove_dir_all(&out);
    let tile = |all: &Tensor, i: u32| -> Result<_> { Ok((32, 32, flat_u8(&all.get(i as usize)?)?)) };
    let shown = |record: &Record| -> Result<Renderings<_>> {
        let Renderings { original, gray, recolored } = pictures.map(|all| tile(all, record.image));
        Ok(Renderings { original: original?, gray: gray?, recolored: recolored? })
    };
    let paths = write_interpretability(&result, &ReportLimits::default(), &shown, &out)?;
    assert!(paths.tables.iter().chain(&paths.plots).all(|path| path.metadata().is_ok_and(|m| m.len() > 40)));
    assert!(
        paths.text.contains("true colors") && paths.text.contains("12 pictures of scenes"),
        "{}",
        paths.text
    );
    println!("{}", out.display());
    Ok(())
}

fn flat_u8(tensor: &Tensor) -> Result<Vec<u8>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

fn result(classes: Vec<String>, records: Vec<Record>) -> InterpretabilityResult {
    let [dataset, colorizer, classifier] = ["scenes", "colorization", "VGG-16"].map(String::from);
    InterpretabilityResult { dataset, colorizer, classifier, classes, records }
}

/// A made-up outcome of 1000 classes with 8 pictures each, in which the hundred first classes profit from color and
/// the hundred last are taken for the class before.
fn thousand() -> InterpretabilityResult {
    let mut stream = Rng::new(9).at(0, 0);
    let mut answer = |class: u32, right: f64, other: Option<u32>| {
        let place = if stream.random::<f64>() < right { 1 } else { 9 };
        let mut given: Vec<u32> = (0..5).map(|_| stream.random_range(0..990)).collect();
        given[0] = other.unwrap_or(given[0]);
        given.iter_mut().for_each(|other| *other += u32::from(*other == class) * 7);
        if place < 5 {
            given[place] = class;
        }
        let mut seen = std::collections::HashSet::new();
        given.retain(|class| seen.insert(*class)); // an answer names a class once
        let scores = (0..).map(|i| 0.5 / (1 << i) as f32);
        Answer { top: given.into_iter().zip(scores).collect(), rank: place as u32 }
    };
    let mut records = vec![];
    for image in 0..8000 {
        let class = image / 8;
        let ease = f64::from(class * 37 % 100) / 100.0;
        let (gain, wrong) = match class {
            0..100 => (0.3, None),
            900.. => (-0.3, Some(class - 1)),
            _ => (0.0, None),
        };
        let answers = Renderings {
            original: answer(class, 0.2 + ease, None),
            gray: answer(class, ease, None),
            recolored: answer(class, ease + gain, wrong),
        };
        records.push(Record { image, class, answers });
    }
    result((0..1000).map(|i| format!("class | {i}")).collect(), records)
}

#[test]
fn plots_and_tables_of_a_thousand_classes() -> Result<()> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interpretability_thousand");
    let _ = fs::remove_dir_all(&out);
    let gray = |_: &Record| -> Result<Renderings<RgbTile>> {
        let tile = || (48, 32, vec![128; 3 * 48 * 32]);
        Ok(Renderings { original: tile(), gray: tile(), recolored: tile() })
    };
    let paths = write_interpretability(&thousand(), &ReportLimits::default(), &gray, &out)?;
    let read = |name: &str| fs::read_to_string(out.join(name));
    let svg = read("interpretability_classes.svg")?;
    for text in ["50 classes that gain most", "900 classes between", "gray: top-5 accuracy (%)", "no change"]
    {
        assert!(svg.contains(text), "no {text} in the plot");
    }
    let svg = read("interpretability_confusions.svg")?;
    assert!(svg.contains("100 confusions most added") && svg.contains("998900 other pairs of classes"));
    let png = image::open(out.join("interpretability_classes.png"))?.to_rgb8();
    let of = |color: [u8; 3]| png.pixels().filter(|p| p.0 == color).count();
    assert!(of([0, 114, 178]) > 500 && of([213, 94, 0]) > 500, "both ends are highlighted");
    let page = read("interpretability.md")?;
    assert!(page.contains("| class \\| ") && page.contains("](examples/helped-01.png)"));
    assert_eq!(page.matches("](examples/").count(), 30);
    assert_eq!(read("interpretability_classes.csv")?.lines().count(), 1001);
    assert_eq!(paths.plots.len(), 34);
    // 2 gaps around 3 tiles of 48 × 2, which is the most that 128 holds; 4 rows under a title.
    let grid = image::open(out.join("examples/confused-01.png"))?.to_rgb8();
    assert_eq!(grid.dimensions(), (8 + 3 * (96 + 8), 8 + 24 + 4 * (64 + 8)));
    println!("{}", out.display());
    Ok(())
}

#[test]
fn nothing_and_nameless_classes_are_refused() -> Result<()> {
    let out = tempfile::tempdir()?;
    let none = |_: &Record| -> Result<Renderings<RgbTile>> { anyhow::bail!("no picture") };
    let refused = |result: &InterpretabilityResult| {
        format!(
            "{:#}",
            write_interpretability(result, &ReportLimits::default(), &none, out.path()).expect_err("refused")
        )
    };
    assert!(refused(&result(vec![], vec![])).contains("no picture was classified"));
    let mut few = thousand();
    few.classes.truncate(20);
    assert!(refused(&few).contains("has no name: 20 names"));
    assert!(refused(&thousand()).contains("cannot show picture"));
    Ok(())
}
