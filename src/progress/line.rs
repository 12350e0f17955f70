//! Composes a line about work in progress that fits a width: parts of little importance are left out first, then the name
//! is shortened in the middle.

use console::measure_text_width as width_of;

/// Space between two parts.
const GAP: &str = "  ";
/// Least width of a name that is shortened.
const LEAST_NAME: usize = 8;

/// A name, what always follows it, and parts in the order in which they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressLine {
    name: String,
    head: String,
    /// Each with its rank: the higher, the sooner it is left out.
    parts: Vec<(u8, String)>,
}

impl ProgressLine {
    /// A line that begins `NAME HEAD`.
    pub fn new(name: &str, head: impl Into<String>) -> Self {
        Self { name: name.into(), head: head.into(), parts: vec![] }
    }

    /// Adds a part, if there is one; of parts with the same rank the later is left out first.
    pub fn part(mut self, rank: u8, text: impl Into<Option<String>>) -> Self {
        self.parts.extend(text.into().filter(|text| !text.is_empty()).map(|text| (rank, text)));
        self
    }

    /// The whole line, for files.
    pub fn full(&self) -> String {
        self.with(&self.name, &vec![true; self.parts.len()])
    }

    /// At most `width` columns of it.
    pub fn fitted(&self, width: usize) -> String {
        let mut shown = vec![true; self.parts.len()];
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        order.sort_by_key(|at| self.parts[*at].0);
        // A long name is shortened first to leave room for the most important part.
        let name = shortened(&self.name, (width / 3).max(LEAST_NAME));
        while width_of(&self.with(&name, &shown)) > width {
            let Some(last) = order.pop() else {
                let room = width.saturating_sub(width_of(&self.head) + 1);
                let line = self.with(&shortened(&name, room.max(1)), &shown);
                return console::truncate_str(&line, width, "…").into_owned();
            };
            shown[last] = false;
        }
        self.with(&name, &shown)
    }

    fn with(&self, name: &str, shown: &[bool]) -> String {
        let begin =
            [name, &self.head].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
        let parts =
            self.parts.iter().zip(shown).filter(|(_, shown)| **shown).map(|((_, text), _)| text.clone());
        std::iter::once(begin).chain(parts).collect::<Vec<_>>().join(GAP)
    }
}

/// A name of at most `width` columns: `probe-colo…on-s0`.
pub fn shortened(name: &str, width: usize) -> String {
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= width {
        return name.into();
    }
    let kept = width.saturating_sub(1);
    let (begin, end) = (kept.div_ceil(2), kept / 2);
    let text = |part: &[char]| part.iter().collect::<String>();
    text(&characters[..begin]) + "…" + &text(&characters[characters.len() - end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training(name: &str) -> ProgressLine {
        ProgressLine::new(name, "1200/20000")
            .part(1, "loss 5.7462".to_string())
            .part(5, "lr 3.00e-5".to_string())
            .part(4, "632.2 images/s".to_string())
            .part(7, "waiting 20 %".to_string())
            .part(6, "0.10 GB".to_string())
            .part(3, "ETA 1:02:03".to_string())
    }

    #[test]
    fn a_line_fits_its_width() {
        let line = training("pretrain");
        assert_eq!(
            line.full(),
            "pretrain 1200/20000  loss 5.7462  lr 3.00e-5  632.2 images/s  waiting 20 %  0.10 GB  ETA 1:02:03"
        );
        assert_eq!(
            line.fitted(80),
            "pretrain 1200/20000  loss 5.7462  lr 3.00e-5  632.2 images/s  ETA 1:02:03"
        );
        assert_eq!(line.fitted(40), "pretrain 1200/20000  loss 5.7462");
        assert_eq!(line.fitted(46), "pretrain 1200/20000  loss 5.7462  ETA 1:02:03");
        let long = training("classification-colorization-by-classification-fc6-8-s0");
        for width in [80, 40, 20, 12, 5] {
            let line = long.fitted(width);
            assert!(width_of(&line) <= width, "{width}: {line}");
        }
        assert_eq!(long.fitted(40), "classi…6-8-s0 1200/20000  loss 5.7462");
    }

    #[test]
    fn names_are_shortened_in_the_middle() {
        assert_eq!(shortened("probe-colorization-s0", 21), "probe-colorization-s0");
        assert_eq!(shortened("probe-colorization-s0", 11), "probe…on-s0");
        assert_eq!(shortened("größer", 4), "gr…r");
    }
}
