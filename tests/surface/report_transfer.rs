//! Reports on transfer stages: the table in the layout of the paper's Table 2, published results below it, CSV, the
//! plot, and the search for stages.

use hueristic::report::{
    InputColors, ReportOptions, ResultKind, TransferMetric, TransferResult, TransferRow, TransferTable,
    TransferTask, classes::classes_csv, collect, transfer::table, write_report,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use InputColors::{Color, Gray};
use TransferMetric::{MeanAveragePrecision, MeanIu, Top1};
use TransferTask::{Classification, Detection, Knn, Nonlinear, Segmentation};

fn row(backbone: &str, task: TransferTask, variant: &str, input: InputColors, value: f64) -> TransferRow {
    let metric = match task {
        Segmentation => MeanIu,
        Knn => Top1,
        _ => MeanAveragePrecision,
    };
    TransferRow {
        backbone: backbone.into(),
        task,
        variant: variant.into(),
        input,
        metric,
        value,
        deviation: None,
        per_class: BTreeMap::new(),
    }
}

fn stage(seed: u64, dataset: &str, protocol: &str, rows: Vec<TransferRow>) -> TransferResult {
    TransferResult {
        kind: ResultKind::Transfer,
        experiment: "table2".into(),
        seed,
        dataset: dataset.into(),
        protocol: protocol.into(),
        rows,
        from: PathBuf::new(),
    }
}

/// Two seeds, found out of order: columns must be in the paper's order. The Gaussian has no segmentation, one backbone
/// also has color input, and the second seed has no detection yet.
fn results() -> Vec<TransferResult> {
    let classification = |seed, plus: f64| {
        let mut colorization = row("colorization", Classification, "all", Gray, 0.652 + plus);
        colorization.per_class =
            [("cat".into(), Some(0.7 + plus)), ("sofa".into(), None), ("dog".into(), Some(0.5))].into();
        let rows = vec![
            row("gaussian", Classification, "all", Gray, 0.533 + plus),
            colorization,
            row("colorization", Classification, "fc8", Gray, 0.52),
            row("colorization", Classification, "fc6-8", Gray, 0.61 - plus),
            row("colorization", Classification, "all", Color, 0.66 + plus),
        ];
        stage(seed, "voc2007", "10 crops", rows)
    };
    let segmentation =
        stage(0, "voc2012", "fcn", vec![row("colorization", Segmentation, "all", Gray, 0.353)]);
    let detection = stage(
        0,
        "voc2007",
        "fast r-cnn",
        vec![
            row("gaussian", Detection, "all", Gray, 0.431),
            row("colorization", Detection, "all", Gray, 0.464),
        ],
    );
    let knn = stage(0, "cifar10", "k = 20", vec![row("colorization", Knn, "conv5", Gray, 0.42)]);
    vec![knn, segmentation, classification(0, 0.0), classification(1, 0.02), detection]
}

/// The table with published results.
fn published(results: &[TransferResult]) -> TransferTable {
    table(results).unwrap().with_published().unwrap()
}

#[test]
fn the_table_of_two_seeds() {
    let table = published(&results());
    insta::assert_snapshot!(format!("{}\n{}", table.text(), table.markdown()));
}

#[test]
fn columns_stand_as_in_the_paper_and_cells_are_means() {
    let table = table(&results()).unwrap();
    let titles = ["Class. fc8", "Class. fc6-8", "Class. all", "Det.", "Seg.", "kNN conv5"];
    assert_eq!(table.titles(), titles);
    let labels: Vec<_> = table.lines.iter().map(|line| table.label(line)).collect();
    assert_eq!(labels, ["colorization (gray)", "gaussian (gray)", "colorization (color)"]);
    let all = table.cells[0][2].unwrap();
    assert!((all.mean - 66.2).abs() < 1e-9 && (all.std.unwrap() - 2f64.sqrt()).abs() < 1e-9, "{all:?}");
    assert_eq!((all.n, table.cells[0][3].unwrap().n), (2, 1));
    assert_eq!(table.cells[1][4], None);
}

#[test]
fn layers_and_neighbors_stand_by_number() {
    let of = |variant| row("colorization", Knn, variant, Gray, 0.4);
    let rows = ["conv5, 20", "conv5, 5", "conv10, 5", "conv2, 5"].map(of).to_vec();
    let table = table(&[stage(0, "cifar10", "cosine", rows)]).unwrap();
    assert_eq!(table.titles(), ["kNN conv2 k=5", "kNN conv5 k=5", "kNN conv5 k=20", "kNN conv10 k=5"]);
}

/// Published PASCAL VOC results do not apply to another data set or metric.
#[test]
fn published_rows_stand_only_where_they_compare() {
    let elsewhere = stage(0, "cifar10", "all", vec![row("a", Classification, "all", Gray, 0.5)]);
    let text = published(&[elsewhere]).text();
    assert!(!text.contains("published") && text.contains("50.0"), "{text}");

    let other = TransferRow { metric: Top1, ..row("a", Classification, "all", Gray, 0.5) };
    assert!(!published(&[stage(0, "voc2007", "p", vec![other])]).text().contains("published"));

    let detection = stage(0, "voc2007", "p", vec![row("a", Detection, "all", Gray, 0.5)]);
    let own = table(std::slice::from_ref(&detection)).unwrap();
    assert!(!own.text().contains("published") && !own.csv().contains("published"), "they were not asked for");
    let text = published(&[detection]).text();
    assert!(text.contains("42.4") && text.contains("Misra") && !text.contains("Larsson"), "{text}");
}

#[test]
fn two_benchmarks_share_a_table_and_count_their_footnotes_on() {
    let probe = TransferRow { metric: Top1, ..row("a", Nonlinear, "conv4", Gray, 0.4) };
    let detection = stage(0, "voc2007", "p", vec![row("a", Detection, "all", Gray, 0.5)]);
    let text = published(&[detection, stage(0, "imagenet", "p", vec![probe])]).text();
    let of = |method: &str| text.lines().find(|line| line.starts_with(method)).unwrap();
    assert!(of("RotNet [").contains("50.0") && of("Misra").contains("42.4"), "{text}");
    // One number per source, without duplicates.
    let notes = text.lines().filter(|line| line.starts_with('['));
    let numbers: Vec<_> = notes.map(|line| line.split(']').next().unwrap()).collect();
    let expected: Vec<_> = (1..=numbers.len()).map(|n| format!("[{n}")).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn columns_of_one_name_say_their_data() {
    let on = |dataset| stage(0, dataset, "p", vec![row("a", Classification, "all", Gray, 0.5)]);
    let titles = table(&[on("voc2007"), on("voc2012")]).unwrap().titles();
    assert_eq!(titles, ["Class. all (voc2007, p, mAP)", "Class. all (voc2012, p, mAP)"]);
}

#[test]
fn the_same_seed_is_not_counted_twice() {
    let twice = [results()[2].clone(), results()[2].clone()];
    let error = table(&twice).unwrap_err().to_string();
    let expected = "two results for gaussian (gray) at Class. all on voc2007 of experiment table2, seed 0";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn sheets_for_machines() {
    let csv = published(&results()).csv();
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("experiment,backbone,input,Class. fc8 mean,Class. fc8 std,Class. fc8 n,"));
    assert_eq!(
        lines[1],
        "table2,colorization,gray,52.0000,0.0000,2,60.0000,1.4142,2,66.2000,1.4142,2,46.4000,,1,35.3000,,1,42.0000,,1,measured"
    );
    let ours = lines.iter().find(|line| line.contains("Colorization (color)")).unwrap();
    assert!(
        ours.starts_with("published,Colorization (color),,52.4,,,61.5,,,65.6,,,46.9,,,35.6,,,,,,"),
        "{ours}"
    );

    let classes = classes_csv(&results()).unwrap();
    assert_eq!(
        classes.lines().nth(1).unwrap(),
        "voc2007,10 crops,Class. all,mAP,table2,colorization,gray,cat,71.0000,1.4142,2"
    );
    assert!(classes.contains("gray,sofa,,,\n"), "{classes}");
    assert_eq!(classes_csv(&results()[..2]), None);
}

fn write(dir: &Path, status: &str, result: &TransferResult) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("manifest.json"), format!(r#"{{"status": "{status}"}}"#)).unwrap();
    fs::write(dir.join("results.json"), serde_json::to_string_pretty(result).unwrap()).unwrap();
}

#[test]
fn run_directories_end_in_tables_and_a_plot() {
    let runs = tempfile::tempdir().unwrap();
    for (i, result) in results().iter().enumerate() {
        write(&runs.path().join(format!("stage-{i}")), "finished", result);
    }
    write(&runs.path().join("stage-9"), "running", &results()[0]);
    let dirs = [runs.path().to_path_buf()];
    let found = collect(&dirs).unwrap().transfers;
    let bare = |r: &TransferResult| TransferResult { from: PathBuf::new(), ..r.clone() };
    assert_eq!(found.iter().map(bare).collect::<Vec<_>>(), results());

    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("transfer");
    let paths = write_report(&dirs, &out, &ReportOptions::default()).unwrap();
    let names = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(&paths.tables), ["table2.csv", "table2.md", "transfer_classes.csv"]);
    assert_eq!(names(&paths.plots), ["transfer.svg", "transfer.png"]);
    assert!(paths.text.contains("Class. fc6-8"));
    let svg = fs::read_to_string(out.join("transfer.svg")).unwrap();
    // The background, nine bars of three backbones, and their squares in the legends of three metrics.
    assert_eq!(svg.matches("<rect").count(), 1 + 9 + 3 * 3, "{svg}");
    for axis in ["mAP (%)", "mean IU (%)", "top-1 (%)"] {
        assert!(svg.contains(axis), "no {axis}");
    }
    let png = image::open(out.join("transfer.png")).unwrap();
    assert!(png.width() > 800 && png.height() == 3 * 1040, "{} × {}", png.width(), png.height());
}

#[test]
fn a_broken_results_file_is_named() {
    let runs = tempfile::tempdir().unwrap();
    let dir = runs.path().join("stage");
    write(&dir, "finished", &results()[0]);
    let text = fs::read_to_string(dir.join("results.json")).unwrap();
    fs::write(dir.join("results.json"), text.replace("\"knn\"", "\"nearest\"")).unwrap();
    let error = format!("{:#}", collect(&[runs.path().to_path_buf()]).unwrap_err());
    assert!(error.contains("results.json is not a results file") && error.contains("nearest"), "{error}");
}

/// ImageNet and Places205 probes are shown with the published results.
#[test]
fn probes_of_the_papers_data_are_set_beside_its_figures() {
    use hueristic::report::{BackboneResult, LayerResult, Measure, ProbeResult, tables};
    let probe = |dataset: &str| ProbeResult {
        kind: ResultKind::LinearProbe,
        experiment: "probes".into(),
        seed: 0,
        protocol: "avgpool".into(),
        dataset: dataset.into(),
        upstream: None,
        rows: vec![BackboneResult {
            backbone: "colorization".into(),
            layers: vec![
                LayerResult { layer: "conv3".into(), top1: 0.25, top5: None, classes: None },
                LayerResult { layer: "pool5".into(), top1: 0.2, top5: None, classes: None },
            ],
        }],
        from: PathBuf::new(),
    };
    let text = |dataset, measure| {
        let table = tables(&[probe(dataset)], measure).unwrap().remove(0);
        assert!(!table.text().contains("published"), "they were not asked for");
        table.with_published().unwrap().text()
    };
    let imagenet = text("imagenet", Measure::Top1);
    let row = imagenet.lines().find(|line| line.starts_with("Colorization [")).unwrap();
    assert!(row.contains("31.0") && row.ends_with('–'), "{imagenet}");
    assert!(text("places205", Measure::Top1).contains("Places labels"));
    assert!(!text("imagenet", Measure::Top5).contains("published"));
    assert!(!text("imagenette160", Measure::Top1).contains("published"));
}
