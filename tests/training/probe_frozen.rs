//! Probes on frozen features against known results: scikit-learn (`scripts/oracles/svm.py` generates the stored file)
//! and cases with a certain outcome.

use candle_core::{Device, Tensor};
use hueristic::{
    backbones::{BackboneSpec, Build, Variant, network::Network},
    bounded::{Count, Positive},
    data::{
        annotated::Presence,
        crop_policy::CropPolicy,
        loader::{Loader, LoaderOptions, Pass},
        scenes::Scenes,
        source::{DataError, DataSpec, Dataset, RgbImage, SourceSpec, Split},
    },
    extremes::apart,
    metrics::average_precision::{ApInterpolation, Relevance, interpolated, steps},
    nn::{
        Mode, TrainingPass,
        optim::{Gradients, Optimizer, OptimizerSpec},
        params::Params,
    },
    pretext::supervised::Supervised,
    probe::{
        downsample::downsample,
        features::{Examples, FeatureSpec, Features, extract},
        knn::{self, KnnSpec, Vote},
        low_shot::{self, CostSelection, LowShotSpec},
        nonlinear::NonlinearProbeSpec,
        products::Products,
        svm::{
            self, Costs, SvmSpec,
            descent::{SvmObjective, fit_classifier},
            folds::stratified,
        },
    },
    rng::Rng,
    train::task::Task,
};
use rand::RngExt;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

type Result<T> = anyhow::Result<T>;

fn oracle(part: &str) -> Value {
    let stored: Value = serde_json::from_str(include_str!("../../scripts/oracles/svm.json")).unwrap();
    stored[part].clone()
}

fn get<T: serde::de::DeserializeOwned>(value: &Value, name: &str) -> T {
    serde_json::from_value(value[name].clone()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn features(value: &Value, name: &str) -> Features {
    Features::new(get(value, name), get(value, "width")).unwrap()
}

fn close(ours: f64, theirs: f64, tolerance: f64, what: &str) {
    assert!((ours - theirs).abs() <= tolerance, "{what}: {ours}, scikit-learn {theirs}");
}

#[test]
fn a_converged_fit_equals_liblinears() {
    let exact = oracle("exact");
    let (train, test) = (features(&exact, "train"), features(&exact, "test"));
    let (labels, truth): (Vec<bool>, Vec<bool>) = (get(&exact, "labels"), get(&exact, "truth"));
    let products = Products::of(&train, &train).unwrap();
    let rows: Vec<usize> = (0..train.len()).collect();
    for fit in exact["fits"].as_array().unwrap() {
        let problem = SvmObjective {
            tolerance: 1e-9,
            max_epochs: 200_000,
            intercept_scaling: get(fit, "scaling"),
            ..SvmSpec::default().objective(get(fit, "cost"))
        };
        let ours = fit_classifier(&products, &labels, &rows, &problem, &Rng::new(3));
        assert!(ours.converged, "{problem:?}");
        close(ours.intercept, get(fit, "intercept"), 1e-4, "intercept");
        for (j, weight) in get::<Vec<f64>>(fit, "weights").into_iter().enumerate() {
            let w: f64 = rows.iter().map(|i| ours.coefficients[*i] * f64::from(train.row(*i)[j])).sum();
            close(w, weight, 1e-4, "weight");
        }
        let scores = ours.decision_values(&Products::of(&test, &train).unwrap());
        for (score, theirs) in scores.iter().zip(get::<Vec<f64>>(fit, "decisions")) {
            close(*score, theirs, 1e-3, "decision");
        }
        let relevance = |shown: &bool| if *shown { Relevance::Relevant } else { Relevance::Irrelevant };
        let ranking = || scores.iter().copied().zip(truth.iter().map(relevance)).collect::<Vec<_>>();
        close(
            interpolated(ranking(), ApInterpolation::Area).unwrap(),
            get(fit, "envelope"),
            1e-12,
            "envelope",
        );
        close(steps(ranking()).unwrap(), get(fit, "stepwise"), 1e-12, "stepwise");
    }
}

#[test]
fn the_usual_tolerance_comes_close_and_pictures_outside_the_rows_are_scored() {
    let exact = oracle("exact");
    let train = features(&exact, "train");
    let labels: Vec<bool> = get(&exact, "labels");
    let products = Products::of(&train, &train).unwrap();
    let rows: Vec<usize> = (0..40).collect();
    let fit = |problem: SvmObjective| fit_classifier(&products, &labels, &rows, &problem, &Rng::new(3));
    let usual = fit(SvmSpec::default().objective(1.0));
    let tight = fit(SvmObjective { tolerance: 1e-9, ..SvmSpec::default().objective(1.0) });
    assert!(usual.converged && usual.epochs < tight.epochs);
    let outside = products.select(&(40..60).collect::<Vec<_>>(), &rows);
    for (i, score) in tight.decision_values(&outside).into_iter().enumerate() {
        assert!((score - tight.decisions[40 + i]).abs() < 1e-6);
        assert!((usual.decisions[40 + i] - score).abs() < 1e-3);
    }
    let hasty = fit(SvmObjective { max_epochs: 1, ..SvmSpec::default().objective(1.0) });
    assert!(!hasty.converged && hasty.epochs == 1);
}

#[test]
fn folds_are_scikit_learns() {
    let cases = oracle("folds");
    for case in cases.as_array().unwrap() {
        assert_eq!(
            stratified(&get::<Vec<bool>>(case, "labels"), get(case, "folds")),
            get::<Vec<usize>>(case, "assigned")
        );
    }
    assert!(cases.as_array().unwrap().len() > 3);
}

fn presence(shows: &[Vec<bool>]) -> Vec<Vec<Presence>> {
    let of = |s: &bool| if *s { Presence::Present } else { Presence::Absent };
    shows.iter().map(|row| row.iter().map(of).collect()).collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|c| format!("class {c}")).collect()
}

/// Training and test examples of three classes, and the spec of the stored results.
fn three_classes() -> (Value, Examples, Examples, SvmSpec) {
    let protocol = oracle("protocol");
    let examples = |x: &str, shows: &str| {
        let shows: Vec<Vec<bool>> = get(&protocol, shows);
        Examples::new(features(&protocol, x), presence(&shows)).unwrap()
    };
    let (train, test) = (examples("train", "shows"), examples("test", "truth"));
    let costs = get::<Vec<f64>>(&protocol, "costs").into_iter().map(Positive::of).collect();
    let tolerance = Positive::of(1e-8);
    (protocol, train, test, SvmSpec { costs: Costs::List(costs), tolerance, ..SvmSpec::default() })
}

#[test]
fn the_whole_protocol_equals_scikit_learns() {
    let (protocol, train, test, spec) = three_classes();
    let report = svm::run(&spec, &train, &test, &names(3), &Rng::new(1)).unwrap();
    let costs: Vec<f64> = get(&protocol, "costs");
    let mut sum = 0.0;
    for (ours, theirs) in report.classes.iter().zip(protocol["classes"].as_array().unwrap()) {
        let cost: f64 = get(theirs, "cost");
        assert_eq!(ours.cost, cost, "{}", ours.class);
        let place = costs.iter().position(|c| *c == cost).unwrap();
        close(ours.validation, get::<Vec<f64>>(theirs, "validation")[place], 1e-9, "validation");
        close(ours.average_precision.unwrap(), get(theirs, "precision"), 1e-9, "precision");
        sum += get::<f64>(theirs, "precision");
    }
    close(report.mean_average_precision, sum / 3.0, 1e-9, "mean average precision");
}

#[test]
fn reports_do_not_depend_on_threads() {
    let (_, train, test, spec) = three_classes();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| svm::run(&spec, &train, &test, &names(3), &Rng::new(1)).unwrap())
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn what_cannot_be_learned_or_tested_is_said() {
    let (_, train, test, spec) = three_classes();
    let rows: Vec<Vec<Presence>> = (0..6)
        .map(|i| {
            let shows = |yes| if yes { Presence::Present } else { Presence::Absent };
            vec![shows(i % 2 == 0), shows(i < 2)]
        })
        .collect();
    let six = || Features::new((0..12u8).map(f32::from).collect(), 2).unwrap();
    let few = Examples::new(six(), rows.clone()).unwrap();
    let failed = |train: &Examples, test: &Examples, count: usize| -> String {
        svm::run(&spec, train, test, &names(count), &Rng::new(0)).unwrap_err().to_string()
    };
    let message = failed(&few, &few, 2);
    assert!(
        message.contains("2 training pictures show class `class 1`") && message.contains("3 folds"),
        "{message}"
    );
    let all = Examples::new(six(), vec![vec![Presence::Present]; 6]).unwrap();
    let message = failed(&all, &all, 1);
    assert!(message.contains("0 training pictures do not show"), "{message}");
    assert!(failed(&train, &few, 3).contains("2 in the test"));
    // A class without test pictures has no average precision and is left out of the mean.
    let two = SvmSpec { folds: Count::of(2), ..spec.clone() };
    let unseen: Vec<_> = rows.iter().map(|row| vec![row[0], Presence::Absent]).collect();
    let unseen = Examples::new(six(), unseen).unwrap();
    let report = svm::run(&two, &few, &unseen, &names(2), &Rng::new(0)).unwrap();
    assert_eq!(report.classes[1].average_precision, None);
    assert_eq!(Some(report.mean_average_precision), report.classes[0].average_precision);
    let nothing = Examples::new(six(), vec![vec![Presence::Ignored; 2]; 6]).unwrap();
    let message = svm::run(&two, &few, &nothing, &names(2), &Rng::new(0)).unwrap_err().to_string();
    assert!(message.contains("no test picture shows any of the classes"), "{message}");
    assert!(failed(&train, &test, 2).contains("2 class names"));
}

#[test]
fn more_shots_know_more_and_the_test_set_flatters() {
    let (_, train, test, svm) = three_classes();
    let shots = [1, 4, 96].map(Count::of).to_vec();
    let spec =
        LowShotSpec { shots, svm: svm.clone(), negatives: Some(Count::of(1)), ..LowShotSpec::default() };
    let run = |spec: &LowShotSpec| low_shot::run(spec, &train, &test, &names(3), &Rng::new(8)).unwrap();
    let report = run(&spec);
    assert!(report.iter().all(|shot| shot.samples.len() == 5 && shot.cost.is_some()));
    assert!(report[0].mean < report[2].mean, "{report:?}");
    assert!(report[0].fewer.is_empty() && report[2].fewer.len() == 3, "{report:?}");
    assert_eq!(report, run(&spec), "the same draws twice");
    // The best of all costs on the test set equals the best single cost.
    let alone = |cost: f64, choose| {
        let svm = SvmSpec { costs: Costs::List(vec![Positive::of(cost)]), ..svm.clone() };
        run(&LowShotSpec { svm, choose, ..spec.clone() })
    };
    let each: Vec<_> = svm.costs.values().into_iter().map(|cost| alone(cost, CostSelection::Test)).collect();
    for (i, shot) in report.iter().enumerate() {
        let best = each.iter().map(|shots| shots[i].mean).fold(0.0, f64::max);
        assert!((shot.mean - best).abs() < 1e-4, "{} shots: {} and {best}", shot.k, shot.mean);
    }
    // Chosen on folds: identical for a single cost, never better than the best on the test set for several.
    let (on_test, on_folds) = (alone(1.0, CostSelection::Test), alone(1.0, CostSelection::Folds));
    for (a, b) in on_test.iter().zip(&on_folds) {
        assert_eq!((&a.samples, b.cost), (&b.samples, None));
    }
    let honest = run(&LowShotSpec { choose: CostSelection::Folds, ..spec.clone() });
    assert!(honest.iter().all(|shot| shot.mean > 0.3 && shot.mean < 1.0), "{honest:?}");
}

#[test]
fn majorities_are_scikit_learns() {
    let stored = oracle("neighbors");
    let (train, test) = (features(&stored, "train"), features(&stored, "test"));
    let (labels, truth): (Vec<u32>, Vec<u32>) = (get(&stored, "labels"), get(&stored, "truth"));
    let votes = stored["votes"].as_array().unwrap();
    let neighbors = votes.iter().map(|v| Count::of(get(v, "k"))).collect();
    let spec = KnnSpec { neighbors, vote: Vote::Majority, ..KnnSpec::default() };
    let predicted = knn::predict(&spec, &train, &labels, &test).unwrap();
    let accuracy = knn::top1(&spec, (&train, &labels), (&test, &truth)).unwrap();
    let one = |f: &Features, labels: &[u32]| Examples::one_label(f.clone(), labels, 4).unwrap();
    let precision = knn::mean_average_precision(&spec, &one(&train, &labels), &one(&test, &truth)).unwrap();
    for (i, vote) in votes.iter().enumerate() {
        assert_eq!(predicted[i], get::<Vec<u32>>(vote, "predicted"), "{} neighbors", accuracy[i].k);
        close(accuracy[i].value, get(vote, "accuracy"), 1e-12, "accuracy");
        close(precision[i].value, get(vote, "precision"), 1e-9, "precision");
    }
}

#[test]
fn weighted_votes_beat_chance_and_all_pictures_vote_where_there_are_few() {
    let stored = oracle("neighbors");
    let (train, test) = (features(&stored, "train"), features(&stored, "test"));
    let (labels, truth): (Vec<u32>, Vec<u32>) = (get(&stored, "labels"), get(&stored, "truth"));
    let results = knn::top1(&KnnSpec::default(), (&train, &labels), (&test, &truth)).unwrap();
    assert_eq!(results.iter().map(|r| r.voters).collect::<Vec<_>>(), [1, 5, 20, 120]);
    // A majority over all neighbors is at chance (0.26); weighted by similarity it is above.
    assert!(results[3].value > 0.5, "{results:?}");
    let wide = Features::new(vec![1.0; 7], 7).unwrap();
    let message = knn::predict(&KnnSpec::default(), &train, &labels, &wide).unwrap_err().to_string();
    assert!(message.contains("features of 6 and of 7 values"), "{message}");
    assert!(knn::predict(&KnnSpec::default(), &train, &labels[1..], &test).is_err());
}

fn small_alexnet() -> BackboneSpec {
    serde_json::from_str(r#"{"alexnet": {"stem": "small", "width": 0.25, "fc": 64, "norm_decay": 0.9}}"#)
        .unwrap()
}

fn data(crop: usize) -> DataSpec {
    let source = SourceSpec::Scenes { train: Count::of(1), val: Count::of(1), size: Count::of(29), seed: 0 };
    DataSpec { threads: Some(Count::of(1)), ..DataSpec::new(source, Count::of(crop)) }
}

fn loader(set: Arc<dyn Dataset>, pass: Pass, batch: usize, data: &DataSpec) -> Result<Loader> {
    Ok(Loader::new(set, data, pass, batch, &Rng::new(2), &Device::Cpu)?)
}

/// Scenes in which picture 3 is unreadable.
struct Damaged(Scenes);

impl Dataset for Damaged {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn classes(&self) -> &[String] {
        self.0.classes()
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.0.label(index)
    }
    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }
    fn image(&self, index: usize) -> std::result::Result<RgbImage, DataError> {
        if index == 3 {
            return Err(DataError::Image { name: self.name(index), reason: "torn".into() });
        }
        self.0.image(index)
    }
    fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }
}

fn transfer_network() -> Result<(Network, Params)> {
    let mut params = Params::new(&Device::Cpu);
    let build = Build { variant: Variant::Transfer, batch_norm: false, input_channels: 1, outputs: None };
    Ok((small_alexnet().build(&build, &mut params, &Rng::new(5))?, params))
}

#[test]
fn features_are_the_taps_of_every_readable_picture() -> Result<()> {
    let (network, _) = transfer_network()?;
    let set = Arc::new(Damaged(Scenes::new(7, 29, 1, Split::Val)));
    let spec: FeatureSpec =
        serde_json::from_str(r#"{"layers": ["conv5", "conv2"], "dimensions": 500, "squash": null}"#)?;
    let lenient = DataSpec { max_bad: serde_json::from_str("0.5")?, ..data(29) };
    let taken = extract(&network, &mut loader(set.clone(), Pass::Once, 4, &lenient)?, &spec, "scenes")?;
    let kept = [0, 1, 2, 4, 5, 6];
    assert!(taken.len() == 2 && taken.iter().all(|f| f.indices() == kept));
    let mut single = loader(set, Pass::Once, 7, &lenient)?;
    let Some(batch) = single.next_batch()? else { panic!("six pictures can be read") };
    let x = network.input().read(&batch.pixels)?;
    let maps = network.forward(&x, &["conv5", "conv2"], &Mode::Frozen)?;
    for (features, map) in taken.iter().zip(&maps) {
        let expected = downsample(map, 500, spec.protocol)?.to_vec2::<f32>()?;
        assert_eq!((features.len(), features.width()), (6, expected[0].len()));
        for (i, row) in expected.iter().enumerate() {
            let apart = apart(row, features.row(i));
            assert!(apart < 1e-4 && row.iter().any(|v| *v > 0.0), "row {i} is {apart} off");
        }
    }
    let wrong = FeatureSpec { layers: vec!["conv9".into()], ..spec };
    let scenes: Arc<dyn Dataset> = Arc::new(Scenes::new(2, 29, 1, Split::Val));
    let failed = extract(&network, &mut loader(scenes, Pass::Once, 2, &data(29))?, &wrong, "scenes");
    assert!(failed.is_err_and(|e| e.to_string().contains("conv9")));
    Ok(())
}

fn train(task: &mut Supervised, batches: &mut Loader, steps: usize) -> Result<()> {
    let sgd: OptimizerSpec = serde_json::from_str(r#"{"sgd": {"lr": 0.02}}"#)?;
    let mut optimizer = Optimizer::new(&sgd, task.params())?;
    for i in 0..steps {
        let Some(batch) = batches.next_batch()? else { anyhow::bail!("training ends") };
        let training = TrainingPass::new(Rng::new(i as u64));
        let step = task.step(&batch, &training)?;
        let mut grads = Gradients::new(task.params());
        grads.add(&training.tape, step.loss)?;
        grads.finish(None)?;
        optimizer.step(task.params(), &grads, 0.02)?;
    }
    Ok(())
}

fn values(params: &Params) -> Result<BTreeMap<String, Vec<f32>>> {
    let value =
        |(name, var): (&str, &candle_core::Var)| Ok((name.to_string(), var.flatten_all()?.to_vec1()?));
    params.all().map(value).collect()
}

#[test]
fn layers_above_frozen_random_ones_learn_and_the_frozen_do_not_move() -> Result<()> {
    let spec = NonlinearProbeSpec { through: "conv2".into(), ..NonlinearProbeSpec::default() };
    let mut task = spec.build(&small_alexnet(), None, 10, &Rng::new(6), &Device::Cpu)?;
    let before = values(task.params())?;
    let trained: Vec<&str> = task.params().iter().map(|p| p.name.as_str()).collect();
    assert!(
        trained.iter().all(|name| !name.starts_with("conv1") && !name.starts_with("conv2")),
        "{trained:?}"
    );
    assert!(trained.contains(&"conv3.weight") && trained.contains(&"fc8.bias"));
    let scenes = |n, split| Arc::new(Scenes::new(n, 29, 4, split));
    train(&mut task, &mut loader(scenes(400, Split::Train), Pass::Train, 32, &data(29))?, 60)?;
    let metrics = task.evaluate(&mut loader(scenes(200, Split::Val), Pass::Once, 50, &data(29))?)?;
    assert_eq!(metrics.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["top1", "top5"]);
    assert!(metrics[0].value > 0.2, "chance is 0.1: {metrics:?}");
    for (name, value) in values(task.params())? {
        let is_frozen = name.starts_with("conv1") || name.starts_with("conv2");
        // A bias before a normalization has no gradient.
        let can_move = name.ends_with(".weight") || name == "fc8.bias";
        assert!(value == before[&name] || !is_frozen, "{name} moved");
        assert!(value != before[&name] || is_frozen || !can_move, "{name} did not learn");
    }
    assert!(before.contains_key("conv1.weight"), "frozen layers are saved with the others");
    Ok(())
}

#[test]
fn only_the_kept_layers_come_from_the_trained_network() -> Result<()> {
    let spec: NonlinearProbeSpec = serde_json::from_str(r#"{"through": "conv3", "batch_norm": false}"#)?;
    let (_, source) = transfer_network()?;
    let mut weights: BTreeMap<String, Tensor> = source.state().into_iter().collect();
    let build = |weights: &BTreeMap<String, Tensor>, spec: &NonlinearProbeSpec| {
        spec.build(&small_alexnet(), Some(weights), 10, &Rng::new(6), &Device::Cpu)
    };
    let (built, given) = (values(build(&weights, &spec)?.params())?, values(&source)?);
    for name in ["conv1.weight", "conv3.weight", "conv3.bias"] {
        assert_eq!(built[name], given[name], "{name}");
    }
    assert!(built["conv4.weight"] != given["conv4.weight"] && built["fc6.weight"] != given["fc6.weight"]);
    assert!(built.keys().all(|name| !name.starts_with("bn")), "{:?}", built.keys());
    weights.remove("conv2.bias");
    let message = build(&weights, &spec).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("conv2.bias"), "{message}");
    for through in ["conv9", "fc8"] {
        let wrong = NonlinearProbeSpec { through: through.into(), ..spec.clone() };
        let message = build(&weights, &wrong).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains(through) && message.contains("conv5"), "{message}");
    }
    Ok(())
}

#[test]
fn frozen_features_of_scenes_know_more_than_chance() -> Result<()> {
    let (network, _) = transfer_network()?;
    let spec: FeatureSpec = serde_json::from_str(r#"{"layers": ["conv2"], "dimensions": 600}"#)?;
    let side = |n, split| -> Result<(Examples, Vec<u32>)> {
        let set: Arc<dyn Dataset> = Arc::new(Scenes::new(n, 40, 4, split));
        let feed = LoaderOptions { batch: 40, pass: Pass::Once, flip: false, max_bad: 0.0, threads: Some(2) };
        let squash = CropPolicy::Squash { short: 32, side: 29 };
        let mut loader = Loader::with_policy(set.clone(), squash, feed, &Rng::new(0), &Device::Cpu)?;
        let features = extract(&network, &mut loader, &spec, "scenes")?.remove(0);
        let labels: Vec<u32> = features.indices().iter().filter_map(|&i| set.label(i)).collect();
        Ok((Examples::one_label(features, &labels, 10)?, labels))
    };
    let ((train, labels), (test, truth)) = (side(200, Split::Train)?, side(100, Split::Val)?);
    let costs = Costs::List([0.1, 1.0, 10.0].map(Positive::of).to_vec());
    let report = svm::run(&SvmSpec { costs, ..SvmSpec::default() }, &train, &test, &names(10), &Rng::new(0))?;
    let nearest = knn::top1(&KnnSpec::default(), (train.features(), &labels), (test.features(), &truth))?;
    assert!(report.mean_average_precision > 0.25, "chance is 0.1: {report:?}");
    assert!(nearest[1].value > 0.15, "chance is 0.1: {nearest:?}");
    // Labels unrelated to the pictures cannot be learned.
    let mut rng = Rng::new(1).at(0, 0);
    let mut random = |n: usize| -> Vec<u32> { (0..n).map(|_| rng.random_range(0..10)).collect() };
    let spec = SvmSpec { costs: Costs::List(vec![Positive::of(1.0)]), ..SvmSpec::default() };
    let mut precision = || -> Result<f64> {
        let shuffled = Examples::one_label(train.features().clone(), &random(200), 10)?;
        Ok(svm::run(&spec, &shuffled, &test, &names(10), &Rng::new(0))?.mean_average_precision)
    };
    // One draw over classes of ten pictures is noisy: 0.25 was observed.
    let draws = (0..8).map(|_| precision()).collect::<Result<Vec<_>>>()?;
    let mean = draws.iter().sum::<f64>() / draws.len() as f64;
    assert!(mean < 0.2, "{draws:?}");
    Ok(())
}
