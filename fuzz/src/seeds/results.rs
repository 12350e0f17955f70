//! What runs leave: `results.json` of the three kinds, a manifest, a log of metrics, the header of a checkpoint.

use super::texts;

pub fn results() -> Vec<Vec<u8>> {
    let colors = format!(
        r#"{{"kind": "color_evaluation", "experiment": "e", "seed": 0, "dataset": "d", "pixels": 64, "method": "m",
"summary": {{"images": 2, "pixels": 8192, "auc": 0.9, "auc_thresholds": 0.9, "auc_empirical": 0.5,
"auc_empirical_thresholds": 0.5, "occupied_bins": 40, "effective_empirical": 100.5, "auc_prior": 0.6,
"auc_prior_thresholds": 0.6, "effective_prior": 90.0, "rmse": 12.5, "psnr": 21.0, "psnr_mean": null,
"colorfulness": 20.0, "truth_colorfulness": 30.0}},
"intervals": {{"auc": {{"mean": 0.9, "std": 0.01, "low": 0.88, "high": 0.92}}}},
"histogram": {{"counts": [{zeros}]}}, "truth": {{"counts": [1{more}]}}, "cell": 4.0}}"#,
        zeros = vec!["0"; 55 * 55].join(","),
        more = ",0".repeat(55 * 55 - 1),
    );
    texts(&[
        r#"{"kind": "linear_probe", "experiment": "e", "seed": 0, "protocol": "p", "dataset": "d", "rows": [
{"backbone": "random", "layers": [{"layer": "conv1", "top1": 0.1, "top5": 0.5}, {"layer": "conv2", "top1": 0.25}]},
{"backbone": "ours", "layers": [{"layer": "conv1", "top1": 0.2, "top5": 0.6}]}]}"#,
        r#"{"kind": "transfer", "experiment": "e", "seed": 0, "dataset": "VOC 2007", "protocol": "p", "rows": [
{"backbone": "ours", "task": "classification", "variant": "fc8", "metric": "mAP", "value": 0.5,
 "per_class": {"cat": 0.5, "dog": null}},
{"backbone": "ours", "task": "segmentation", "metric": "mean IU", "value": 0.25}]}"#,
        &colors,
    ])
}

/// A manifest, a zero byte, and the lines of `metrics.jsonl`.
pub fn runs() -> Vec<Vec<u8>> {
    let manifest = r#"{"status": "finished", "error": null, "device": "CPU", "seed": 0, "data": {"train": "00ff"},
"version": "0.1.0", "commit": null, "features": [], "host": "h", "cpu": "c", "cores": 2,
"started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:09Z", "wall_seconds": 9.5, "resumed": 0, "steps": 12,
"metrics": [{"name": "loss", "value": 0.5, "better": "lower"}], "warnings": [], "peak_memory_bytes": 1000,
"outputs": {"metrics.jsonl": {"sha256": "00", "bytes": 40}}}"#;
    let metrics = "{\"step\":5,\"epoch\":0.5,\"split\":\"train\",\"loss\":0.5}\n{\"step\":12,\"epoch\":1,\"split\":\"val\"}\n";
    texts(&[&format!("{manifest}\0{metrics}"), &format!("\0{metrics}"), manifest])
}

/// What the header of a checkpoint says of its run.
pub const STATE: &str = r#"{"version": 1, "step": 12, "position": {"epoch": 1, "batch": 2}, "window": [], "best": [],
"validated": null, "spec": "steps: 12\n", "spec_sha256": "00", "rng": "0123456789abcdef"}"#;
