//! Cost of a layer table for pictures of a given size: output maps, parameters, multiply-accumulates; and, as in the paper's
//! Table 3, accumulated strides (`acc.`) and effective dilations (`eff.`), in pixels of the picture.

use super::{
    kinds::{LayerKind, MapSize, SlidingWindow},
    table::{Layer, check_size, sizes},
};
use candle_core::{Result, bail};
use std::fmt;

/// Maximum number of values of one map of one picture: 4 GiB. conv1 of a VGG-16 has 51 million for
/// 800×1000 pixels.
const MOST_VALUES: usize = 1 << 30;

/// Cost of a layer table for pictures of one size. `Display` prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Height and width of the picture.
    pub input: MapSize,
    /// Channels of the picture.
    pub channels: usize,
    pub lines: Vec<Line>,
}

/// One line: a row with the pointwise rows after it (normalization, activation, dropout).
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The last tap, or the name of its row.
    pub name: String,
    pub kind: LayerKind,
    /// Names of the lines that it reads, if not the previous line.
    pub from: Vec<String>,
    /// The normalization among the pointwise rows.
    pub norm: Option<&'static str>,
    /// Pixels of the picture between two inputs of the window (for a transposed convolution between two of its outputs); None
    /// where positions are mixed or resized.
    pub spacing: Option<f64>,
    /// Height and width of the output.
    pub map: MapSize,
    /// Channels of the output.
    pub outputs: usize,
    /// Weights and biases, scales and shifts.
    pub parameters: usize,
    /// Multiply-accumulates per picture, including taps on the padding.
    pub macs: usize,
}

impl Summary {
    /// Computes the cost of a table.
    ///
    /// # Errors
    /// The name of a layer whose window is larger than its input, or whose map is too large for memory; a network too large
    /// for memory.
    pub fn of(rows: &[Layer], input: MapSize) -> Result<Self> {
        if let Err(reason) = check_size(rows) {
            bail!("{reason}")
        }
        let sizes = sizes(rows, 0, input)?;
        let mut lines: Vec<Line> = vec![];
        let mut spacings: Vec<Option<f64>> = vec![Some(1.0)];
        // The line that each value belongs to; None for the input.
        let mut owner: Vec<Option<usize>> = vec![None];
        for (i, row) in rows.iter().enumerate() {
            let (Some(from), Some(map)) = (sizes[row.from[0]], sizes[i + 1]) else {
                bail!("`{}` reads a value that no row computes", row.name)
            };
            if (map.0 * map.1).saturating_mul(row.outputs) > MOST_VALUES {
                bail!(
                    "{}: its map of {}×{} cells and {} channels is too large for memory: use a smaller `crop` or `width`",
                    row.label(),
                    map.0,
                    map.1,
                    row.outputs
                )
            }
            let before = spacings[row.from[0]];
            spacings.push(before.and_then(|spacing| spacing_after(&row.kind, spacing)));
            let own = row.from[0].checked_sub(1).filter(|before| before + 1 == i && row.kind.is_pointwise());
            match own.and_then(|_| lines.last_mut()) {
                Some(line) => line.extend(row),
                None => {
                    let transposed = matches!(row.kind, LayerKind::ConvTranspose(_));
                    let spacing = if transposed { spacings[i + 1] } else { before };
                    lines.push(Line { spacing, ..Line::new(row, map, row.kind.macs(from, map)) });
                }
            }
            let at = lines.len() - 1;
            let read: Vec<Option<usize>> = row.from.iter().map(|value| owner[*value]).collect();
            if read != [at.checked_sub(1)] && own.is_none() {
                let name =
                    |line: &Option<usize>| line.map_or("input".into(), |line| lines[line].name.clone());
                lines[at].from = read.iter().map(name).collect();
            }
            owner.push(Some(at));
        }
        let channels = rows.first().map_or(0, |row| row.inputs);
        Ok(Self { input, channels, lines })
    }

    /// Weights and biases of all layers.
    pub fn parameters(&self) -> usize {
        self.lines.iter().map(|line| line.parameters).sum()
    }

    /// Multiply-accumulates of the forward pass per picture.
    pub fn macs(&self) -> usize {
        self.lines.iter().map(|line| line.macs).fold(0, usize::saturating_add)
    }

    /// Height and width of a layer's output.
    pub fn map(&self, layer: &str) -> Option<MapSize> {
        self.lines.iter().find(|line| line.name == layer).map(|line| line.map)
    }
}

impl Line {
    fn new(row: &Layer, map: MapSize, macs: usize) -> Self {
        let norm = matches!(row.kind, LayerKind::ResponseNorm(_)).then(|| row.kind.word());
        Self {
            name: row.label().into(),
            kind: row.kind.clone(),
            from: vec![],
            norm,
            spacing: None,
            map,
            outputs: row.outputs,
            parameters: row.kind.parameters(),
            macs,
        }
    }

    /// Adds a pointwise row to the line.
    fn extend(&mut self, row: &Layer) {
        self.parameters += row.kind.parameters();
        if matches!(row.kind, LayerKind::BatchNorm(_) | LayerKind::LayerNorm(_)) {
            self.norm = Some(row.kind.word());
        }
        if let Some(tap) = &row.tap {
            self.name.clone_from(tap);
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = [
            "layer",
            "kernel",
            "stride",
            "pad",
            "groups",
            "dilation",
            "acc.",
            "eff.",
            "norm",
            "output map",
            "parameters",
        ];
        let names = self.lines.iter().map(|line| line.name.len());
        let width = names.max().unwrap_or(0).max("layer ".len());
        write_row(f, width, columns, "MMAC", "")?;
        let (h, w) = self.input;
        let map = format!("{h}×{w}×{}", self.channels);
        write_row(f, width, ["input", "", "", "", "", "", "", "", "", &map, ""], "", "")?;
        self.lines.iter().try_for_each(|line| line.write(f, width))?;
        let parameters = thousands(self.parameters());
        write_row(
            f,
            width,
            ["total", "", "", "", "", "", "", "", "", "", &parameters],
            &millions(self.macs()),
            "",
        )
    }
}

impl Line {
    fn write(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let (window, groups) = match &self.kind {
            LayerKind::Conv(conv) => (Some(conv.window), conv.groups.to_string()),
            LayerKind::ConvTranspose(conv) => (Some(conv.shape), "1".into()),
            other => (other.window(), String::new()),
        };
        let [kernel, stride, pad, dilation] = window.map_or_else(Default::default, cells);
        let has_weights = self.kind.has_weights();
        let dilation = if has_weights { dilation } else { String::new() };
        let spacing = self.spacing.filter(|_| window.is_some());
        let effective = spacing.zip(window).filter(|_| has_weights);
        let effective = effective.map(|(spacing, window)| spacing * window.dilation as f64);
        let [spacing, effective] = [spacing, effective].map(|v| v.map_or(String::new(), |v| v.to_string()));
        let map = format!("{}×{}×{}", self.map.0, self.map.1, self.outputs);
        let (parameters, macs) = match has_weights {
            true => (thousands(self.parameters), millions(self.macs)),
            false => Default::default(),
        };
        let cells = [
            self.name.as_str(),
            &kernel,
            &stride,
            &pad,
            &groups,
            &dilation,
            &spacing,
            &effective,
            self.norm.unwrap_or(""),
            &map,
            &parameters,
        ];
        write_row(f, width, cells, &macs, &self.note())
    }

    /// Information that has no column.
    fn note(&self) -> String {
        let plain = matches!(self.kind, LayerKind::Conv(_) | LayerKind::Pool(_) | LayerKind::ResponseNorm(_));
        let average =
            matches!(self.kind, LayerKind::Pool(pool) if pool.statistic == super::kinds::Statistic::Average);
        let word = if plain && !average { "" } else { self.kind.word() };
        match (word, self.from.join(", ")) {
            (word, from) if from.is_empty() => word.into(),
            ("", from) => format!("reads {from}"),
            (word, from) => format!("{word} of {from}"),
        }
    }
}

/// Pixels of the picture between two outputs of a layer whose inputs are `spacing` apart; None if it mixes or resizes
/// positions.
fn spacing_after(kind: &LayerKind, spacing: f64) -> Option<f64> {
    match kind {
        LayerKind::Conv(conv) => Some(spacing * conv.window.stride as f64),
        LayerKind::Pool(_) => kind.window().map(|window| spacing * window.stride as f64),
        LayerKind::ConvTranspose(conv) => Some(spacing / conv.shape.stride as f64),
        LayerKind::Add(_)
        | LayerKind::Concatenate(_)
        | LayerKind::AddVector(_)
        | LayerKind::SelectChannels(_)
        | LayerKind::StopGradient(_) => Some(spacing),
        _ => kind.is_pointwise().then_some(spacing),
    }
}

fn cells(window: SlidingWindow) -> [String; 4] {
    let SlidingWindow { kernel, stride, pad, dilation } = window;
    [format!("{kernel}×{kernel}"), stride.to_string(), pad.to_string(), dilation.to_string()]
}

/// `width` is the width of the first column.
fn write_row(
    f: &mut fmt::Formatter<'_>,
    width: usize,
    cells: [&str; 11],
    macs: &str,
    note: &str,
) -> fmt::Result {
    let [layer, kernel, stride, pad, groups, dilation, spacing, effective, norm, map, parameters] = cells;
    let left = format!("{layer:<width$} {kernel:>6} {stride:>6} {pad:>3} {groups:>6} {dilation:>8}");
    let line =
        format!("{left} {spacing:>4} {effective:>4} {norm:>5} {map:>12} {parameters:>11} {macs:>9}  {note}");
    writeln!(f, "{}", line.trim_end())
}

/// 58127353 → `58,127,353`.
fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// In millions, one decimal.
fn millions(n: usize) -> String {
    let tenths = n.saturating_add(50_000) / 100_000;
    format!("{}.{}", thousands(tenths / 10), tenths % 10)
}
