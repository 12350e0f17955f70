//! `features`: rows are what the network computes, in the order of the pictures; neighbors, filters, tables; what is refused.

use candle_core::{DType, Device, Tensor};
use hueristic::{
    backbones::BackboneSpec,
    data::{decode::decode, source::RgbImage, transforms},
    features::most_similar,
    nn::{Mode, params::Params, weights},
    npy,
    rng::Rng,
    spec,
};
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, ListAccessor},
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

const ALEXNET: &str = r#"{"alexnet": {"width": 0.1, "fc": 16, "stem": "small"}}"#;
const COLOR: &str = r#"{"resnet": {"depth": 18, "width": 0.1, "stem": "small", "input": "rgb_unit"}}"#;

/// Writes the transfer variant with random weights to `weights.safetensors`.
fn weight_file(dir: &Path, backbone: &str) -> (BackboneSpec, Params) {
    let spec: BackboneSpec = serde_json::from_str(backbone).unwrap();
    let mut params = Params::new(&Device::Cpu);
    spec.build(&spec.plain(), &mut params, &Rng::new(3)).unwrap();
    save(&spec, &params, dir);
    (spec, params)
}

fn save(spec: &BackboneSpec, params: &Params, dir: &Path) {
    let header = BTreeMap::from([("backbone".to_string(), spec::resolved_yaml(spec).unwrap())]);
    weights::save(params, &header, &dir.join("weights.safetensors")).unwrap();
}

/// A picture that differs from those of other seeds.
fn picture(width: usize, height: usize, seed: usize) -> RgbImage {
    let pixel = |i: usize| {
        let (x, y) = (i % width, i / width);
        let v = (x * (1 + seed % 5) * 200 / width + (7 * x * y + 31 * seed) % 53) as u8;
        [v, 200 - (y * 120 / height) as u8, (40 * seed + (3 * x + 5 * y) % 50) as u8]
    };
    RgbImage { width, height, pixels: (0..width * height).flat_map(pixel).collect() }
}

fn store(dir: &Path, name: &str, picture: &RgbImage) {
    let (w, h) = (picture.width as u32, picture.height as u32);
    fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    image::save_buffer(dir.join(name), &picture.pixels, w, h, image::ColorType::Rgb8).unwrap();
}

/// Three pictures of different shapes in `photos`, and one that is none.
fn photos(dir: &Path) {
    for (seed, (name, (w, h))) in
        [("a.png", (50, 40)), ("c.png", (70, 90)), ("d.webp", (33, 64))].iter().enumerate()
    {
        store(dir, &format!("photos/{name}"), &picture(*w, *h, seed));
    }
    fs::write(dir.join("photos/b.jpg"), b"\xff\xd8\xff\xe0 broken").unwrap();
}

fn hueristic(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
    command.current_dir(dir).arg("features").args(arguments).args(["--threads", "2"]).env_remove("RUST_LOG");
    command.output().unwrap()
}

/// Exit code, stdout and stderr.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn done(dir: &Path, arguments: &[&str]) -> String {
    let (code, out, err) =
        said(&hueristic(dir, &[arguments, &["--weights", "weights.safetensors"]].concat()));
    assert_eq!(code, 0, "{arguments:?}: {err}");
    out
}

fn refused(dir: &Path, arguments: &[&str], part: &str) {
    let (code, out, err) = said(&hueristic(dir, arguments));
    assert!(code == 2 && out.is_empty() && err.contains(part), "{arguments:?}: {code} {out} {err}");
}

fn matrix(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let read = npy::read(path).unwrap();
    (read.dims().to_vec(), read.flatten_all().unwrap().to_vec1().unwrap())
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(String::from).collect()
}

/// A layer's map of one picture, squashed as FAIR's benchmark does: the short side to 256 pixels, then to the square.
fn map(spec: &BackboneSpec, params: &Params, path: &Path, layer: &str) -> Tensor {
    let mut own = Params::with_values(&Device::Cpu, params.state().into_iter().collect());
    let network = spec.build(&spec.plain(), &mut own, &Rng::new(0)).unwrap();
    let picture = transforms::resize(decode(&fs::read(path).unwrap()).unwrap(), 256).unwrap();
    let side = spec.crop();
    let pixels = transforms::resize_to(&picture, (side, side)).unwrap().pixels;
    let pixels = Tensor::from_vec(pixels, (1, side, side, 3), &Device::Cpu).unwrap();
    network.forward(&spec.input().read(&pixels).unwrap(), &[layer], &Mode::Frozen).unwrap().remove(0)
}

#[test]
fn rows_are_the_networks_own_in_the_order_of_the_pictures() {
    for (backbone, layers) in [(ALEXNET, ["conv2", "conv5"]), (COLOR, ["layer2.0", "layer4"])] {
        let dir = tempfile::tempdir().unwrap();
        let (spec, params) = weight_file(dir.path(), backbone);
        photos(dir.path());
        let asked = layers.join(",");
        let arguments = ["photos", "--weights", "weights.safetensors", "--layers", &asked, "--batch", "1"];
        let (code, out, err) = said(&hueristic(dir.path(), &arguments));
        assert_eq!(code, 1, "{err}");
        assert!(out.starts_with("features of 3 of 4 pictures\n") && out.contains("photos/b.jpg: "), "{out}");
        let whole = [&arguments[..], &["--pool", "none", "--out", "whole"]].concat();
        assert_eq!(said(&hueristic(dir.path(), &whole)).0, 1);
        let paths = lines(&dir.path().join("features/paths.txt"));
        assert_eq!(paths, ["photos/a.png", "photos/c.png", "photos/d.webp"]);
        for layer in layers {
            let maps = paths.iter().map(|path| map(&spec, &params, &dir.path().join(path), layer));
            let maps: Vec<Tensor> = maps.collect();
            let (_, h, w, c) = maps[0].dims4().unwrap();
            let flat: Vec<f32> =
                maps.iter().flat_map(|m| m.flatten_all().unwrap().to_vec1().unwrap()).collect();
            let (dims, values) = matrix(&dir.path().join(format!("whole/{layer}.npy")));
            assert_eq!((dims, values == flat), (vec![3, h * w * c], true), "{layer}");
            let (dims, values) = matrix(&dir.path().join(format!("features/{layer}.npy")));
            assert_eq!(dims, [3, c]);
            for (row, map) in values.chunks_exact(c).zip(flat.chunks_exact(h * w * c)) {
                assert!(row.iter().any(|v| *v > 0.0), "a layer without activity shows nothing");
                for (channel, value) in row.iter().enumerate() {
                    let cells = map.iter().skip(channel).step_by(c);
                    let mean = cells.map(|v| f64::from(*v)).sum::<f64>() / (h * w) as f64;
                    assert!(
                        (f64::from(*value) - mean).abs() <= 1e-6 * mean.abs().max(1.0),
                        "{value} is not {mean}"
                    );
                }
            }
        }
    }
}

/// Bit for bit where convolutions are multiplied directly; minimal filtering is chosen by the size of a batch.
#[test]
fn neither_batch_nor_company_changes_a_row() {
    let dir = tempfile::tempdir().unwrap();
    weight_file(dir.path(), ALEXNET);
    for seed in 0..7 {
        store(dir.path(), &format!("photos/{seed}.png"), &picture(40 + seed, 50, seed));
    }
    let made = |out: &str, more: &[&str]| {
        done(dir.path(), &[&["--layers", "conv1,conv5,fc7", "--out", out], more].concat());
        ["conv1", "conv5", "fc7"].map(|layer| matrix(&dir.path().join(out).join(format!("{layer}.npy"))).1)
    };
    let exact = made("exact", &["photos", "--exact"]);
    assert_eq!(exact, made("one", &["photos", "--exact", "--batch", "1"]));
    assert_eq!(exact, made("three", &["photos", "--exact", "--batch", "3"]));
    let alone = made("alone", &["photos/4.png", "--exact"]);
    for (all, alone) in exact.iter().zip(&alone) {
        assert_eq!(all[4 * alone.len()..][..alone.len()], alone[..]);
    }
    for usual in [made("usual", &["photos"]), made("two", &["photos", "--batch", "2"])] {
        for (exact, usual) in exact.iter().zip(&usual) {
            let size = exact.iter().fold(0f32, |size, v| size.max(v.abs()));
            assert!(exact.iter().zip(usual).all(|(x, y)| (x - y).abs() <= 1e-5 * size));
        }
    }
}

#[test]
fn pooling_and_framing_are_those_of_probes() {
    let dir = tempfile::tempdir().unwrap();
    weight_file(dir.path(), ALEXNET);
    store(dir.path(), "a.png", &picture(64, 40, 1));
    let made = |more: &[&str]| {
        done(dir.path(), &[&["a.png", "--layers", "conv1", "--overwrite"], more].concat());
        matrix(&dir.path().join("features/conv1.npy"))
    };
    let (whole, mean) = (made(&["--pool", "none"]), made(&[]));
    let channels = mean.0[1];
    assert_eq!(mean, made(&["--pool", "avg"]));
    assert_eq!(mean, made(&["--pool", "avgpool", "--dimensions", &channels.to_string()]));
    assert_eq!(whole, made(&["--pool", "bilinear", "--dimensions", "1000000"]));
    let four = (4 * channels).to_string();
    let (average, bilinear) = (
        made(&["--pool", "avgpool", "--dimensions", &four]),
        made(&["--pool", "bilinear", "--dimensions", &four]),
    );
    assert!(average.0 == [1, 4 * channels] && bilinear.0 == average.0 && average.1 != bilinear.1);
    assert_ne!(mean, made(&["--crop"]), "the corners play no part");
    assert!(made(&["--pool", "none", "--size", "64"]).0[1] > whole.0[1]);
    let random = |seed: &str| {
        let network = ["--init", "msra", "--backbone", ALEXNET, "--seed", seed];
        let output =
            hueristic(dir.path(), &[&["a.png", "--layers", "conv1", "--overwrite"], &network[..]].concat());
        assert_eq!(said(&output).0, 0, "{output:?}");
        matrix(&dir.path().join("features/conv1.npy"))
    };
    assert!(random("0") == random("0") && random("0") != random("1"));
}

#[test]
fn a_colorizers_weights_are_read_without_batch_normalization() {
    let dir = tempfile::tempdir().unwrap();
    let spec: BackboneSpec = serde_json::from_str(ALEXNET).unwrap();
    let build = hueristic::backbones::Build {
        variant: hueristic::backbones::Variant::Pretext,
        batch_norm: true,
        outputs: Some(313),
        ..spec.plain()
    };
    let mut params = Params::new(&Device::Cpu);
    spec.build(&build, &mut params, &Rng::new(5)).unwrap();
    save(&spec, &params, dir.path());
    store(dir.path(), "a.png", &picture(64, 40, 1));
    done(dir.path(), &["a.png", "--layers", "conv5,fc6", "--pool", "none"]);
    let absorbed =
        hueristic::experiment::read_trained(&dir.path().join("weights.safetensors"), None).unwrap().tensors;
    let mut plain = Params::with_values(&Device::Cpu, absorbed);
    spec.build(&spec.plain(), &mut plain, &Rng::new(0)).unwrap();
    for layer in ["conv5", "fc6"] {
        let expected = map(&spec, &plain, &dir.path().join("a.png"), layer);
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(matrix(&dir.path().join(format!("features/{layer}.npy"))).1, expected, "{layer}");
    }
}

/// As tasks leave them whose network ends before the backbone does.
#[test]
fn weights_of_the_first_layers_are_read_as_far_as_they_go() {
    let dir = tempfile::tempdir().unwrap();
    let (spec, params) = weight_file(dir.path(), ALEXNET);
    store(dir.path(), "a.png", &picture(64, 40, 1));
    done(dir.path(), &["a.png", "--layers", "conv3", "--out", "whole"]);
    let kept = ["conv1", "conv2", "conv3"];
    let mut part = Params::new(&Device::Cpu);
    for (name, value) in params.state().iter().filter(|(name, _)| kept.iter().any(|k| name.starts_with(k))) {
        part.add(name, value, hueristic::nn::params::ParamKind::Weight).unwrap();
    }
    let header = BTreeMap::from([
        ("backbone".to_string(), spec::resolved_yaml(&spec).unwrap()),
        ("through".to_string(), "conv3\n".to_string()),
    ]);
    weights::save(&part, &header, &dir.path().join("weights.safetensors")).unwrap();
    done(dir.path(), &["a.png", "--layers", "conv3"]);
    let rows = |out: &str| matrix(&dir.path().join(out).join("conv3.npy"));
    assert_eq!(rows("whole"), rows("features"));
    let beyond = ["a.png", "--weights", "weights.safetensors", "--layers", "conv3,conv4", "--out", "n"];
    refused(
        dir.path(),
        &beyond,
        "`conv4` in these weights, which end with conv3; its layers are conv1, pool1, conv2, pool2, conv3",
    );
}

#[test]
fn duplicates_are_each_others_neighbors() {
    let dir = tempfile::tempdir().unwrap();
    weight_file(dir.path(), COLOR);
    for seed in 0..8 {
        // 0 and 4 are one picture, 1 and 5 …
        store(dir.path(), &format!("photos/{seed}.png"), &picture(60, 60, seed % 4));
    }
    done(dir.path(), &["photos", "--layers", "layer1,layer4", "--neighbors", "2", "--queries", "8"]);
    let list = lines(&dir.path().join("features/neighbors.csv"));
    assert_eq!((list[0].as_str(), list.len()), ("query,rank,neighbor,cosine", 1 + 8 * 2));
    for query in 0..8 {
        let twin = (query + 4) % 8;
        let first = format!("\"photos/{query}.png\",1,\"photos/{twin}.png\",1.000000");
        assert_eq!(list[1 + 2 * query], first);
        assert!(list[2 + 2 * query].starts_with(&format!("\"photos/{query}.png\",2,")));
    }
    let sheet = decode(&fs::read(dir.path().join("features/neighbors.png")).unwrap()).unwrap();
    let (tile, gap, titles) = (60, 8, 16 + 8);
    assert_eq!((sheet.width, sheet.height), (3 * tile + 4 * gap, titles + 8 * tile + 9 * gap));
    let row = |x: usize, y: usize| &sheet.pixels[3 * (y * sheet.width + x)..][..3 * tile];
    for y in (0..8).map(|at| titles + gap + at * (tile + gap) + 30) {
        assert!(row(gap, y) == row(2 * gap + tile, y) && row(gap, y) != row(3 * gap + 2 * tile, y));
    }
    let found = most_similar(&dir.path().join("features/layer4.npy"), &[2], 3).unwrap();
    assert!(found[0][0].0 == 6 && found[0].len() == 3);
    // Other queries by another seed, the same by the same.
    let queries = |seed: &str| {
        let arguments = ["photos", "--layers", "layer4", "--neighbors", "1", "--queries", "3", "--overwrite"];
        done(dir.path(), &[&arguments[..], &["--seed", seed]].concat());
        lines(&dir.path().join("features/neighbors.csv"))
    };
    assert!(queries("0") == queries("0") && (1..5).any(|seed| queries(&seed.to_string()) != queries("0")));
}

#[test]
fn filters_are_drawn_in_their_own_range() {
    let dir = tempfile::tempdir().unwrap();
    let (spec, params) = weight_file(dir.path(), ALEXNET);
    store(dir.path(), "a.png", &picture(64, 40, 1));
    let weight = params.named("conv1.weight").unwrap();
    let (count, kernel, _, _) = weight.dims4().unwrap();
    // Filter i rises from −i to kernel² − 1 − i.
    let values: Vec<f32> =
        (0..count).flat_map(|i| (0..kernel * kernel).map(move |at| at as f32 - i as f32)).collect();
    weight.set(&Tensor::from_vec(values, weight.shape(), &Device::Cpu).unwrap()).unwrap();
    save(&spec, &params, dir.path());
    done(dir.path(), &["a.png", "--layers", "conv1", "--filters"]);
    let sheet = decode(&fs::read(dir.path().join("features/filters.png")).unwrap()).unwrap();
    let (scale, gap) = (64 / kernel, 8);
    let columns = (1..).find(|columns| columns * columns >= count).unwrap();
    let step = scale * kernel + gap;
    assert_eq!((sheet.width, sheet.height), (columns * step + gap, count.div_ceil(columns) * step + gap));
    for filter in 0..count {
        for (y, x) in (0..kernel * kernel).map(|at| (at / kernel, at % kernel)) {
            let (left, top) =
                (gap + filter % columns * step + x * scale, gap + filter / columns * step + y * scale);
            let expected = (255.0 * (y * kernel + x) as f32 / (kernel * kernel - 1) as f32).round() as u8;
            for (dx, dy) in [(0, 0), (scale - 1, scale - 1)] {
                let at = 3 * ((top + dy) * sheet.width + left + dx);
                assert_eq!(sheet.pixels[at..at + 3], [expected; 3], "filter {filter} at {x}, {y}");
            }
        }
    }
}

#[test]
fn a_table_holds_the_rows_of_the_matrices() {
    let dir = tempfile::tempdir().unwrap();
    weight_file(dir.path(), ALEXNET);
    photos(dir.path());
    fs::remove_file(dir.path().join("photos/b.jpg")).unwrap();
    let out = done(dir.path(), &["photos", "--layers", "conv3,conv1", "--parquet"]);
    assert!(out.contains("features/features.parquet"), "{out}");
    let folder = dir.path().join("features");
    let table = SerializedFileReader::new(fs::File::open(folder.join("features.parquet")).unwrap()).unwrap();
    let rows: Vec<_> = table.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    for (at, (row, path)) in rows.iter().zip(lines(&folder.join("paths.txt"))).enumerate() {
        let columns: Vec<(&String, &Field)> = row.get_column_iter().collect();
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names, columns[0].1), (vec!["path", "conv3", "conv1"], &Field::Str(path)));
        for (name, field) in &columns[1..] {
            let (dims, values) = matrix(&folder.join(format!("{name}.npy")));
            let Field::ListInternal(list) = field else { panic!("{name} is no list") };
            let row: Vec<f32> = (0..list.len()).map(|i| list.get_float(i).unwrap()).collect();
            assert_eq!(row, values[at * dims[1]..][..dims[1]]);
        }
    }
}

#[test]
fn what_can_be_known_is_refused_before_a_picture_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (spec, params) = weight_file(dir.path(), ALEXNET);
    store(dir.path(), "a.png", &picture(40, 40, 1));
    let network = ["--weights", "weights.safetensors", "--layers", "conv3"];
    let refused_with = |more: &[&str], part: &str| refused(dir.path(), &[more, &network].concat(), part);
    refused(
        dir.path(),
        &["a.png", "--weights", "weights.safetensors", "--layers", "conv3,conv33"],
        "alexnet has no layer `conv33`; its layers are conv1,",
    );
    refused(
        dir.path(),
        &["a.png", "--weights", "weights.safetensors", "--layers", "conv3,conv3"],
        "conv3 twice",
    );
    refused(dir.path(), &["a.png", "--layers", "conv3"], "--weights");
    refused(dir.path(), &["a.png", "--init", "msra", "--layers", "conv3"], "--backbone");
    let nearest = ["a.png", "--init", "msra", "--backbone", "alexnte", "--layers", "conv3"];
    refused(dir.path(), &nearest, "did you mean `alexnet`?");
    refused_with(&["b.png"], "b.png: not found");
    refused_with(&["a.png", "--size", "1"], "window does not fit");
    refused_with(&["a.png", "--batch", "0"], "at least 1");
    assert!(!dir.path().join("features").exists(), "a refused command made its folder");
    // A folder that cannot be made.
    let (code, _, err) =
        said(&hueristic(dir.path(), &[&["a.png", "--out", "a.png/x"], &network[..]].concat()));
    assert!(code == 1 && err.contains("cannot create a.png/x"), "{err}");
    // Nothing is replaced unasked, and an original never.
    done(dir.path(), &["a.png", "--layers", "conv3", "--filters"]);
    refused_with(&["a.png"], "features/conv3.npy exists already, with 1 more; give --overwrite");
    done(dir.path(), &["a.png", "--layers", "conv3", "--overwrite"]);
    let own = ["features/filters.png", "--filters", "--overwrite"];
    refused_with(&own, "features/filters.png is an input and would be overwritten");
    // No picture at all, and weights that have diverged.
    fs::write(dir.path().join("broken.png"), b"no").unwrap();
    let (code, _, err) =
        said(&hueristic(dir.path(), &[&["broken.png", "--out", "n"], &network[..]].concat()));
    assert!(code == 1 && err.contains("the picture cannot be read") && err.contains("broken.png: "), "{err}");
    let bias = params.named("conv1.bias").unwrap();
    bias.set(&bias.ones_like().unwrap().affine(3e38, 0.0).unwrap().to_dtype(DType::F32).unwrap()).unwrap();
    save(&spec, &params, dir.path());
    let (code, _, err) = said(&hueristic(dir.path(), &[&["a.png", "--out", "n"], &network[..]].concat()));
    assert!(code == 1 && err.contains("conv3 of a.png is"), "{err}");
    assert_eq!(fs::read_dir(dir.path().join("n")).unwrap().count(), 0, "something was left behind");
}

#[cfg(unix)]
#[test]
fn an_interrupted_command_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    weight_file(dir.path(), ALEXNET);
    store(dir.path(), "photos/0.png", &picture(400, 400, 1));
    for i in 1..3000 {
        fs::hard_link(dir.path().join("photos/0.png"), dir.path().join(format!("photos/{i}.png"))).unwrap();
    }
    let out = dir.path().join("features");
    let left = || fs::read_dir(&out).map_or(0, Iterator::count);
    let mut child = Command::new(env!("CARGO_BIN_EXE_hueristic"))
        .current_dir(dir.path())
        .args(["features", "photos", "--weights", "weights.safetensors", "--layers", "conv3"])
        .spawn()
        .unwrap();
    while left() == 0 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(left(), 0);
}
