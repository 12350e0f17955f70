//! WebDataset shards: written by `data pack` and by others, read from this machine and from servers.

mod faults;
mod pack;
#[cfg(feature = "stores")]
mod s3;
#[cfg(feature = "stores")]
mod web;
mod webdataset;

use candle_core::Device;
use hueristic::{
    bounded::{Count, Fraction},
    data::{
        loader::{Loader, Pass, Position},
        open::open,
        shards::ShardsSource,
        source::{DataError, DataSpec, Dataset, Locations, SourceSpec, Split},
    },
    rng::Rng,
    spec_path::ShardPath,
};
use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

/// A picture of `side` × `side` pixels, each (value, x, y).
fn picture(value: u8, side: u32, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = image::RgbImage::from_fn(side, side + 2, |x, y| image::Rgb([value, x as u8, y as u8]));
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(value: u8) -> Vec<u8> {
    picture(value, 8, image::ImageFormat::Png)
}

/// A tar file of these members.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A shard of PNG files with these first bytes and class numbers, by keys that tell both.
fn labeled(pictures: &[(u8, u32)]) -> Vec<u8> {
    let (names, contents): (Vec<[String; 2]>, Vec<[Vec<u8>; 2]>) = pictures
        .iter()
        .map(|(value, class)| {
            let key = format!("{value:03}");
            ([format!("{key}.cls"), format!("{key}.png")], [class.to_string().into_bytes(), png(*value)])
        })
        .unzip();
    let members = names.iter().flatten().zip(contents.iter().flatten());
    tar(&members.map(|(name, content)| (name.as_str(), content.as_slice())).collect::<Vec<_>>())
}

/// A folder with shards, and the cache of a program that reads them.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), bytes).unwrap();
        self.at(name)
    }

    fn locations(&self) -> Locations {
        Locations { cache: Some(self.at("cache")), ..Locations::default() }
    }

    fn open(&self, spec: &DataSpec, split: Split) -> Result<Arc<dyn Dataset>, DataError> {
        open(spec, split, &self.locations())
    }

    fn refusal(&self, spec: &DataSpec, split: Split) -> String {
        self.open(spec, split).err().unwrap().to_string()
    }

    /// Runs the program with its cache here and nothing of the environment that shards depend on.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HUERISTIC_SHARD_CACHE", "RUST_LOG"] {
            command.env_remove(name);
        }
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.args(arguments).env("HF_HOME", self.at("home")).env("NO_PROXY", "127.0.0.1");
        command
    }
}

/// What the program wrote on stdout and stderr.
fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn spec(source: SourceSpec) -> DataSpec {
    DataSpec {
        threads: Some(Count::of(2)),
        max_bad: Fraction::of(0.0),
        ..DataSpec::new(source, Count::of(6))
    }
}

fn shards(train: impl Into<ShardPath>, val: Option<ShardPath>) -> DataSpec {
    spec(SourceSpec::Shards(ShardsSource::new(train, val)))
}

/// As [`shards`], of which `mix` are shuffled together.
fn mixed(train: impl Into<ShardPath>, mix: usize) -> DataSpec {
    let source = ShardsSource { mix: Some(Count::of(mix)), ..ShardsSource::new(train, None) };
    spec(SourceSpec::Shards(source))
}

/// First byte of every image and its label.
fn values(set: &dyn Dataset) -> Vec<(u8, Option<u32>)> {
    (0..set.len()).map(|i| (set.image(i).unwrap().pixels[0], set.label(i))).collect()
}

fn loader(set: &Arc<dyn Dataset>, spec: &DataSpec, batch: usize) -> Loader {
    Loader::new(set.clone(), spec, Pass::Train, batch, &Rng::new(3), &Device::Cpu).unwrap()
}

/// Images, labels and pixels of a batch.
type Content = (Vec<usize>, Option<Vec<u32>>, Vec<u8>);

fn take(loader: &mut Loader, batches: usize) -> Vec<Content> {
    let content = |_| {
        let batch = loader.next_batch().unwrap().unwrap();
        let labels = batch.labels.map(|labels| labels.to_vec1().unwrap());
        (batch.indices, labels, batch.pixels.flatten_all().unwrap().to_vec1().unwrap())
    };
    (0..batches).map(content).collect()
}

/// Twelve shards of five pictures each, whose value is their number and whose class is the value modulo 4.
fn twelve(home: &Home) -> PathBuf {
    for shard in 0..12u8 {
        let pictures: Vec<_> =
            (5 * shard..5 * shard + 5).map(|value| (value, u32::from(value) % 4)).collect();
        home.write(&format!("t-{shard:03}.tar"), &labeled(&pictures));
    }
    home.at("t-{000..011}.tar")
}

#[test]
fn braces_wildcards_and_folders_name_the_same_pictures() {
    let home = Home::new();
    let braces = twelve(&home);
    for pattern in [braces, home.at("t-*.tar"), home.at(""), home.at("t-{00,01}*.tar")] {
        let set = home.open(&shards(&pattern, None), Split::Train).unwrap();
        assert_eq!(values(&*set), (0..60).map(|n| (n, Some(u32::from(n) % 4))).collect::<Vec<_>>());
        assert_eq!(set.classes(), ["0", "1", "2", "3"]);
        assert!(set.name(7).ends_with("t-001.tar: 007"), "{}", set.name(7));
        assert_eq!(set.encoded(7).unwrap().unwrap(), png(7));
    }
}

#[test]
fn few_shards_are_mixed_at_a_time_and_a_loader_begins_anywhere() {
    let home = Home::new();
    let spec = mixed(twelve(&home), 3);
    let set = home.open(&spec, Split::Train).unwrap();
    let all = take(&mut loader(&set, &spec, 4), 30);
    for (batch, epoch) in
        all.chunks(15).enumerate().flat_map(|(epoch, batches)| batches.iter().map(move |b| (b, epoch)))
    {
        assert_eq!(batch.0.len(), 4, "epoch {epoch}");
    }
    for epoch in all.chunks(15) {
        let images: Vec<usize> = epoch.iter().flat_map(|batch| batch.0.clone()).collect();
        for group in images.chunks(15) {
            let met: std::collections::BTreeSet<usize> = group.iter().map(|image| image / 5).collect();
            assert_eq!(met.len(), 3, "{images:?}");
        }
    }
    assert_ne!(all[0].0, all[15].0);
    for (epoch, batch) in [(0, 0), (0, 7), (1, 2), (1, 14)] {
        let mut later = loader(&set, &spec, 4);
        later.seek(Position { epoch, batch });
        assert_eq!(
            take(&mut later, 1)[0],
            all[(15 * epoch + batch) as usize],
            "epoch {epoch}, batch {batch}"
        );
    }
    // another number of threads and a set that was opened anew
    let again = DataSpec { threads: Some(Count::of(5)), ..spec.clone() };
    assert_eq!(take(&mut loader(&home.open(&again, Split::Train).unwrap(), &again, 4), 30), all);
}

#[test]
fn a_limit_keeps_pictures_with_their_shards() {
    let home = Home::new();
    let limit = hueristic::data::source::Limit { train: Some(Count::of(24)), val: None };
    let spec = DataSpec { limit: Some(limit), ..mixed(twelve(&home), 4) };
    let set = home.open(&spec, Split::Train).unwrap();
    let values = values(&*set);
    let images: Vec<usize> =
        take(&mut loader(&set, &spec, 4), 6).into_iter().flat_map(|batch| batch.0).collect();
    for group in images.chunks(8) {
        let met: std::collections::BTreeSet<u8> = group.iter().map(|image| values[*image].0 / 5).collect();
        assert!(met.len() <= 4, "{images:?}");
    }
}

#[test]
fn classes_meet_by_name_over_splits_and_shards() {
    let home = Home::new();
    let named = |names: &[&str]| {
        let keys: Vec<_> = (0..names.len()).map(|n| [format!("{n}.cls"), format!("{n}.png")]).collect();
        let (image, members) = (png(1), keys.iter().zip(names));
        let members =
            members.flat_map(|(keys, name)| [(keys[0].as_str(), name.as_bytes()), (&keys[1], &image)]);
        tar(&members.collect::<Vec<_>>())
    };
    home.write("train-0.tar", &named(&["dog", "cat"]));
    home.write("train-1.tar", &named(&["ant", "cat"]));
    home.write("val.tar", &named(&["cat", "dog"]));
    let spec = shards(home.at("train-{0..1}.tar"), Some(home.at("val.tar").into()));
    let labels = |split| {
        let set = home.open(&spec, split).unwrap();
        (0..set.len()).map(|i| set.label(i)).collect::<Option<Vec<_>>>()
    };
    assert_eq!((labels(Split::Train), labels(Split::Val)), (Some(vec![2, 1, 0, 1]), Some(vec![1, 2])));
    // numbers that files of names translate: the two folders number the classes otherwise
    home.write("a/train.tar", &labeled(&[(1, 0), (2, 1), (3, 2)]));
    home.write("a/classes.json", br#"["ant", "bee", "cow"]"#);
    home.write("b/val.tar", &labeled(&[(4, 0), (5, 1)]));
    home.write("b/classes.json", br#"["cow", "ant"]"#);
    let spec = shards(home.at("a/train.tar"), Some(home.at("b/val.tar").into()));
    assert_eq!(values(&*home.open(&spec, Split::Val).unwrap()), [(4, Some(2)), (5, Some(0))]);
    // the same without names is doubted by no one, and names on one side only are refused
    fs::remove_file(home.at("b/classes.json")).unwrap();
    let val = home.open(&spec, Split::Val).unwrap();
    assert!(val.why_unlabeled().unwrap().contains("class numbers and names cannot be matched"));
}

#[test]
fn labels_may_be_in_json_under_a_stated_key() {
    let home = Home::new();
    let image = png(1);
    let shard = tar(&[("a.json", br#"{"label": 1, "kind": "x"}"#), ("a.png", &image)]);
    home.write("t.tar", &shard);
    let labels = |key: &str| {
        let source = ShardsSource { label: key.into(), ..ShardsSource::new(home.at("t.tar"), None) };
        let set = home.open(&spec(SourceSpec::Shards(source)), Split::Train).unwrap();
        (set.label(0), set.classes().to_vec())
    };
    assert_eq!(labels("label"), (Some(1), vec!["0".into(), "1".into()]));
    assert_eq!(labels("kind"), (Some(0), vec!["x".into()]));
    assert_eq!(labels("none"), (None, vec![]));
}

#[test]
fn a_fingerprint_follows_the_content_and_not_the_place() {
    let home = Home::new();
    let print = |name: &str, bytes: &[u8]| {
        let path = home.write(name, bytes);
        home.open(&shards(&path, None), Split::Train).unwrap().fingerprint()
    };
    let first = print("a.tar", &labeled(&[(1, 0), (2, 1)]));
    assert_eq!(print("deep/b.tar", &labeled(&[(1, 0), (2, 1)])), first);
    for other in [&[(1, 0), (2, 0)][..], &[(1, 0), (3, 1)], &[(1, 0)]] {
        assert_ne!(print("c.tar", &labeled(other)), first);
    }
}

/// Opened again, a set reads the same although nothing but its index says what is in it.
#[test]
fn shards_are_indexed_once() {
    let home = Home::new();
    let spec = shards(twelve(&home), None);
    let first = values(&*home.open(&spec, Split::Train).unwrap());
    let indexes = || fs::read_dir(home.at("cache/shard_indexes")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(indexes().count(), 12);
    // an index that says otherwise is believed as long as it is whole
    let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let before: Vec<_> = indexes().map(|path| changed(&path)).collect();
    assert_eq!(values(&*home.open(&spec, Split::Train).unwrap()), first);
    assert_eq!(indexes().map(|path| changed(&path)).collect::<Vec<_>>(), before, "indexed again");
    for path in indexes() {
        let json = fs::read_to_string(&path).unwrap();
        fs::write(&path, json.replacen("offsets\":[", "offsets\":[1", 1)).unwrap();
    }
    assert_eq!(values(&*home.open(&spec, Split::Train).unwrap()), first, "a damaged index was used");
}
