//! What a layer table costs on pictures of a given size: output maps, parameters, multiply-accumulates.

use super::table::{Kind, Layer, check_size};
use candle_core::{Result, bail};
use std::fmt;

/// A layer table on pictures of one size. `Display` prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Height and width of the picture.
    pub input: (usize, usize),
    pub rows: Vec<Row>,
}

/// One layer of a summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub layer: Layer,
    /// Height and width of the output.
    pub map: (usize, usize),
    /// Weights and biases.
    pub parameters: usize,
    /// Multiply-accumulates of one picture, taps on the padding included.
    pub macs: usize,
}

impl Summary {
    /// Walks the table.
    ///
    /// # Errors
    /// The name of a layer whose window is larger than what reaches it; a network that fits into no memory.
    pub fn of(layers: &[Layer], input: (usize, usize)) -> Result<Self> {
        if let Err(reason) = check_size(layers) {
            bail!("{reason}")
        }
        let mut map = input;
        let mut rows = Vec::with_capacity(layers.len());
        for layer in layers {
            let (Some(height), Some(width)) = (layer.out(map.0), layer.out(map.1)) else {
                let ((h, w), (y, x)) = (input, map);
                bail!(
                    "{}: its window does not fit the {y}×{x} map that a {h}×{w} picture leaves: use larger pictures \
                     or, for AlexNet, the small stem",
                    layer.name
                )
            };
            let (from, to) = (map, (height, width));
            rows.push(Row {
                layer: layer.clone(),
                map: to,
                parameters: layer.parameters(),
                macs: layer.macs(from, to),
            });
            if !layer.branch {
                map = to;
            }
        }
        Ok(Self { input, rows })
    }

    /// Weights and biases of all layers.
    pub fn parameters(&self) -> usize {
        self.rows.iter().map(|row| row.parameters).sum()
    }

    /// Multiply-accumulates of the forward pass of one picture.
    pub fn macs(&self) -> usize {
        self.rows.iter().map(|row| row.macs).fold(0, usize::saturating_add)
    }

    /// Height and width of a layer's output.
    pub fn map(&self, layer: &str) -> Option<(usize, usize)> {
        self.rows.iter().find(|row| row.layer.name == layer).map(|row| row.map)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns =
            ["layer", "kernel", "stride", "pad", "groups", "dilation", "norm", "output map", "parameters"];
        let names = self.rows.iter().map(|row| row.layer.name.len());
        let width = names.max().unwrap_or(0).max("layer ".len());
        write_row(f, width, columns, "MMAC")?;
        let ((h, w), channels) = (self.input, self.rows.first().map_or(0, |row| row.layer.inputs));
        let map = format!("{h}×{w}×{channels}");
        write_row(f, width, ["input", "", "", "", "", "", "", &map, ""], "")?;
        self.rows.iter().try_for_each(|row| row.write(f, width))?;
        let parameters = thousands(self.parameters());
        write_row(f, width, ["total", "", "", "", "", "", "", "", &parameters], &millions(self.macs()))
    }
}

impl Row {
    fn write(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let Layer { name, kind, kernel, stride, pad, groups, dilation, .. } = &self.layer;
        let kernel = format!("{kernel}×{kernel}");
        let [stride, pad, groups, dilation] = [stride, pad, groups, dilation].map(usize::to_string);
        let norm = if self.layer.norm.is_some() { "batch" } else { "" };
        let map = format!("{}×{}×{}", self.map.0, self.map.1, self.layer.outputs);
        if *kind == Kind::MaxPool {
            return write_row(f, width, [name, &kernel, &stride, &pad, "", "", "", &map, ""], "");
        }
        if *kind == Kind::Lrn {
            return write_row(f, width, [name, "", "", "", "", "", "local", &map, ""], "");
        }
        let parameters = thousands(self.parameters);
        let cells = [name.as_str(), &kernel, &stride, &pad, &groups, &dilation, norm, &map, &parameters];
        write_row(f, width, cells, &millions(self.macs))
    }
}

/// `width` is that of the first column.
fn write_row(f: &mut fmt::Formatter<'_>, width: usize, cells: [&str; 9], macs: &str) -> fmt::Result {
    let [layer, kernel, stride, pad, groups, dilation, norm, map, parameters] = cells;
    let left =
        format!("{layer:<width$} {kernel:>6} {stride:>6} {pad:>3} {groups:>6} {dilation:>8} {norm:>5}");
    let line = format!("{left} {map:>12} {parameters:>11} {macs:>9}");
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
