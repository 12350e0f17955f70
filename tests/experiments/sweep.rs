//! `sweep:`: its points, what is wrong with them, and runs of them.

use super::home::Home;
use hueristic::{
    experiment::{Outcome, check_and_estimate_points, check_points, run, run_points},
    spec::hash,
};
use insta::assert_snapshot;
use std::{collections::BTreeSet, fs};

type Result<T> = anyhow::Result<T>;

const SPEC: &str = "\
name: tiny
data: { source: { scenes: { train: 64, val: 40 } }, crop: 29 }
backbone: { alexnet: { stem: small, width: 0.25, fc: 32 } }
stages:
  color:
    pretext:
      task: colorization
      train: { steps: 3, batch: 8, optimizer: { adam: { lr: 1e-3 } } }
  probe:
    linear_probe:
      backbones: { gaussian: { init: msra }, color: { stage: color } }
      probe: { layers: [conv1, conv3], dimensions: 96, augment: false }
      train: { steps: 4, batch: 16, optimizer: { sgd: { lr: 0.01 } } }
";

const GRID: &str = "\
sweep:
  grid:
    color.train.optimizer.adam.lr: [1e-3, 1e-4]
    color.train.batch: [8, 16]
";

fn with(sweep: &str) -> String {
    format!("{SPEC}{sweep}")
}

/// Labels of the points, and their learning rates and batches of `color`, as JSON.
fn labels(home: &Home, sweep: &str, sets: &[&str]) -> Result<Vec<String>> {
    Ok(home.points(&with(sweep), sets)?.into_iter().map(|point| point.label).collect())
}

/// The error for a sweep.
fn refused(sweep: &str, sets: &[&str]) -> String {
    let home = Home::new().expect("a folder");
    let error = home.points(&with(sweep), sets).expect_err("the sweep was accepted").to_string();
    error.replace(&format!("{}/", home.path().display()), "")
}

#[test]
fn a_grid_has_all_combinations_and_a_list_its_points() -> Result<()> {
    let home = Home::new()?;
    let grid = ["lr=1e-3 batch=8", "lr=1e-3 batch=16", "lr=1e-4 batch=8", "lr=1e-4 batch=16"];
    assert_eq!(labels(&home, GRID, &[])?, grid);
    let list = "sweep: { list: [ {}, { color.train.batch: 16 }, { backbone.alexnet.width: 0.5, \
                color.train.optimizer: { sgd: { lr: 0.1 } } } ] }\n";
    let said = ["unchanged", "batch=16", "width=0.5 optimizer={sgd: {lr: 0.1}}"];
    assert_eq!(labels(&home, list, &[])?, said);
    assert_eq!(labels(&home, "", &[])?, [""]);
    assert_eq!(labels(&home, "sweep: ~\n", &[])?, [""]);
    Ok(())
}

/// Also where a later layer must override an earlier one: another optimizer, another length.
#[test]
fn a_point_is_the_experiment_of_a_file_with_its_values() -> Result<()> {
    let home = Home::new()?;
    let sweep = "sweep:\n  list:\n  - { color.train.optimizer.sgd: { lr: 0.1 }, color.train.epochs: 2 }\n  \
                 - { stages.probe.linear_probe.probe.layers: [conv2], data.crop: 27 }\n";
    let points = home.points(&with(sweep), &[])?;
    let first = SPEC
        .replace("optimizer: { adam: { lr: 1e-3 } }", "optimizer: { sgd: { lr: 0.1 } }")
        .replace("steps: 3", "epochs: 2");
    let second = SPEC.replace("[conv1, conv3]", "[conv2]").replace("crop: 29", "crop: 27");
    for (point, same) in points.iter().zip([first, second]) {
        let file = home.load(&same, &[])?;
        assert_eq!(point.experiment, file);
        assert_eq!(hash(&point.experiment)?, hash(&file)?);
    }
    Ok(())
}

#[test]
fn a_set_holds_at_every_point_and_pins_a_swept_key() -> Result<()> {
    let home = Home::new()?;
    let points = home.points(&with(GRID), &["color.train.steps=5", "probe.train.batch=4"])?;
    assert_eq!(points.len(), 4);
    let all = home.load(&SPEC.replace("steps: 3", "steps: 5").replace("batch: 16", "batch: 4"), &[])?;
    assert_eq!(points[0].experiment, all);
    assert_eq!(labels(&home, GRID, &["color.train.batch=4"])?, ["lr=1e-3", "lr=1e-4"]);
    let full = "stages.color.pretext.train.optimizer.adam.lr=0.5";
    assert_eq!(labels(&home, GRID, &[full, "color.train.batch=4"])?, ["unchanged"]);
    let list = "sweep: { list: [ { color.train.batch: 8 }, { color.train.batch: 4 } ] }\n";
    assert_eq!(labels(&home, list, &["color.train.batch=2"])?, ["unchanged"]);
    Ok(())
}

#[test]
fn a_sweep_may_be_given_or_taken_away_on_the_command_line() -> Result<()> {
    let home = Home::new()?;
    assert_eq!(labels(&home, GRID, &["sweep=~"])?, [""]);
    assert_eq!(labels(&home, "", &["sweep={grid: {color.train.batch: [8, 4]}}"])?, ["batch=8", "batch=4"]);
    Ok(())
}

#[test]
fn everything_wrong_is_said_at_once_where_it_is() {
    let sweep = "sweep:\n  grid:\n    color.train.bacth: [8, 16]\n    color.train.optimizer.adam.lr: [1e-3, fast, -1]\n    \
                 'backbone.alexnet.widht': [1]\n";
    assert_snapshot!(refused(sweep, &[]), @r#"
    error: unknown field `bacth`, expected one of `steps`, `epochs`, `images`, `batch`, `iter_size`, `optimizer`, `schedule`, `clip`, `ema`, `log_every`, `evaluate_every`, `checkpoint_every`, `keep`
      --> spec.yaml:16:17
       |
    16 |     color.train.bacth: [8, 16]
       |                 ^^^^^ did you mean `batch`?

    error: expected a number, got the text "fast"
      --> spec.yaml:17:43
       |
    17 |     color.train.optimizer.adam.lr: [1e-3, fast, -1]
       |                                           ^^^^

    error: expected a finite number above 0, got -1
      --> spec.yaml:17:49
       |
    17 |     color.train.optimizer.adam.lr: [1e-3, fast, -1]
       |                                                 ^^

    error: unknown field `widht`, expected one of `preset`, `stem`, `width`, `fc`, `init`, `norm_decay`, `input`, `lrn`, `conv1_stride`, `conv1_pad`, `groups`, `channels`, `leak`, `batch_norm`
      --> spec.yaml:18:5
       |
    18 |     'backbone.alexnet.widht': [1]
       |     ^^^^^^^^^^^^^^^^^^^^^^^^ did you mean `width`?
    "#);
}

/// What is wrong in the file is shown there, although a point sets a key of the same section.
#[test]
fn mistakes_elsewhere_stay_where_they_are() -> Result<()> {
    let home = Home::new()?;
    let yaml = with(GRID).replace("      task: colorization\n", "");
    let error = home.points(&yaml, &[]).expect_err("no task").to_string();
    assert!(error.contains("missing field `task`") && error.contains("spec.yaml:6:5"), "{error}");
    assert_eq!(error.matches("error:").count(), 1, "{error}");
    Ok(())
}

#[test]
fn a_key_that_the_file_lacks_may_be_swept() -> Result<()> {
    let home = Home::new()?;
    let yaml =
        with(GRID).replace("adam: { lr: 1e-3 }", "adam: {}").replace("lr: [1e-3, 1e-4]", "lr: [0.1, 1e-3]");
    assert_eq!(home.points(&yaml, &[])?.len(), 4);
    Ok(())
}

#[test]
fn sweeps_that_are_none() {
    for (sweep, message) in [
        ("sweep: { grid: {} }\n", "expected at least one entry"),
        ("sweep: { list: [] }\n", "expected at least one entry"),
        ("sweep: {}\n", "expected one of `grid`, `list`, got an empty section"),
        ("sweep: grid\n", "expected at least one entry"),
        ("sweep: { gird: {} }\n", "did you mean `grid`?"),
        ("sweep: { grid: { color.train.batch: [] } }\n", "expected at least one entry"),
        ("sweep: { grid: { color.train.batch: 8 } }\n", "expected a list"),
        ("sweep: { grid: { colour.train.batch: [8] } }\n", "unknown stage or field `colour`"),
        ("sweep: { grid: { color..batch: [8] } }\n", "a key of this path is empty"),
        ("sweep: { grid: { name: [a, b] } }\n", "`name` cannot be swept"),
        ("sweep: { grid: { seeds: [[0], [1]] } }\n", "`seeds: [0, 1, 2]` repeats every point"),
        ("sweep: { list: [ { compute.device: cpu } ] }\n", "`compute` cannot be swept"),
        ("sweep: { grid: { expected.probe.conv1_top1: [0] } }\n", "`expected` cannot be swept"),
        ("sweep: { grid: { sweep: [0] } }\n", "`sweep` cannot be swept"),
        (
            "sweep: { grid: { color.train.batch: [8, 16, 8] } }\n",
            "this point of the sweep is the same as `batch=8`",
        ),
        ("sweep: { grid: { color.train.optimizer.adam.lr: [1e-3, 0.001] } }\n", "is the same as `lr=1e-3`"),
        ("sweep: { list: [ {}, { color.train.batch: 8 } ] }\n", "is the same as `unchanged`"),
    ] {
        let said = refused(sweep, &[]);
        assert!(said.contains(message) && said.contains("--> spec.yaml:14:"), "{sweep}{said}");
        assert_eq!(said.matches("error:").count(), 1, "{said}");
    }
    let many: Vec<String> = (1..40).map(|value| value.to_string()).collect();
    let many = many.join(", ");
    let sweep =
        format!("sweep: {{ grid: {{ color.train.batch: [{many}], color.train.steps: [{many}] }} }}\n");
    assert!(refused(&sweep, &[]).contains("more than 1000 points"));
}

/// A point for each learning rate; `gaussian` does not depend on it.
const RATES: &str = "sweep: { grid: { color.train.optimizer.adam.lr: [1e-3, 1e-4] } }\n";

#[test]
fn one_table_has_a_row_for_each_point_and_what_is_the_same_runs_once() -> Result<()> {
    let home = Home::new()?;
    let points = home.points(&with(RATES), &["seeds=[0, 1]"])?;
    let Outcome::Finished { report: Some(report), .. } = run_points(&points, &home.options(), None)? else {
        panic!("not finished")
    };
    let rows = |text: &str, name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!((rows(&report.text, "gaussian"), rows(&report.text, "color lr=1e-")), (1, 2), "{report}");
    let names = || -> Result<BTreeSet<String>> {
        let entries = fs::read_dir(home.options().out.join("tiny"))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        Ok(names.collect::<Result<Vec<_>>>()?.into_iter().filter(|name| name != "report").collect())
    };
    let fits = names()?;
    assert_eq!(fits.len(), 2 * (2 + 3), "two pretext stages and three probes for each seed");
    // A plain file with the values of a point finds its runs finished.
    run(&home.load(&SPEC.replace("lr: 1e-3", "lr: 1e-4"), &[])?, &home.options())?;
    assert_eq!(names()?, fits);
    Ok(())
}

#[test]
fn a_check_shows_every_point_and_adds_up() -> Result<()> {
    let home = Home::new()?;
    let points = home.points(&with(GRID), &[])?;
    let said = check_points(&points, &home.options())?.to_string();
    let heads: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("point ")).collect();
    assert_eq!(heads, ["lr=1e-3 batch=8", "lr=1e-3 batch=16", "lr=1e-4 batch=8", "lr=1e-4 batch=16"]);
    assert!(said.ends_with("tiny: 2 stages, 4 points, 1 seed, 9 fits; nothing was trained"), "{said}");
    let probes = home.points(&with("sweep: { grid: { probe.train.batch: [8, 16] } }\n"), &[])?;
    let outlook = check_and_estimate_points(&probes, &home.options())?;
    let said = outlook.to_string();
    assert!(
        said.contains("shared with points above: color\n") && said.contains("for each seed of all points"),
        "{said}"
    );
    let times = said.lines().filter_map(|line| line.strip_prefix("  time     about ")?.strip_suffix(" s"));
    let times = times.map(str::parse).collect::<std::result::Result<Vec<f64>, _>>()?;
    assert_eq!(times.len(), 3, "{said}");
    assert!((outlook.seconds() - times.iter().sum::<f64>()).abs() < 0.2, "{said}");
    Ok(())
}

/// How often a line is logged decides no result.
#[test]
fn points_that_are_the_same_runs_are_refused() -> Result<()> {
    let home = Home::new()?;
    let points = home.points(&with("sweep: { grid: { color.train.log_every: [1, 2] } }\n"), &[])?;
    let error = format!("{:#}", run_points(&points, &home.options(), None).expect_err("the same runs"));
    assert!(error.contains("`log_every=1` and `log_every=2` are the same runs"), "{error}");
    Ok(())
}

#[test]
fn a_fault_of_a_point_names_it() -> Result<()> {
    let home = Home::new()?;
    let sweep = "sweep: { list: [ {}, { data.source: { folder: { train: nowhere, val: nowhere } } } ] }\n";
    let error = format!(
        "{:#}",
        check_points(&home.points(&with(sweep), &[])?, &home.options()).expect_err("no folder")
    );
    assert!(error.contains("at the sweep's point source={folder:") && error.contains("nowhere"), "{error}");
    Ok(())
}

/// A sweep that is set is as one in the file: its keys join those of a grid, another form takes the place of the file's, and
/// mistakes are mistakes.
#[test]
fn a_sweep_can_be_set() -> Result<()> {
    let home = Home::new()?;
    let batches = "sweep={list: [{color.train.batch: 4}, {color.train.batch: 2}]}";
    assert_eq!(labels(&home, GRID, &[batches])?, ["batch=4", "batch=2"]);
    let rates = "sweep={grid: {color.train.optimizer.adam.lr: [1e-2, 1e-5]}}";
    let list = "sweep: { list: [ { color.train.batch: 16 }, {} ] }\n";
    assert_eq!(labels(&home, list, &[rates])?, ["lr=0.01", "lr=1e-5"]);
    let steps = labels(&home, GRID, &["sweep={grid: {color.train.steps: [2, 4]}}"])?;
    assert_eq!(steps.len(), 8, "{steps:?}");
    assert!(refused(GRID, &["sweep={list: [{color.train.bach: 4}]}"]).contains("bach"));
    assert!(refused(GRID, &["sweep={grid: {seeds: [[0], [1]]}}"]).contains("`seeds` cannot be swept"));
    assert!(refused("", &["sweep={grid: {sweep: [1]}}"]).contains("`sweep` cannot be swept"));
    assert!(refused("", &["sweep={grid: {color.train.batch: [8, 8]}}"]).contains("the same as"));
    Ok(())
}
