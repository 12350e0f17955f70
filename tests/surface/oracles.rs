//! Metrics of transfer tasks against known results: scikit-learn (`scripts/oracles/metrics.py` generates the stored
//! file), the Python evaluation of Faster R-CNN, an independent implementation, and real masks and annotations.

use super::skipping::data;
use hueristic::{
    boxes::Rect,
    data::voc::{
        CLASSES,
        mask::{color_map, read_indices},
        xml,
    },
    evaluation::detections::DetectionFiles,
    metrics::{
        average_precision::{ApInterpolation, Relevance, interpolated, stepwise},
        detection::{Detection, Truth, match_class},
        segmentation::ConfusionMatrix,
    },
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::HashMap, fs, path::Path};

#[derive(Deserialize)]
struct Oracles {
    rankings: Vec<Ranking>,
    segmentations: Vec<Segmentation>,
}

#[derive(Deserialize)]
struct Ranking {
    scores: Vec<f64>,
    /// 1, 0, or −1 for ignored.
    relevance: Vec<i8>,
    stepwise: f64,
    area: f64,
    eleven_point: f64,
}

#[derive(Deserialize)]
struct Segmentation {
    classes: usize,
    truth: Vec<u8>,
    predicted: Vec<u8>,
    matrix: Vec<Vec<u64>>,
    pixel_accuracy: f64,
    mean_accuracy: f64,
    mean_iu: f64,
    frequency_weighted_iu: f64,
    class_iu: Vec<Option<f64>>,
}

fn oracles() -> Oracles {
    serde_json::from_str(include_str!("../../scripts/oracles/metrics.json")).unwrap()
}

fn close(what: &str, got: Option<f64>, want: f64, tolerance: f64) {
    let got = got.unwrap_or_else(|| panic!("{what}: no value, not {want}"));
    assert!((got - want).abs() < tolerance, "{what}: {got}, not {want}");
}

#[test]
fn average_precision_is_scikit_learns() {
    for (i, case) in oracles().rankings.iter().enumerate() {
        let relevance = case.relevance.iter().map(|relevance| match relevance {
            1 => Relevance::Relevant,
            0 => Relevance::Irrelevant,
            _ => Relevance::Ignored,
        });
        let items: Vec<_> = case.scores.iter().copied().zip(relevance).collect();
        let back: Vec<_> = items.iter().rev().copied().collect();
        for items in [items, back] {
            close(&format!("ranking {i}"), stepwise(items.clone()), case.stepwise, 1e-12);
            close(
                &format!("ranking {i}, area"),
                interpolated(items.clone(), ApInterpolation::Area),
                case.area,
                1e-12,
            );
            close(
                &format!("ranking {i}, points"),
                interpolated(items, ApInterpolation::Voc07),
                case.eleven_point,
                1e-12,
            );
        }
    }
}

#[test]
fn segmentation_is_scikit_learns() {
    let cases = oracles().segmentations;
    assert!(cases.iter().any(|case| case.class_iu.contains(&None)), "no undefined class is tried");
    for case in cases {
        let mut confusion = ConfusionMatrix::new(case.classes).unwrap();
        confusion.add(&case.truth, &case.predicted).unwrap();
        for (i, row) in case.matrix.iter().enumerate() {
            let ours: Vec<u64> = (0..case.classes).map(|j| confusion.count(i, j)).collect();
            assert_eq!(&ours, row, "class {i}");
        }
        let scores = confusion.scores();
        close("pixel accuracy", scores.pixel_accuracy, case.pixel_accuracy, 1e-12);
        close("mean accuracy", scores.mean_accuracy, case.mean_accuracy, 1e-12);
        close("mean IU", scores.mean_iu, case.mean_iu, 1e-12);
        close("frequency weighted IU", scores.frequency_weighted_iu, case.frequency_weighted_iu, 1e-12);
        for (class, (ours, theirs)) in scores.class_iu.iter().zip(&case.class_iu).enumerate() {
            let same = ours.zip(*theirs).is_some_and(|(a, b)| (a - b).abs() < 1e-12);
            assert!(same || (ours.is_none() && theirs.is_none()), "class {class}: {ours:?} {theirs:?}");
        }
    }
}

/// 452 detections on 100 pictures, three thresholds, both rules, every class.
#[test]
fn detections_score_as_faster_rcnns_evaluation_says() {
    let Some(dir) = data("eval_fixtures/voc2012_100_dets") else { return };
    let expected: HashMap<String, HashMap<String, f64>> =
        serde_json::from_str(&fs::read_to_string(dir.join("expected_voc_eval.json")).unwrap()).unwrap();
    for threshold in [0.3, 0.5, 0.75] {
        for (rule, name) in [(ApInterpolation::Voc07, "voc07"), (ApInterpolation::Area, "allpoint")] {
            let key = format!("iou{threshold}_{name}");
            let files = DetectionFiles {
                results: dir.join("results/VOC2012/Main"),
                annotations: dir.join("Annotations"),
                set: dir.join("imageset.txt"),
                threshold,
                rule,
            };
            let scores = files.evaluate().unwrap();
            assert_eq!(scores.classes.len(), 20);
            for class in &scores.classes {
                let theirs = &expected[&class.class];
                close(&format!("{} {key}", class.class), class.average_precision, theirs[&key], 1e-6);
                assert_eq!(class.detections as f64, theirs["ndet"], "{}", class.class);
            }
            close(&format!("mean {key}"), scores.mean, expected["mean"][&key], 1e-6);
        }
    }
}

/// `LABEL [SCORE] X Y WIDTH HEIGHT` per line; the score is optional.
fn boxes_of(path: &Path) -> Vec<(f64, Rect)> {
    let text = fs::read_to_string(path).unwrap();
    let parse = |line: &str| {
        let numbers: Vec<f64> = line.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
        let &[x, y, w, h] = &numbers[numbers.len() - 4..] else { panic!("{line}") };
        (numbers[0], Rect::new(x as f32, y as f32, (x + w) as f32, (y + h) as f32))
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}

#[test]
fn detections_score_as_an_independent_evaluation_says() {
    let Some(dir) = data("eval_fixtures/padilla_7img") else { return };
    let expected: Value =
        serde_json::from_str(&fs::read_to_string(dir.join("expected.json")).unwrap()).unwrap();
    let (mut detections, mut truth) = (vec![], vec![]);
    for image in 0..7 {
        let file = format!("{:05}.txt", image + 1);
        let found = boxes_of(&dir.join("dets").join(&file));
        detections.extend(found.into_iter().map(|(score, bounds)| Detection { image, score, bounds }));
        let objects = boxes_of(&dir.join("gts").join(&file));
        truth.push(objects.into_iter().map(|(_, bounds)| Truth { bounds, difficult: false }).collect());
    }
    for threshold in [0.1, 0.3, 0.5, 0.75] {
        let matched = match_class(&detections, &truth, threshold).unwrap();
        for (rule, name) in
            [(ApInterpolation::Voc07, "voc07_11point"), (ApInterpolation::Area, "every_point")]
        {
            let theirs = expected[name][threshold.to_string()].as_f64().unwrap();
            close(&format!("{name} at {threshold}"), matched.average_precision(rule), theirs, 1e-9);
        }
    }
}

/// The released FCN's prediction for one picture, in palette colors, against the picture's mask.
#[test]
fn a_released_networks_mask_scores_as_counting_says() {
    let Some(dir) = data("eval_fixtures/fcn_demo") else { return };
    let truth = read_indices(&dir.join("label.png")).unwrap();
    let output = image::open(dir.join("output.png")).unwrap().into_rgb8();
    assert_eq!((truth.width, truth.height), (output.width() as usize, output.height() as usize));
    let map = color_map();
    let index = |color: &[u8; 3]| map.iter().position(|known| known == color).unwrap() as u8;
    let predicted: Vec<u8> = output.pixels().map(|pixel| index(&pixel.0)).collect();
    let mut confusion = ConfusionMatrix::new(21).unwrap();
    confusion.add(&truth.labels, &predicted).unwrap();
    let scores = confusion.scores();
    // Bicycle and person, counted here pixel by pixel.
    for class in [0u8, 2, 15] {
        let pixels = || truth.labels.iter().zip(&predicted).filter(|(t, _)| **t != 255);
        let both = pixels().filter(|(t, p)| **t == class && **p == class).count() as f64;
        let either = pixels().filter(|(t, p)| **t == class || **p == class).count() as f64;
        close("IU", scores.class_iu[usize::from(class)], both / either, 1e-12);
    }
    assert!(scores.mean_iu.unwrap() > 0.7 && scores.pixel_accuracy.unwrap() > 0.8, "{scores:?}");
}

/// Real masks: each can be read, has its picture's classes, and equals itself.
#[test]
fn real_masks_are_read() {
    let Some(dir) = data("voc2012_small/VOCdevkit/VOC2012/SegmentationClass") else { return };
    let (map, mut confusion) = (color_map(), ConfusionMatrix::new(21).unwrap());
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().step_by(20) {
        let mask = read_indices(path).unwrap();
        confusion.add(&mask.labels, &mask.labels).unwrap();
        let shown = image::open(path).unwrap().into_rgb8();
        let colors = mask.labels.iter().map(|label| map[usize::from(*label)]);
        assert!(shown.pixels().map(|pixel| pixel.0).eq(colors), "{}", path.display());
    }
    let scores = confusion.scores();
    assert_eq!((scores.mean_iu, scores.pixel_accuracy), (Some(1.0), Some(1.0)));
    assert!(scores.class_iu.iter().flatten().count() > 5);
}

/// Every annotation of the small set; the counts are from its authors.
#[test]
fn real_annotations_are_read() {
    let Some(dir) = data("voc2012_small/VOCdevkit/VOC2012/Annotations") else { return };
    let (mut pictures, mut objects, mut difficult) = (0, 0, 0);
    for entry in fs::read_dir(dir).unwrap() {
        let record = xml::read(&entry.unwrap().path()).unwrap();
        let size = record.size.unwrap();
        pictures += 1;
        for object in record.objects {
            assert_eq!(object.bounds.clipped(size), object.bounds, "{:?}", record.filename);
            assert!(CLASSES.contains(&object.name.as_str()), "{}", object.name);
            objects += 1;
            difficult += usize::from(object.difficult);
        }
    }
    assert_eq!((pictures, objects, difficult), (585, 1896, 237));
}
