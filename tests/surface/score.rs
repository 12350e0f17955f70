//! Color scores: the measures against NumPy and scikit-image (`scripts/oracles/color_metrics.py`) and the published
//! figures, the table, and `hueristic score` as a user meets it.

use super::skipping::data;
use hueristic::{
    color::bins::Bins,
    metrics::{
        bootstrap::Bootstrap,
        color::{ColorMeasure, ColorScores, ImageScores},
    },
    report::{Comparison, LeftOut, ScoreTable},
    score,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn numbers<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// Pairs of a flat list.
fn pairs(value: &Value) -> Vec<[f32; 2]> {
    numbers::<Vec<f32>>(value).as_chunks::<2>().0.to_vec()
}

#[test]
fn measures_equal_numpy_and_scikit_image() {
    let oracle: Value =
        serde_json::from_str(include_str!("../../scripts/oracles/color_metrics.json")).unwrap();
    let (bins, prior): (_, Vec<f64>) = (Bins::new(10.0), numbers(&oracle["prior"]));
    let mut scores = ColorScores::new(Some(&prior));
    for (i, image) in oracle["images"].as_array().unwrap().iter().enumerate() {
        let (truth, predicted) = (pairs(&image["truth_ab"]), pairs(&image["predicted_ab"]));
        let [truth_rgb, predicted_rgb]: [Vec<u8>; 2] =
            ["truth_rgb", "predicted_rgb"].map(|key| numbers(&image[key]));
        let scored = ImageScores::of(&i.to_string(), &predicted, &truth, &bins).unwrap();
        scores.push(scored.with_pictures(&predicted_rgb, &truth_rgb).unwrap());
    }
    let summary = serde_json::to_value(scores.summary().unwrap()).unwrap();
    assert_eq!((&summary["images"], &summary["pixels"]), (&Value::from(3), &Value::from(164)));
    let answers = oracle["answers"].as_object().unwrap();
    assert_eq!(answers.len(), 14);
    for (name, theirs) in answers {
        let (ours, theirs) = (summary[name].as_f64().unwrap(), theirs.as_f64().unwrap());
        // The prior's weights are kept in single precision.
        let tolerance = if name.contains("prior") { 1e-6 } else { 1e-11 };
        assert!((ours / theirs - 1.0).abs() < tolerance, "{name}: {ours}, NumPy {theirs}");
    }
}

/// The published figures (`scripts/oracles/sun_scores.py`), from the JPEGs as they were published.
#[test]
fn the_sun_images_score_as_published() {
    let Some(folder) = data("sun6_learch") else { return };
    let at = |name: &str| folder.join(name).display().to_string();
    let (gt, learch, ours) = (at("gt"), at("learch"), at("ours"));
    let table =
        json(&["--truth", &gt, "--gray", "--pred", &learch, "--pred", &ours, "--bootstrap", "100"], 0);
    let known = [("Gray", 89.15, 66.23), ("learch", 88.83, 69.44), ("ours", 89.98, 76.51)];
    assert_eq!(table.rows.len(), 3);
    for (row, (method, auc, rebalanced)) in table.rows.iter().zip(known) {
        let (summary, a) = (&row.summary, ColorMeasure::AucThresholds);
        assert_eq!((row.method.as_str(), summary.images), (method, 240));
        let (x, y) = (100.0 * summary.auc_thresholds, 100.0 * summary.auc_empirical_thresholds);
        assert!((x - auc).abs() < 0.02 && (y - rebalanced).abs() < 0.02, "{method}: {x:.3} / {y:.3}");
        assert!(
            row.intervals[&a].low < summary.auc_thresholds && summary.auc_thresholds < row.intervals[&a].high
        );
        assert!((summary.auc - summary.auc_thresholds).abs() < 0.004);
    }
    assert_eq!(table.rows[0].summary.colorfulness.map(|c| c < 0.5), Some(true), "gray is not colorful");
    let below = |a: &str, b: &str| {
        let pair = |c: &&Comparison| {
            (c.a.as_str(), c.b.as_str()) == (a, b) && c.measure == ColorMeasure::AucEmpirical
        };
        table.comparisons.iter().find(pair).unwrap().a_below_b
    };
    assert_eq!((below("learch", "ours"), below("Gray", "ours")), (1.0, 1.0));
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
    command.arg("score").args(arguments).env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The table of a command that ends with `exit`.
fn json(arguments: &[&str], exit: i32) -> ScoreTable {
    let output = run(&[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(exit), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Exit code and stderr of a command that has to fail without a word on stdout.
fn fails(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    assert_eq!(text(&output.stdout), "", "{arguments:?} printed a result");
    (output.status.code().unwrap(), text(&output.stderr))
}

/// Writes a picture; the ending decides the format.
fn picture(dir: &Path, name: &str, (w, h): (u32, u32), color: impl Fn(u32, u32) -> [u8; 3]) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_fn(w, h, |x, y| image::Rgb(color(x, y))).save(&path).unwrap();
    path
}

/// Three true pictures, one in a subfolder: two gray and red, one blue.
fn truth(root: &Path) -> String {
    let dir = root.join("truth");
    let half = |x: u32, _: u32| if x < 4 { [128; 3] } else { [200, 40, 40] };
    picture(&dir, "a.png", (8, 6), half);
    picture(&dir, "b.v2.png", (8, 6), half);
    picture(&dir, "deep/a.bmp", (5, 4), |_, _| [30, 60, 220]);
    dir.display().to_string()
}

fn copy(from: &str, to: &Path) -> String {
    for name in ["a.png", "b.v2.png", "deep/a.bmp"] {
        let target = to.join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(Path::new(from).join(name), target).unwrap();
    }
    to.display().to_string()
}

#[test]
fn folders_are_matched_by_path_and_scored() {
    let root = tempfile::tempdir().unwrap();
    let truth = truth(root.path());
    let other = root.path().join("other");
    let half = |x: u32, _: u32| if x < 4 { [128; 3] } else { [200, 40, 40] };
    picture(&other, "a.bmp", (8, 6), half);
    let file = fs::File::create(other.join("b.v2.tiff")).unwrap();
    let mut encoder = tiff::encoder::TiffEncoder::new(file).unwrap();
    encoder.write_image::<tiff::encoder::colortype::RGB8>(8, 6, &[128; 3 * 8 * 6]).unwrap();
    picture(&other, "deep/a.png", (5, 4), |_, _| [30, 60, 220]);
    let (same, other) = (copy(&truth, &root.path().join("same")), other.display().to_string());
    let arguments = ["--truth", &truth, "--pred", &same, "--pred", &other, "--gray", "--random", &truth];
    let table = json(&arguments, 0);
    let names: Vec<_> = table.rows.iter().map(|row| row.method.as_str()).collect();
    assert_eq!(names, ["Gray", "Random", "same", "other"]);
    let [gray, random, same, other] = [0, 1, 2, 3].map(|i| &table.rows[i].summary);
    assert_eq!((same.auc, same.auc_empirical, same.rmse, same.psnr), (1.0, 1.0, 0.0, None));
    assert_eq!((same.images, same.pixels, same.occupied_bins), (3, 116, 3));
    // 24 red pixels of the second picture are wrong; by bin: gray correct, half of red wrong, blue correct.
    let missed = 150.0 * (1.0 - other.auc) * 116.0 / 24.0;
    let [red, neutral] =
        [[200, 40, 40], [128; 3]].map(|rgb| hueristic::color::lab::srgb8_to_lab(rgb).map(f64::from));
    assert!((missed - (red[1] - neutral[1]).hypot(red[2] - neutral[2])).abs() < 1e-4, "{missed}");
    assert!((other.auc_empirical - (1.0 - missed / 150.0 / 6.0)).abs() < 1e-6);
    assert!(gray.auc < other.auc && gray.colorfulness < other.colorfulness && random.auc < same.auc);
    assert_eq!(table.bootstrap, Some(Bootstrap { replicates: 1000, seed: 0 }));
    // The printed table.
    let printed = text(&run(&arguments).stdout);
    assert!(printed.contains("AuC rebal. (empirical) %") && !printed.contains("(prior)"), "{printed}");
    for form in ["AuC %, integral", "PSNR dB, pooled", "as published (up to 0.3 points off)"] {
        assert!(printed.contains(form), "{printed}");
    }
    assert!(printed.contains("∞") && printed.contains("100.00 ± 0.00"), "{printed}");
    assert!(printed.contains("Colorfulness of the truth: "), "{printed}");
    let bare = text(&run(&[&arguments[..], &["--bootstrap", "0"]].concat()).stdout);
    assert!(!bare.contains('±'), "{bare}");
    // CSV: a header and four rows with equally many fields.
    let sheet = text(&run(&[&arguments[..], &["--csv"]].concat()).stdout);
    let fields: Vec<Vec<&str>> = sheet.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(fields.len(), 5);
    assert!(fields.iter().all(|row| row.len() == 4 + 4 * ColorMeasure::ALL.len() + 2));
    assert_eq!((fields[0][4], fields[3][1], fields[3][4]), ("auc %", "same", "100.0000"));
}

#[test]
fn the_seed_decides_and_the_threads_do_not() {
    let root = tempfile::tempdir().unwrap();
    let truth = truth(root.path());
    let print = |threads: &str, seed: &str| {
        let arguments =
            ["--truth", &truth, "--random", &truth, "--bootstrap", "50", "--json", "--seed", seed];
        text(&command(&arguments).env("RAYON_NUM_THREADS", threads).output().unwrap().stdout)
    };
    let once = print("1", "3");
    assert_eq!(once, print("3", "3"));
    let random = |seed: u64| {
        let table: ScoreTable = serde_json::from_str(&print("2", &seed.to_string())).unwrap();
        table.rows[0].summary.auc.to_bits()
    };
    let areas: std::collections::HashSet<u64> = (0..10).map(random).collect();
    assert!(areas.len() > 1, "the same random pictures for every seed");
}

#[test]
fn the_prior_of_a_file_is_used() {
    let root = tempfile::tempdir().unwrap();
    let truth = truth(root.path());
    let write = |name: &str, bins: usize| {
        let path = root.path().join(name);
        let prior = candle_core::Tensor::full(1.0 / bins as f64, bins, &candle_core::Device::Cpu).unwrap();
        prior.write_npy(&path).unwrap();
        path.display().to_string()
    };
    let flat = write("flat.npy", 313);
    let table = json(&["--truth", &truth, "--gray", "--prior", &flat, "--bootstrap", "20"], 0);
    let summary = &table.rows[0].summary;
    // A uniform prior weighs all pixels equally.
    assert!((summary.auc_prior.unwrap() - summary.auc).abs() < 1e-12);
    assert!((summary.effective_prior.unwrap() - 116.0).abs() < 1e-9);
    assert_eq!(table.prior.as_deref(), Some(flat.as_str()));
    assert!(table.rows[0].intervals.contains_key(&ColorMeasure::AucPrior));
    let short = write("short.npy", 312);
    let (code, message) = fails(&["--truth", &truth, "--gray", "--prior", &short]);
    assert!(code == 1 && message.contains("short.npy") && message.contains("313"), "{code}: {message}");
    let (code, message) = fails(&["--truth", &truth, "--gray", "--prior", "no/prior.npy"]);
    assert!(code == 1 && message.contains("no/prior.npy"), "{code}: {message}");
}

#[test]
fn bad_pictures_are_named_and_the_rest_scored() {
    let root = tempfile::tempdir().unwrap();
    let truth = truth(root.path());
    let pred = copy(&truth, &root.path().join("pred"));
    let pred = Path::new(&pred);
    picture(pred, "a.png", (7, 6), |_, _| [0; 3]);
    fs::write(pred.join("b.v2.png"), b"no picture").unwrap();
    picture(pred, "stray.png", (8, 6), |_, _| [0; 3]);
    picture(pred, "deep/a.png", (5, 4), |_, _| [0; 3]);
    let pred = pred.display().to_string();
    let arguments = ["--truth", &truth, "--pred", &pred, "--gray"];
    let table = json(&arguments, 1);
    assert_eq!(table.rows.iter().map(|row| row.summary.images).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(table.rows[1].summary.auc, 1.0);
    let mut reasons: Vec<String> = table
        .left_out
        .iter()
        .map(|l| format!("{}: {}: {}", l.method.as_deref().unwrap_or("all"), l.path, l.reason))
        .map(|line| line.replace(root.path().to_str().unwrap(), "ROOT"))
        .collect();
    reasons.sort();
    insta::assert_snapshot!(reasons.join("\n"), @r"
    pred: ROOT/pred/a.png: 7×6, but the truth is 8×6
    pred: ROOT/pred/b.v2.png: not an image: neither JPEG, PNG, WebP, BMP nor TIFF by its content
    pred: ROOT/pred/deep/a.png: ROOT/pred/deep/a.bmp has the same name
    pred: ROOT/pred/stray.png: no picture of this name in ROOT/truth
    ");
    // The only image that both have.
    assert!(
        table.comparisons.iter().all(|c| c.images == 1 && c.a_below_b == 1.0)
            && !table.comparisons.is_empty()
    );
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("The rows are over different images"));
    assert!(text(&output.stderr).contains("left out: 4") && text(&output.stderr).contains("stray.png"));
    // An unreadable true picture is left out for every method, a missing prediction for that method only.
    fs::write(Path::new(&truth).join("a.png"), b"").unwrap();
    fs::remove_file(Path::new(&pred).join("b.v2.png")).unwrap();
    let table = json(&arguments, 1);
    let lost = |method: Option<&str>, name: &str| {
        let found = |l: &&LeftOut| l.method.as_deref() == method && l.path.contains(name);
        table.left_out.iter().find(found).map(|l| l.reason.clone()).unwrap_or_default()
    };
    assert_eq!(lost(None, "truth/a.png"), "the file is empty");
    assert!(lost(Some("pred"), "truth/b.v2").starts_with("no picture of this name in "));
    assert_eq!(table.rows[0].summary.images, 2);
}

#[test]
fn what_cannot_be_scored_at_all_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let truth = truth(root.path());
    let stranger = root.path().join("stranger");
    picture(&stranger, "z.png", (8, 6), |_, _| [0; 3]);
    let stranger = stranger.display().to_string();
    let (code, message) = fails(&["--truth", &truth, "--pred", &stranger]);
    assert_eq!(code, 1);
    assert!(message.contains("no picture in") && message.contains("same path below the folder"), "{message}");
    assert!(message.contains("3 pictures there, first a.png; 1 here, first z.png"), "{message}");
    picture(Path::new(&stranger), "a.png", (1, 1), |_, _| [0; 3]);
    let (code, message) = fails(&["--truth", &truth, "--pred", &stranger]);
    assert!(code == 1 && message.contains("no picture of stranger could be scored; first, "), "{message}");
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let (code, message) = fails(&["--truth", &truth, "--random", &empty.display().to_string()]);
    assert!(code == 1 && message.contains("holds no images"), "{message}");
    for (arguments, word) in [
        (vec!["--truth", &*truth], "nothing to score"),
        (vec!["--truth", "no/such/folder", "--gray"], "no/such/folder is not a folder"),
        (vec!["--truth", &truth, "--pred", "no/pred"], "no/pred is not a folder"),
        (vec!["--truth", &truth, "--gray", "--bootstrap", "1"], "at least 2"),
        (vec!["--truth", &truth, "--gray", "--bootstrap", "many"], "not a number of replicates"),
        (vec!["--truth", &truth, "--gray", "--json", "--csv"], "cannot be used with"),
        (vec!["--gray"], "--truth"),
    ] {
        let (code, message) = fails(&arguments);
        assert!(code == 2 && message.contains(word), "{arguments:?}: {code}: {message}");
    }
}

#[test]
fn methods_of_the_same_folder_name_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let truth = truth(root.path());
    let [x, y] = ["x/out", "y/out"].map(|name| copy(&truth, &root.path().join(name)));
    let table = json(&["--truth", &truth, "--pred", &x, "--pred", &y, "--bootstrap", "0"], 0);
    assert_eq!([&table.rows[0].method, &table.rows[1].method], [&x, &y]);
    assert!(table.comparisons.is_empty() && table.bootstrap.is_none());
}

/// A table from in-memory predictions, as in an evaluation stage.
fn in_memory() -> ScoreTable {
    let bins = Bins::new(10.0);
    let truth = [[0.0f32, 0.0], [60.0, 45.0]];
    let method = |name: &str, predicted: [[f32; 2]; 2]| {
        let mut scores = ColorScores::new(None);
        for image in ["a", "b"] {
            scores.push(ImageScores::of(image, &predicted, &truth, &bins).unwrap());
        }
        (name.to_string(), scores)
    };
    let mut table = ScoreTable::new("val".into(), None, Some(Bootstrap { replicates: 10, seed: 0 }));
    score::fill(&mut table, &[method("Gray", [[0.0; 2]; 2]), method("L2 | mean, \"ab\"", truth)]).unwrap();
    table
}

#[test]
fn tables_of_predictions_in_memory() {
    let table = in_memory();
    insta::assert_snapshot!(table.text(), @r#"
    Color scores against val; ± bootstrap over images (10 replicates, seed 0)

    method            AuC %, integral   AuC rebal. (empirical) %, integral        RMSE ab   images
    Gray                 75.00 ± 0.00                         75.00 ± 0.00   53.03 ± 0.00        2
    L2 | mean, "ab"     100.00 ± 0.00                        100.00 ± 0.00    0.00 ± 0.00        2

    Integral: over thresholds from 0 to 150. Pooled: over the pixels of all images. --csv and --json also hold AuC as the mean over thresholds 0, 1, …, 150, as published (up to 0.3 points off), and the mean of PSNR over images.
    "#);
    insta::assert_snapshot!(table.markdown(), @r#"
    Color scores against val; ± bootstrap over images (10 replicates, seed 0)

    | method | AuC %, integral | AuC rebal. (empirical) %, integral | RMSE ab | images |
    |:---|---:|---:|---:|---:|
    | Gray | 75.00 ± 0.00 | 75.00 ± 0.00 | 53.03 ± 0.00 | 2 |
    | L2 \| mean, "ab" | 100.00 ± 0.00 | 100.00 ± 0.00 | 0.00 ± 0.00 | 2 |

    Integral: over thresholds from 0 to 150. Pooled: over the pixels of all images. --csv and --json also hold AuC as the mean over thresholds 0, 1, …, 150, as published (up to 0.3 points off), and the mean of PSNR over images.
    "#);
    assert!(
        table.csv().lines().nth(2).unwrap().starts_with("val,\"L2 | mean, \"\"ab\"\"\",2,4,100.0000,0.0000,")
    );
    assert!(table.comparisons.iter().all(|c| c.a_below_b == 1.0) && table.comparisons.len() == 2);
}

#[test]
fn a_table_survives_json() {
    let table = in_memory();
    let value = serde_json::to_value(&table).unwrap();
    assert_eq!(value["rows"][0]["summary"]["psnr"], Value::Null);
    for measure in ColorMeasure::ALL {
        assert_eq!(serde_json::to_value(measure).unwrap(), measure.name());
    }
    let again: ScoreTable = serde_json::from_str(&serde_json::to_string_pretty(&table).unwrap()).unwrap();
    assert_eq!((again.text(), again.csv()), (table.text(), table.csv()));
    assert_eq!((again.comparisons, again.left_out), (table.comparisons, table.left_out));
}

#[test]
fn a_method_without_an_image_is_an_error() {
    let mut table = ScoreTable::new("val".into(), None, None);
    let error = score::fill(&mut table, &[("L2".into(), ColorScores::new(None))]).unwrap_err();
    assert!(error.to_string().contains("no picture of L2 could be scored"), "{error}");
}

#[test]
fn many_left_out_are_counted_not_listed() {
    let mut table = in_memory();
    assert_eq!(table.omissions(), None);
    let left_out = |i: usize| LeftOut { method: None, path: format!("{i}.png"), reason: "empty".into() };
    table.left_out.extend((0..30).map(left_out));
    let text = table.omissions().unwrap();
    assert_eq!(text.lines().count(), 22);
    assert!(
        text.starts_with("left out: 30\n  0.png: empty\n") && text.ends_with("and 10 more; --json names all")
    );
}
