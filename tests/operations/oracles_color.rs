//! The color floor against known answers: scikit-image and SciPy (`scripts/oracles/color.py` makes the stored file), the
//! ColorChecker, and the authors' bins and prior.

use super::on_devices::{device, on_every_device};
use super::skipping::data;
use candle_core::{DType, Tensor};
use hueristic::color::bins::Bins;
use hueristic::color::decode::{Decode, decode};
use hueristic::color::encode::SoftCode;
use hueristic::color::lab::{rgb_to_lab, srgb8_to_lab};
use hueristic::color::prior::{Prior, PriorCounter, rebalance};
use serde_json::Value;
use std::sync::Arc;

fn oracle() -> Value {
    serde_json::from_str(include_str!("../../scripts/oracles/color.json")).unwrap()
}

fn numbers<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn lab_equals_scikit_image() {
    on_every_device(|| {
        let oracle = oracle();
        let (rgb, lab): (Vec<[u8; 3]>, Vec<[f64; 3]>) = (numbers(&oracle["rgb"]), numbers(&oracle["lab"]));
        assert_eq!((rgb.len(), lab.len()), (200, 200));
        let pixels = Tensor::from_slice(rgb.as_flattened(), (1, 10, 20, 3), &device()).unwrap();
        let ours = rgb_to_lab(&pixels).unwrap().reshape((200, 3)).unwrap().to_vec2::<f32>().unwrap();
        for (ours, (rgb, lab)) in ours.iter().zip(rgb.iter().zip(&lab)) {
            for (x, y) in ours.iter().zip(lab) {
                assert!((f64::from(*x) - y).abs() < 1e-5, "{rgb:?}: {ours:?}, scikit-image {lab:?}");
            }
        }
    });
}

#[test]
fn lab_of_the_colorchecker() {
    on_every_device(|| {
        let Some(path) = data("colorchecker/colorchecker24.csv") else { return };
        let text = std::fs::read_to_string(path).unwrap();
        let mut patches = 0;
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let rgb = [2, 3, 4].map(|i| fields[i].parse::<u8>().unwrap());
            let lab = [5, 6, 7].map(|i| fields[i].parse::<f32>().unwrap());
            for (ours, theirs) in srgb8_to_lab(rgb).iter().zip(lab) {
                assert!((ours - theirs).abs() < 1e-3, "{line}: {ours}");
            }
            patches += 1;
        }
        assert_eq!(patches, 24);
    });
}

#[test]
fn bins_equal_an_independent_hull() {
    on_every_device(|| {
        assert_eq!(Bins::new(10.0).centers(), numbers::<Vec<[f32; 2]>>(&oracle()["bins"]));
    });
}

#[test]
fn bins_equal_the_authors() {
    on_every_device(|| {
        let Some(folder) = data("color_bins") else { return };
        let read = |name: &str| {
            let array = Tensor::read_npy(folder.join(name)).unwrap().to_dtype(DType::F32).unwrap();
            array.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let bins = Bins::new(10.0);
        assert_eq!(bins.centers().as_flattened(), read("pts_in_hull.npy"));
        let (points, kept): (Vec<[f32; 2]>, Vec<bool>) = bins.lattice().into_iter().unzip();
        assert_eq!(points.as_flattened(), read("pts_grid.npy"));
        assert_eq!(kept, read("in_hull.npy").iter().map(|v| *v != 0.0).collect::<Vec<_>>());
    });
}

#[test]
fn codes_equal_numpy() {
    on_every_device(|| {
        let (oracle, bins) = (oracle(), Arc::new(Bins::new(10.0)));
        let codes = oracle["codes"].as_array().unwrap();
        assert_eq!(codes.len(), 24);
        for case in codes {
            let code = SoftCode::new(bins.clone(), numbers(&case["k"]), 5.0);
            let mut ours = vec![(0, 0.0); code.neighbors()];
            code.encode(numbers(&case["ab"]), &mut ours);
            let (indices, weights): (Vec<u32>, Vec<f32>) = ours.into_iter().unzip();
            assert_eq!(indices, numbers::<Vec<u32>>(&case["bins"]), "{}", case["ab"]);
            for (x, y) in weights.iter().zip(numbers::<Vec<f32>>(&case["weights"])) {
                assert!((x - y).abs() < 2e-6, "{}: {x}, numpy {y}", case["ab"]);
            }
        }
    });
}

#[test]
fn annealed_means_equal_scipy() {
    on_every_device(|| {
        let (oracle, bins) = (oracle(), Bins::new(10.0));
        let logits: Vec<f32> = numbers(&oracle["decoded"]["logits"]);
        let logits = Tensor::from_vec(logits, (1, 1, 1, 313), &device()).unwrap();
        let cases = oracle["decoded"]["ab"].as_object().unwrap();
        assert_eq!(cases.len(), 4);
        for (t, theirs) in cases {
            let ours = decode(&logits, &bins, Decode::Annealed(t.parse().unwrap())).unwrap();
            let ours = ours.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (x, y) in ours.iter().zip(numbers::<Vec<f32>>(theirs)) {
                assert!((x - y).abs() < 1e-4, "T = {t}: {ours:?}, scipy {theirs}");
            }
        }
    });
}

#[test]
fn priors_equal_scipy() {
    on_every_device(|| {
        let oracle = oracle();
        let rgb: Vec<[u8; 3]> = numbers(&oracle["rgb"]);
        let mut counter = PriorCounter::new();
        counter.add_rgb(rgb.as_flattened());
        let ours = counter.prior(&Bins::new(10.0), 5.0);
        let theirs: Vec<f64> = numbers(&oracle["prior"]);
        assert_eq!(ours.len(), theirs.len());
        for (x, y) in ours.iter().zip(theirs) {
            assert!((x - y).abs() < 1e-12, "{x}, scipy {y}");
            assert_eq!(*x > 0.0, y > 0.0);
        }
    });
}

#[test]
fn weights_of_the_released_prior() {
    on_every_device(|| {
        let Some(path) = data("color_bins/prior_probs.npy") else { return };
        let bins = Bins::new(10.0);
        let prior = Prior::read(&path, &bins).unwrap();
        assert_eq!(prior.record, None);
        let weights = rebalance(&prior.probabilities, 0.5);
        let at = |ab| f64::from(weights[bins.nearest(ab)]);
        assert!((at([0.0, 0.0]) - 0.0965032).abs() < 1e-6);
        assert!((at([100.0, -90.0]) - 6.1748680).abs() < 1e-6);
        let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / 313.0;
        assert!((mean - 5.1748798).abs() < 1e-6, "{mean}");
        assert!(weights.iter().all(|w| at([0.0, 0.0]) <= f64::from(*w)));
    });
}
