//! Measurements during training change nothing, are resumed, keep to their budget, and warn of a collapse.

use super::toy::{AVERAGED, Quirks, SPEC, Toy, metrics, train, train_monitored};
use anyhow::{Context, Result};
use hueristic::train::{
    checkpoint::{self, Checkpoint},
    fit::FitOutcome,
    log::measurements,
    manifest::Manifest,
    monitor::{Measurement, Measures, Moment, Monitor, Monitoring},
    task::Task,
};
use std::{collections::BTreeMap, fs, path::Path, thread::sleep, time::Duration};

/// Measures the sum of a weight, and sees a collapse from its `collapses`-th measurement on.
struct Sum {
    collapses: usize,
    measured: usize,
    /// Time that it takes to compute the sum, and whether updates go on meanwhile.
    computing: Duration,
    is_beside: bool,
}

impl Default for Sum {
    fn default() -> Self {
        Self { collapses: usize::MAX, measured: 0, computing: Duration::ZERO, is_beside: false }
    }
}

impl Monitor for Sum {
    fn prepare(&mut self) -> Result<()> {
        assert_eq!(self.measured, 0, "it is prepared once");
        Ok(())
    }

    fn read(&mut self, task: &dyn Task) -> Result<Measures> {
        self.measured += 1;
        let weight = task.params().get("fc1.weight").context("a weight")?;
        let sum = f64::from(weight.sum_all()?.to_scalar::<f32>()?);
        let collapsed = (self.measured >= self.collapses).then(|| ("fc1".into(), "it is flat".into()));
        let values = vec![("fc1/sum".into(), sum), ("fc1/none".into(), f64::NAN)];
        let computing = self.computing;
        Ok(Box::new(move || {
            sleep(computing);
            let collapsed = collapsed.into_iter().collect();
            Ok(Measurement { values, collapsed, summary: format!("sum {sum:.3}") })
        }))
    }

    fn is_beside(&self, _: &dyn Task) -> bool {
        self.is_beside
    }
}

/// After every sixth of twenty steps, of which one is said to take as long as a measurement.
fn monitoring(budget: f64) -> Monitoring {
    Monitoring::new(Box::new(Sum::default()), 6, budget).foretold(1.0)
}

fn sums(run: &Path) -> Vec<(usize, Option<f64>)> {
    measurements(run).unwrap().into_iter().map(|(step, values)| (step, values["fc1/sum"])).collect()
}

/// Parameters, optimizer state and average of the last checkpoint.
fn tensors(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let found = Checkpoint::read(&checkpoint::last(run), &candle_core::Device::Cpu).unwrap();
    let all = found.params.into_iter().chain(found.optimizer).chain(found.average);
    let bytes = |tensor: candle_core::Tensor| -> Vec<u8> {
        let values =
            tensor.to_dtype(candle_core::DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>();
        values.unwrap().into_iter().flat_map(f64::to_le_bytes).collect()
    };
    all.map(|(name, tensor)| (name, bytes(tensor))).collect()
}

#[test]
fn nothing_is_trained_otherwise_with_any_budget() -> Result<()> {
    for spec in [SPEC, AVERAGED] {
        let temp = tempfile::tempdir()?;
        let [without, with, short] = ["without", "with", "short"].map(|name| temp.path().join(name));
        let outcome = train(&without, spec, Quirks::default())?;
        assert!(matches!(outcome, FitOutcome::Finished(_)));
        assert_eq!(train_monitored(&with, spec, Quirks::default(), monitoring(f64::MAX))?, outcome);
        assert_eq!(train_monitored(&short, spec, Quirks::default(), monitoring(0.0))?, outcome);
        let plain = |run: &Path| -> Vec<_> {
            metrics(run).into_iter().filter(|line| line["split"] != "monitor").collect()
        };
        for run in [&with, &short] {
            assert_eq!(tensors(run), tensors(&without));
            assert_eq!(plain(run), metrics(&without));
        }
        let steps = |run: &Path| sums(run).into_iter().map(|(step, _)| step).collect::<Vec<_>>();
        assert_eq!(steps(&with), [0, 6, 12, 18, 20]);
        assert_eq!(steps(&short), [20], "the last is always made");
        let state = Checkpoint::read_state(&checkpoint::last(&short))?;
        assert_eq!(state.monitor.context("a monitor")?.left_out, 4);
        for part in [
            "some are left out, first that after step 0, and the last is made",
            "more than the 0 % of monitor.budget",
        ] {
            let warned = |run: &Path| {
                let warnings = Manifest::read(run).unwrap().unwrap().warnings;
                warnings.iter().filter(|warning| warning.contains(part)).count()
            };
            assert_eq!((warned(&short), warned(&with)), (1, 0), "{part}");
        }
    }
    Ok(())
}

/// The value of the last measurement is that of the weights that later stages read.
#[test]
fn averaged_weights_are_measured() -> Result<()> {
    let temp = tempfile::tempdir()?;
    train_monitored(temp.path(), AVERAGED, Quirks::default(), monitoring(1.0))?;
    let found = Checkpoint::read(&checkpoint::last(temp.path()), &candle_core::Device::Cpu)?;
    let sum = |tensors: Vec<(String, candle_core::Tensor)>| -> Result<f64> {
        let weight = tensors.into_iter().find(|(name, _)| name == "fc1.weight").context("a weight")?.1;
        Ok(f64::from(weight.sum_all()?.to_scalar::<f32>()?))
    };
    let last = sums(temp.path()).last().and_then(|(_, sum)| *sum).context("a value")?;
    assert_eq!(last, sum(found.average.into_iter().collect())?);
    assert_ne!(last, sum(found.params.into_iter().collect())?);
    Ok(())
}

/// Stopped before the first checkpoint, before and after a measurement, and in the last step.
#[test]
fn a_stopped_run_measures_the_same() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let straight = temp.path().join("straight");
    train_monitored(&straight, SPEC, Quirks::default(), monitoring(f64::MAX))?;
    for step in [2, 6, 7, 13, 20] {
        let broken = temp.path().join(format!("broken {step}"));
        let fail = Quirks { fail: Some(2 * step), ..Quirks::default() };
        assert!(train_monitored(&broken, SPEC, fail, monitoring(f64::MAX)).is_err());
        train_monitored(&broken, SPEC, Quirks::default(), monitoring(f64::MAX))?;
        assert_eq!(sums(&broken), sums(&straight), "stopped in step {step}");
        assert_eq!(tensors(&broken), tensors(&straight));
        let warnings = Manifest::read(&broken)?.context("a manifest")?.warnings;
        assert!(!warnings.iter().any(|warning| warning.contains("metrics.jsonl")), "{warnings:?}");
        // also those before the first measurement of the process that went on
        let said = fs::read_to_string(broken.join("log.txt"))?;
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("  lr ")).collect();
        assert!(lines.len() > 3 && lines.iter().all(|line| line.contains("  sum ")), "{said}");
    }
    Ok(())
}

#[test]
fn a_monitor_can_come_and_go_between_resumes() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let run = temp.path().join("run");
    let fail = |step: usize| Quirks { fail: Some(2 * step), ..Quirks::default() };
    assert!(train(&run, SPEC, fail(6)).is_err());
    assert!(train_monitored(&run, SPEC, fail(9), monitoring(f64::MAX)).is_err());
    train(&run, SPEC, Quirks::default())?;
    assert!(sums(&run).iter().all(|(step, _)| *step > 5), "{:?}", sums(&run));
    let straight = temp.path().join("straight");
    train(&straight, SPEC, Quirks::default())?;
    assert_eq!(tensors(&run), tensors(&straight));
    Ok(())
}

#[test]
fn lines_say_what_a_measurement_cost() -> Result<()> {
    let temp = tempfile::tempdir()?;
    train_monitored(temp.path(), SPEC, Quirks::default(), monitoring(f64::MAX))?;
    let text = fs::read_to_string(temp.path().join("metrics.jsonl"))?;
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(r#""split":"monitor""#)).collect();
    assert!(lines[0].starts_with(r#"{"step":0,"epoch":0,"split":"monitor","fc1/sum":"#), "{}", lines[0]);
    assert!(lines[0].contains(r#""fc1/none":null"#) && lines[0].contains("monitor_seconds"), "{}", lines[0]);
    assert!(!lines[0].contains("monitor_share") && lines[1].contains("monitor_share"), "{}", lines[1]);
    Ok(())
}

#[test]
fn a_collapse_is_warned_of_at_its_second_measurement() -> Result<()> {
    let collapsing = |collapses| Monitoring::new(Box::new(Sum { collapses, ..Sum::default() }), 6, f64::MAX);
    for (from, warned) in [(1, true), (4, true), (5, false), (9, false)] {
        let temp = tempfile::tempdir()?;
        train_monitored(temp.path(), SPEC, Quirks::default(), collapsing(from))?;
        let warnings = Manifest::read(temp.path())?.context("a manifest")?.warnings;
        let found = warnings.iter().filter(|w| w.contains("features of fc1 have collapsed")).count();
        assert_eq!(found, usize::from(warned), "from measurement {from} of 5: {warnings:?}");
        assert!(!warned || warnings.iter().any(|w| w.contains("it is flat. Lower the learning rate")));
    }
    Ok(())
}

/// Measured every sixth of twenty steps, each time for so long, beside the updates.
fn beside(milliseconds: u64) -> Monitoring {
    let computing = Duration::from_millis(milliseconds);
    Monitoring::new(Box::new(Sum { computing, is_beside: true, ..Sum::default() }), 6, f64::MAX)
}

/// What is computed beside the updates is of the weights at its own step, and reaches the log, however the run ends.
#[test]
fn measures_beside_the_updates_are_the_same() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let straight = temp.path().join("straight");
    train_monitored(&straight, SPEC, Quirks::default(), monitoring(f64::MAX))?;
    let epochs = |run: &Path| -> Vec<_> {
        let lines = metrics(run).into_iter().filter(|line| line["split"] == "monitor");
        lines.map(|line| line["epoch"].clone()).collect()
    };
    for milliseconds in [0, 1, 30] {
        for stopped in [None, Some(7), Some(13), Some(20)] {
            let run = temp.path().join(format!("{milliseconds} {stopped:?}"));
            if let Some(step) = stopped {
                let fail = Quirks { fail: Some(2 * step), ..Quirks::default() };
                assert!(train_monitored(&run, SPEC, fail, beside(milliseconds)).is_err());
            }
            train_monitored(&run, SPEC, Quirks::default(), beside(milliseconds))?;
            assert_eq!(sums(&run), sums(&straight), "{milliseconds} ms, stopped in {stopped:?}");
            assert_eq!(epochs(&run), epochs(&straight));
            assert_eq!(tensors(&run), tensors(&straight));
            let warnings = Manifest::read(&run)?.context("a manifest")?.warnings;
            assert!(!warnings.iter().any(|warning| warning.contains("metrics.jsonl")), "{warnings:?}");
        }
    }
    Ok(())
}

/// The cost is what training waited for.
#[test]
fn what_is_computed_beside_the_updates_costs_nothing() -> Result<()> {
    let task = Toy::new(Quirks::default())?;
    let computing = Duration::from_millis(300);
    for is_beside in [true, false] {
        let sum = Sum { computing, is_beside, ..Sum::default() };
        let mut monitoring = Monitoring::new(Box::new(sum), 6, f64::MAX);
        assert!(!monitoring.is_awaited() && monitoring.complete().is_none());
        let at = Moment { step: 6, epoch: 0.5 };
        monitoring.begin(&task, at)?;
        assert_eq!(monitoring.is_awaited(), !is_beside, "training goes on");
        while !monitoring.is_awaited() {
            sleep(Duration::from_millis(1));
        }
        let measured = monitoring.complete().context("a measurement")?;
        assert_eq!((measured.at, measured.found?.values.len()), (at, 2));
        assert_eq!(measured.waited < computing, is_beside, "{:?}", measured.waited);
        assert!(monitoring.complete().is_none());
    }
    Ok(())
}
