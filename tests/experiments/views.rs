//! Tasks with a head of their own: views and their classes, contrast, inpainting, codes. Their batches, first losses, whole
//! stages on every backbone, what they leave to later stages, resuming, and refusals.

use super::home::Home;
use candle_core::{Device, Tensor};
use hueristic::{
    backbones::BackboneSpec,
    bounded::Count,
    data::{
        Batch,
        loader::{Loader, Pass},
        scenes::Scenes,
        source::{DataSpec, Dataset, Locations, SourceSpec, Split},
    },
    experiment::{Experiment, Outcome, RunOptions, check, run},
    nn::{TrainingPass, weights},
    pretext::{
        bigan::BiganSpec,
        context::ContextSpec,
        headed::HeadedTaskSpec,
        inpainting::InpaintingSpec,
        jigsaw::JigsawSpec,
        rotation::RotationSpec,
        simclr::SimclrSpec,
        view_classifier::{ViewClassifier, ViewTaskSpec},
        views::{Picture, quarter_turns},
    },
    rng::Rng,
    train::task::Task,
};
use parquet::{
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::writer::SerializedFileWriter,
    schema::parser::parse_message_type,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

type Result<T> = anyhow::Result<T>;

fn batch(images: usize, side: usize) -> Result<Batch> {
    let scenes = Scenes::new(images, side, 3, Split::Train);
    let mut pixels = vec![];
    for i in 0..images {
        pixels.extend(scenes.image(i)?.pixels);
    }
    let pixels = Tensor::from_vec(pixels, (images, side, side, 3), &Device::Cpu)?;
    Ok(Batch { pixels, labels: None, indices: (0..images).collect(), frames: vec![] })
}

fn task(spec: &dyn ViewTaskSpec, crop: usize) -> Result<ViewClassifier> {
    let backbone: BackboneSpec =
        serde_json::from_str(r#"{"alexnet": {"stem": "small", "width": 0.1, "input": "rgb_unit"}}"#)?;
    ViewClassifier::new(spec, &backbone, crop, &Rng::new(1), &Device::Cpu)
}

fn of<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

const HEAD: &str = r#""head": {"embedding": 16, "hidden": [16]}"#;

fn specs() -> [Box<dyn ViewTaskSpec>; 3] {
    [
        Box::new(of::<RotationSpec>(&format!("{{{HEAD}}}"))),
        Box::new(of::<JigsawSpec>(&format!("{{\"permutations\": 10, {HEAD}}}"))),
        Box::new(of::<ContextSpec>(&format!("{{\"grid\": 2, {HEAD}}}"))),
    ]
}

#[test]
fn views_lie_in_the_batch_by_view() -> Result<()> {
    let (batch, [rotation, ..]) = (batch(3, 32)?, specs());
    let views = task(&*rotation, 32)?.views(&batch, &Rng::new(1), 0)?;
    assert_eq!((views.pixels.dims(), views.labels.dims()), (&[12, 32, 32, 3][..], &[12][..]));
    assert_eq!(views.labels.to_vec1::<u32>()?, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
    for row in 0..12 {
        let picture = batch.pixels.get(row % 3)?.flatten_all()?.to_vec1::<u8>()?;
        let mut turned = vec![0; picture.len()];
        quarter_turns(&picture, 32, row / 3, &mut turned);
        assert_eq!(views.pixels.get(row)?.flatten_all()?.to_vec1::<u8>()?, turned, "row {row}");
    }
    Ok(())
}

/// A picture's views depend on the stream and on its place in the batch, not on threads or on the rest of the batch.
#[test]
fn views_are_functions_of_the_stream_and_the_place() -> Result<()> {
    for spec in specs() {
        let (task, batch) = (task(&*spec, 48)?, batch(7, 48)?);
        let bytes = |seed, first, batch: &Batch| -> Result<Vec<u8>> {
            let views = task.views(batch, &Rng::new(seed), first)?;
            Ok(views.pixels.flatten_all()?.to_vec1::<u8>()?)
        };
        let all = bytes(1, 0, &batch)?;
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            assert!(pool.install(|| bytes(1, 0, &batch))? == all);
        }
        let maker = spec.maker(48)?;
        let (head, size) = (spec.head(48)?, 3 * spec.head(48)?.side.pow(2));
        for i in [0, 4] {
            let pixels = batch.pixels.get(i)?.flatten_all()?.to_vec1::<u8>()?;
            let picture = Picture { pixels: &pixels, width: 48, height: 48 };
            let mut own = vec![vec![0; size]; head.views];
            let mut slots: Vec<&mut [u8]> = own.iter_mut().map(Vec::as_mut_slice).collect();
            maker.make(picture, &mut Rng::new(1).at(0, i as u64), &mut slots)?;
            for (view, own) in own.iter().enumerate() {
                assert!(all[(view * 7 + i) * size..][..size] == own[..], "view {view} of picture {i}");
            }
        }
        // rotation by all turns draws nothing
        assert_eq!(bytes(2, 0, &batch)? == all, spec.name() == "rotation");
        assert_eq!(bytes(1, 7, &batch)? == all, spec.name() == "rotation");
    }
    Ok(())
}

#[test]
fn the_first_losses_are_those_of_knowing_nothing() -> Result<()> {
    for (spec, classes) in specs().iter().zip([4f64, 10.0, 8.0]) {
        let mut task = task(&**spec, 48)?;
        let step = task.step(&batch(4, 48)?, &TrainingPass::new(Rng::new(0)))?;
        let loss = step.numbers()?[0].1;
        assert!((loss - classes.ln()).abs() < 1e-5, "{}: {loss}", spec.name());
    }
    Ok(())
}

const SPEC: &str = r#"
name: views
data: { source: { scenes: { train: 24, val: 12, size: 64 } }, crop: 64 }
annotated: { source: { composite: { train: 12, val: 6, size: 48 } } }
backbone: BACKBONE
stages:
  rotation: { pretext: { task: { rotation: { HEAD } }, train: &train { steps: 2, batch: 4, optimizer: { adam: { lr: 1e-3 } } } } }
  jigsaw: { pretext: { task: { jigsaw: { permutations: 5, HEAD } }, train: *train } }
  context: { pretext: { init_from: { stage: jigsaw }, task: { context: { grid: 2, HEAD } }, train: *train } }
  simclr: { pretext: { init_from: { stage: rotation }, task: { simclr: { augment: { blur: 0.5 }, head: { hidden: 16 } } }, train: *train } }
  inpainting: { pretext: { task: inpainting, train: *train } }
  center: { pretext: { init_from: { stage: inpainting }, task: { inpainting: { region: center, adversarial: 0.01, discriminator_width: 0.05 } }, train: *train } }
  bigan: { pretext: { init_from: { stage: center }, task: { bigan: { code: 8, side: 16, width: 0.05 } }, train: *train } }
"#;

fn on(backbone: &str) -> String {
    SPEC.replace("BACKBONE", backbone).replace("HEAD", "head: { embedding: 16, hidden: [16], cells: 3 }")
}

fn finish(home: &Home, yaml: &str) -> Result<()> {
    let experiment = home.load(yaml, &[])?;
    let plan = check(&experiment, &home.options())?.to_string();
    for part in [
        "accuracy, loss",
        "loss, psnr, explained",
        "matched, code, psnr, discriminated",
        "chance 0.8 % in validation batches of 64",
        "numbers from pictures",
        "beside a generator, beside a discriminator",
        "\ngenerator\nlayer",
        "\ndiscriminator.conv1 ",
    ] {
        assert!(plan.contains(part), "{part} is not in\n{plan}");
    }
    match run(&experiment, &home.options())? {
        Outcome::Finished { .. } => Ok(()),
        _ => anyhow::bail!("not finished"),
    }
}

fn weights_of(home: &Home, stage: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(home.path().join("runs/views"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&format!("{stage}-s0")) {
            return Ok(entry.path().join("weights.safetensors"));
        }
    }
    anyhow::bail!("no run of {stage}")
}

/// Without an adversary nothing else is trained; with one its parameters are there, and both losses are told.
#[test]
fn adversaries_are_trained_beside_the_backbone() -> Result<()> {
    let backbone: BackboneSpec = serde_json::from_str(r#"{"alexnet": {"stem": "small", "width": 0.1}}"#)?;
    for (json, names, others) in [
        ("{}", vec!["loss"], 0),
        (
            r#"{"adversarial": 0.001, "discriminator_width": 0.1}"#,
            vec!["loss", "adversarial_loss", "discriminator_loss"],
            12,
        ),
    ] {
        let spec = of::<InpaintingSpec>(json);
        let mut task = spec.task(&backbone, 32, &Rng::new(1), &Device::Cpu)?;
        let training = TrainingPass::new(Rng::new(0));
        let step = task.step(&batch(4, 32)?, &training)?;
        let numbers = step.numbers()?;
        assert_eq!(numbers.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
        // two undecided judgments of true and painted pictures, one of painted ones
        for (name, loss) in &numbers[1..] {
            let want = if *name == "discriminator_loss" { 2.0 } else { 1.0 } * 2f64.ln();
            assert!((loss - want).abs() < 0.35, "{name}: {loss}");
        }
        let mut gradients = std::collections::HashMap::new();
        training.tape.backward(step.loss, &mut gradients)?;
        assert!(task.params().iter().all(|param| gradients.contains_key(&param.var.id())));
        let judges = task.params().iter().filter(|param| param.name.starts_with("discriminator."));
        assert_eq!(judges.count(), others);
    }
    let spec = of::<BiganSpec>(r#"{"code": 5, "side": 16, "width": 0.1}"#);
    let mut task = spec.task(&backbone, 32, &Rng::new(1), &Device::Cpu)?;
    let training = TrainingPass::new(Rng::new(0));
    let step = task.step(&batch(4, 32)?, &training)?;
    for (name, loss) in step.numbers()? {
        assert!((loss - 2f64.ln()).abs() < 0.5, "{name}: {loss}");
    }
    let mut gradients = std::collections::HashMap::new();
    training.tape.backward(step.loss, &mut gradients)?;
    assert!(task.params().iter().all(|param| gradients.contains_key(&param.var.id())));
    Ok(())
}

/// As likely as any of the 2B − 1 other views.
#[test]
fn views_are_told_apart_by_chance_at_first() -> Result<()> {
    let backbone: BackboneSpec =
        serde_json::from_str(r#"{"resnet": {"stem": "small", "width": 0.1, "input": "rgb_unit"}}"#)?;
    let spec = of::<SimclrSpec>(r#"{"temperature": 5.0, "head": {"outputs": 16}}"#);
    let mut task = spec.task(&backbone, 32, &Rng::new(1), &Device::Cpu)?;
    let step = task.step(&batch(8, 32)?, &TrainingPass::new(Rng::new(0)))?;
    let loss = step.numbers()?[0].1;
    assert!((loss - 15f64.ln()).abs() < 0.2, "{loss}");
    Ok(())
}

/// The left column shows what the network sees.
#[test]
fn a_picture_of_an_inpainting_is_gray_where_the_network_sees_no_color() -> Result<()> {
    for (input, is_gray) in [("lightness", true), ("luma", true), ("rgb_unit", false), ("lab", false)] {
        let json = format!(r#"{{"alexnet": {{"stem": "small", "width": 0.1, "input": "{input}"}}}}"#);
        let backbone: BackboneSpec = serde_json::from_str(&json)?;
        let mut task = of::<InpaintingSpec>("{}").task(&backbone, 32, &Rng::new(1), &Device::Cpu)?;
        let data = DataSpec::new(
            SourceSpec::Scenes { train: Count::of(4), val: Count::of(4), size: Count::of(32), seed: 0 },
            Count::of(32),
        );
        let set = Arc::new(Scenes::new(4, 32, 3, Split::Val));
        let mut val = Loader::new(set, &data, Pass::Once, 4, &Rng::new(0), &Device::Cpu)?;
        let panel = task.picture(&mut val)?.expect("a panel");
        let rows = panel.rgb.chunks_exact(3 * panel.width);
        let mut left = rows.flat_map(|row| row[..panel.width].chunks_exact(3));
        assert_eq!(left.all(|rgb| rgb[0] == rgb[1] && rgb[1] == rgb[2]), is_gray, "{input}");
    }
    Ok(())
}

#[test]
fn every_backbone_learns_from_views_and_is_probed() -> Result<()> {
    for (backbone, side, layer, through) in [
        ("{ vgg: { width: 0.05 } }", 64, "conv3_3", None),
        ("{ vgg16: { width: 0.05, fc: 16, crop: 64 } }", 132, "conv5_3", Some("pool5")),
        ("{ resnet: { stem: small, width: 0.1, input: rgb_unit } }", 64, "layer4", None),
    ] {
        let home = Home::new()?;
        let probe = format!(
            "  probe: {{ linear_probe: {{ backbones: {{ a: {{ stage: rotation }}, b: {{ stage: jigsaw }}, c: {{ stage: context }}, d: {{ stage: simclr }}, e: {{ stage: inpainting }}, f: {{ stage: center }}, g: {{ stage: bigan }} }}, \
             probe: {{ layers: [{layer}], dimensions: 96, augment: false }}, train: {{ steps: 1, batch: 4, optimizer: {{ sgd: {{ lr: 0.01 }} }} }} }} }}\n"
        );
        let yaml = on(backbone).replace("size: 64 }", &format!("size: {side} }}"));
        finish(&home, &(yaml.replace("crop: 64 }", &format!("crop: {side} }}")) + &probe))?;
        home.reports_as_planned()?;
        let (tensors, about) = weights::read(&weights_of(&home, "jigsaw")?)?;
        assert_eq!(about.get("through").map(String::as_str), through, "{backbone}");
        let (codes, _) = weights::read(&weights_of(&home, "bigan")?)?;
        for name in ["code.weight", "generator.deconv1.weight", "discriminator.conv1.weight"] {
            assert!(codes.contains_key(name), "{backbone}: {name}");
        }
        assert!(tensors.contains_key("embed.weight") && !tensors.contains_key("fc6.weight"), "{backbone}");
    }
    Ok(())
}

/// An AlexNet that ends with pool5 starts colorization and is fine-tuned with new layers above; a colorizer starts puzzles.
#[test]
fn later_stages_take_what_was_trained_and_start_the_rest() -> Result<()> {
    let home = Home::new()?;
    let more = r#"
  colorization: { pretext: { init_from: { stage: rotation }, task: colorization, train: *train } }
  again: { pretext: { init_from: { stage: colorization }, task: { rotation: { turns: one, HEAD } }, train: *train } }
  made: { pretext: { init_from: { data_dependent: { batches: 1, patches: 300 } }, task: { jigsaw: { permutations: 5, HEAD } }, train: *train } }
  probe:
    linear_probe:
      backbones: { again: { stage: again }, even: { rescaled: { stage: made } } }
      probe: { layers: [conv1, conv5], dimensions: 96, augment: false }
      train: { steps: 1, batch: 4, optimizer: { sgd: { lr: 0.01 } } }
  classification:
    classification:
      backbones: { rotation: { stage: rotation }, even: { rescaled: { stage: jigsaw } } }
      task: { train_from: [head, all], crop: 29, draws: 1 }
      train: { steps: 1, batch: 4, optimizer: { sgd: { lr: 1e-3 } } }
"#;
    let yaml = on("{ alexnet: { stem: small, width: 0.1, fc: 16 } }")
        + &more.replace("HEAD", "head: { embedding: 16, hidden: [16] }");
    finish(&home, &yaml)?;
    let (rotation, about) = weights::read(&weights_of(&home, "rotation")?)?;
    assert_eq!(about["through"], "pool5");
    assert!(!rotation.contains_key("fc6.weight"));
    // given as a file, it is the same
    let file = weights_of(&home, "rotation")?;
    let text = format!(
        "name: other\ndata: {{ source: {{ scenes: {{ train: 24, val: 12, size: 64 }} }}, crop: 64 }}\nstages:\n  color: {{ pretext: {{ \
         backbone: {{ alexnet: {{ stem: small, width: 0.1, fc: 16 }} }}, init_from: {{ file: {} }}, task: colorization, train: \
         {{ steps: 1, batch: 4, optimizer: {{ adam: {{ lr: 1e-3 }} }} }} }} }}\n",
        file.display()
    );
    assert!(matches!(run(&home.load(&text, &[])?, &home.options())?, Outcome::Finished { .. }));
    Ok(())
}

/// A run of two steps that goes on to four leaves the bits of one of four, on any number of threads.
#[test]
fn resumed_runs_have_the_bits_of_whole_ones() -> Result<()> {
    let yaml = on("{ alexnet: { stem: small, width: 0.1, fc: 16 } }");
    let four = ["rotation", "jigsaw", "context", "simclr", "inpainting", "center", "bigan"]
        .map(|stage| format!("{stage}.train.steps=4"));
    let four: Vec<&str> = four.iter().map(String::as_str).collect();
    let ran = |steps: &[&[&str]], threads: usize| -> Result<Vec<Vec<u8>>> {
        let home = Home::new()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        for sets in steps {
            let experiment = home.load(&yaml, sets)?;
            pool.install(|| run(&experiment, &home.options()).map(drop))?;
        }
        let mut tensors = vec![];
        for stage in ["rotation", "jigsaw", "simclr", "center", "bigan"] {
            // the run of four steps, of possibly two
            for entry in fs::read_dir(home.path().join("runs/views"))? {
                let path = entry?.path();
                let manifest = fs::read_to_string(path.join("manifest.json")).unwrap_or_default();
                let own = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(stage));
                if own && serde_json::from_str::<serde_json::Value>(&manifest)?["steps"] == 4 {
                    for (name, tensor) in weights::read(&path.join("weights.safetensors"))?.0 {
                        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
                        tensors
                            .push(values.iter().flat_map(|v| v.to_le_bytes()).chain(name.bytes()).collect());
                    }
                }
            }
        }
        Ok(tensors)
    };
    let straight = ran(&[&four], 1)?;
    assert!(straight.len() > 100);
    assert!(ran(&[&[], &four], 1)? == straight, "resumed");
    assert!(ran(&[&four], 3)? == straight, "on three threads");
    Ok(())
}

#[test]
fn what_cannot_work_is_refused_before_the_first_step() -> Result<()> {
    let home = Home::new()?;
    let refused = |yaml: &str| -> String {
        let outcome = home.load(yaml, &[]).and_then(|e| run(&e, &home.options()).map(drop));
        format!("{:#}", outcome.expect_err("refused"))
    };
    let yaml = on("{ alexnet: { stem: small, width: 0.1, fc: 16 } }");
    let with = |from: &str, to: &str| {
        assert!(yaml.contains(from), "{from}");
        refused(&yaml.replace(from, to))
    };
    let small = with("crop: 64", "crop: 9");
    assert!(
        small.contains("its window does not fit")
            && small.contains("stages `rotation`, `simclr`: pool5")
            && small.contains("use a larger `crop`"),
        "{small}"
    );
    let many = with("permutations: 5", "permutations: 362881");
    assert!(many.contains("a whole number from 1 to 362880") && many.contains("spec.yaml:8"), "{many}");
    let word = with("permutations: 5", "permutation: 5");
    assert!(
        word.contains("unknown field `permutation`") && word.contains("did you mean `permutations`?"),
        "{word}"
    );
    let one = with("batch: 4", "batch: 1");
    assert!(one.contains("`batch` of at least 2") && one.contains("`: a batch of one picture"), "{one}");
    let doubled = with("side: 16", "side: 30");
    assert!(
        doubled.contains("30 pixels cannot be generated") && doubled.contains("spec.yaml:13:"),
        "{doubled}"
    );
    let channels = with("task: inpainting", "task: { inpainting: { head: { channels: [8] } } }");
    assert!(
        channels.contains("`head.channels`")
            && channels.contains("spec.yaml:")
            && channels.contains("give 2 numbers, not 1"),
        "{channels}"
    );
    let grays = with("blur: 0.5", "blur: 1.5");
    assert!(grays.contains("a number from 0 to 1"), "{grays}");
    let alone = with(
        "simclr: { augment: { blur: 0.5 }, head: { hidden: 16 } } }, train: *train",
        "simclr: {} }, train: { <<: *train, batch: 1 }",
    );
    assert!(alone.contains("no others to be told from") && alone.contains("spec.yaml:"), "{alone}");
    let single = with("val: 12, size: 64", "val: 1, size: 64");
    for part in
        ["stage `simclr` cannot start: `simclr` tells validation pictures", "stage `bigan`", "at least 2"]
    {
        assert!(single.contains(part), "{part} is not in {single}");
    }
    let tap = with("task: { rotation: { head: {", "task: { rotation: { head: { tap: conv9,");
    assert!(tap.contains("unknown layer `conv9`"), "{tap}");
    let patch = with("context: { grid: 2", "context: { grid: 2, patch: 60");
    assert!(patch.contains("use a larger `crop`"), "{patch}");
    let pixels = refused(&on("{ vgg16: {} }").replace(
        "task: { rotation: { head: { embedding: 16, hidden: [16], cells: 3 } } }",
        "task: colorization",
    ));
    assert!(pixels.contains("it predicts nothing per pixel"), "{pixels}");
    Ok(())
}

/// Both tables of CIFAR-10 with so few rows, all of the first class.
fn cifar(data: &Path) -> Result<()> {
    let mut png = std::io::Cursor::new(vec![]);
    image::RgbImage::from_pixel(32, 32, image::Rgb([90, 30, 60]))
        .write_to(&mut png, image::ImageFormat::Png)?;
    let columns = "message schema { required binary img; required int64 label; }";
    let folder = data.join("cifar10_parquet");
    fs::create_dir_all(&folder)?;
    for (split, rows) in [("train", 520), ("test", 70)] {
        let file = fs::File::create(folder.join(format!("{split}-00000-of-00001.parquet")))?;
        let schema = Arc::new(parse_message_type(columns)?);
        let mut writer = SerializedFileWriter::new(file, schema, Arc::default())?;
        let mut group = writer.next_row_group()?;
        let mut images = group.next_column()?.expect("images");
        let image = ByteArray::from(png.get_ref().clone());
        images.typed::<ByteArrayType>().write_batch(&vec![image; rows], None, None)?;
        images.close()?;
        let mut labels = group.next_column()?.expect("labels");
        labels.typed::<Int64Type>().write_batch(&vec![0; rows], None, None)?;
        labels.close()?;
        group.close()?;
        writer.close()?;
    }
    Ok(())
}

/// The recipes pass `check` on data sets in the layouts of ImageNet and CIFAR-10.
#[test]
fn the_papers_recipes_pass_check() -> Result<()> {
    let home = Home::new()?;
    let picture = image::RgbImage::from_fn(300, 280, |x, y| image::Rgb([x as u8, y as u8, 10]));
    let mut jpeg = std::io::Cursor::new(vec![]);
    picture.write_to(&mut jpeg, image::ImageFormat::Jpeg)?;
    for (split, count) in [("train", 140), ("val", 2)] {
        for class in ["n01440764", "n01443537"] {
            let folder = home.path().join("data/imagenet").join(split).join(class);
            fs::create_dir_all(&folder)?;
            for i in 0..count {
                fs::write(folder.join(format!("{class}_{i}.JPEG")), jpeg.get_ref())?;
            }
        }
    }
    cifar(&home.path().join("data"))?;
    for (name, parts) in [
        (
            "rotation",
            ["57,038,916", "333600 steps × 192", "4 views of 224×224 pixels and 4 examples", "chance 25.0 %"],
        ),
        (
            "jigsaw",
            ["46,544,232", "350000 steps × 256", "9 views of 64×64 pixels and 1 example", "chance 0.1 %"],
        ),
        (
            "context",
            ["63,561,096", "1000000 steps × 56", "9 views of 96×96 pixels and 40 examples", "chance 15.0 %"],
        ),
        (
            "inpainting",
            ["331,776", "100000 steps × 256", "192×192×3", "a decoder to pictures of 227×227 pixels"],
        ),
        (
            "bigan",
            [
                "461,000",
                "1000900 steps × 128",
                "26×26×96",
                "a code of 200 numbers from pictures of 112×112 pixels",
            ],
        ),
        (
            // torchvision's 11,689,512 without its fc and 7×7 kernel, with 3×3 ones and the three layers of the projection
            "simclr",
            [
                "11,761,728",
                "97600 steps × 512",
                "2 views of 32×32 pixels of each picture, 3 layers to a projection of 128 numbers",
                "chance 0.8 %",
            ],
        ),
    ] {
        let spec =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("experiments/paper/pretext_{name}.yaml"));
        let locations = Locations { data: Some(home.path().join("data")), ..Locations::default() };
        let plan = check(&Experiment::load(&spec, &[])?, &RunOptions { locations, ..home.options() })?;
        let text = plan.to_string();
        for part in parts {
            assert!(text.contains(part), "{name}: {part} is not in\n{text}");
        }
    }
    Ok(())
}
