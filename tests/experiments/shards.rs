//! Training from packed shards, and from the folder that they were packed from.

use super::home::Home;
use hueristic::{
    bounded::Count,
    data::{
        scenes::Scenes,
        shards::pack::{PackOptions, ShardLimit, pack},
        source::{DataSpec, Dataset, Locations, SourceSpec, Split},
    },
    experiment::{Outcome, RunOptions, run},
};
use safetensors::SafeTensors;
use serde_json::Value;
use std::{collections::BTreeMap, fs};

type Result<T> = anyhow::Result<T>;

const SPEC: &str = "\
name: tiny
data:
  source:
    SOURCE
  crop: 29
backbone: { alexnet: { stem: small, width: 0.1, fc: 8 } }
stages:
  color:
    supervised:
      train: { steps: STEPS, batch: 8, optimizer: { adam: { lr: 1e-3 } }, schedule: { decay: constant }, evaluate_every: 4 }
";

/// Class folders of scenes, and what packs them.
fn folders(home: &Home) -> Result<DataSpec> {
    for (split, count) in [(Split::Train, 50), (Split::Val, 10)] {
        let set = Scenes::new(count, 32, 5, split);
        for index in 0..count {
            let class = &set.classes()[set.label(index).expect("a class") as usize];
            let folder = home.path().join("photos").join(split.name()).join(class);
            fs::create_dir_all(&folder)?;
            let scene = set.image(index)?;
            let image = image::RgbImage::from_raw(32, 32, scene.pixels).expect("a picture");
            image.save(folder.join(format!("{index}.png")))?;
        }
    }
    let at = |split: &str| home.path().join("photos").join(split);
    Ok(DataSpec::new(SourceSpec::folder(at("train"), Some(at("val").into())), Count::of(29)))
}

/// The run below `out` that takes this many steps: its manifest, and the tensors of its last checkpoint.
fn trained(home: &Home, source: &str, out: &str, steps: usize) -> Result<(Value, BTreeMap<String, Vec<u8>>)> {
    let locations = Locations { cache: Some(home.path().join("cache")), ..Locations::default() };
    let options = RunOptions { out: home.path().join(out), locations, ..home.options() };
    let spec = SPEC.replace("SOURCE", source).replace("STEPS", &steps.to_string());
    let Outcome::Finished { .. } = run(&home.load(&spec, &[])?, &options)? else {
        panic!("{source}: not finished")
    };
    for folder in fs::read_dir(options.out.join("tiny"))? {
        let read = |name: &str| fs::read(folder.as_ref().expect("a run").path().join(name));
        let Ok(spec) = read("spec.yaml") else { continue };
        let spec: serde_yaml::Value = serde_yaml::from_slice(&spec)?;
        if spec["work"]["supervised"]["train"]["steps"].as_u64() == Some(steps as u64) {
            let checkpoint = read("checkpoints/last.safetensors")?;
            let tensors = SafeTensors::deserialize(&checkpoint)?.tensors().into_iter();
            let tensors = tensors.map(|(name, view)| (name, view.data().to_vec())).collect();
            return Ok((serde_json::from_slice(&read("manifest.json")?)?, tensors));
        }
    }
    panic!("{source}: no run of {steps} steps")
}

#[test]
fn packed_shards_train_the_weights_of_the_folder() -> Result<()> {
    let home = Home::new()?;
    let limit = ShardLimit::Pictures(7);
    let options = PackOptions { size: None, quality: 90, limit, shuffle: None };
    pack(&folders(&home)?, &Locations::default(), &home.path().join("packed"), &options)?;
    let folder = trained(&home, "folder: { train: photos/train, val: photos/val }", "a", 16)?;
    let packed = "train: packed/train-*.tar, val: packed/val-*.tar";
    let shards = trained(&home, &format!("shards: {{ {packed} }}"), "b", 16)?;
    assert!(folder.1 == shards.1, "the weights differ");
    assert_eq!(folder.0["metrics"], shards.0["metrics"]);
    // A few shards at a time: other weights, and the same from a run that ended within an epoch and went on.
    let mixed = format!("shards: {{ {packed}, mix: 2 }}");
    let straight = trained(&home, &mixed, "c", 16)?;
    assert!(straight.1 != shards.1, "another order");
    trained(&home, &mixed, "d", 8)?;
    let resumed = trained(&home, &mixed, "d", 16)?;
    assert_eq!(resumed.0["resumed"], 1, "it was trained anew");
    assert!(resumed.1 == straight.1, "it went on otherwise");
    Ok(())
}
