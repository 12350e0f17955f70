//! Reports from run directories: collected stages, tables as text, Markdown and CSV, plots, panels.

use hueristic::report::{
    BackboneResult, LayerResult, Measure, ProbeResult, ReportOptions, ResultKind, collect, plot, tables,
    write_report,
};
use hueristic::train::{
    manifest::{Manifest, Status, sha256},
    panel::panel,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A result whose accuracies start at `base` (top-1) and increase by 0.02 per layer.
fn result(experiment: &str, seed: u64, rows: &[(&str, f64, &[&str])]) -> ProbeResult {
    let row = |(backbone, base, layers): &(&str, f64, &[&str])| BackboneResult {
        backbone: backbone.to_string(),
        layers: layers
            .iter()
            .enumerate()
            .map(|(i, layer)| layer_result(layer, ((base + 0.02 * i as f64) * 1e4).round() / 1e4))
            .collect(),
    };
    ProbeResult {
        kind: ResultKind::LinearProbe,
        experiment: experiment.into(),
        seed,
        protocol: "avgpool".into(),
        dataset: "cifar10".into(),
        upstream: None,
        rows: rows.iter().map(row).collect(),
        from: PathBuf::new(),
    }
}

/// Four decimals, so that accuracies survive JSON exactly.
fn layer_result(layer: &str, top1: f64) -> LayerResult {
    let top5 = Some(((0.5 + top1 / 2.0) * 1e4).round() / 1e4);
    LayerResult { layer: layer.into(), top1, top5, classes: None }
}

const ALL: &[&str] = &["conv1", "conv2", "conv3", "conv4", "conv5"];

/// Two seeds, three backbones; one lacks conv1, another has its top layers for one seed only.
fn two_seeds() -> Vec<ProbeResult> {
    vec![
        result(
            "quickstart",
            0,
            &[("colorization", 0.41, ALL), ("gaussian", 0.36, &ALL[1..]), ("supervised", 0.5, ALL)],
        ),
        result(
            "quickstart",
            1,
            &[("colorization", 0.43, ALL), ("gaussian", 0.35, &ALL[1..4]), ("supervised", 0.505, ALL)],
        ),
    ]
}

fn finished(dir: &Path, result: &ProbeResult) {
    stage(dir, "finished", &serde_json::to_string_pretty(result).unwrap());
}

fn stage(dir: &Path, status: &str, results: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("manifest.json"), format!(r#"{{"status": "{status}"}}"#)).unwrap();
    fs::write(dir.join("results.json"), results).unwrap();
}

fn all_text(results: &[ProbeResult]) -> String {
    let table = &tables(results, Measure::Top1).unwrap()[0];
    format!("{}\n{}", table.text(), table.markdown())
}

#[test]
fn tables_over_two_seeds() {
    insta::assert_snapshot!(all_text(&two_seeds()));
}

#[test]
fn tables_of_one_seed() {
    insta::assert_snapshot!(all_text(&two_seeds()[..1]));
}

#[test]
fn tables_of_two_experiments_and_two_data_sets() {
    let mut other = result("longer", 0, &[("colorization", 0.6, &["conv1", "conv2"])]);
    let elsewhere = ProbeResult { dataset: "imagenette160".into(), ..other.clone() };
    other.rows[0].layers[1].top5 = None;
    let all: Vec<_> = two_seeds().into_iter().chain([other, elsewhere]).collect();
    let tables = tables(&all, Measure::Top5).unwrap();
    let text: Vec<_> = tables.iter().map(|table| table.text()).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn cells_are_means_and_sample_deviations() {
    let table = &tables(&two_seeds(), Measure::Top1).unwrap()[0];
    let cell = table.rows[0].cells[0].unwrap();
    assert!((cell.mean - 42.0).abs() < 1e-9 && (cell.std.unwrap() - 2f64.sqrt()).abs() < 1e-9 && cell.n == 2);
    let gaussian: Vec<_> = table.rows[1].cells.iter().map(|cell| cell.map_or(0, |cell| cell.n)).collect();
    assert_eq!(gaussian, [0, 2, 2, 2, 1]);
}

#[test]
fn layers_come_in_order_even_if_the_first_backbone_lacks_some() {
    let results = [result("x", 0, &[("a", 0.2, &["conv2", "conv4"]), ("b", 0.2, ALL)])];
    assert_eq!(tables(&results, Measure::Top1).unwrap()[0].layers, ALL);
}

#[test]
fn the_same_seed_is_not_counted_twice() {
    let twice = [two_seeds()[0].clone(), two_seeds()[0].clone()];
    let error = tables(&twice, Measure::Top1).unwrap_err().to_string();
    assert!(error.contains("two results for colorization conv1 of experiment quickstart, seed 0"), "{error}");
}

/// A sufficient subset of RFC 4180: quotes, doubled quotes, commas.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let parse = |line: &str| {
        let (mut fields, mut quoted) = (vec![String::new()], false);
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    fields.last_mut().unwrap().push(chars.next().unwrap())
                }
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                c => fields.last_mut().unwrap().push(c),
            }
        }
        fields
    };
    text.lines().map(parse).collect()
}

#[test]
fn csv_parses_back() {
    let mut results = two_seeds();
    results.iter_mut().for_each(|r| r.rows[0].backbone = r#"color, "rebalanced""#.into());
    let tables = tables(&results, Measure::Top1).unwrap();
    let sheet = parse_csv(&hueristic::report::accuracy::csv(&tables));
    assert_eq!(
        sheet[0][..8].join("|"),
        "dataset|protocol|experiment|measure|backbone|conv1 mean|conv1 std|conv1 n"
    );
    assert!(sheet.iter().all(|line| line.len() == 5 + 3 * ALL.len()) && sheet.len() == 4);
    assert_eq!(sheet[1][..5].join("|"), r#"cifar10|avgpool|quickstart|top-1 %|color, "rebalanced""#);
    for (line, row) in sheet[1..].iter().zip(&tables[0].rows) {
        for (fields, cell) in line[5..].chunks(3).zip(&row.cells) {
            let mean = cell.map(|cell| cell.mean);
            assert!(fields[0].parse::<f64>().ok().zip(mean).is_none_or(|(a, b)| (a - b).abs() < 1e-4));
            assert_eq!(fields[0].is_empty(), cell.is_none());
            assert_eq!(fields[1].is_empty(), cell.is_none_or(|cell| cell.std.is_none()));
            assert_eq!(fields[2], cell.map_or(String::new(), |cell| cell.n.to_string()));
        }
    }
}

#[test]
fn only_finished_probes_are_collected_each_once() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let [first, second] = <[ProbeResult; 2]>::try_from(two_seeds()).unwrap();
    finished(&at("b/seed0/probe-0123"), &first);
    finished(&at("a/deep/er/seed1/probe"), &second);
    stage(&at("unfinished"), "running", "{");
    stage(&at("other"), "finished", r#"{"kind": "pretext", "loss": 4.2}"#);
    fs::create_dir(at("no_manifest")).unwrap();
    fs::copy(at("b/seed0/probe-0123/results.json"), at("no_manifest/results.json")).unwrap();
    let found = collect(&[root.path().into(), at("b")]).unwrap();
    assert_eq!(found.probes.iter().map(|r| r.seed).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(found.probes[1], ProbeResult { from: at("b/seed0/probe-0123"), ..first });
}

/// A finished stage with a manifest that lists its files.
fn left(dir: &Path, result: &ProbeResult, diverged: Option<&str>) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("results.json"), serde_json::to_string_pretty(result).unwrap()).unwrap();
    fs::write(dir.join("spec.yaml"), "a: 1\n").unwrap();
    let mut manifest =
        Manifest { status: Status::Finished, diverged: diverged.map(Into::into), ..Manifest::begin() };
    manifest.set_outputs(dir).unwrap();
    manifest.write(dir).unwrap();
}

#[cfg(unix)]
#[test]
fn a_stage_that_is_a_link_is_reported_once_and_links_to_nowhere_stop_nothing() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let [first, second] = <[ProbeResult; 2]>::try_from(two_seeds()).unwrap();
    left(&at("disk/probe-0"), &first, None);
    left(&at("runs/probe-1"), &second, None);
    std::os::unix::fs::symlink(at("disk/probe-0"), at("runs/probe-0")).unwrap();
    std::os::unix::fs::symlink(at("disk/probe-0"), at("runs/probe-0-again")).unwrap();
    std::os::unix::fs::symlink(at("runs"), at("runs/probe-1/round")).unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("runs/gone")).unwrap();
    let found = collect(&[at("runs")]).unwrap();
    assert_eq!(found.probes.iter().map(|r| r.seed).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(found.probes[0].from, at("runs/probe-0"));
    std::os::unix::fs::symlink(at("runs"), at("linked")).unwrap();
    assert_eq!(collect(&[at("linked")]).unwrap().probes.len(), 2);
}

#[test]
fn results_that_are_not_those_of_the_manifest_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("probe");
    let [result, _] = <[ProbeResult; 2]>::try_from(two_seeds()).unwrap();
    left(&dir, &result, None);
    collect(std::slice::from_ref(&dir)).unwrap();
    let path = dir.join("results.json");
    let whole = fs::read(&path).unwrap();
    let before = sha256(&path).unwrap();
    // Every place within a byte, in bytes all over the file.
    for bit in (0..8 * whole.len()).step_by(11) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let error = format!("{:#}", collect(std::slice::from_ref(&dir)).expect_err("damage went unseen"));
        let now = sha256(&path).unwrap();
        assert!([path.to_str().unwrap(), &before, &now].iter().all(|part| error.contains(part)), "{error}");
    }
    fs::write(&path, &whole).unwrap();
    collect(std::slice::from_ref(&dir)).unwrap();
    let manifest = fs::read_to_string(dir.join("manifest.json")).unwrap();
    fs::write(dir.join("manifest.json"), manifest.replace("\"resumed\": 0", "\"resumed\": 1")).unwrap();
    let error = format!("{:#}", collect(std::slice::from_ref(&dir)).unwrap_err());
    assert!(error.contains("manifest.json is damaged: its checksum is"), "{error}");
}

#[test]
fn a_finished_stage_without_its_results_is_not_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let [first, second] = <[ProbeResult; 2]>::try_from(two_seeds()).unwrap();
    left(&root.path().join("a"), &first, None);
    left(&root.path().join("b"), &second, None);
    // From another program, and from a stage without results.
    fs::create_dir_all(root.path().join("c")).unwrap();
    fs::write(root.path().join("c/manifest.json"), "[1, 2]").unwrap();
    Manifest { status: Status::Finished, ..Manifest::begin() }.write(root.path()).unwrap();
    assert_eq!(collect(&[root.path().into()]).unwrap().probes.len(), 2);
    let path = root.path().join("b/results.json");
    fs::remove_file(&path).unwrap();
    let error = format!("{:#}", collect(&[root.path().into()]).unwrap_err());
    let gone = format!("{} is missing, but manifest.json lists it: put a copy", path.display());
    assert!(error.contains(&gone) && error.contains("run the stage again"), "{error}");
    fs::write(root.path().join("a/results.json"), "{}").unwrap();
    let error = format!("{:#}", collect(&[root.path().into()]).unwrap_err());
    let both = [gone.as_str(), "a/results.json was modified", "2 runs are damaged, nothing is reported:"];
    assert!(both.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn what_diverged_is_a_row_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let [first, second] = <[ProbeResult; 2]>::try_from(two_seeds()).unwrap();
    left(&root.path().join("a"), &first, None);
    left(&root.path().join("b"), &second, Some("the training loss is 8.6e13"));
    let text = all_text(&collect(&[root.path().into()]).unwrap().probes);
    assert!(text.contains("colorization (diverged)") && text.contains("gaussian (diverged)"), "{text}");
    let mut rows = text.lines().filter(|line| line.contains("colorization"));
    assert!(rows.all(|row| !row.contains('±')), "a diverged seed was averaged with another:\n{text}");
}

#[test]
fn errors_say_what_was_looked_for_and_where() {
    let root = tempfile::tempdir().unwrap();
    let error = |dir: PathBuf| {
        format!("{:#}", collect(&[dir]).unwrap_err()).replace(root.path().to_str().unwrap(), "DIR")
    };
    let empty = error(root.path().into());
    let missing = error(root.path().join("nowhere"));
    stage(&root.path().join("run/probe"), "interrupted", "{}");
    let unfinished = error(root.path().into());
    stage(
        &root.path().join("run/probe"),
        "finished",
        "{\n  \"kind\": \"linear_probe\",\n  \"seed\": \"zero\"\n}",
    );
    let broken = error(root.path().into());
    insta::assert_snapshot!([empty, missing, unfinished, broken].join("\n"));
}

#[test]
fn the_plot_names_every_line_and_has_its_size() {
    let tables = tables(&two_seeds(), Measure::Top1).unwrap();
    let svg = plot::svg(&tables).unwrap();
    let (w, h) = plot::SIZE;
    assert!(svg.contains(&format!(r#"width="{w}" height="{h}""#)) && svg.trim_end().ends_with("</svg>"));
    for text in [
        "colorization",
        "gaussian",
        "supervised",
        "conv1",
        "conv5",
        "layer",
        "top-1 accuracy (%)",
        "over 2 seeds",
    ] {
        assert!(svg.contains(text), "no {text} in the plot");
    }
    let png = image::load_from_memory(&plot::png(&tables).unwrap()).unwrap().to_rgb8();
    assert_eq!(png.dimensions(), (plot::PNG_SCALE * w, plot::PNG_SCALE * h));
    // The first backbone's line has its color.
    assert!(png.pixels().filter(|p| p.0 == [0, 114, 178]).count() > 500);
}

#[test]
fn a_report_writes_everything_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    for result in two_seeds() {
        finished(&root.path().join(format!("runs/seed{}/probe", result.seed)), &result);
    }
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let _ = fs::remove_dir_all(&out);
    let paths = write_report(&[root.path().join("runs")], &out, &ReportOptions::default()).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        ["accuracy.png", "accuracy.svg", "table.csv", "table.md", "table_top5.csv", "table_top5.md"]
    );
    assert!(paths.tables.iter().chain(&paths.plots).all(|path| fs::metadata(path).unwrap().len() > 100));
    assert!(paths.text.starts_with("Linear probe on cifar10 (protocol avgpool): top-1 accuracy in %"));
    assert!(fs::read_to_string(out.join("table_top5.md")).unwrap().contains("top-5 accuracy"));
    println!("{}", out.display());
}

/// Earlier versions wrote the path of a data set into its results.
#[test]
fn data_sets_are_named_by_labels_and_never_by_paths() {
    let root = tempfile::tempdir().unwrap();
    let report = |datasets: &[&str]| {
        let runs = root.path().join(datasets.len().to_string());
        for (at, dataset) in datasets.iter().enumerate() {
            let result = ProbeResult { dataset: dataset.to_string(), ..two_seeds().remove(at) };
            finished(&runs.join(format!("probe{at}")), &result);
        }
        write_report(std::slice::from_ref(&runs), &runs.join("report"), &ReportOptions::default()).unwrap();
        let read = |name: &str| fs::read_to_string(runs.join("report").join(name)).unwrap();
        [read("table.md"), read("table.csv"), read("accuracy.svg")].join("\n")
    };
    let one = report(&["/home/ann/photos/train"]);
    assert!(one.contains("Linear probe on photos (protocol") && !one.contains("ann"), "{one}");
    let two = report(&["/home/ann/photos/train", "/home/zoe/photos/train"]);
    assert!(two.contains("on photos (ann) (") && two.contains("on photos (zoe) ("), "{two}");
    assert!(!two.contains("/home"), "{two}");
}

fn tile(w: usize, h: usize, color: [u8; 3]) -> (usize, usize, Vec<u8>) {
    (w, h, color.repeat(w * h))
}

#[test]
fn a_panel_places_and_enlarges_tiles_under_titles() {
    let red = tile(10, 10, [255, 0, 0]);
    let rows = [vec![red.clone(), tile(10, 10, [0, 255, 0])], vec![tile(4, 6, [0, 0, 255])]];
    let (w, h, pixels) = panel(&rows, &["lightness", "truth"], 8).unwrap();
    assert_eq!(pixels.len(), 3 * w * h);
    assert_eq!((w, h), (8 + 2 * (80 + 8), 8 + 24 + 80 + 8 + 48 + 8));
    let at = |x: usize, y: usize| &pixels[3 * (y * w + x)..][..3];
    assert_eq!(
        [at(8, 32), at(87, 111), at(96, 32), at(8, 120), at(88, 50)],
        [[255, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
    );
    let dark = |xs: std::ops::Range<usize>| {
        xs.flat_map(|x| (0..30).map(move |y| (x, y))).any(|(x, y)| at(x, y)[0] < 100)
    };
    assert!(dark(8..88) && dark(96..176), "titles are drawn over their columns");
    image::save_buffer(
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("panel.png"),
        &pixels,
        w as u32,
        h as u32,
        image::ColorType::Rgb8,
    )
    .unwrap();
    assert!(panel(&[vec![(3, 3, vec![0; 26])]], &[], 1).unwrap_err().to_string().contains("needs 27 bytes"));
    assert!(panel(&[], &[], 1).is_err() && panel(&[vec![red]], &["a", "b"], 1).is_err());
}
