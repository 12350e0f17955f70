//! The training of other colorizers: whole experiments, their weights as colorizers of photographs, refusals, recipes.

use super::home::Home;
use candle_core::Device;
use hueristic::{
    colorize::picture::{Options, color},
    data::{
        scenes::Scenes,
        source::{Dataset, Locations, Split},
    },
    experiment::{Experiment, Outcome, RunOptions, check, run},
    pretext::{colorizer::Colorizer, hints::Hint},
};
use std::{fs, path::Path, path::PathBuf};

type Result<T> = anyhow::Result<T>;

fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(name)
}

/// The weights of a stage below `runs`.
fn weights(home: &Home, experiment: &str, stage: &str) -> Result<PathBuf> {
    let runs =
        fs::read_dir(home.path().join("runs").join(experiment))?.collect::<std::io::Result<Vec<_>>>()?;
    let run = runs.iter().find(|run| run.file_name().to_string_lossy().starts_with(&format!("{stage}-s0-")));
    Ok(run.expect("a run").path().join("weights.safetensors"))
}

/// The tiny experiment with a few steps: every stage runs, every row is measured, and the weights color photographs of any
/// size, siggraph17's by hints.
#[test]
fn all_are_trained_measured_and_used() -> Result<()> {
    let home = Home::new()?;
    let stages = ["siggraph17_class", "siggraph17", "dahl", "iizuka", "larsson"];
    let mut sets = vec!["data.source.scenes.train=32".to_string(), "data.source.scenes.val=6".to_string()];
    sets.extend(stages.map(|stage| format!("{stage}.train.steps=2")));
    sets.extend(stages.map(|stage| format!("{stage}.train.schedule.warmup=1")));
    let text = fs::read_to_string(recipe("tiny/colorizers.yaml"))?;
    // What is reached in so few steps is not expected of anything.
    let text = text.split("\nexpected:").next().expect("a text");
    let experiment = home.load(text, &sets.iter().map(String::as_str).collect::<Vec<_>>())?;
    assert!(matches!(run(&experiment, &home.options())?, Outcome::Finished { .. }));
    home.reports_as_planned()?;
    let table = fs::read_to_string(home.path().join("runs/tiny_colorizers/report/colors.md"))?;
    let photograph = Scenes::new(1, 75, 5, Split::Val).image(0)?;
    for stage in &stages[1..] {
        assert!(table.contains(stage), "{stage} is not in\n{table}");
        let (net, spec) = Colorizer::open(&weights(&home, "tiny_colorizers", stage)?, &Device::Cpu)?;
        assert_eq!(spec.name(), *stage);
        let options = Options::of(&net, &*spec, &Device::Cpu);
        let plain = color(&net, &photograph, &[], &options)?;
        assert_eq!((plain.rgb.width, plain.rgb.height), (75, 75), "{stage}");
        let hint = Hint { top: 30, left: 20, height: 9, width: 9, ab: [60.0, 40.0] };
        match color(&net, &photograph, &[hint], &options) {
            Ok(hinted) => {
                assert_eq!(*stage, "siggraph17");
                assert!(hinted.rgb != plain.rgb, "a hint changes nothing");
            }
            Err(error) => assert!(error.to_string().contains("takes no color hints"), "{error}"),
        }
    }
    Ok(())
}

fn refused(yaml: &str) -> Result<String> {
    let home = Home::new()?;
    let text = match home.load(yaml, &[]) {
        Err(error) => error.to_string(),
        Ok(experiment) => match check(&experiment, &home.options()) {
            Err(error) => format!("{error:#}"),
            Ok(plan) => panic!("it was accepted:\n{plan}"),
        },
    };
    Ok(text)
}

fn experiment(backbone: &str, stage: &str) -> String {
    format!(
        "name: e\ndata: {{ source: {{ scenes: {{ train: 8, val: 4 }} }}, crop: 32 }}\nbackbone: {backbone}\n\
         stages:\n  s:\n    {stage}\n      train: {{ steps: 1, batch: 4, optimizer: {{ adam: {{ lr: 1e-3 }} }} }}\n"
    )
}

#[test]
fn what_does_not_go_together_is_refused() -> Result<()> {
    let alexnet = "{ alexnet: { stem: small, width: 0.25 } }";
    for (backbone, stage, wanted) in [
        (alexnet, "pretext:\n      task: dahl", "the task `dahl` is not defined on `alexnet`"),
        ("{ iizuka: {} }", "pretext:\n      task: larsson", "the task `larsson` is not defined on `iizuka`"),
        ("{ dahl: {} }", "pretext:\n      task: colorization", "`dahl` is the network of one colorizer"),
        ("{ larsson: {} }", "supervised:", "`larsson` is the network of one colorizer"),
        (
            "{ siggraph17: {} }",
            "pretext:\n      task: rotation",
            "`siggraph17` is the network of one colorizer",
        ),
        ("{ larsson: {} }", "pretext:\n      task: larsson", "a border of 96 pixels leaves nothing"),
        (
            "{ larsson: {} }",
            "pretext:\n      task: { larsson: { border: 2 } }",
            "a window of 7 pixels needs a border of at least 3",
        ),
    ] {
        let text = refused(&experiment(backbone, stage))?;
        assert!(text.contains(wanted), "{backbone}, {stage}:\n{text}");
    }
    let odd = experiment("{ dahl: { width: 0.125 } }", "pretext:\n      task: dahl")
        .replace("crop: 32", "crop: 30");
    let text = refused(&odd)?;
    assert!(text.contains("multiples of 8, not 30") && text.contains("set `crop: 32`"), "{text}");
    Ok(())
}

/// A classifier needs labels; without it, pictures alone will do.
#[test]
fn iizuka_takes_unlabeled_pictures_without_its_classifier() -> Result<()> {
    let home = Home::new()?;
    let scenes = Scenes::new(8, 32, 5, Split::Val);
    for split in ["train", "val"] {
        fs::create_dir_all(home.path().join(split))?;
        for i in 0..8 {
            let image = scenes.image(i)?;
            let path = home.path().join(split).join(format!("{i}.png"));
            image::save_buffer(path, &image.pixels, 32, 32, image::ColorType::Rgb8)?;
        }
    }
    let yaml = experiment("{ iizuka: { width: 0.125, crop: 32 } }", "pretext:\n      task: iizuka")
        .replace("scenes: { train: 8, val: 4 }", "folder: { train: train, val: val }");
    let error = format!("{:#}", check(&home.load(&yaml, &[])?, &home.options()).expect_err("no labels"));
    assert!(error.contains("label"), "{error}");
    let without = yaml.replace("task: iizuka", "task: { iizuka: { classification: 0 } }");
    assert!(matches!(run(&home.load(&without, &[])?, &home.options())?, Outcome::Finished { .. }));
    Ok(())
}

/// The recipes pass `check` on data sets in their layout.
#[test]
fn the_recipes_pass_check() -> Result<()> {
    let home = Home::new()?;
    let picture = image::RgbImage::from_fn(360, 370, |x, y| image::Rgb([x as u8, y as u8, 10]));
    let mut jpeg = std::io::Cursor::new(vec![]);
    picture.write_to(&mut jpeg, image::ImageFormat::Jpeg)?;
    let experiments = home.path().join("experiments");
    fs::create_dir_all(&experiments)?;
    for (split, count) in [("train", 70), ("val", 2)] {
        for class in ["n01440764", "n01443537"] {
            for set in [home.path().join("data/imagenet"), experiments.join("imagenet_ten")] {
                let folder = set.join(split).join(class);
                fs::create_dir_all(&folder)?;
                for i in 0..count {
                    fs::write(folder.join(format!("{class}_{i}.JPEG")), jpeg.get_ref())?;
                }
            }
        }
    }
    for (name, parts) in [
        ("siggraph17", ["34,187,027", "768700 steps × 25"]),
        ("dahl", ["8,139", "400000 steps × 6"]),
        ("iizuka", ["an output for each class", "200000 steps × 128"]),
        ("larsson", ["147,041,024", "2000000 steps × 8"]),
    ] {
        let spec = experiments.join(format!("{name}.yaml"));
        fs::copy(recipe(&format!("paper/{name}.yaml")), &spec)?;
        let locations = Locations { data: Some(home.path().join("data")), ..Locations::default() };
        let plan = check(&Experiment::load(&spec, &[])?, &RunOptions { locations, ..home.options() })?;
        let text = plan.to_string();
        for part in parts {
            assert!(text.contains(part), "{name}: {part} is not in\n{text}");
        }
    }
    Ok(())
}
