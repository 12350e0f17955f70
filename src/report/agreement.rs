//! Whether measurements during training foretell the accuracy of linear probes on the finished networks.

use super::{
    monitor::{MonitorResult, SHARES},
    results::ProbeResult,
    scatter::{GroupStyle, Note, PointGroup, Scatter},
};
use crate::metrics::rank_correlation::spearman;

/// Last measurement of a layer against the linear probe that was trained on it later, both as shares: a pair for each layer,
/// run and probe. A probe belongs to the run whose directory it names.
fn pairs(monitors: &[MonitorResult], probes: &[ProbeResult], measure: &str) -> Vec<(f64, f64)> {
    let upstream = |probe: &ProbeResult| {
        let name = probe.upstream.as_ref()?;
        monitors.iter().find(|monitor| monitor.from.file_name().is_some_and(|own| own == name.as_str()))
    };
    let of_probe = |probe: &ProbeResult| -> Vec<(f64, f64)> {
        let Some(monitor) = upstream(probe) else { return vec![] };
        let layers = probe.rows.iter().flat_map(|row| &row.layers);
        layers.filter_map(|layer| Some((monitor.last(&layer.layer, measure)?, layer.top1))).collect()
    };
    probes.iter().flat_map(of_probe).collect()
}

/// The plot of these pairs, with rank correlations; None without any.
pub(super) fn agreement(monitors: &[MonitorResult], probes: &[ProbeResult]) -> Option<Scatter> {
    let [neighbors, probe] = SHARES.map(|measure| pairs(monitors, probes, measure));
    if neighbors.is_empty() && probe.is_empty() {
        return None;
    }
    let correlation = |name: &str, pairs: &[(f64, f64)]| {
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let correlation = spearman(&a, &b).map_or("none".into(), |value| format!("{value:.2}"));
        format!("{name}: {correlation}, n = {}", pairs.len())
    };
    let lines = vec![correlation("kNN", &neighbors), correlation("probe", &probe)];
    let group = |label: &str, look, pairs: Vec<(f64, f64)>| {
        let points = pairs.into_iter().map(|(a, b)| (100.0 * a, 100.0 * b)).collect();
        PointGroup { label: label.into(), look, points }
    };
    Some(Scatter {
        title: "Monitor and linear probe".into(),
        under: "top-1 accuracy; a point for each layer of each run".into(),
        across: "monitor, last measurement".into(),
        up: "linear probe of the finished network".into(),
        diagonal: "equal".into(),
        groups: vec![
            group("kNN of the monitor", GroupStyle::First, neighbors),
            group("probe of the monitor", GroupStyle::Second, probe),
        ],
        notes: vec![Note { heading: "rank correlation".into(), lines }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{
        ResultKind,
        results::{BackboneResult, LayerResult},
    };
    use std::path::PathBuf;

    fn monitor(dir: &str, seed: u64, values: &[(usize, &[(&str, f64)])]) -> MonitorResult {
        let measured: Vec<_> = values
            .iter()
            .map(|(step, values)| {
                let named = |(name, value): &(&str, f64)| (name.to_string(), Some(*value));
                (*step, values.iter().map(named).collect())
            })
            .collect();
        MonitorResult {
            kind: ResultKind::Monitor,
            experiment: "e".into(),
            stage: "rotation".into(),
            seed,
            dataset: "scenes".into(),
            steps: MonitorResult::steps(&measured),
            share: 0.04,
            left_out: 2,
            from: format!("runs/e/{dir}").into(),
        }
    }

    fn probe(upstream: Option<&str>, layers: &[(&str, f64)]) -> ProbeResult {
        let layers = layers.iter().map(|(layer, top1)| LayerResult {
            layer: (*layer).into(),
            top1: *top1,
            top5: None,
            classes: None,
        });
        ProbeResult {
            kind: ResultKind::LinearProbe,
            experiment: "e".into(),
            seed: 0,
            protocol: "bilinear".into(),
            dataset: "scenes".into(),
            upstream: upstream.map(String::from),
            rows: vec![BackboneResult { backbone: "b".into(), layers: layers.collect() }],
            from: PathBuf::new(),
        }
    }

    #[test]
    fn a_probe_is_paired_with_the_last_measurement_of_its_own_run() {
        let early: &[_] = &[("conv1/knn", 0.9), ("conv2/knn", 0.8)];
        let late: &[_] = &[("conv1/knn", 0.2), ("conv2/knn", 0.5), ("conv3/rankme", 7.0)];
        let monitors = [monitor("a-s0-1", 0, &[(0, early), (9, late)]), monitor("a-s1-2", 1, &[(9, early)])];
        let own = probe(Some("a-s0-1"), &[("conv1", 0.3), ("conv2", 0.6), ("conv3", 0.7)]);
        let others = [probe(None, &[("conv1", 0.1)]), probe(Some("a-s0-9"), &[("conv1", 0.1)])];
        let probes: Vec<_> = others.into_iter().chain([own]).collect();
        assert_eq!(pairs(&monitors, &probes, "knn"), [(0.2, 0.3), (0.5, 0.6)]);
        let plot = agreement(&monitors, &probes).unwrap();
        assert_eq!(plot.notes[0].lines, ["kNN: 1.00, n = 2", "probe: none, n = 0"]);
        assert!(agreement(&monitors, &probes[..2]).is_none());
    }
}
