//! Semantic interpretability (Zhang, Isola and Efros 2016, section 3.1 and the appendix "Semantic Interpretability of
//! Colorizations"): can a classifier trained on color photographs recognize a recolored image?
//!
//! Every image is classified three times: in its true colors, in gray, and recolored from gray. Only the top five
//! classes and the rank of the true class are stored, so that 48,000 images of 1,000 classes take megabytes. All
//! results (accuracies, per-class gains, confusions added by color, example images) are computed from these records.
//! Classification and drawing happen elsewhere.

use super::accuracy;
use candle_core::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Number of top classes that are stored.
pub const TOP: usize = 5;

/// The classifier's output for one rendering of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The most probable classes with their probabilities, descending, ties by number; at most [`TOP`].
    pub top: Vec<(u32, f32)>,
    /// Number of other classes that score at least as high as the true one; 0 is correct. Ties count as errors.
    pub rank: u32,
}

impl Answer {
    /// The answer from one image's logits and its true class. Probabilities are the softmax.
    ///
    /// # Errors
    /// A class out of range.
    pub fn of(logits: &[f32], class: u32) -> Result<Self> {
        let rank = accuracy::rank(logits, class as usize)?;
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: f32| f64::from(logit - largest).exp();
        let total: f64 = logits.iter().map(|logit| weight(*logit)).sum();
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
        let best = order.iter().take(TOP);
        let top = best.map(|class| (*class, (weight(logits[*class as usize]) / total) as f32)).collect();
        Ok(Self { top, rank: u32::try_from(rank).unwrap_or(u32::MAX) })
    }

    /// The probability of a class, if it is among the top five.
    pub fn score(&self, class: u32) -> Option<f32> {
        self.top.iter().find(|(given, _)| *given == class).map(|(_, score)| *score)
    }

    fn is_right(&self, k: usize) -> bool {
        (self.rank as usize) < k
    }
}

/// A value per rendering of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Renderings<T> {
    pub original: T,
    #[serde(alias = "grey")]
    pub gray: T,
    #[serde(alias = "recoloured")]
    pub recolored: T,
}

impl<T> Renderings<T> {
    /// Applies `make` to each rendering.
    pub fn map<U>(&self, make: impl Fn(&T) -> U) -> Renderings<U> {
        let Self { original, gray, recolored } = self;
        Renderings { original: make(original), gray: make(gray), recolored: make(recolored) }
    }
}

/// The answers for one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Index in the data set.
    pub image: u32,
    /// True class, in the classifier's numbering.
    pub class: u32,
    pub answers: Renderings<Answer>,
}

impl Record {
    /// The probability of `class` if it is in the top five when recolored but not in the original.
    fn confused_by_color(&self, class: u32) -> Option<f32> {
        let before = self.answers.original.score(class);
        self.answers.recolored.score(class).filter(|_| before.is_none())
    }
}

/// Top-1 and top-5 accuracy, in [0, 1].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    pub top1: f64,
    pub top5: f64,
}

/// Top-5 accuracy of one class, in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassGain {
    pub class: u32,
    pub images: u64,
    #[serde(alias = "grey")]
    pub gray: f64,
    #[serde(alias = "recoloured")]
    pub recolored: f64,
}

impl ClassGain {
    /// Gain by recoloring: a_recolor − a_gray.
    pub fn gain(&self) -> f64 {
        self.recolored - self.gray
    }
}

/// Fraction of images of `class` with `seen_as` in the top five: entries of C_orig and C_recolor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassConfusion {
    pub class: u32,
    pub seen_as: u32,
    pub original: f64,
    #[serde(alias = "recoloured")]
    pub recolored: f64,
}

impl ClassConfusion {
    /// Confusion added by recoloring: an entry of A = C_recolor − C_orig.
    pub fn added(&self) -> f64 {
        self.recolored - self.original
    }
}

/// All results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interpretability {
    pub images: u64,
    pub accuracy: Renderings<Accuracy>,
    /// Every class with images, largest gain first; ties by number.
    pub classes: Vec<ClassGain>,
    /// The off-diagonal entries that are nonzero in either matrix, most added first; ties by number.
    pub confusions: Vec<ClassConfusion>,
}

impl Interpretability {
    /// None without records.
    pub fn of(records: &[Record]) -> Option<Self> {
        let images = records.len() as u64;
        (images > 0).then(|| Self {
            images,
            accuracy: accuracies(records),
            classes: gains(records),
            confusions: confusions(records),
        })
    }

    /// The `n` classes with the largest gain, descending. At most half of all, so that none is in [`Self::bottom`]
    /// too.
    pub fn top(&self, n: usize) -> &[ClassGain] {
        &self.classes[..n.min(self.classes.len() / 2)]
    }

    /// The `n` classes with the largest loss first; at most half of all.
    pub fn bottom(&self, n: usize) -> Vec<ClassGain> {
        self.classes.iter().rev().take(n.min(self.classes.len() / 2)).copied().collect()
    }

    /// The `n` confusions with the largest positive increase by recoloring.
    pub fn added(&self, n: usize) -> &[ClassConfusion] {
        let more = self.confusions.iter().take(n).take_while(|confusion| confusion.added() > 0.0).count();
        &self.confusions[..more]
    }
}

fn accuracies(records: &[Record]) -> Renderings<Accuracy> {
    let share = |k: usize, of: fn(&Record) -> &Answer| {
        records.iter().filter(|record| of(record).is_right(k)).count() as f64 / records.len() as f64
    };
    let both = |of: fn(&Record) -> &Answer| Accuracy { top1: share(1, of), top5: share(TOP, of) };
    Renderings {
        original: both(|record| &record.answers.original),
        gray: both(|record| &record.answers.gray),
        recolored: both(|record| &record.answers.recolored),
    }
}

fn gains(records: &[Record]) -> Vec<ClassGain> {
    let mut counts: BTreeMap<u32, [u64; 3]> = BTreeMap::new();
    for record in records {
        let [images, gray, recolored] = counts.entry(record.class).or_default();
        *images += 1;
        *gray += u64::from(record.answers.gray.is_right(TOP));
        *recolored += u64::from(record.answers.recolored.is_right(TOP));
    }
    let gain = |(class, [images, gray, recolored]): (u32, [u64; 3])| {
        let share = |hits: u64| hits as f64 / images as f64;
        ClassGain { class, images, gray: share(gray), recolored: share(recolored) }
    };
    let mut gains: Vec<_> = counts.into_iter().map(gain).collect();
    // The sort is stable: ties keep the map's order.
    gains.sort_by(|a, b| b.gain().total_cmp(&a.gain()));
    gains
}

fn confusions(records: &[Record]) -> Vec<ClassConfusion> {
    let mut images: BTreeMap<u32, u64> = BTreeMap::new();
    let mut pairs: BTreeMap<(u32, u32), [u64; 2]> = BTreeMap::new();
    for Record { class, answers, .. } in records {
        *images.entry(*class).or_default() += 1;
        for (side, answer) in [&answers.original, &answers.recolored].into_iter().enumerate() {
            for (seen_as, _) in answer.top.iter().filter(|(seen_as, _)| seen_as != class) {
                pairs.entry((*class, *seen_as)).or_default()[side] += 1;
            }
        }
    }
    let rate = |((class, seen_as), [original, recolored]): ((u32, u32), [u64; 2])| {
        let share = |count: u64| count as f64 / images[&class] as f64;
        ClassConfusion { class, seen_as, original: share(original), recolored: share(recolored) }
    };
    let mut confusions: Vec<_> = pairs.into_iter().map(rate).collect();
    confusions.sort_by(|a, b| b.added().total_cmp(&a.added()));
    confusions
}

/// The images of a class that benefit most from recoloring: by ascending rank of the class when recolored, ties by
/// descending rank in gray, then by order.
pub fn helped(records: &[Record], class: u32) -> Vec<&Record> {
    let mut found: Vec<_> = records.iter().filter(|record| record.class == class).collect();
    found.sort_by_key(|record| (record.answers.recolored.rank, u32::MAX - record.answers.gray.rank));
    found
}

/// The images of a class that benefit least: [`helped`] reversed.
pub fn hurt(records: &[Record], class: u32) -> Vec<&Record> {
    let mut found = helped(records, class);
    found.reverse();
    found
}

/// The images of a class that are confused with `seen_as` when recolored but not in their true colors, highest
/// probability first.
pub fn confused(records: &[Record], class: u32, seen_as: u32) -> Vec<&Record> {
    let of_class = records.iter().filter(|record| record.class == class);
    let scored = of_class.filter_map(|record| Some((record.confused_by_color(seen_as)?, record)));
    let mut found: Vec<_> = scored.collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, record)| record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_the_five_best_and_the_rank() {
        let answer = Answer::of(&[0.0, 2.0, 1.0, 2.0, -1.0, -50.0, 0.5], 2).unwrap();
        let classes: Vec<u32> = answer.top.iter().map(|(class, _)| *class).collect();
        assert_eq!((classes, answer.rank), (vec![1, 3, 2, 6, 0], 2));
        // e² / (1 + 2e² + e + e⁻¹ + e⁻⁵⁰ + √e)
        let (e, score) = (std::f64::consts::E, answer.score(1).unwrap());
        let expected = e * e / (1.0 + 2.0 * e * e + e + 1.0 / e + e.sqrt());
        assert!((f64::from(score) - expected).abs() < 1e-6, "{score} {expected}");
        assert_eq!(answer.score(4), None);
        assert_eq!(Answer::of(&[1.0, 1.0, 0.0], 1).unwrap().rank, 1, "a tie counts against us");
        let two = Answer::of(&[800.0, 0.0], 0).unwrap();
        assert_eq!(two.top, [(0, 1.0), (1, 0.0)]);
        assert!(Answer::of(&[1.0, 0.0], 2).is_err());
    }

    /// An answer by its classes, best first, scored 0.5, 0.25, …; the true class has rank 7 where it is not given.
    fn answer(class: u32, top: &[u32]) -> Answer {
        let scores = (1..).map(|i| 0.5f32.powi(i));
        let rank = top.iter().position(|given| *given == class).map_or(7, |place| place as u32);
        Answer { top: top.iter().copied().zip(scores).collect(), rank }
    }

    fn record(image: u32, class: u32, original: &[u32], gray: &[u32], recolored: &[u32]) -> Record {
        let [original, gray, recolored] = [original, gray, recolored].map(|top| answer(class, top));
        Record { image, class, answers: Renderings { original, gray, recolored } }
    }

    /// Twelve pictures, four of each of the classes 0, 1 and 2, of nine that the classifier knows.
    fn dozen() -> Vec<Record> {
        vec![
            // Class 0: gray 1 of 4, recolored 4 of 4.
            record(0, 0, &[0, 3, 4, 5, 6], &[3, 4, 5, 6, 7], &[0, 1, 2, 3, 4]),
            record(1, 0, &[0, 3, 4, 5, 6], &[0, 4, 5, 6, 7], &[0, 1, 2, 3, 4]),
            record(2, 0, &[0, 1, 4, 5, 6], &[3, 4, 5, 6, 7], &[1, 0, 2, 3, 4]),
            record(3, 0, &[3, 0, 4, 5, 6], &[3, 4, 5, 6, 7], &[0, 8, 2, 3, 4]),
            // Class 1: gray 3 of 4, recolored 1 of 4, in whose place class 8 is seen.
            record(4, 1, &[1, 3, 4, 5, 6], &[1, 3, 4, 5, 6], &[8, 2, 3, 4, 5]),
            record(5, 1, &[1, 3, 4, 5, 6], &[2, 1, 4, 5, 6], &[2, 8, 3, 4, 5]),
            record(6, 1, &[1, 8, 4, 5, 6], &[2, 3, 4, 5, 6], &[8, 2, 3, 4, 5]),
            record(7, 1, &[2, 3, 4, 5, 6], &[1, 3, 4, 5, 6], &[1, 2, 3, 4, 5]),
            // Class 2: 2 of 4 either way.
            record(8, 2, &[2, 3, 4, 5, 6], &[2, 3, 4, 5, 6], &[3, 4, 5, 6, 7]),
            record(9, 2, &[2, 3, 4, 5, 6], &[3, 4, 5, 6, 7], &[2, 3, 4, 5, 6]),
            record(10, 2, &[2, 3, 4, 5, 6], &[3, 4, 5, 6, 2], &[3, 4, 5, 6, 2]),
            record(11, 2, &[2, 3, 4, 5, 6], &[3, 4, 5, 6, 7], &[3, 4, 5, 6, 7]),
        ]
    }

    #[test]
    fn accuracies_of_the_three_renderings() {
        let found = Interpretability::of(&dozen()).unwrap();
        assert_eq!(found.images, 12);
        let counts = found.accuracy.map(|a| ((12.0 * a.top1).round(), (12.0 * a.top5).round()));
        assert_eq!(counts, Renderings { original: (10.0, 11.0), gray: (4.0, 6.0), recolored: (5.0, 7.0) });
        assert!(Interpretability::of(&[]).is_none());
    }

    #[test]
    fn classes_by_gain() {
        let found = Interpretability::of(&dozen()).unwrap();
        let rows = [(0, 0.25, 1.0), (2, 0.5, 0.5), (1, 0.75, 0.25)];
        let expected = rows.map(|(class, gray, recolored)| ClassGain { class, images: 4, gray, recolored });
        assert_eq!(found.classes, expected);
        assert_eq!((expected[0].gain(), expected[2].gain()), (0.75, -0.5));
        // One of three: no class is among the best and the worst.
        assert_eq!((found.top(10), found.bottom(10)), (&expected[..1], expected[2..].to_vec()));
    }

    #[test]
    fn confusions_by_what_color_adds() {
        let found = Interpretability::of(&dozen()).unwrap();
        let entry = |class, seen_as| {
            let this = |c: &&ClassConfusion| (c.class, c.seen_as) == (class, seen_as);
            found.confusions.iter().find(this).map(|c| (c.original, c.recolored))
        };
        assert_eq!(entry(0, 2), Some((0.0, 1.0)));
        assert_eq!(entry(0, 1), Some((0.25, 0.75)));
        assert_eq!(entry(1, 8), Some((0.25, 0.75)));
        assert_eq!(entry(1, 6), Some((1.0, 0.0)));
        assert_eq!((entry(2, 8), entry(0, 0)), (None, None), "zero on both sides, and the diagonal");
        let largest: Vec<_> = found.added(4).iter().map(|c| (c.class, c.seen_as, c.added())).collect();
        assert_eq!(largest, [(0, 2, 1.0), (1, 2, 0.75), (0, 1, 0.5), (1, 8, 0.5)]);
        assert!(found.added(1000).iter().all(|c| c.added() > 0.0));
        let rows: f64 = found.confusions.iter().filter(|c| c.class == 0).map(|c| c.recolored).sum();
        assert_eq!(rows, 4.0, "five answers, of which the true class is one");
    }

    fn images(found: Vec<&Record>) -> Vec<u32> {
        found.iter().map(|record| record.image).collect()
    }

    #[test]
    fn examples_of_gain_and_loss() {
        // Recolored ranks 0, 0, 1, 0; gray ranks 7, 0, 7, 7: image 1 was right before.
        assert_eq!(images(helped(&dozen(), 0)), [0, 3, 1, 2]);
        // Recolored ranks 7, 7, 7, 0; gray ranks 0, 1, 7, 0: the plainest loss first.
        assert_eq!(images(hurt(&dozen(), 1)), [4, 5, 6, 7]);
        assert!(helped(&dozen(), 8).is_empty());
    }

    #[test]
    fn examples_of_added_confusion() {
        // Image 6 was seen as 8 in its true colors too; 8 is the second answer to image 5.
        assert_eq!(images(confused(&dozen(), 1, 8)), [4, 5]);
        assert_eq!(images(confused(&dozen(), 0, 1)), [0, 1]);
        assert!(confused(&dozen(), 2, 8).is_empty());
    }

    #[test]
    fn records_come_back_from_json() {
        let text = serde_json::to_string(&dozen()).unwrap();
        let back: Vec<Record> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, dozen());
        assert!(text.starts_with(r#"[{"image":0,"class":0,"answers":{"original":{"top":[[0,0.5],[3,0.25]"#));
    }
}
