//! Synthetic run directories: two variants of a colorization with two seeds and a monitor, probes on them, transfer tasks
//! with classes, a comparison of colorizers, and runs that failed or stopped. One row has a hostile name.

use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// What a page must not take for its own.
pub fn hostile() -> String {
    let long = "x".repeat(300);
    format!("<script>alert(1)</script>\"'&amp; onload=x \u{202e}שלום {long}")
}

/// A run directory below a folder.
pub struct Run<'a> {
    pub home: &'a Path,
    pub label: &'a str,
    pub seed: u64,
    /// One hexadecimal digit.
    pub hash: char,
    pub status: &'a str,
}

impl Run<'_> {
    /// Writes manifest and spec, with `more` in the manifest and `work` in the spec.
    pub fn write(&self, work: &str, more: Value) -> PathBuf {
        let dir =
            self.home.join(format!("{}-s{}-{}", self.label, self.seed, self.hash.to_string().repeat(12)));
        fs::create_dir_all(&dir).unwrap();
        let mut manifest = json!({
            "status": self.status, "error": null, "device": "cpu, f32", "seed": self.seed,
            "data": { "train": "0123456789abcdef0123", "val": "fedcba98765432100123" },
            "version": "0.1.0", "commit": "0a1b2c3d4e5f", "features": ["cifar"], "host": "zoes-desk",
            "cpu": "a processor, AVX-512", "cores": 8, "started": format!("2026-01-0{}T10:00:00Z", self.seed + 1),
            "ended": "2026-01-03T11:02:03Z", "wall_seconds": 3723.0, "resumed": 1, "steps": 2000,
            "metrics": [], "warnings": [], "peak_memory_bytes": 2_500_000_000u64, "outputs": {},
        });
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
        let spec = format!("lineage: l\nversion: 0.1.0\nseed: {}\nwork:\n{work}", self.seed);
        fs::write(dir.join("spec.yaml"), spec).unwrap();
        dir
    }
}

/// A log of `steps` training lines whose loss falls from 5, validations and measurements.
pub fn log(steps: usize, phase: f64) -> String {
    let mut log = String::new();
    for step in 0..=steps {
        let share = step as f64 / steps as f64;
        let loss = 2.0 + 3.0 * (-4.0 * share).exp() + 0.15 * (37.0 * share + phase).sin();
        if step > 0 {
            writeln!(
                log,
                r#"{{"step":{step},"epoch":{share},"split":"train","loss":{loss},"loss_chroma":{loss},"lr":0.001,"images_per_second":123.4,"waiting_share":0.01}}"#
            )
            .unwrap();
        }
        if step % (steps / 10) == 0 {
            let rmse = 30.0 - 9.0 * share + phase;
            writeln!(
                log,
                r#"{{"step":{step},"epoch":{share},"split":"val","rmse":{rmse},"vividness":{share}}}"#
            )
            .unwrap();
            let [near, far] = [0.2 + 0.4 * share, 0.25 + 0.2 * share];
            writeln!(
                log,
                r#"{{"step":{step},"epoch":{share},"split":"monitor","conv1/knn":{far},"conv5/knn":{near},"conv1/rankme":{},"conv5/rankme":{},"monitor_seconds":0.5}}"#,
                20.0 + 30.0 * share,
                10.0 + 60.0 * share
            )
            .unwrap();
        }
    }
    log
}

/// All runs in `home`.
pub fn write(home: &Path) {
    for seed in [0, 1] {
        pretext(home, "color", seed, ['a', 'b'][seed as usize], "0.001");
        pretext(home, "plain", seed, ['c', 'd'][seed as usize], "0.01");
        for (at, row) in ["color", "plain", &hostile()].into_iter().enumerate() {
            probe(home, row, at, seed);
        }
        transfer(home, seed);
    }
    colorizers(home);
    supervised(home);
    let failed = Run { home, label: "jigsaw", seed: 0, hash: '5', status: "failed" };
    let error = format!("the loss is not finite at step 12 (/home/zoe/runs/a): {}", hostile());
    failed.write("  pretext:\n    task: { jigsaw: {} }\n", json!({ "error": error, "steps": 12 }));
    let stopped = Run { home, label: "rotation", seed: 0, hash: '6', status: "interrupted" };
    let warning = "waiting for data 40 % of the time: raise `threads`";
    let dir = stopped
        .write("  pretext:\n    task: { rotation: {} }\n", json!({ "warnings": [warning], "steps": 70 }));
    fs::write(
        dir.join("metrics.jsonl"),
        "no line\n{\"step\":70,\"epoch\":0,\"split\":\"train\",\"loss\":1.25}\n",
    )
    .unwrap();
}

fn pretext(home: &Path, label: &str, seed: u64, hash: char, rate: &str) {
    let run = Run { home, label, seed, hash, status: "finished" };
    let work = format!(
        "  pretext:\n    task: {{ colorization: {{ prior: /home/zoe/prior.npy }} }}\n    train: {{ steps: 2000, batch: 32, \
         optimizer: {{ adam: {{ lr: {rate}, at: [1, 2] }} }} }}\n"
    );
    let metrics = json!([{ "name": "rmse", "value": 21.0 + seed as f64, "better": "lower" },
        { "name": "vividness", "value": 0.9, "better": "neither" }]);
    let dir = run.write(&work, json!({ "metrics": metrics }));
    fs::write(dir.join("metrics.jsonl"), log(2000, seed as f64)).unwrap();
    let layers = "input: 112×112, 1 channel\n\nlayer   kind   output      parameters\nconv1   conv   27×27×24    2 928\n";
    fs::write(dir.join("layers.txt"), layers).unwrap();
    fs::create_dir_all(dir.join("pictures")).unwrap();
    for step in [500, 2000] {
        picture(&dir.join(format!("pictures/colors-{step:06}.png")), 320, 120, seed as u32 + step);
    }
}

fn probe(home: &Path, row: &str, at: usize, seed: u64) {
    let label = format!("probe-{}", if at == 2 { "hostile" } else { row });
    let hash = char::from(b'0' + at as u8);
    let upstream = [["a", "b"], ["c", "d"], ["f", "f"]][at][seed as usize].repeat(64);
    let layers: Vec<Value> = (0..5)
        .map(|layer| {
            let top1 = 0.3 + 0.08 * layer as f64 - 0.03 * at as f64 + 0.01 * seed as f64;
            let mut result =
                json!({ "layer": format!("conv{}", layer + 1), "top1": top1, "top5": 0.5 + 0.5 * top1 });
            if layer == 4 {
                result["classes"] = counts(at as u64 + seed);
            }
            result
        })
        .collect();
    let dir = Run { home, label: &label, seed, hash, status: "finished" }
        .write(&format!("  linear_probe:\n    init: row {at}\nupstream: {upstream}\n"), json!({}));
    let results = json!({ "kind": "linear_probe", "experiment": "paper", "seed": seed, "protocol": "avgpool",
        "dataset": "imagenet", "rows": [{ "backbone": row, "layers": layers }] });
    fs::write(dir.join("results.json"), results.to_string()).unwrap();
}

/// What a classifier of eight classes took them for.
fn counts(phase: u64) -> Value {
    let names = ["cat", "dog", "fox", "wolf", "horse", "zebra", "sofa", "a class with a rather long name"];
    let count = |row: u64, column: u64| match row.abs_diff(column) {
        0 => 30 + 2 * row + phase,
        1 => 12 - row,
        other => (row * column + phase) % (other + 3),
    };
    let rows: Vec<Vec<u64>> = (0..8).map(|row| (0..8).map(|column| count(row, column)).collect()).collect();
    let images: Vec<u64> = rows.iter().map(|row| row.iter().sum()).collect();
    let correct: Vec<u64> = (0..8).map(|class| rows[class][class]).collect();
    json!({ "classes": names, "images": images, "correct": correct, "confusion": rows })
}

fn supervised(home: &Path) {
    let dir = Run { home, label: "labels", seed: 0, hash: 'f', status: "finished" }
        .write("  supervised:\n    train: { steps: 10, batch: 8 }\n", json!({}));
    let results = json!({ "kind": "supervised", "experiment": "paper", "stage": "labels", "seed": 0,
        "dataset": "imagenet", "classes": counts(9) });
    fs::write(dir.join("results.json"), results.to_string()).unwrap();
}

fn transfer(home: &Path, seed: u64) {
    let value = |task: &str, variant: &str, metric: &str, value: f64, backbone: &str| {
        json!({ "backbone": backbone, "task": task, "variant": variant, "metric": metric, "value": value,
            "per_class": { "cat": value + 0.05, "dog": value - 0.05, "sofa": null } })
    };
    let mut rows = vec![];
    for (at, backbone) in ["color", "plain"].into_iter().enumerate() {
        let less = 0.04 * at as f64 - 0.01 * seed as f64;
        rows.push(value("classification", "fc6-8", "mAP", 0.61 - less, backbone));
        rows.push(value("classification", "all", "mAP", 0.66 - less, backbone));
        rows.push(value("segmentation", "all", "mean IU", 0.35 - less, backbone));
        rows.push(value("knn", "conv5, 20", "top-1", 0.42 - less, backbone));
    }
    let dir = Run { home, label: "transfer", seed, hash: ['7', '8'][seed as usize], status: "finished" }
        .write("  classification:\n    train: { steps: 10 }\n", json!({}));
    let results = json!({ "kind": "transfer", "experiment": "paper", "seed": seed, "dataset": "voc2007",
        "protocol": "fine-tuned", "rows": rows });
    fs::write(dir.join("results.json"), results.to_string()).unwrap();
}

fn colorizers(home: &Path) {
    for (at, method) in ["gray", "full"].into_iter().enumerate() {
        let dir = Run {
            home,
            label: &format!("colors-{method}"),
            seed: 0,
            hash: ['9', 'e'][at],
            status: "finished",
        }
        .write("  color_evaluation:\n    images: 64\n", json!({}));
        let figure = 0.8 + 0.05 * at as f64;
        let summary = json!({ "images": 64, "pixels": 200704, "auc": figure, "auc_thresholds": figure,
            "auc_empirical": figure, "auc_empirical_thresholds": figure, "occupied_bins": 90,
            "effective_empirical": 1000.0, "auc_prior": null, "auc_prior_thresholds": null, "effective_prior": null,
            "rmse": 20.0 - at as f64, "psnr": 22.0, "psnr_mean": 22.5, "colorfulness": 30.0 * at as f64,
            "truth_colorfulness": 35.0 });
        let side = hueristic::report::colors::Histogram::SIDE;
        let counts: Vec<u64> = (0..side * side).map(|cell| (cell % 7 * (cell / side) % 5) as u64).collect();
        let histogram = json!({ "counts": counts });
        let results = json!({ "kind": "color_evaluation", "experiment": "paper", "seed": 0, "dataset": "photos",
            "pixels": 56, "method": method, "summary": summary, "intervals": {}, "histogram": histogram,
            "truth": histogram, "cell": 4.0 });
        fs::write(dir.join("results.json"), results.to_string()).unwrap();
        fs::create_dir_all(dir.join("examples")).unwrap();
        for number in 0..9u32 {
            for (kind, shade) in [("gray", 0), ("result", 7 * at as u32), ("truth", 90)] {
                picture(&dir.join(format!("examples/{number:05}-{kind}.png")), 56, 56, shade + number);
            }
        }
    }
}

/// A picture of smooth colors.
fn picture(path: &Path, width: u32, height: u32, phase: u32) {
    let pixel = |x: u32, y: u32| {
        let wave = |t: u32| (127.0 + 120.0 * (f64::from(t) / 19.0).sin()) as u8;
        image::Rgb([wave(x + phase), wave(y + 2 * phase), wave(x + y)])
    };
    image::RgbImage::from_fn(width, height, pixel).save(path).unwrap();
}
