//! Optimizers against updates computed in double precision by `scripts/oracles/optim.py` (numpy, PyTorch as second
//! witness), on the fused path (f32) and on the composed one (f64).

use candle_core::{DType, Device, Result, Tensor};
use hueristic::{
    bounded::NonNegative,
    nn::{
        optim::{EmaSpec, Gradients, Multiplier, Optimizer, OptimizerSpec, WeightAverage, caffe_pairs},
        params::{ParamKind, Params},
    },
    ops::tape::Tape,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Oracle {
    lr: f64,
    decay: f64,
    rates: Vec<f64>,
    trust_coefficient: f64,
    ema: f64,
    cases: Vec<Case>,
}
#[derive(Deserialize)]
struct Case {
    name: String,
    shape: Vec<usize>,
    start: Vec<f64>,
    gradients: Vec<Vec<f64>>,
    adam: Vec<f64>,
    adam_caffe_pairs: Vec<f64>,
    sgd: Vec<f64>,
    sgd_nesterov: Vec<f64>,
    adamw: Vec<f64>,
    lars: Vec<f64>,
    ema_of_sgd: Vec<f64>,
}

fn oracle() -> Oracle {
    serde_json::from_str(include_str!("../oracles/optim.json")).expect("the file that the script wrote")
}
fn tensor(values: &[f64], shape: &[usize], dtype: DType) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).and_then(|t| t.to_dtype(dtype)).expect("a CPU tensor")
}
fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("a float tensor")
}
/// The start as f32 holds it.
fn start(case: &Case) -> Vec<f64> {
    values(&tensor(&case.start, &case.shape, DType::F32))
}
fn spec(yaml: serde_json::Value) -> OptimizerSpec {
    serde_json::from_value(yaml).expect("a valid spec")
}
fn adam(oracle: &Oracle) -> OptimizerSpec {
    spec(serde_json::json!({"adam": {"lr": oracle.lr, "decay": oracle.decay}}))
}
fn lars(oracle: &Oracle) -> OptimizerSpec {
    let (decay, coefficient) = (oracle.decay, oracle.trust_coefficient);
    spec(serde_json::json!({"lars": {"lr": 1, "decay": decay, "trust_coefficient": coefficient}}))
}
fn params(oracle: &Oracle, dtype: DType) -> Result<Params> {
    params_with(oracle, dtype, ParamKind::Bias)
}
/// The bias has the kind given.
fn params_with(oracle: &Oracle, dtype: DType, bias: ParamKind) -> Result<Params> {
    let mut params = Params::new(&Device::Cpu);
    for case in &oracle.cases {
        let kind = if case.name.ends_with("bias") { bias } else { ParamKind::Weight };
        params.add(&case.name, &tensor(&case.start, &case.shape, dtype), kind)?;
    }
    Ok(params)
}

/// Adds a pass whose gradients are the given ones, by a loss that is linear in the parameters; None for no gradient.
fn add(sums: &mut Gradients, params: &Params, gradients: impl Fn(usize) -> Option<Tensor>) -> Result<()> {
    let mut loss =
        Tensor::zeros((), params.iter().next().map_or(DType::F32, |p| p.var.dtype()), &Device::Cpu)?;
    for (i, param) in params.iter().enumerate() {
        if let Some(gradient) = gradients(i) {
            loss = (loss + (param.var.as_tensor() * gradient)?.sum_all()?)?;
        }
    }
    sums.add(&Tape::default(), loss)
}
fn stored<'a>(
    oracle: &'a Oracle,
    params: &Params,
    step: usize,
) -> impl Fn(usize) -> Option<Tensor> + use<'a> {
    let dtype = params.iter().next().map_or(DType::F32, |p| p.var.dtype());
    move |i| Some(tensor(&oracle.cases[i].gradients[step], &oracle.cases[i].shape, dtype))
}
fn update(oracle: &Oracle, params: &Params, optimizer: &mut Optimizer, step: usize, lr: f64) -> Result<()> {
    let mut gradients = Gradients::new(params);
    add(&mut gradients, params, stored(oracle, params, step))?;
    gradients.finish(None)?;
    optimizer.step(params, &gradients, lr)
}
fn train(oracle: &Oracle, spec: &OptimizerSpec, rates: &[f64], dtype: DType) -> Result<Params> {
    let params = params(oracle, dtype)?;
    train_on(&params, oracle, spec, rates)?;
    Ok(params)
}
fn train_on(params: &Params, oracle: &Oracle, spec: &OptimizerSpec, rates: &[f64]) -> Result<()> {
    let mut optimizer = Optimizer::new(spec, params)?;
    let mut steps = rates.iter().enumerate();
    steps.try_for_each(|(step, &lr)| update(oracle, params, &mut optimizer, step, lr))
}
fn compare(params: &Params, oracle: &Oracle, wanted: impl Fn(&Case) -> &Vec<f64>, tolerance: f64) {
    for (param, case) in params.iter().zip(&oracle.cases) {
        for (got, wanted) in values(&param.var).iter().zip(wanted(case)) {
            assert!((got - wanted).abs() <= tolerance, "{}: {got} is not {wanted}", case.name);
        }
    }
}
fn on_both_paths(test: impl Fn(DType, f64) -> Result<()>) -> Result<()> {
    test(DType::F32, 1e-6)?;
    test(DType::F64, 1e-12)
}

#[test]
fn adam_with_coupled_decay() -> Result<()> {
    let oracle = oracle();
    on_both_paths(|dtype, tolerance| {
        let params = train(&oracle, &adam(&oracle), &[oracle.lr; 5], dtype)?;
        compare(&params, &oracle, |case| &case.adam, tolerance);
        Ok(())
    })
}

#[test]
fn caffe_pairs_double_the_rate_of_biases_and_spare_them_decay() -> Result<()> {
    let oracle = oracle();
    let mut spec = adam(&oracle);
    if let OptimizerSpec::Adam(adam) = &mut spec {
        adam.multipliers = caffe_pairs();
    }
    let params = train(&oracle, &spec, &[oracle.lr; 5], DType::F32)?;
    compare(&params, &oracle, |case| &case.adam_caffe_pairs, 1e-6);
    Ok(())
}

/// The rate drops on the way, where PyTorch's momentum would differ.
#[test]
fn sgd_keeps_the_rate_inside_the_velocity() -> Result<()> {
    let oracle = oracle();
    on_both_paths(|dtype, tolerance| {
        for nesterov in [false, true] {
            let json = serde_json::json!({"sgd": {"lr": 0.02, "decay": oracle.decay, "nesterov": nesterov}});
            let params = train(&oracle, &spec(json), &oracle.rates, dtype)?;
            compare(&params, &oracle, |c| if nesterov { &c.sgd_nesterov } else { &c.sgd }, tolerance);
        }
        Ok(())
    })
}

/// The rate drops on the way: the decay follows it.
#[test]
fn adamw_decays_apart_from_the_moments() -> Result<()> {
    let oracle = oracle();
    let spec = spec(serde_json::json!({"adamw": {"lr": 0.02, "decay": oracle.decay}}));
    on_both_paths(|dtype, tolerance| {
        let params = train(&oracle, &spec, &oracle.rates, dtype)?;
        compare(&params, &oracle, |case| &case.adamw, tolerance);
        Ok(())
    })
}

#[test]
fn lars_adapts_the_rate_of_weights_and_spares_the_rest() -> Result<()> {
    let oracle = oracle();
    on_both_paths(|dtype, tolerance| {
        for kind in [ParamKind::Bias, ParamKind::Scale, ParamKind::Shift] {
            let params = params_with(&oracle, dtype, kind)?;
            train_on(&params, &oracle, &lars(&oracle), &oracle.rates)?;
            compare(&params, &oracle, |case| &case.lars, tolerance);
        }
        Ok(())
    })
}

/// SGD with one of the parameters frozen, by its learning-rate factor.
fn sgd_without_the_bias(oracle: &Oracle) -> OptimizerSpec {
    let frozen = serde_json::json!([{"pattern": "conv1.bias", "lr": 0}]);
    spec(serde_json::json!({"sgd": {"lr": 0.02, "decay": oracle.decay, "multipliers": frozen}}))
}
fn average(oracle: &Oracle, params: &Params, optimizer: &Optimizer) -> Result<WeightAverage> {
    let ema: EmaSpec =
        serde_json::from_value(serde_json::json!({"decay": oracle.ema})).expect("a valid spec");
    WeightAverage::new(Some(&ema), params, optimizer)
}

#[test]
fn averages_follow_the_weights_and_swap_with_them() -> Result<()> {
    let oracle = oracle();
    on_both_paths(|dtype, tolerance| {
        let params = params(&oracle, dtype)?;
        let mut optimizer = Optimizer::new(&sgd_without_the_bias(&oracle), &params)?;
        let mut average = average(&oracle, &params, &optimizer)?;
        for (step, &lr) in oracle.rates.iter().enumerate() {
            update(&oracle, &params, &mut optimizer, step, lr)?;
            average.update()?;
        }
        let names: Vec<_> = average.state().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["conv1.weight", "fc8.weight"], "what is frozen is its own average");
        let bits = || params.iter().map(|p| values(&p.var)).collect::<Vec<_>>();
        let trained = bits();
        average.swap()?;
        compare(
            &params,
            &oracle,
            |c| if c.name == "conv1.bias" { &c.start } else { &c.ema_of_sgd },
            tolerance,
        );
        average.swap()?;
        assert!(bits() == trained);
        Ok(())
    })
}

#[test]
fn a_restored_average_goes_on_bit_for_bit() -> Result<()> {
    let oracle = oracle();
    let params = params(&oracle, DType::F32)?;
    let mut optimizer = Optimizer::new(&sgd_without_the_bias(&oracle), &params)?;
    let mut straight = average(&oracle, &params, &optimizer)?;
    let mut resumed = average(&oracle, &params, &optimizer)?;
    for step in 0..5 {
        update(&oracle, &params, &mut optimizer, step, 0.02)?;
        straight.update()?;
        if step == 2 {
            resumed.restore(&straight.state())?;
        } else if step > 2 {
            resumed.update()?;
        }
    }
    for ((name, one), (_, other)) in straight.state().iter().zip(resumed.state()) {
        assert_eq!(values(one), values(&other), "{name}");
    }
    let error = straight.restore(&[]).expect_err("nothing to restore").to_string();
    assert!(error.contains("ema: the state has 0 entries, 2 expected"), "{error}");
    let none = WeightAverage::new(None, &params, &optimizer)?;
    assert!(none.state().is_empty());
    Ok(())
}

#[test]
fn a_restored_optimizer_goes_on_bit_for_bit() -> Result<()> {
    let oracle = oracle();
    for name in ["adam", "adamw", "sgd", "lars"] {
        let spec = spec(serde_json::json!({name: {"lr": 0.02, "decay": 0.1}}));
        let straight = train(&oracle, &spec, &[0.02; 5], DType::F32)?;
        let (first, second) = (params(&oracle, DType::F32)?, params(&oracle, DType::F32)?);
        let mut optimizer = Optimizer::new(&spec, &first)?;
        (0..2).try_for_each(|step| update(&oracle, &first, &mut optimizer, step, 0.02))?;
        second.restore(&first.state())?;
        let mut resumed = Optimizer::new(&spec, &second)?;
        resumed.restore(&optimizer.state())?;
        (2..5).try_for_each(|step| update(&oracle, &second, &mut resumed, step, 0.02))?;
        for (a, b) in straight.iter().zip(second.iter()) {
            assert_eq!(values(&a.var), values(&b.var), "{}", a.name);
        }
    }
    Ok(())
}

#[test]
fn a_foreign_state_is_refused() -> Result<()> {
    let oracle = oracle();
    let params = params(&oracle, DType::F32)?;
    let sgd = Optimizer::new(&spec(serde_json::json!({"sgd": {"lr": 1}})), &params)?;
    let mut adam = Optimizer::new(&adam(&oracle), &params)?;
    let error = adam.restore(&sgd.state()).expect_err("the state of SGD").to_string();
    assert!(error.contains("4 entries, 7 expected"), "{error}");
    let mut state = adam.state();
    state[1].0 = "adam.m.conv9.weight".into();
    assert!(adam.restore(&state).expect_err("a wrong name").to_string().contains("`adam.m.conv1.weight`"));
    Ok(())
}

#[test]
fn a_rate_factor_of_zero_freezes_bit_for_bit_and_needs_no_moments() -> Result<()> {
    let oracle = oracle();
    let frozen =
        Multiplier { pattern: "conv1.*".into(), lr: NonNegative::of(0.0), decay: NonNegative::of(1.0) };
    let mut spec = adam(&oracle);
    if let OptimizerSpec::Adam(adam) = &mut spec {
        adam.multipliers = vec![frozen];
    }
    let params = train(&oracle, &spec, &[oracle.lr; 5], DType::F32)?;
    let optimizer = Optimizer::new(&spec, &params)?;
    let names: Vec<_> = optimizer.state().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["optimizer.steps", "adam.m.fc8.weight", "adam.v.fc8.weight"]);
    for (param, case) in params.iter().zip(&oracle.cases) {
        assert_eq!(values(&param.var) == start(case), param.name.starts_with("conv1"), "{}", param.name);
    }
    let mut gradients = optimizer.gradients(&params);
    add(&mut gradients, &params, stored(&oracle, &params, 0))?;
    let fc8: f64 = oracle.cases[2].gradients[0].iter().map(|g| g * g).sum();
    assert!((gradients.finish(None)? - fc8.sqrt()).abs() < 1e-9, "frozen gradients count in the norm");
    Ok(())
}

/// Three passes in an update of SGD without momentum: sum, clip the sum, divide by three, in Caffe's order.
#[test]
fn passes_are_summed_clipped_and_divided() -> Result<()> {
    let oracle = oracle();
    on_both_paths(|dtype, tolerance| {
        for clip in [None, Some(1.5)] {
            let params = params(&oracle, dtype)?;
            let plain = spec(serde_json::json!({"sgd": {"lr": 1, "momentum": 0}}));
            let mut optimizer = Optimizer::new(&plain, &params)?;
            let mut gradients = Gradients::new(&params);
            (0..3).try_for_each(|step| add(&mut gradients, &params, stored(&oracle, &params, step)))?;
            let sum = |case: &Case, i: usize| (0..3).map(|s| case.gradients[s][i]).sum::<f64>();
            let all = oracle.cases.iter().flat_map(|c| (0..c.start.len()).map(move |i| sum(c, i)));
            let norm = all.map(|g| g * g).sum::<f64>().sqrt();
            assert!((gradients.finish(clip)? - norm).abs() < 1e-5);
            optimizer.step(&params, &gradients, 0.5)?;
            let factor = 0.5 * clip.map_or(1.0, |most: f64| most / norm) / 3.0;
            for (param, case) in params.iter().zip(&oracle.cases) {
                for (i, got) in values(&param.var).into_iter().enumerate() {
                    assert!((got - (case.start[i] - factor * sum(case, i))).abs() <= 2.0 * tolerance);
                }
            }
        }
        Ok(())
    })
}

/// Two parameters can get one and the same tensor as gradient; adding passes must not write into it.
#[test]
fn shared_gradients_stay_apart() -> Result<()> {
    let mut params = Params::new(&Device::Cpu);
    for name in ["a", "b"] {
        params.add(name, &Tensor::new(&[0f32], &Device::Cpu)?, ParamKind::Weight)?;
    }
    let shared = Tensor::new(&[1f32], &Device::Cpu)?;
    let mut gradients = Gradients::new(&params);
    for _ in 0..3 {
        add(&mut gradients, &params, |_| Some(shared.clone()))?;
    }
    gradients.finish(None)?;
    let sgd = spec(serde_json::json!({"sgd": {"lr": 1, "momentum": 0}}));
    Optimizer::new(&sgd, &params)?.step(&params, &gradients, 1.0)?;
    assert_eq!(shared.to_vec1::<f32>()?, [1.0]);
    params.iter().for_each(|p| assert_eq!(values(&p.var), [-1.0], "{}", p.name));
    Ok(())
}

#[test]
fn the_first_parameter_that_is_not_finite_is_named() -> Result<()> {
    let oracle = oracle();
    on_both_paths(|dtype, _| {
        let params = params(&oracle, dtype)?;
        for (bad, name) in [(f64::NAN, Some("conv1.bias")), (f64::INFINITY, Some("conv1.bias")), (0.0, None)]
        {
            let mut gradients = Gradients::new(&params);
            let (sound, broken) = (stored(&oracle, &params, 0), tensor(&[1.0, 2.0, bad, 4.0], &[4], dtype));
            let is_bias = |i: usize| oracle.cases[i].name == "conv1.bias";
            add(&mut gradients, &params, |i| if is_bias(i) { Some(broken.clone()) } else { sound(i) })?;
            assert_eq!(gradients.finish(None)?.is_finite(), name.is_none());
            assert_eq!(gradients.non_finite(&params)?.as_deref(), name);
        }
        Ok(())
    })
}

#[test]
fn a_parameter_without_a_gradient_stays() -> Result<()> {
    let oracle = oracle();
    let params = params(&oracle, DType::F32)?;
    let mut optimizer = Optimizer::new(&adam(&oracle), &params)?;
    let mut gradients = Gradients::new(&params);
    let all = stored(&oracle, &params, 0);
    add(&mut gradients, &params, |i| all(i).filter(|_| oracle.cases[i].name != "conv1.bias"))?;
    gradients.finish(None)?;
    optimizer.step(&params, &gradients, 0.1)?;
    let stays: Vec<_> = params.iter().zip(&oracle.cases).map(|(p, c)| values(&p.var) == start(c)).collect();
    assert_eq!(stays, [false, true, false]);
    Ok(())
}
