//! `knn`, `svm` and `low_shot` on plain labeled pictures: from spec to table by top-1 accuracy, and their refusals.

use super::home::Home;
use hueristic::{
    data::scenes::Scenes,
    data::source::{Dataset, Split},
    experiment::{Outcome, check, check_and_estimate, run},
};
use serde_json::Value;
use std::{collections::BTreeMap, fs};

type Result<T> = anyhow::Result<T>;

const SPEC: &str = r#"
name: single
data: { source: { scenes: { train: 80, val: 40, size: 32 } }, crop: 29 }
backbone: { alexnet: { stem: small, width: 0.1, fc: 16 } }
stages:
  svm:
    svm: &frozen
      backbones: { gaussian: { init: msra } }
      features: { layers: [conv2], dimensions: 96 }
      classifier: { costs: { list: [0.1, 1] }, folds: 2 }
  knn: { knn: { <<: *frozen, features: { layers: [conv2, conv5] }, classifier: { neighbors: [1, 5] } } }
  low_shot: { low_shot: { <<: *frozen, backbone: { alexnet: { stem: small, width: 0.1, fc: 16, input: rgb_unit } }, classifier: { shots: [1, 4], samples: 3, svm: { costs: { list: [0.1, 1] } } } } }
"#;

fn results(home: &Home, stage: &str) -> Result<Value> {
    for entry in fs::read_dir(home.path().join("runs/single"))? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(&format!("{stage}-gaussian-s0")))
        {
            return Ok(serde_json::from_slice(&fs::read(path.join("results.json"))?)?);
        }
    }
    anyhow::bail!("no run of {stage}")
}

#[test]
fn classifiers_report_top1_on_plain_pictures() -> Result<()> {
    let home = Home::new()?;
    let experiment = home.load(SPEC, &[])?;
    let plan = check(&experiment, &home.options())?.to_string();
    assert!(plan.contains("crop 29") && !plan.contains("squashed"), "{plan}");
    let Outcome::Finished { report: Some(report), .. } = run(&experiment, &home.options())? else {
        panic!("no report")
    };
    home.reports_as_planned()?;
    for part in [
        "top-1 in % on scenes (protocol linear SVM, avgpool features)",
        "top-1 in % on scenes (protocol nearest neighbors, avgpool features)",
        "one seed (0); ± over the draws of a seed",
        "kNN conv2 k=5",
        "low-shot conv2 n=4",
    ] {
        assert!(report.text.contains(part), "{part} is not in\n{}", report.text);
    }
    assert!(!report.text.contains("mAP"), "{}", report.text);

    let svm = &results(&home, "svm")?["rows"][0];
    assert_eq!(svm["metric"], "top-1");
    let classes: BTreeMap<String, f64> = serde_json::from_value(svm["per_class"].clone())?;
    // as many pictures of each class, so that top-1 is the mean over the classes
    let mean = classes.values().sum::<f64>() / classes.len() as f64;
    assert_eq!(classes.len(), 10);
    assert!((mean - svm["value"].as_f64().unwrap_or_default()).abs() < 1e-9 && mean > 0.15, "{svm}");
    let low_shot = results(&home, "low_shot")?;
    // what the network of the row sees
    assert_eq!((&svm["input"], &low_shot["rows"][0]["input"]), (&"gray".into(), &"color".into()));
    assert!(low_shot["rows"].as_array().is_some_and(|rows| rows.iter().all(|row| row["deviation"].is_f64())));
    assert!(results(&home, "knn")?["rows"][3].get("deviation").is_none());
    Ok(())
}

#[test]
fn their_cost_is_foretold() -> Result<()> {
    let home = Home::new()?;
    let outlook = check_and_estimate(&home.load(SPEC, &[])?, &home.options())?;
    assert_eq!(outlook.failing(), 0, "{outlook}");
    Ok(())
}

#[test]
fn pictures_are_given_once_and_have_labels() -> Result<()> {
    let home = Home::new()?;
    let refused = |yaml: &str| -> String {
        let outcome = home.load(yaml, &[]).and_then(|e| check(&e, &home.options()).map(drop));
        format!("{:#}", outcome.expect_err("refused"))
    };
    let annotated = "annotated: { source: { composite: { train: 24, val: 8, size: 48 } } }";
    let own = "data: { source: { scenes: { train: 80, val: 40 } }, crop: 29 }";
    let both = refused(
        &SPEC.replace("    svm: &frozen\n", &format!("    svm: &frozen\n      {annotated}\n      {own}\n")),
    );
    assert!(both.contains("`svm` has both `data` and `annotated`") && both.contains("spec.yaml:9"), "{both}");
    let none = refused(
        &SPEC.replace("data: { source: { scenes: { train: 80, val: 40, size: 32 } }, crop: 29 }\n", ""),
    );
    assert!(none.contains("the stage `svm` has no `annotated` or `data`"), "{none}");
    let side = refused(&SPEC.replace("    svm: &frozen\n", "    svm: &frozen\n      side: 29\n"));
    assert!(side.contains("it is for annotated pictures") && side.contains("spec.yaml:8:"), "{side}");
    for (once, twice) in [("neighbors: [1, 5]", "neighbors: [5, 5]"), ("shots: [1, 4]", "shots: [4, 4]")] {
        let again = refused(&SPEC.replace(once, twice));
        assert!(again.contains("is there twice") && again.contains("give each number once"), "{again}");
        assert!(again.contains("spec.yaml:"), "{again}");
    }
    let few = refused(&SPEC.replace("folds: 2", "folds: 9"));
    assert!(
        few.contains("8 training pictures show class") && few.contains("fewer than the 9 folds"),
        "{few}"
    );
    let many = refused(&SPEC.replace("train: 80", "train: 40000"));
    assert!(many.contains("40000 × 40000") && many.contains("limit"), "{many}");

    let folder = home.path().join("plain");
    fs::create_dir_all(&folder)?;
    let scenes = Scenes::new(4, 32, 7, Split::Train);
    for i in 0..4 {
        let picture = image::RgbImage::from_raw(32, 32, scenes.image(i)?.pixels).expect("32 × 32");
        picture.save(folder.join(format!("{i}.png")))?;
    }
    let unlabeled = "folder: { train: plain, val: plain }";
    let unlabeled = refused(&SPEC.replace("scenes: { train: 80, val: 40, size: 32 }", unlabeled));
    assert!(unlabeled.contains("label"), "{unlabeled}");
    Ok(())
}

/// An experiment with both kinds of pictures: a stage's own section decides, else the annotated set.
#[test]
fn the_annotated_set_of_an_experiment_comes_first() -> Result<()> {
    let home = Home::new()?;
    let annotated = "annotated: { source: { composite: { train: 24, val: 8, size: 48 } } }\nbackbone:";
    let yaml = SPEC.replacen("backbone:", annotated, 1);
    let own = "knn: { knn: { data: { source: { scenes: { train: 40, val: 20 } }, crop: 29 },";
    let yaml = yaml.replace("knn: { knn: {", own);
    let plan = check(&home.load(&yaml, &[])?, &home.options())?.to_string();
    let stages: Vec<&str> = plan.split("stage ").collect();
    assert!(stages[1].starts_with("svm") && stages[1].contains("squashed"), "{plan}");
    assert!(
        stages[2].starts_with("knn") && stages[2].contains("40 training and 20 validation images"),
        "{plan}"
    );
    Ok(())
}
