//! `analyze`: each analysis of a network whose answer is known, and what is refused before anything is computed.

use super::colorize::{SMALL_ALEXNET, weight_file};
use hueristic::color::bins::Bins;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const SPEC: &str = r#"{"temperature": 0.38}"#;

fn analyze(dir: &Path, args: &[&str]) -> Output {
    let program =
        Command::new(env!("CARGO_BIN_EXE_hueristic")).current_dir(dir).arg("analyze").args(args).output();
    program.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(dir: &Path, args: &[&str]) -> String {
    let output = analyze(dir, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn refused(dir: &Path, args: &[&str], code: i32, reason: &str) {
    let output = analyze(dir, args);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(code) && said.contains(reason), "{args:?}: {said}");
}

/// Photographs of flat colors with a dark frame.
fn photographs(dir: &Path, colors: &[[u8; 3]]) {
    fs::create_dir_all(dir.join("photos")).unwrap();
    for (i, color) in colors.iter().enumerate() {
        let pixel = |x: u32, y: u32| match x.min(y) < 8 {
            true => image::Rgb([30, 30, 30]),
            false => image::Rgb(*color),
        };
        image::RgbImage::from_fn(64, 48, pixel).save(dir.join(format!("photos/{i}.png"))).unwrap();
    }
}

/// Rows of a CSV without its head.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(String::from).collect()).collect()
}

fn number(cell: &str) -> f64 {
    cell.parse().unwrap_or_else(|_| panic!("`{cell}` is no number"))
}

#[test]
fn a_network_that_is_certain_of_one_color_follows_no_cue() {
    let home = tempfile::tempdir().unwrap();
    let bins = Bins::new(10.0);
    let green = bins.nearest([-40.0, 30.0]);
    weight_file(home.path(), SMALL_ALEXNET, SPEC, Some(green));
    photographs(home.path(), &[[200, 40, 40], [40, 90, 200]]);
    let said = done(home.path(), &["cues", "photos", "--weights", "weights.safetensors", "--size", "48"]);
    assert!(said.contains("ColorChecker: predicted colors are"), "{said}");
    let out = home.path().join("analysis");
    for row in rows(&out.join("chart.csv")) {
        assert_eq!([number(&row[4]), number(&row[5])], [-40.0, 30.0], "{row:?}");
    }
    let cues = rows(&out.join("cues.csv"));
    assert_eq!(cues.len(), 16);
    for row in &cues {
        assert!(number(&row[2]) == 0.0 && number(&row[5]) == 50.0, "{row:?}");
    }
    for name in ["chart.png", "lightness.png", "contrast.png", "blur.png", "cues.png"] {
        image::open(out.join(name)).unwrap();
    }
}

#[test]
fn a_network_that_looks_is_moved_by_every_change_and_by_none_without_one() {
    let home = tempfile::tempdir().unwrap();
    weight_file(home.path(), SMALL_ALEXNET, SPEC, None);
    photographs(home.path(), &[[200, 40, 40], [40, 90, 200], [90, 200, 60]]);
    done(
        home.path(),
        &["cues", "photos", "--weights", "weights.safetensors", "--size", "48", "--threads", "1"],
    );
    for row in rows(&home.path().join("analysis/cues.csv")) {
        let nothing =
            matches!((row[0].as_str(), row[1].as_str()), ("lightness" | "blur", "0") | ("contrast", "1"));
        assert_eq!(number(&row[2]) == 0.0, nothing, "{row:?}");
        assert!(number(&row[3]) <= number(&row[2]) && number(&row[2]) <= number(&row[4]), "{row:?}");
    }
}

#[test]
fn colors_grow_from_the_mean_to_the_mode() {
    let home = tempfile::tempdir().unwrap();
    weight_file(home.path(), SMALL_ALEXNET, SPEC, None);
    photographs(home.path(), &[[200, 40, 40], [128, 128, 128]]);
    let weights = ["--weights", "weights.safetensors", "--size", "48"];
    let said = done(home.path(), &[&["temperature", "photos"], &weights[..]].concat());
    assert!(
        said.contains("over 2 photographs, in ab units. Scores: over the 1 with color")
            && said.contains("wrote analysis/temperature.png"),
        "{said}"
    );
    let table = rows(&home.path().join("analysis/temperature.csv"));
    let decodings: Vec<&str> = table.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(decodings, ["mean", "T = 0.77", "T = 0.58", "T = 0.38", "T = 0.29", "T = 0.14", "mode"]);
    let chroma: Vec<f64> = table.iter().map(|row| number(&row[1])).collect();
    assert!(chroma.windows(2).all(|pair| pair[0] <= pair[1]) && chroma[0] < chroma[6], "{chroma:?}");
    let own = ["temperature", "photos/0.png", "--temperatures", "0.5", "--out", "own"];
    done(home.path(), &[&own[..], &weights[..]].concat());
    assert_eq!(rows(&home.path().join("own/temperature.csv")).len(), 3);
    refused(
        home.path(),
        &[&["temperature", "photos"], &weights[..]].concat(),
        2,
        "exists already, with 1 more; give --overwrite",
    );
}

#[test]
fn the_colors_of_a_folder_are_counted() {
    let home = tempfile::tempdir().unwrap();
    photographs(home.path(), &[[255, 0, 0], [128, 128, 128]]);
    fs::write(home.path().join("photos/broken.png"), "no picture").unwrap();
    let output = analyze(home.path(), &["prior", "photos"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    // 56 × 40 of 64 × 48 pixels of one of two pictures are red.
    assert!(
        said.contains("6144 pixels of 2 pictures: 63.5 % have a chroma below 10; 2 of 313 bins occur"),
        "{said}"
    );
    assert!(said.contains("broken.png: "), "{said}");
    let table = rows(&home.path().join("analysis/prior.csv"));
    let red = table.iter().map(|row| number(&row[2])).filter(|share| (0.3..0.4).contains(share)).count();
    assert_eq!((table.len(), red), (313, 1));
    let svg = fs::read_to_string(home.path().join("analysis/prior.svg")).unwrap();
    assert!(svg.contains("313 bins in gamut") && svg.contains("L from 80 to 100"));
}

#[test]
fn the_run_time_stands_beside_the_published_one() {
    let home = tempfile::tempdir().unwrap();
    weight_file(home.path(), SMALL_ALEXNET, SPEC, None);
    let args =
        ["runtime", "--weights", "weights.safetensors", "--size", "32", "--repeats", "3", "--threads", "1"];
    let said = done(home.path(), &[&args[..], &["--published"]].concat());
    assert!(
        said.contains("A picture of 32×32 pixels, which the network sees at 32×32, 3 times, on cpu"),
        "{said}"
    );
    assert!(
        said.contains("Cheng et al. [1]") && said.contains("4900.0") && said.contains("Deep Colorization"),
        "{said}"
    );
    let table = rows(&home.path().join("analysis/runtime.csv"));
    assert_eq!(
        table.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(),
        ["network", "network and painting"]
    );
    assert!(number(&table[0][1]) > 0.0 && number(&table[1][1]) >= number(&table[0][1]));
}

#[test]
fn wrong_input_is_refused_before_anything_is_computed() {
    let home = tempfile::tempdir().unwrap();
    weight_file(home.path(), SMALL_ALEXNET, SPEC, None);
    photographs(home.path(), &[[200, 40, 40]]);
    refused(home.path(), &["cues", "photos", "--weights", "none.safetensors"], 1, "none.safetensors");
    refused(home.path(), &["cues", "nowhere", "--weights", "weights.safetensors"], 2, "nowhere: not found");
    refused(home.path(), &["prior"], 2, "INPUT");
    let cold = ["temperature", "photos", "--weights", "weights.safetensors", "--temperatures", "0.5,0"];
    refused(home.path(), &cold, 2, "--temperatures");
    fs::write(home.path().join("photos/broken.png"), "no picture").unwrap();
    refused(
        home.path(),
        &["prior", "photos/broken.png"],
        1,
        "no picture can be read; first, photos/broken.png",
    );
    assert!(!home.path().join("analysis").exists());
}

/// The paper's Table 3: the effective dilation grows up to conv5 and conv6, and shrinks again.
#[test]
fn the_layer_table_has_strides_and_dilations_in_pixels_of_the_picture() {
    let output = Command::new(env!("CARGO_BIN_EXE_hueristic"))
        .args(["model", "vgg", "--size", "224"])
        .output()
        .unwrap();
    let table = text(&output.stdout);
    let row = |layer: &str| -> Vec<String> {
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(layer));
        line.unwrap_or_else(|| panic!("no {layer} in {table}")).split_whitespace().map(String::from).collect()
    };
    let expected = [
        ("conv1_2", "1", "1", "112×112×64"),
        ("conv2_1", "2", "2", "112×112×128"),
        ("conv3_3", "4", "4", "28×28×256"),
        ("conv4_3", "8", "8", "28×28×512"),
        ("conv5_1", "8", "16", "28×28×512"),
        ("conv6_3", "8", "16", "28×28×512"),
        ("conv7_1", "8", "8", "28×28×512"),
        ("conv8_1", "4", "4", "56×56×256"),
    ];
    for (layer, accumulated, effective, map) in expected {
        let row = row(layer);
        assert_eq!([row[6].as_str(), row[7].as_str()], [accumulated, effective], "{row:?}");
        assert!(row.iter().any(|cell| cell == map), "{row:?}");
    }
}
