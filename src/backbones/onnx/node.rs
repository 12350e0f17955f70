//! A row of a layer table as ONNX operators. Maps are NCHW there.

use super::proto::{AttributeKind, AttributeMessage, FLOAT, NodeMessage, TensorMessage};
use crate::{
    backbones::{
        kinds::{
            BatchNormRow, ConvRow, ConvTransposeRow, LayerKind, LinearRow, PoolRow, ResizeRow, SlidingWindow,
            Statistic,
        },
        table::Layer,
    },
    nn::weights::{Named, dims_in_file, to_file_layout},
    ops::{lrn::Lrn, pool::PoolGeometry},
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};

/// Operators and constants of a graph under construction.
#[derive(Default)]
pub struct Nodes {
    pub nodes: Vec<NodeMessage>,
    pub constants: Vec<TensorMessage>,
}

/// An operator without its inputs and outputs.
struct Operator {
    kind: &'static str,
    attributes: Vec<AttributeMessage>,
}

impl Nodes {
    /// Appends the operators of `row`, which reads the values `inputs` and computes the value `output`.
    ///
    /// # Errors
    /// A kind of row that ONNX or its runtimes lack; a missing tensor.
    pub fn append(&mut self, row: &Layer, tensors: &Named, inputs: &[String], output: &str) -> Result<()> {
        let mut inputs = inputs.to_vec();
        let operator = match &row.kind {
            LayerKind::Conv(ConvRow { window, groups, .. }) => {
                self.weights(row, row.kind.weight().unwrap_or_default(), tensors, &mut inputs)?;
                windowed("Conv", *window).and(int("group", *groups as i64))
            }
            LayerKind::ConvTranspose(ConvTransposeRow { shape, .. }) => {
                self.weights(row, row.kind.weight().unwrap_or_default(), tensors, &mut inputs)?;
                windowed("ConvTranspose", *shape)
            }
            // A matrix applied to a map of one cell is a convolution of one cell.
            LayerKind::Linear(LinearRow { inputs: channels, outputs, .. }) => {
                self.weights(row, vec![*outputs, 1, 1, *channels], tensors, &mut inputs)?;
                windowed("Conv", SlidingWindow { kernel: 1, stride: 1, pad: 0, dilation: 1 })
            }
            LayerKind::BatchNorm(norm) => self.batch_norm(row, norm, tensors, &mut inputs)?,
            LayerKind::Pool(pool) => max_pool(row, pool)?,
            LayerKind::Resize(resize) => self.resize(row, resize, &mut inputs)?,
            LayerKind::GlobalPool(_) => Operator::new("GlobalAveragePool", []),
            LayerKind::ResponseNorm(_) => response_norm(Lrn::ALEXNET),
            LayerKind::Activation(act) if act.slope == 0.0 => Operator::new("Relu", []),
            LayerKind::Activation(act) => Operator::new("LeakyRelu", [float("alpha", act.slope)]),
            LayerKind::Dropout(_) | LayerKind::StopGradient(_) => Operator::new("Identity", []),
            LayerKind::Add(_) => Operator::new("Sum", []),
            LayerKind::AddVector(_) => Operator::new("Add", []),
            LayerKind::Concatenate(_) => Operator::new("Concat", [int("axis", 1)]),
            LayerKind::LayerNorm(_)
            | LayerKind::GroupViews(_)
            | LayerKind::SelectChannels(_)
            | LayerKind::Channelwise(_)
            | LayerKind::Unpack(_)
            | LayerKind::Nearest(_)
            | LayerKind::Fuse(_) => bail!("`{}` ({}) is not exported", row.name, row.kind.word()),
        };
        self.push(operator, &row.name, inputs, output);
        Ok(())
    }

    /// Appends a reshape of maps of one cell, `(B, C, 1, 1)`, to vectors `(B, C)`.
    pub fn flatten(&mut self, input: &str, output: &str) {
        self.push(
            Operator::new("Flatten", [int("axis", 1)]),
            &format!("{output}.flatten"),
            vec![input.into()],
            output,
        );
    }

    fn push(&mut self, operator: Operator, name: &str, input: Vec<String>, output: &str) {
        let Operator { kind, attributes } = operator;
        self.nodes.push(NodeMessage {
            input,
            output: vec![output.into()],
            name: name.into(),
            op_type: kind.into(),
            attribute: attributes,
        });
    }

    /// Adds a tensor `(O, KH, KW, I)` or of another rank as a constant, which becomes the next input.
    fn constant(&mut self, name: &str, tensor: &Tensor, inputs: &mut Vec<String>) -> Result<()> {
        let values = to_file_layout(tensor)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let values = values.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        self.constants.push(TensorMessage {
            dims: dims_in_file(tensor.dims()).into_iter().map(|dim| dim as i64).collect(),
            data_type: FLOAT,
            name: name.into(),
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        });
        inputs.push(name.into());
        Ok(())
    }

    /// Adds the weight in the shape of the row's operator `dims`, and the bias if the row has one.
    fn weights(
        &mut self,
        row: &Layer,
        dims: Vec<usize>,
        tensors: &Named,
        inputs: &mut Vec<String>,
    ) -> Result<()> {
        let weight = tensor(tensors, row, "weight")?;
        // Layers of one cell are stored as matrices or as convolutions.
        ensure!(
            weight.elem_count() == dims.iter().product::<usize>() && weight.dims().first() == dims.first(),
            "`{}.weight` is {:?}, but this network's is {dims:?}",
            row.name,
            weight.dims()
        );
        self.constant(&format!("{}.weight", row.name), &weight.reshape(dims)?, inputs)?;
        if row.kind.has_bias() {
            self.constant(&format!("{}.bias", row.name), tensor(tensors, row, "bias")?, inputs)?;
        }
        Ok(())
    }

    fn batch_norm(
        &mut self,
        row: &Layer,
        norm: &BatchNormRow,
        tensors: &Named,
        inputs: &mut Vec<String>,
    ) -> Result<Operator> {
        let constant = |value: f32| Tensor::full(value, norm.channels, &Device::Cpu);
        let (scale, shift) = match norm.options.affine {
            true => (tensor(tensors, row, "weight")?.clone(), tensor(tensors, row, "bias")?.clone()),
            false => (constant(1.0)?, constant(0.0)?),
        };
        let [mean, var] = [tensor(tensors, row, "running_mean")?, tensor(tensors, row, "running_var")?];
        for (part, value) in
            [("weight", &scale), ("bias", &shift), ("running_mean", mean), ("running_var", var)]
        {
            self.constant(&format!("{}.{part}", row.name), value, inputs)?;
        }
        Ok(Operator::new("BatchNormalization", [float("epsilon", norm.options.eps)]))
    }

    /// Inputs are the map, a region (none) and the factors of the four axes.
    fn resize(&mut self, row: &Layer, resize: &ResizeRow, inputs: &mut Vec<String>) -> Result<Operator> {
        let factor = resize.factor as f32;
        inputs.push(String::new());
        self.constant(
            &format!("{}.scales", row.name),
            &Tensor::new(&[1.0, 1.0, factor, factor], &Device::Cpu)?,
            inputs,
        )?;
        let grid = if resize.align_corners { "align_corners" } else { "half_pixel" };
        let attributes = [text("mode", "linear"), text("coordinate_transformation_mode", grid)];
        Ok(Operator::new("Resize", attributes))
    }
}

fn tensor<'a>(tensors: &'a Named, row: &Layer, part: &str) -> Result<&'a Tensor> {
    let name = format!("{}.{part}", row.name);
    tensors
        .get(&name)
        .with_context(|| format!("`{name}` is missing: the weights are not those of this network"))
}

impl Operator {
    fn new<const N: usize>(kind: &'static str, attributes: [AttributeMessage; N]) -> Self {
        Self { kind, attributes: attributes.into() }
    }

    fn and(mut self, attribute: AttributeMessage) -> Self {
        self.attributes.push(attribute);
        self
    }
}

fn windowed(kind: &'static str, window: SlidingWindow) -> Operator {
    let SlidingWindow { kernel, stride, pad, dilation } = window;
    let twice = |n: usize| [n as i64; 2];
    let attributes = [
        ints("kernel_shape", twice(kernel)),
        ints("strides", twice(stride)),
        ints("pads", [pad as i64; 4]),
        ints("dilations", twice(dilation)),
    ];
    Operator::new(kind, attributes)
}

/// An output size that rounds up is one that rounds down with `stride − 1` more cells of padding at the end, which a
/// maximum ignores; runtimes differ in what `ceil_mode` does with windows at the border.
fn max_pool(row: &Layer, pool: &PoolRow) -> Result<Operator> {
    let PoolGeometry { kernel, stride, pad, ceil } = pool.geometry;
    ensure!(pool.statistic == Statistic::Max, "`{}` (average pool) is not exported", row.name);
    // A window of one cell never reaches over the border.
    let end = if ceil && kernel > 1 { pad + stride - 1 } else { pad };
    // No window begins in the padding at the end, which Caffe would drop, and runtimes accept the padding.
    ensure!(
        end < kernel,
        "`{}` is not exported: its window of {kernel} is too small for its stride",
        row.name
    );
    let [begin, end] = [pad as i64, end as i64];
    let attributes = [
        ints("kernel_shape", [kernel as i64; 2]),
        ints("strides", [stride as i64; 2]),
        ints("pads", [begin, begin, end, end]),
    ];
    Ok(Operator::new("MaxPool", attributes))
}

fn response_norm(Lrn { size, alpha, beta, k }: Lrn) -> Operator {
    let attributes = [int("size", size as i64), float("alpha", alpha), float("beta", beta), float("bias", k)];
    Operator::new("LRN", attributes)
}

fn attribute(name: &str, kind: AttributeKind) -> AttributeMessage {
    AttributeMessage { name: name.into(), kind: kind.into(), ..AttributeMessage::default() }
}

fn float(name: &str, value: f64) -> AttributeMessage {
    AttributeMessage { f: Some(value as f32), ..attribute(name, AttributeKind::Float) }
}

fn int(name: &str, value: i64) -> AttributeMessage {
    AttributeMessage { i: Some(value), ..attribute(name, AttributeKind::Int) }
}

fn text(name: &str, value: &str) -> AttributeMessage {
    AttributeMessage { s: Some(value.into()), ..attribute(name, AttributeKind::String) }
}

fn ints(name: &str, values: impl Into<Vec<i64>>) -> AttributeMessage {
    AttributeMessage { ints: values.into(), ..attribute(name, AttributeKind::Ints) }
}
