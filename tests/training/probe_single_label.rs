//! Classifiers on frozen features of pictures with one label each, against scikit-learn
//! (`scripts/oracles/single_label.py` generates the stored file).

use hueristic::{
    bounded::{Count, Positive},
    probe::{
        features::{Features, Labeled},
        knn::{self, KnnSpec},
        low_shot::{self, CostSelection, LowShotSpec},
        softmax::{Softmax, SoftmaxSpec},
        svm::{Costs, SvmSpec, folds::stratified, one_vs_rest},
    },
    rng::Rng,
};
use serde_json::Value;

type Result<T> = anyhow::Result<T>;

fn oracle() -> Value {
    serde_json::from_str(include_str!("../../scripts/oracles/single_label.json")).unwrap()
}

fn get<T: serde::de::DeserializeOwned>(value: &Value, name: &str) -> T {
    serde_json::from_value(value[name].clone()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Training and test pictures, and the names of the classes.
fn pictures(oracle: &Value) -> Result<(Labeled, Labeled, Vec<String>)> {
    let set = |rows, labels| {
        let features = Features::new(get(oracle, rows), get(oracle, "width"))?;
        Labeled::new(features, get(oracle, labels))
    };
    let names = (0..get::<usize>(oracle, "classes")).map(|class| format!("class {class}")).collect();
    Ok((set("train", "labels")?, set("test", "truth")?, names))
}

/// Options whose fits have converged.
fn exact(costs: Vec<f64>) -> SvmSpec {
    let costs = Costs::List(costs.into_iter().map(Positive::of).collect());
    SvmSpec { costs, tolerance: Positive::of(1e-8), max_epochs: Count::of(200_000), ..SvmSpec::default() }
}

#[test]
fn one_against_the_rest_is_scikit_learns() -> Result<()> {
    let oracle = oracle();
    let (train, test, names) = pictures(&oracle)?;
    let svm = &oracle["svm"];
    let (costs, validation): (Vec<f64>, Vec<f64>) = (get(svm, "costs"), get(svm, "validation"));
    let predicted: Vec<Vec<u32>> = get(svm, "predicted");
    for (i, cost) in costs.iter().enumerate() {
        let report = one_vs_rest::run(&exact(vec![*cost]), &train, &test, &names, &Rng::new(2))?;
        assert_eq!(report.predicted, predicted[i], "cost {cost}");
        assert!((report.validation - validation[i]).abs() < 1e-9, "{} {}", report.validation, validation[i]);
    }
    let report = one_vs_rest::run(&exact(costs.clone()), &train, &test, &names, &Rng::new(2))?;
    assert_eq!(report.cost, get::<f64>(svm, "cost"));
    let chosen = costs.iter().position(|cost| *cost == report.cost).unwrap();
    assert_eq!(report.predicted, predicted[chosen]);
    Ok(())
}

#[test]
fn folds_of_several_classes_are_scikit_learns() {
    for case in get::<Vec<Value>>(&oracle(), "folds") {
        let labels: Vec<u32> = get(&case, "labels");
        assert_eq!(stratified(&labels, get(&case, "folds")), get::<Vec<usize>>(&case, "assigned"));
    }
}

#[test]
fn weighted_votes_are_scikit_learns() -> Result<()> {
    let oracle = oracle();
    let (train, test, _) = pictures(&oracle)?;
    let neighbors = &oracle["neighbors"];
    for vote in get::<Vec<Value>>(neighbors, "votes") {
        let spec = KnnSpec {
            neighbors: vec![Count::of(get(&vote, "k"))],
            temperature: Positive::of(get(neighbors, "temperature")),
            ..KnnSpec::default()
        };
        let ours = knn::predict(&spec, train.features(), train.labels(), test.features())?;
        assert_eq!(ours[0], get::<Vec<u32>>(&vote, "predicted"), "k = {}", vote["k"]);
    }
    Ok(())
}

/// LogisticRegression with C = 1 / (n · decay). The gradient is below 1e-5, with a curvature of at least the decay.
#[test]
fn the_softmax_probe_is_scikit_learns_regression() -> Result<()> {
    let oracle = oracle();
    let (train, test, names) = pictures(&oracle)?;
    for fit in get::<Vec<Value>>(&oracle, "softmax") {
        let decay: f64 = get(&fit, "decay");
        let spec = SoftmaxSpec { decay: Positive::of(decay), iterations: Count::of(20_000) };
        let ours = Softmax::fit(&spec, train.features(), train.labels(), names.len())?;
        let theirs: Vec<f64> = get(&fit, "logits");
        let logits: Vec<f64> = ours.logits(test.features())?.flatten_all()?.to_vec1()?;
        let most = logits.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(most < 0.02, "decay {decay}: {most}");
        // The usual number of steps is enough to rank layers by.
        let usual = SoftmaxSpec { iterations: SoftmaxSpec::default().iterations, ..spec };
        let usual = Softmax::fit(&usual, train.features(), train.labels(), names.len())?;
        let (a, b) = (usual.predict(test.features())?, ours.predict(test.features())?);
        assert!(a.iter().zip(&b).filter(|(a, b)| a != b).count() <= 1, "decay {decay}: {a:?} {b:?}");
    }
    Ok(())
}

#[test]
fn more_shots_of_each_class_know_more() -> Result<()> {
    let (train, test, names) = pictures(&oracle())?;
    let svm = SvmSpec { costs: Costs::List([0.1, 1.0].map(Positive::of).to_vec()), ..SvmSpec::default() };
    let spec = |choose| LowShotSpec {
        shots: [1, 5, 25, 40].map(Count::of).to_vec(),
        samples: Count::of(6),
        choose,
        svm: svm.clone(),
        ..LowShotSpec::default()
    };
    let run = |choose| low_shot::run_single_label(&spec(choose), &train, &test, &names, &Rng::new(1));
    let (flattered, folds) = (run(CostSelection::Test)?, run(CostSelection::Folds)?);
    for shots in [&flattered, &folds] {
        assert!(
            shots[0].mean > 0.3 && shots[1].mean > shots[0].mean && shots[2].mean > shots[1].mean,
            "{shots:?}"
        );
        assert!(shots[0].samples.len() == 6 && shots[0].samples.iter().any(|s| *s != shots[0].samples[0]));
        // 25 pictures of each class are all there are
        assert!(shots[2].fewer.is_empty() && shots[3].fewer.len() == 4);
        assert!(shots[2].samples.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.05), "{shots:?}");
    }
    assert!(flattered[0].cost.is_some() && folds[0].cost.is_none());
    assert_eq!(run(CostSelection::Test)?, flattered, "the same draws by the same seed");
    Ok(())
}

#[test]
fn what_cannot_be_learned_is_said() -> Result<()> {
    let (train, test, mut names) = pictures(&oracle())?;
    names.push("zebra".into());
    let wrong = |error: anyhow::Error| error.to_string();
    let error = wrong(one_vs_rest::run(&exact(vec![1.0]), &train, &test, &names, &Rng::new(0)).unwrap_err());
    assert!(error.contains("0 training pictures show class `zebra`"), "{error}");
    let spec = LowShotSpec::default();
    let error = wrong(low_shot::run_single_label(&spec, &train, &test, &names, &Rng::new(0)).unwrap_err());
    assert!(error.contains("`zebra`"), "{error}");
    names.truncate(2);
    let error = wrong(one_vs_rest::run(&exact(vec![1.0]), &train, &test, &names, &Rng::new(0)).unwrap_err());
    assert!(error.contains("beyond the 2 classes"), "{error}");
    assert!(Labeled::new(Features::new(vec![1.0; 4], 2)?, vec![0]).is_err());
    Ok(())
}
