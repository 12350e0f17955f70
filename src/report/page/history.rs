//! The values in a run's log, thinned while they are read: memory is bounded by what a plot can show, not by the log.

use crate::train::log::{FILE, TIMING};
use serde::Deserialize;
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

/// Most buckets of a series.
const BUCKETS: usize = 256;
/// Bytes that are read at a time.
const READ: usize = 1 << 18;

/// Where values come from, in the order of plots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Split {
    Train,
    Val,
    Monitor,
}

/// The series of one run: the training loss, and every value of validations and of the monitor.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub series: BTreeMap<(Split, String), Thinned>,
    /// Lines that are not of a log.
    pub unreadable: usize,
}

/// The part of a line that is needed of every line.
#[derive(Deserialize)]
struct LogLine<'a> {
    step: u64,
    #[serde(borrow)]
    split: Cow<'a, str>,
    loss: Option<f64>,
}

impl History {
    /// Reads the log of the run directory `run`; empty if there is none.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn read(run: &Path) -> io::Result<Self> {
        let mut history = Self::default();
        let file = match File::open(run.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(history),
            file => file?,
        };
        let (mut file, mut line) = (BufReader::with_capacity(READ, file), vec![]);
        let mut loss = Thinned::default();
        while file.read_until(b'\n', &mut line)? > 0 {
            // The end of a line that is being written.
            if line.ends_with(b"\n") {
                history.add(&line, &mut loss);
            }
            line.clear();
        }
        if !loss.is_empty() {
            history.series.insert((Split::Train, "loss".into()), loss);
        }
        Ok(history)
    }

    fn add(&mut self, line: &[u8], training_loss: &mut Thinned) {
        let Ok(LogLine { step, split, loss }) = serde_json::from_slice::<LogLine>(line) else {
            self.unreadable += 1;
            return;
        };
        match &*split {
            "train" => loss.into_iter().for_each(|loss| training_loss.add(step, loss)),
            "val" => self.add_all(Split::Val, step, line),
            "monitor" => self.add_all(Split::Monitor, step, line),
            _ => {}
        }
    }

    fn add_all(&mut self, split: Split, step: u64, line: &[u8]) {
        let values: HashMap<String, Value> = serde_json::from_slice(line).unwrap_or_default();
        let about = ["step", "epoch", "split"];
        for (name, value) in values {
            let is_about = about.iter().chain(&TIMING).any(|about| *about == name);
            let is_of_rank = name.starts_with("rank");
            if let Some(value) = value.as_f64().filter(|_| !is_about && !is_of_rank) {
                self.series.entry((split, name)).or_default().add(step, value);
            }
        }
    }
}

/// Values by step: the lowest and the highest of every bucket of steps, so that no peak is lost. Buckets are as wide as it
/// takes to have no more than a certain number of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Thinned {
    /// Steps in a bucket.
    width: u64,
    buckets: Vec<Option<Bucket>>,
}

/// Steps and values.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    low: (u64, f64),
    high: (u64, f64),
}

impl Bucket {
    fn join(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
        let low = if b.low.1 < a.low.1 { b.low } else { a.low };
        Some(Self { low, high: if b.high.1 > a.high.1 { b.high } else { a.high } })
    }
}

impl Default for Thinned {
    fn default() -> Self {
        Self { width: 1, buckets: vec![] }
    }
}

impl Thinned {
    /// Adds a finite value.
    pub fn add(&mut self, step: u64, value: f64) {
        while step / self.width >= BUCKETS as u64 {
            self.halve();
        }
        let at = (step / self.width) as usize;
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, None);
        }
        let point = (step, value);
        self.buckets[at] = Bucket::join(self.buckets[at], Some(Bucket { low: point, high: point }));
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Whether there are values of several steps.
    pub fn is_curve(&self) -> bool {
        let mut filled = self.buckets.iter().flatten();
        filled.next().is_some_and(|first| first.low != first.high || filled.next().is_some())
    }

    /// The same with at most `most` buckets.
    pub fn coarsened(&self, most: usize) -> Self {
        let mut coarse = self.clone();
        while coarse.buckets.len() > most.max(1) {
            coarse.halve();
        }
        coarse
    }

    /// Steps and values in the order of the steps: one or two for each bucket.
    pub fn points(&self) -> Vec<(f64, f64)> {
        let of = |Bucket { low, high }: &Bucket| {
            let mut both = vec![*low, *high];
            both.sort_by_key(|(step, _)| *step);
            both.dedup();
            both
        };
        let points = self.buckets.iter().flatten().flat_map(of);
        points.map(|(step, value)| (step as f64, value)).collect()
    }

    fn halve(&mut self) {
        self.width *= 2;
        let join = |pair: &[Option<Bucket>]| Bucket::join(pair[0], pair.get(1).copied().flatten());
        self.buckets = self.buckets.chunks(2).map(join).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn thinning_keeps_every_extreme_and_the_order() {
        let mut thinned = Thinned::default();
        for step in 1..=100_000u64 {
            let value = match step {
                33_333 => 50.0,
                66_666 => -50.0,
                _ => (step as f64 / 700.0).sin(),
            };
            thinned.add(step, value);
        }
        for most in [BUCKETS, 16, 1] {
            let coarse = thinned.coarsened(most);
            let points = coarse.points();
            assert!(points.len() <= 2 * most && coarse.buckets.len() <= most, "{}", points.len());
            assert!(points.contains(&(33_333.0, 50.0)) && points.contains(&(66_666.0, -50.0)));
            assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{points:?}");
        }
        let mut few = Thinned::default();
        [(0, 3.0), (10, 2.0), (20, 1.0)].into_iter().for_each(|(step, value)| few.add(step, value));
        assert_eq!(few.points(), [(0.0, 3.0), (10.0, 2.0), (20.0, 1.0)], "few values are all kept");
    }

    #[test]
    fn a_log_is_read_past_damage_and_a_torn_end() {
        let run = tempfile::tempdir().unwrap();
        assert!(History::read(run.path()).unwrap().series.is_empty());
        let log = [
            r#"{"step":0,"epoch":0,"split":"monitor","conv1/knn":0.25,"conv1/rankme":null,"monitor_seconds":3.5}"#,
            r#"{"step":1,"epoch":0.1,"split":"train","loss":2.5,"lr":0.1,"images_per_second":30.0}"#,
            "not a line",
            r#"{"step":2,"epoch":0.2,"split":"train","loss":null}"#,
            r#"{"step":2,"epoch":0.2,"split":"val","top1":0.5,"a\"b":1}"#,
            r#"{"step":3,"epoch":0.3,"split":"train","lo"#,
        ];
        fs::write(run.path().join(FILE), log.join("\n")).unwrap();
        let History { series, unreadable } = History::read(run.path()).unwrap();
        let names: Vec<_> = series.keys().map(|(split, name)| (*split, name.as_str())).collect();
        let expected = [
            (Split::Train, "loss"),
            (Split::Val, "a\"b"),
            (Split::Val, "top1"),
            (Split::Monitor, "conv1/knn"),
        ];
        assert_eq!((names, unreadable), (expected.to_vec(), 1));
        assert_eq!(series[&(Split::Train, "loss".to_string())].points(), [(1.0, 2.5)]);
    }
}
