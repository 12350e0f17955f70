//! `colorize` as a library and as a command: sizes, lightness, the output of a known network, rejected files, broken
//! files, and memory.

use candle_core::{Device, Tensor};
use hueristic::{
    backbones::{BackboneSpec, siggraph17::Siggraph17Spec},
    bounded::Positive,
    color::{
        decode::Decode,
        gamut::Gamut,
        gray::Gray,
        lab::{lab_to_srgb8, srgb8_to_lab},
    },
    colorize::picture::{ColorizedPicture, InputSize, Options, color},
    data::{decode::decode, source::RgbImage},
    nn::{init::Filler, params::Params, weights},
    npy,
    pretext::{
        colorization::ColorizationSpec,
        colorizer::{Colorizer, ColorizerSpec},
        siggraph17::Siggraph17TaskSpec,
    },
    rng::Rng,
    spec,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const VGG: &str = r#"{"vgg": {"width": 0.05}}"#;
const ALEXNET: &str = r#"{"alexnet": {"width": 0.05}}"#;
pub(super) const SMALL_ALEXNET: &str = r#"{"alexnet": {"width": 0.1, "stem": "small"}}"#;

fn specs(backbone: &str, colorization: &str) -> (BackboneSpec, ColorizationSpec) {
    (serde_json::from_str(backbone).unwrap(), serde_json::from_str(colorization).unwrap())
}

/// A network with its parameters; `bin` is certain everywhere if given, else the head's weights vary around 0.
fn network(backbone: &str, colorization: &str, bin: Option<usize>) -> (Colorizer, Params) {
    let (backbone, spec) = specs(backbone, colorization);
    let mut params = Params::new(&Device::Cpu);
    let net = Colorizer::new(&spec, &backbone, &mut params, &Rng::new(7)).unwrap();
    let head = &net.network().head().name;
    let (weight, bias) = (format!("{head}.weight"), format!("{head}.bias"));
    let (weight, bias) = (params.named(&weight).unwrap(), params.named(&bias).unwrap());
    match bin {
        Some(bin) => {
            let mut logits = vec![0f32; bias.dims1().unwrap()];
            logits[bin] = 200.0;
            bias.set(&Tensor::new(logits, &Device::Cpu).unwrap()).unwrap();
            weight.set(&weight.zeros_like().unwrap()).unwrap();
        }
        None => {
            // Small enough for distributions that are not certain of one bin.
            let spread = |i: usize| 0.02 * ((i * 7919 % 1009) as f32 / 1009.0 - 0.5);
            let values: Vec<f32> = (0..weight.elem_count()).map(spread).collect();
            weight.set(&Tensor::from_vec(values, weight.shape(), &Device::Cpu).unwrap()).unwrap();
        }
    }
    (net, params)
}

/// The network as a weight file with its header.
pub(super) fn weight_file(dir: &Path, backbone: &str, colorization: &str, bin: Option<usize>) -> String {
    let (_, params) = network(backbone, colorization, bin);
    let header = header(backbone, colorization);
    let path = dir.join("weights.safetensors");
    weights::save(&params, &header, &path).unwrap();
    path.display().to_string()
}

fn header(backbone: &str, colorization: &str) -> BTreeMap<String, String> {
    let (backbone, spec) = specs(backbone, colorization);
    BTreeMap::from([
        ("backbone".to_string(), spec::resolved_yaml(&backbone).unwrap()),
        ("colorization".to_string(), spec::resolved_yaml(&spec).unwrap()),
    ])
}

fn options(size: InputSize) -> Options {
    let decode = ColorizationSpec::default().decode();
    let (gray, gamut) = (Gray::default(), Gamut::default());
    Options { size, gray, gamut, decode, upsampling: None, device: Device::Cpu }
}

/// Colors that vary with the position; gray if `gray`.
fn picture(width: usize, height: usize, gray: bool) -> RgbImage {
    let pixel = |i: usize| {
        let (x, y) = (i % width, i / width);
        let v = 60 + (x * 120 / width + (7 * x * y) % 23) as u8;
        if gray { [v; 3] } else { [v, 200 - (y * 120 / height) as u8, 90 + ((3 * x + 5 * y) % 50) as u8] }
    };
    RgbImage { width, height, pixels: (0..width * height).flat_map(pixel).collect() }
}

fn pixels(picture: &RgbImage) -> &[[u8; 3]] {
    picture.pixels.as_chunks().0
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Equal up to the summation order of threads.
fn close(ours: &[f32], theirs: &[f32]) -> bool {
    let size = theirs.iter().fold(1f32, |size, v| size.max(v.abs()));
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(x, y)| (x - y).abs() < 1e-4 * size)
}

fn save(picture: &RgbImage, path: &Path) {
    let (w, h) = (picture.width as u32, picture.height as u32);
    image::save_buffer(path, &picture.pixels, w, h, image::ColorType::Rgb8).unwrap();
}

fn load(path: &Path) -> RgbImage {
    decode(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// Every pixel has the lightness of the original up to rounding to bytes; the number of those whose color sRGB cannot show
/// equals the reported count.
fn keeps_lightness(original: &RgbImage, colored: &ColorizedPicture) {
    assert_eq!((colored.rgb.width, colored.rgb.height), (original.width, original.height));
    let ab = colored.ab.pixels();
    let mut all = 0;
    for ((from, to), ab) in pixels(original).iter().zip(pixels(&colored.rgb)).zip(ab) {
        let lightness = srgb8_to_lab(*from)[0];
        let (expected, outside) = Gamut::Chroma.srgb8([lightness, ab[0], ab[1]]);
        assert_eq!(*to, expected);
        all += usize::from(outside);
        let off = (srgb8_to_lab(*to)[0] - lightness).abs();
        assert!(off < 0.75, "{from:?} became {to:?}: L is {off} off");
    }
    assert_eq!(colored.outside, all);
}

#[test]
fn any_size_keeps_its_size_and_its_lightness() {
    for (backbone, spec) in [(VGG, "{}"), (VGG, r#"{"loss": "l2"}"#), (ALEXNET, "{}"), (SMALL_ALEXNET, "{}")]
    {
        let (net, _) = network(backbone, spec, None);
        for (width, height) in [(1, 1), (1, 500), (500, 1), (37, 53), (130, 64)] {
            for gray in [false, true] {
                let original = picture(width, height, gray);
                for size in [InputSize::Short(64), InputSize::Full] {
                    // AlexNet's pooling needs more than a few pixels.
                    if size == InputSize::Full && width.min(height) == 1 && backbone != VGG {
                        continue;
                    }
                    let colored = color(&net, &original, &[], &options(size)).unwrap();
                    keeps_lightness(&original, &colored);
                }
            }
        }
    }
}

#[test]
fn at_its_own_size_a_picture_gets_the_networks_colors() {
    for (backbone, spec) in [(VGG, "{}"), (VGG, r#"{"loss": "l2"}"#), (ALEXNET, "{}"), (SMALL_ALEXNET, "{}")]
    {
        let (net, _) = network(backbone, spec, None);
        for (width, height) in [(96, 72), (67, 93)] {
            let original = picture(width, height, false);
            let lightness: Vec<f32> = pixels(&original).iter().map(|p| srgb8_to_lab(*p)[0] - 50.0).collect();
            let lightness = Tensor::from_vec(lightness, (1, height, width, 1), &Device::Cpu).unwrap();
            let theirs = flat(&net.color(&lightness, Decode::Annealed(0.38)).unwrap());
            let ours = color(&net, &original, &[], &options(InputSize::Full)).unwrap().ab.pixels();
            assert!(theirs.iter().any(|v| v.abs() > 1.0), "a network without color shows nothing");
            assert!(close(ours.as_flattened(), &theirs), "{backbone} {width}×{height}");
        }
    }
}

#[test]
fn a_certain_network_paints_its_bin_everywhere() {
    let bins = ColorizationSpec::default().bins();
    for bin in [0, 120, 200, 312] {
        let (net, _) = network(VGG, "{}", Some(bin));
        let [a, b] = bins.centers()[bin];
        let original = picture(90, 70, false);
        for decode in [Decode::Annealed(0.38), Decode::Mode, Decode::Mean] {
            let options = Options { decode, gamut: Gamut::Clip, ..options(InputSize::Short(64)) };
            let colored = color(&net, &original, &[], &options).unwrap();
            assert!(colored.ab.pixels().iter().all(|ab| *ab == [a, b]));
            let expected: Vec<_> =
                pixels(&original).iter().map(|p| lab_to_srgb8([srgb8_to_lab(*p)[0], a, b])).collect();
            assert!(pixels(&colored.rgb).iter().zip(&expected).all(|(p, e)| *p == e.0), "bin {bin}");
            assert_eq!(colored.outside, expected.iter().filter(|e| e.1).count());
        }
    }
}

#[test]
fn only_the_gray_of_a_picture_is_seen() {
    let (net, _) = network(VGG, "{}", None);
    // 30 + 60 + 90 and 60 + 60 + 60 have the same average but different lightness.
    let flat_of = |rgb: [u8; 3]| RgbImage { width: 70, height: 80, pixels: rgb.repeat(5600) };
    let average = Options { gray: Gray::Average, ..options(InputSize::Short(64)) };
    let [one, other] =
        [[30, 60, 90], [60; 3]].map(|rgb| color(&net, &flat_of(rgb), &[], &average).unwrap().rgb);
    assert_eq!(one, other);
    let lightness = options(InputSize::Short(64));
    let [one, other] =
        [[30, 60, 90], [60; 3]].map(|rgb| color(&net, &flat_of(rgb), &[], &lightness).unwrap().rgb);
    assert_ne!(one, other);
}

#[test]
fn the_average_is_kept_as_the_gray_of_the_result() {
    let (net, _) = network(VGG, "{}", Some(120)); // bin 120 is gray
    let original = picture(64, 64, false);
    let average = Options { gray: Gray::Average, ..options(InputSize::Short(64)) };
    let result = color(&net, &original, &[], &average).unwrap().rgb;
    for (from, to) in pixels(&original).iter().zip(pixels(&result)) {
        let gray = from.iter().map(|v| f64::from(*v)).sum::<f64>() / 3.0;
        assert!(
            to.iter().all(|v| (f64::from(*v) - gray).abs() <= 0.75),
            "{from:?} became {to:?}, not {gray}"
        );
    }
}

#[test]
fn damaged_weights_are_noticed() {
    let (net, params) = network(VGG, "{}", Some(0));
    let bias = params.named(&format!("{}.bias", net.network().head().name)).unwrap();
    bias.set(&(bias.as_tensor() * f64::NAN).unwrap()).unwrap();
    let error = color(&net, &picture(64, 64, true), &[], &options(InputSize::Full)).unwrap_err().to_string();
    assert!(error.contains("weights are damaged"), "{error}");
}

/// An infinite variance makes a channel 0, which no picture reveals.
#[test]
fn statistics_that_are_not_finite_are_refused_by_tensor_and_channel() {
    let dir = tempfile::tempdir().unwrap();
    let (_, params) = network(VGG, "{}", None);
    let (name, variance) = params.all().find(|(name, _)| name.ends_with("running_var")).unwrap();
    let mut values = vec![1f32; variance.elem_count()];
    values[1] = f32::INFINITY;
    variance.set(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
    let path = dir.path().join("weights.safetensors");
    weights::save(&params, &header(VGG, "{}"), &path).unwrap();
    let error = format!("{:#}", Colorizer::open(&path, &Device::Cpu).map(|_| ()).unwrap_err());
    assert!(error.contains(name) && error.contains("channel 1: inf is not a finite number"), "{error}");
}

fn hueristic(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
    command.current_dir(dir).arg("colorize").args(arguments).args(["--threads", "2"]).env_remove("RUST_LOG");
    command.output().unwrap()
}

/// Exit code, stdout and stderr.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn refused(dir: &Path, arguments: &[&str], part: &str) {
    let (code, out, err) = said(&hueristic(dir, arguments));
    assert!(code == 2 && out.is_empty() && err.contains(part), "{arguments:?}: {code} {out} {err}");
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)
}

#[test]
fn a_folder_with_a_broken_file_is_colored_but_for_that() {
    let dir = tempfile::tempdir().unwrap();
    let weights = weight_file(dir.path(), VGG, "{}", None);
    let photos = dir.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::copy(fixture("turned.jpg"), photos.join("turned.jpg")).unwrap();
    fs::write(photos.join("broken.jpg"), &fs::read(fixture("turned.jpg")).unwrap()[..300]).unwrap();
    save(&picture(50, 40, true), &photos.join("w.webp"));
    save(&picture(50, 40, true), &photos.join("z.bmp"));
    let (code, out, err) = said(&hueristic(dir.path(), &["photos", "--weights", &weights]));
    assert_eq!(code, 1, "{err}");
    assert!(out.starts_with("3 of 4 pictures colored\n") && out.contains("broken.jpg: truncated"), "{out}");
    assert!(
        err.contains("w.webp → colorized/w.webp: 50×40, seen at") && err.contains("% beyond sRGB and paler"),
        "{err}"
    );
    let lines = ["broken.jpg: ", "turned.jpg → ", "w.webp → ", "z.bmp → "].map(|line| err.find(line));
    assert!(lines.is_sorted() && lines[0].is_some(), "not in the order of the plan: {err}");
    let made = dir.path().join("colorized");
    // The decoded fixture is upright; the result must be upright too, without an orientation tag.
    let (turned, original) = (load(&made.join("turned.jpg")), load(&fixture("turned.jpg")));
    assert_eq!((turned.width, turned.height), (original.width, original.height));
    let stored = image::open(made.join("turned.jpg")).unwrap();
    assert_eq!((stored.width() as usize, stored.height() as usize), (original.width, original.height));
    let (net, _) = Colorizer::open(Path::new(&weights), &Device::Cpu).unwrap();
    for (name, original) in [("w.webp", "w.webp"), ("z.png", "z.bmp")] {
        let expected =
            color(&net, &load(&photos.join(original)), &[], &options(InputSize::Short(256))).unwrap();
        let (made, expected) = (load(&made.join(name)), expected.rgb);
        assert_eq!((made.width, made.height), (expected.width, expected.height));
        assert!(made.pixels.iter().zip(&expected.pixels).all(|(x, y)| x.abs_diff(*y) <= 1), "{name}");
    }
    assert_eq!(fs::read_dir(made).unwrap().count(), 3, "something else was left");
}

#[test]
fn many_pictures_leave_a_line_for_each_tenth() {
    let dir = tempfile::tempdir().unwrap();
    let weights = weight_file(dir.path(), VGG, "{}", None);
    fs::create_dir(dir.path().join("photos")).unwrap();
    (0..30).for_each(|i| save(&picture(24, 16, true), &dir.path().join(format!("photos/{i:02}.png"))));
    let arguments = ["photos", "--weights", &weights, "--size", "32", "--overwrite"];
    let (code, out, err) = said(&hueristic(dir.path(), &arguments));
    assert_eq!((code, out.as_str()), (0, "30 of 30 pictures colored\n"), "{err}");
    let told: Vec<&str> = err.lines().filter(|line| line.contains(" → ")).collect();
    let named = |line: &&str| line.split(['/', '.']).nth(1).and_then(|name| name.parse().ok());
    let told: Vec<usize> = told.iter().filter_map(named).collect();
    assert_eq!(told, [0, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29], "{err}");
    // Results are printed even so, on stdout.
    let (code, out, err) = said(&hueristic(dir.path(), &[&arguments[..], &["-q"]].concat()));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "30 of 30 pictures colored\n", ""));
}

#[test]
fn orientation_puts_the_light_where_it_was() {
    let (net, _) = network(VGG, "{}", None);
    let original = load(&fixture("turned.jpg"));
    keeps_lightness(&original, &color(&net, &original, &[], &options(InputSize::Short(64))).unwrap());
}

#[test]
fn everything_that_can_be_left_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let weights = weight_file(dir.path(), VGG, "{}", None);
    save(&picture(100, 80, false), &dir.path().join("color [1].png"));
    save(&picture(80, 100, true), &dir.path().join("gray.png"));
    let arguments =
        ["*.png", "--weights", &weights, "--out", "o", "--size", "64", "--format", "jpg", "--montage"];
    let more = ["--distribution", "--save-logits", "--save-ab", "ab/{stem}.npy"];
    let (code, out, err) = said(&hueristic(dir.path(), &[&arguments[..], &more].concat()));
    assert!(code == 0 && out == "2 of 2 pictures colored\n", "{out} {err}");
    let made = |name: &str| dir.path().join("o").join(name);
    let beside = |kind: &str, name: &str| dir.path().join(format!("o-{kind}")).join(name);
    assert_eq!(fs::read_dir(dir.path().join("o")).unwrap().count(), 4, "a score takes pictures only");
    // Three tiles if there is color, else two; 8 pixels around each.
    let (three, two) = (load(&beside("montages", "color [1].png")), load(&beside("montages", "gray.png")));
    assert_eq!((three.width, two.width), (3 * 100 + 4 * 8, 2 * 80 + 3 * 8));
    let sheet = load(&beside("distributions", "gray.png"));
    assert!(sheet.width > 800 && sheet.height > 800, "{}×{}", sheet.width, sheet.height);
    let (net, _) = Colorizer::open(Path::new(&weights), &Device::Cpu).unwrap();
    let expected =
        color(&net, &load(&dir.path().join("gray.png")), &[], &options(InputSize::Short(64))).unwrap();
    let ab = npy::read(&dir.path().join("ab/gray.npy")).unwrap();
    assert_eq!(ab.dims(), [100, 80, 2]);
    assert!(close(&flat(&ab), expected.ab.pixels().as_flattened()));
    let logits = npy::read(&made("gray-logits.npy")).unwrap();
    assert_eq!(logits.dims(), [20, 16, 313]);
    assert!(close(&flat(&logits), &flat(&expected.map)));
    assert!(made("color [1].jpg").is_file() && made("gray.jpg").is_file());
}

#[test]
fn nothing_is_replaced_unasked_and_bad_usage_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let weights = weight_file(dir.path(), VGG, "{}", Some(120));
    let run = |arguments: &[&str]| hueristic(dir.path(), &[arguments, &["--weights", &weights]].concat());
    save(&picture(20, 20, true), &dir.path().join("a.png"));
    fs::create_dir(dir.path().join("deep")).unwrap();
    save(&picture(20, 20, true), &dir.path().join("deep/a.png"));
    assert!(run(&["a.png"]).status.success());
    let refused = |arguments: &[&str], part: &str| {
        refused(dir.path(), &[arguments, &["--weights", &weights]].concat(), part)
    };
    refused(&["a.png"], "colorized/a.png exists already; give --overwrite");
    assert!(run(&["a.png", "--overwrite"]).status.success());
    refused(&["a.png", "--out", ".", "--overwrite"], "./a.png is an input and would be overwritten");
    refused(&["a.png", "deep/a.png", "--out", "n"], "a.png and deep/a.png would both become n/a");
    refused(&["b.png"], "b.png: not found");
    refused(&["*.jpg"], "`*.jpg` matches no picture");
    refused(&["a.png", "--out", "n", "--decode", "mean", "--temperature", "0.5"], "--temperature");
    refused(&["a.png", "--out", "n", "--save-ab", "ab"], "ends in .npy");
    refused(&["a.png", "--size", "huge"], "or `full`");
    refused(&["a.png", "--quality", "0"], "quality");
    // Pictures in subfolders keep their subfolders; results of an earlier run are not used as inputs.
    let run = run(&[".", "--recursive", "--overwrite"]);
    assert!(said(&run).1.starts_with("2 of 2 pictures"), "{run:?}");
    assert!(dir.path().join("colorized/deep/a.png").is_file());
}

#[test]
fn a_network_without_a_distribution_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let weights = weight_file(dir.path(), VGG, r#"{"loss": "l2"}"#, None);
    save(&picture(40, 30, true), &dir.path().join("a.png"));
    let extras: [&[&str]; 4] =
        [&["--temperature", "0.5"], &["--decode", "mode"], &["--distribution"], &["--save-logits"]];
    for extra in extras {
        refused(dir.path(), &[&["a.png", "--weights", &weights], extra].concat(), "remove --");
    }
    assert!(hueristic(dir.path(), &["a.png", "--weights", &weights, "--montage"]).status.success());
}

#[test]
fn temperature_and_mode_change_the_colors() {
    let dir = tempfile::tempdir().unwrap();
    let weights = weight_file(dir.path(), VGG, "{}", None);
    save(&picture(90, 70, true), &dir.path().join("a.png"));
    let made = |arguments: &[&str]| {
        let arguments = [&["a.png", "--weights", &weights, "--overwrite"], arguments].concat();
        assert!(hueristic(dir.path(), &arguments).status.success());
        load(&dir.path().join("colorized/a.png"))
    };
    let (usual, paper, mean, mode) = (
        made(&[]),
        made(&["--temperature", "0.38"]),
        made(&["--decode", "mean"]),
        made(&["--decode", "mode"]),
    );
    assert_eq!(usual, paper);
    assert_eq!(mean, made(&["--temperature", "1"]));
    assert!(usual != mean && usual != mode && mean != mode);
    assert_ne!(usual, made(&["--size", "full"]), "the size plays no part");
}

#[test]
fn released_weights_are_enlarged_in_two_steps_and_others_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let ours = weight_file(dir.path(), VGG, "{}", None);
    let (_, params) = network(VGG, "{}", None);
    let mut header = header(VGG, "{}");
    header.insert("upsampling".into(), "two_step\n".into());
    let theirs = dir.path().join("theirs.safetensors").display().to_string();
    weights::save(&params, &header, Path::new(&theirs)).unwrap();
    save(&picture(90, 70, true), &dir.path().join("a.png"));
    let ab = |weights: &str, more: &[&str]| {
        let arguments =
            [&["a.png", "--weights", weights, "--overwrite", "--save-ab", "ab.npy"], more].concat();
        assert!(hueristic(dir.path(), &arguments).status.success());
        fs::read(dir.path().join("ab.npy")).unwrap()
    };
    let (direct, two_step) = (ab(&ours, &[]), ab(&theirs, &[]));
    assert_ne!(direct, two_step);
    assert_eq!(direct, ab(&theirs, &["--upsample", "direct"]));
    assert_eq!(two_step, ab(&ours, &["--upsample", "two-step"]));
}

#[test]
fn several_commands_fill_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let weights = weight_file(dir.path(), VGG, "{}", None);
    for name in ["a.png", "b.png", "c.png"] {
        save(&picture(64, 48, true), &dir.path().join(name));
    }
    let arguments = ["a.png", "b.png", "c.png", "--weights", &weights, "--overwrite", "--montage"];
    std::thread::scope(|scope| {
        let commands: Vec<_> = (0..3).map(|_| scope.spawn(|| hueristic(dir.path(), &arguments))).collect();
        for command in commands {
            let (code, _, err) = said(&command.join().unwrap());
            assert_eq!(code, 0, "{err}");
        }
    });
    for folder in ["colorized", "colorized-montages"] {
        let names = fs::read_dir(dir.path().join(folder)).unwrap().map(|e| e.unwrap().file_name());
        assert_eq!(names.count(), 3, "something was left behind in {folder}");
    }
}

/// Peak memory for a photograph of 12 megapixels with the paper's full network, measured from outside.
#[cfg(target_os = "linux")]
#[test]
fn a_large_photograph_takes_less_than_two_gigabytes() {
    let dir = tempfile::tempdir().unwrap();
    let weights = weight_file(dir.path(), r#"{"vgg": {}}"#, "{}", Some(100));
    save(&picture(4000, 3000, true), &dir.path().join("large.jpg"));
    let arguments =
        ["large.jpg", "--save-ab", "ab.npy", "--montage", "--distribution", "--weights", &weights];
    let mut child = Command::new(env!("CARGO_BIN_EXE_hueristic"))
        .current_dir(dir.path())
        .arg("colorize")
        .args(arguments)
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0u64;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        peak = peak.max(line.trim().trim_end_matches(" kB").parse().unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    println!("4000×3000: {} MiB at the peak", peak >> 10);
    assert!((1 << 17..2_000_000).contains(&peak), "{peak} KiB");
    let made = load(&dir.path().join("colorized/large.jpg"));
    assert_eq!((made.width, made.height), (4000, 3000));
}

#[test]
fn old_photographs_are_colored() {
    let Some(data) = super::skipping::data("legacy_bw") else { return };
    let dir = tempfile::tempdir().unwrap();
    let weights = weight_file(dir.path(), VGG, "{}", None);
    let data = data.display().to_string();
    let (code, out, err) =
        said(&hueristic(dir.path(), &[&data, "--weights", &weights, "--size", "64", "--montage"]));
    assert!(code == 0 && out.starts_with("5 of 5 pictures colored"), "{out} {err}");
}

/// Hints belong to their photographs, and only weights that take them get any.
#[test]
fn hints_are_taken_by_weights_that_take_them() {
    let dir = tempfile::tempdir().unwrap();
    let backbone =
        BackboneSpec::Siggraph17(Siggraph17Spec { width: Positive::of(0.125), ..Default::default() });
    let (spec, mut params) = (Siggraph17TaskSpec::default(), Params::new(&Device::Cpu));
    Colorizer::new(&spec, &backbone, &mut params, &Rng::new(1)).unwrap();
    for (name, var) in params.all().filter(|(name, _)| name.starts_with("conv10_")) {
        let noise = Filler::Gaussian { std: Positive::of(0.3) };
        var.set(&noise.fill(var.dims(), &Rng::new(2).split(name), &Device::Cpu).unwrap()).unwrap();
    }
    let metadata = BTreeMap::from([
        ("backbone".to_string(), "siggraph17: { width: 0.125 }".to_string()),
        ("siggraph17".to_string(), spec.section().unwrap()),
    ]);
    let file = dir.path().join("hinted.safetensors");
    weights::save(&params, &metadata, &file).unwrap();
    let file = file.to_string_lossy().into_owned();
    save(&picture(90, 70, false), &dir.path().join("a.png"));
    save(&picture(90, 70, false), &dir.path().join("b.png"));
    fs::write(dir.path().join("a.csv"), "x,y,color\n20,30,#c83220\n").unwrap();
    let run = |arguments: &[&str]| said(&hueristic(dir.path(), arguments));
    let made = |out: &str| load(&dir.path().join(out).join("a.png")).pixels;
    let (code, _, err) = run(&["a.png", "--weights", &file, "--out", "plain"]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = run(&["a.png", "--weights", &file, "--out", "hinted", "--hints", "a.csv"]);
    assert_eq!(code, 0, "{err}");
    assert!(made("plain") != made("hinted"), "the hint changed nothing");
    fs::create_dir(dir.path().join("hints")).unwrap();
    fs::copy(dir.path().join("a.csv"), dir.path().join("hints/a.csv")).unwrap();
    let (code, _, err) = run(&["a.png", "b.png", "--weights", &file, "--out", "both", "--hints", "hints"]);
    assert_eq!((code, made("both")), (0, made("hinted")), "{err}");
    let (code, _, err) = run(&["a.png", "b.png", "--weights", &file, "--out", "no", "--hints", "a.csv"]);
    assert!(code == 2 && err.contains("one file for 2 pictures"), "{code} {err}");
    fs::write(dir.path().join("wide.csv"), "20,30,#c83220\n200,3,1,2\n").unwrap();
    let (code, out, err) = run(&["a.png", "--weights", &file, "--out", "no", "--hints", "wide.csv"]);
    assert!(
        code == 1 && out.contains("wide.csv:2: (200, 3) is outside of the picture"),
        "{code} {out} {err}"
    );
    let other = weight_file(dir.path(), VGG, "{}", None);
    let (code, _, err) = run(&["a.png", "--weights", &other, "--out", "no", "--hints", "a.csv"]);
    assert!(code == 2 && err.contains("takes no color hints: remove --hints"), "{code} {err}");
    assert!(!dir.path().join("no").exists());
}
