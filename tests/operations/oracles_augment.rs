//! Changes of color and the contrastive loss against torchvision, colorsys and PyTorch (`scripts/oracles/augment.py`).

use super::on_devices::{device, on_every_device};
use candle_core::{DType, Result, Tensor, Var};
use hueristic::{
    color::jitter::{ColorChange, ColorJitter, jitter},
    ops::losses::nt_xent,
};
use serde_json::Value;

fn oracle() -> Value {
    serde_json::from_str(include_str!("../../scripts/oracles/augment.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn check(name: &str, got: &Tensor, want: &Value, tolerance: f64) -> Result<()> {
    let got = got.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let want = numbers(want);
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() < tolerance, "{name} {i}: {got}, not {want}");
    }
    Ok(())
}

#[test]
fn colors_change_as_in_torchvision_and_colorsys() {
    on_every_device(|| -> Result<()> {
        let colors = &oracle()["colors"];
        let pixels = numbers(&colors["pixels"]);
        let x = Tensor::from_slice(&pixels, (1, 1, pixels.len() / 3, 3), &device())?.to_dtype(DType::F32)?;
        let changed = |change: Option<ColorChange>, gray| {
            jitter(&x, &[ColorJitter { changes: [None, change, None, None], gray }])
        };
        type Change = fn(f32) -> ColorChange;
        for (name, change) in [
            ("hue", ColorChange::Hue as Change),
            ("saturation", ColorChange::Saturation),
            ("brightness", ColorChange::Brightness),
            ("contrast", ColorChange::Contrast),
        ] {
            for case in colors[name].as_array().unwrap() {
                let amount = case["amount"].as_f64().unwrap();
                let y = changed(Some(change(amount as f32)), false)?;
                check(&format!("{name} {amount}"), &y, &case["pixels"], 2e-6)?;
            }
        }
        check("gray", &changed(None, true)?, &colors["gray"], 1e-6)
    });
}

/// Several pictures at once, each with its own changes in its own order, are each as alone.
#[test]
fn pictures_of_a_batch_change_as_alone() {
    on_every_device(|| -> Result<()> {
        let values: Vec<f32> = (0..3 * 7 * 9 * 3).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
        let x = Tensor::from_vec(values, (3, 7, 9, 3), &device())?;
        let all = [
            ColorChange::Brightness(1.3),
            ColorChange::Contrast(0.7),
            ColorChange::Saturation(1.4),
            ColorChange::Hue(0.07),
        ];
        let [a, b, c, d] = all.map(Some);
        let changes = [
            ColorJitter { changes: [a, b, c, d], gray: false },
            ColorJitter { changes: [d, b, a, c], gray: true },
            ColorJitter::default(),
        ];
        let together = jitter(&x, &changes)?;
        for (i, change) in changes.iter().enumerate() {
            let alone = jitter(&x.narrow(0, i, 1)?, &[*change])?.flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(together.narrow(0, i, 1)?.flatten_all()?.to_vec1::<f32>()?, alone);
        }
        Ok(())
    });
}

#[test]
fn the_contrastive_loss_is_pytorchs() {
    on_every_device(|| -> Result<()> {
        let contrastive = &oracle()["contrastive"];
        let z = numbers(&contrastive["z"]);
        for case in contrastive["cases"].as_array().unwrap() {
            let z = Var::from_slice(&z, (10, z.len() / 10), &device())?;
            let compared = nt_xent(&z, case["temperature"].as_f64().unwrap())?;
            let loss = compared.loss.to_scalar::<f64>()?;
            assert!((loss - case["loss"].as_f64().unwrap()).abs() < 1e-9, "{loss}, not {case}");
            let dz = compared.loss.backward()?.get(&z).cloned().unwrap();
            check("dz", &dz, &case["dz"], 1e-8)?;
        }
        Ok(())
    });
}
