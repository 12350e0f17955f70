//! Backbones as ONNX models, which other programs run without this one: opset 17, f32, NCHW maps, any batch size. The
//! input is the network's own format, which the model's metadata name; batch normalization is as in the weights.
//!
//! Padding is explicit everywhere, since runtimes disagree on `auto_pad` with dilation and on `ceil_mode`. Out of scope:
//! training, half precision, models above 2 GB (which need files beside the model).

mod node;
pub mod proto;
#[cfg(test)]
mod tests;

use super::{
    BackboneSpec,
    kinds::MapSize,
    plan::needed,
    table::{Layer, sizes, tap},
};
use crate::{atomic_write, nn::weights::Named};
use anyhow::{Context, Result, ensure};
use node::Nodes;
use prost::Message;
use proto::{
    DimensionMessage, Extent, FLOAT, GraphMessage, ModelMessage, OperatorSetMessage, PropertyMessage,
    ShapeMessage, TensorTypeMessage, TypeMessage, ValueMessage,
};
use std::{fmt, path::Path};

/// Version of the operators, and that of the file format in which they appeared.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
/// Largest message that readers of protocol buffers accept.
const MOST_BYTES: usize = i32::MAX as usize;
/// Name of the input.
pub const INPUT: &str = "input";

/// A model with its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxModel(ModelMessage);

impl OnnxModel {
    /// The rows of a backbone that the taps `outputs` need, from an input `(batch, C, height, width)`. An output is `(batch,
    /// C, height, width)`, or `(batch, C)` if it is one cell for pictures of [`BackboneSpec::crop`] pixels; the size of the
    /// input is then fixed, unless an average over the whole map makes that cell.
    ///
    /// # Errors
    /// An unknown tap; a kind of row that is not exported; a missing tensor, or one of another shape.
    pub fn new(spec: &BackboneSpec, rows: &[Layer], tensors: &Named, outputs: &[String]) -> Result<Self> {
        let find = |name: &String| tap(rows, name).with_context(|| format!("there is no layer `{name}`"));
        let asked = outputs.iter().map(find).collect::<Result<Vec<_>>>()?;
        let values = Values::of(spec, rows, asked)?;
        let nodes = values.nodes(tensors)?;
        let graph = GraphMessage {
            node: nodes.nodes,
            name: spec.name().into(),
            initializer: nodes.constants,
            input: vec![values.input(spec)],
            output: values.asked.iter().map(|row| values.output(*row)).collect(),
        };
        Ok(Self(ModelMessage {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: format!("{}; input: {}", spec.name(), spec.input().describe()),
            graph: Some(graph),
            opset_import: vec![OperatorSetMessage { domain: String::new(), version: OPSET }],
            metadata_props: vec![
                property("input", spec.input().name()),
                property("input_description", spec.input().describe()),
                property("size", &spec.crop().to_string()),
            ],
        }))
    }

    /// Adds a property to the metadata.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.0.metadata_props.push(property(key, value));
        self
    }

    /// Writes the model, completely or not at all.
    ///
    /// # Errors
    /// A model above 2 GB; a folder that cannot be written; a full disk.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.0.encoded_len();
        ensure!(
            bytes <= MOST_BYTES,
            "the model would have {bytes} bytes, more than the {MOST_BYTES} of a single file: export an earlier layer"
        );
        atomic_write::write(path, &self.0.encode_to_vec()).with_context(|| {
            format!(
                "cannot write {}: does its folder exist, may you write there, is the disk full?",
                path.display()
            )
        })
    }
}

/// One line: version, operators, shapes of input and outputs.
impl fmt::Display for OnnxModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(graph) = &self.0.graph else { return Ok(()) };
        write!(f, "opset {OPSET}, {} operators", graph.node.len())?;
        graph.input.iter().chain(&graph.output).try_for_each(|value| {
            let kind = value.kind.as_ref().and_then(|kind| kind.tensor_type.as_ref()?.shape.as_ref());
            let extents = kind.into_iter().flat_map(|shape| &shape.dim).filter_map(|dim| dim.extent.as_ref());
            let extents: Vec<String> = extents.map(ToString::to_string).collect();
            write!(f, ", {} ({})", value.name, extents.join(", "))
        })
    }
}

/// Names and shapes of the values of a table.
struct Values<'a> {
    rows: &'a [Layer],
    /// Rows whose outputs are the model's.
    asked: Vec<usize>,
    crop: usize,
    /// Sizes for pictures of the usual size, and for larger ones.
    at_crop: Vec<Option<MapSize>>,
    at_twice: Vec<Option<MapSize>>,
}

impl<'a> Values<'a> {
    fn of(spec: &BackboneSpec, rows: &'a [Layer], asked: Vec<usize>) -> Result<Self> {
        let crop = spec.crop();
        let at = |side: usize| sizes(rows, 0, (side, side));
        Ok(Self { rows, asked, crop, at_crop: at(crop)?, at_twice: at(2 * crop)? })
    }

    /// The operators of the rows that the outputs need.
    fn nodes(&self, tensors: &Named) -> Result<Nodes> {
        let mut nodes = Nodes::default();
        for at in needed(self.rows, 0, &self.asked) {
            let (row, output) = (&self.rows[at], self.name(at + 1));
            let inputs: Vec<String> = row.from.iter().map(|from| self.name(*from)).collect();
            nodes.append(row, tensors, &inputs, &output)?;
            if self.is_vector(at) {
                nodes.flatten(&output, row.label());
            }
        }
        Ok(nodes)
    }

    /// Name of a map: that of its tap, unless the tap is a vector.
    fn name(&self, value: usize) -> String {
        let Some(at) = value.checked_sub(1) else { return INPUT.into() };
        match &self.rows[at].tap {
            Some(tap) if !self.is_vector(at) => tap.clone(),
            _ => format!("{}.map", self.rows[at].name),
        }
    }

    /// Whether the row's output is one of the model's and, for pictures of the usual size, one cell.
    fn is_vector(&self, at: usize) -> bool {
        self.asked.contains(&at) && self.at_crop[at + 1] == Some((1, 1))
    }

    /// Side of the input, if a vector needs it to be fixed.
    fn side(&self) -> Option<usize> {
        let fixes = |at: &usize| self.is_vector(*at) && self.at_twice[at + 1] != Some((1, 1));
        self.asked.iter().any(fixes).then_some(self.crop)
    }

    fn input(&self, spec: &BackboneSpec) -> ValueMessage {
        let side = |name| self.side().map_or(varies(name), fixed);
        let channels = fixed(spec.input().channels());
        float_value(INPUT, [varies("batch"), channels, side("height"), side("width")])
    }

    fn output(&self, at: usize) -> ValueMessage {
        let (row, front) = (&self.rows[at], [varies("batch"), fixed(self.rows[at].outputs)]);
        let name = row.label();
        if self.is_vector(at) {
            return float_value(name, front);
        }
        let sides = match self.side().and(self.at_crop[at + 1]) {
            Some((height, width)) => [fixed(height), fixed(width)],
            None => ["height", "width"].map(|side| varies(&format!("{name}_{side}"))),
        };
        float_value(name, front.into_iter().chain(sides))
    }
}

fn property(key: &str, value: &str) -> PropertyMessage {
    PropertyMessage { key: key.into(), value: value.into() }
}

fn fixed(extent: usize) -> Extent {
    Extent::Value(extent as i64)
}

fn varies(name: &str) -> Extent {
    Extent::Name(name.into())
}

fn float_value(name: &str, extents: impl IntoIterator<Item = Extent>) -> ValueMessage {
    let dim = extents.into_iter().map(|extent| DimensionMessage { extent: Some(extent) }).collect();
    let tensor_type = Some(TensorTypeMessage { elem_type: FLOAT, shape: Some(ShapeMessage { dim }) });
    ValueMessage { name: name.into(), kind: Some(TypeMessage { tensor_type }) }
}
