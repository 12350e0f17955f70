//! Writes models in Caffe's current format, layer by layer.

use super::proto::{LayerMessage, NetMessage, ShapeMessage};
use crate::nn::weights::{
    layout::{atomically, dims_in_file},
    safetensors::write_tensor,
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use prost::Message;
use std::{collections::BTreeMap, io::Write, path::Path};

/// Tags with the wire type of bytes: `NetParameter.layer`, `LayerParameter.blobs`, `BlobProto.data` and `.shape`.
const LAYER: [u8; 2] = [0xa2, 0x06];
const BLOBS: u8 = 0x3a;
const DATA: u8 = 0x2a;
const SHAPE: u8 = 0x3a;

/// Writes tensors in memory layout as a model, atomically, as float32. Tensors of one layer (`NAME.weight`,
/// `NAME.bias`) are written together, layers in the order of their first tensor. A layer with `running_mean` becomes a
/// BatchNorm with three blobs. A layer with a weight of rank 4 becomes a Convolution or, if listed in `transposed`, a
/// Deconvolution; of rank 2 an InnerProduct; of rank 1 a Scale.
///
/// # Errors
/// Tensors of no such layer, a folder that cannot be written, a full disk.
pub fn write(name: &str, tensors: &[(&str, &Tensor)], transposed: &[&str], path: &Path) -> Result<()> {
    let layers = layers(tensors, transposed)?;
    atomically(path, |file| {
        file.write_all(&NetMessage { name: name.into(), ..NetMessage::default() }.encode_to_vec())?;
        layers
            .iter()
            .try_for_each(|layer| layer.write(file).with_context(|| format!("layer `{}`", layer.name)))
    })
}

struct CaffeLayer<'a> {
    name: &'a str,
    kind: &'static str,
    blobs: Vec<Tensor>,
}

type BlobParts<'a> = BTreeMap<&'a str, &'a Tensor>;

fn layers<'a>(tensors: &[(&'a str, &'a Tensor)], transposed: &[&str]) -> Result<Vec<CaffeLayer<'a>>> {
    let mut layers: Vec<(&str, BlobParts)> = vec![];
    for &(full, tensor) in tensors {
        let (name, part) = full
            .rsplit_once('.')
            .with_context(|| format!("`{full}` is not a name of the form LAYER.PART"))?;
        let place = layers.iter().position(|(other, _)| *other == name).unwrap_or(layers.len());
        if place == layers.len() {
            layers.push((name, BlobParts::new()));
        }
        ensure!(layers[place].1.insert(part, tensor).is_none(), "two tensors are called `{full}`");
    }
    let layer = |(name, parts): &(&'a str, BlobParts)| {
        layer(name, parts, transposed.contains(name)).with_context(|| format!("layer `{name}`"))
    };
    layers.iter().map(layer).collect()
}

fn layer<'a>(name: &'a str, parts: &BlobParts, transposed: bool) -> Result<CaffeLayer<'a>> {
    let names: Vec<&str> = parts.keys().copied().collect();
    let blob = |part: &str| parts[part].detach().to_dtype(DType::F32);
    let (kind, blobs) = match names[..] {
        ["running_mean", "running_var", "weight_sum"] => {
            ("BatchNorm", sums(blob("running_mean")?, blob("running_var")?, blob("weight_sum")?)?)
        }
        ["weight"] => (kind(parts["weight"], transposed)?, vec![blob("weight")?]),
        ["bias", "weight"] => (kind(parts["weight"], transposed)?, vec![blob("weight")?, blob("bias")?]),
        _ => bail!("Caffe has no layer with the tensors {}", names.join(", ")),
    };
    Ok(CaffeLayer { name, kind, blobs })
}

fn kind(weight: &Tensor, transposed: bool) -> Result<&'static str> {
    Ok(match weight.rank() {
        4 if transposed => "Deconvolution",
        4 => "Convolution",
        2 => "InnerProduct",
        1 => "Scale",
        rank => bail!("Caffe has no layer with a weight of rank {rank}"),
    })
}

/// Converts statistics to sums; statistics with an accumulated weight of 0 count as one batch.
fn sums(mean: Tensor, var: Tensor, weight: Tensor) -> Result<Vec<Tensor>> {
    ensure!(weight.dims() == [1], "weight_sum has the shape {:?} instead of [1]", weight.dims());
    let sum = weight.get(0)?.to_scalar::<f32>()?;
    let sum = if sum == 0.0 { 1.0 } else { f64::from(sum) };
    Ok(vec![(mean * sum)?, (var * sum)?, (weight.zeros_like()? + sum)?])
}

impl CaffeLayer<'_> {
    fn write(&self, file: &mut impl Write) -> Result<()> {
        let message = LayerMessage { name: self.name.into(), kind: self.kind.into(), blobs: vec![] };
        let heads = self.blobs.iter().map(blob_head).collect::<Result<Vec<_>>>()?;
        let sized: Vec<usize> =
            self.blobs.iter().zip(&heads).map(|(b, head)| head.len() + 4 * b.elem_count()).collect();
        let head = message.encode_to_vec();
        let blobs: usize = sized.iter().map(|&size| 1 + prost::length_delimiter_len(size) + size).sum();
        file.write_all(&[&LAYER, delimiter(head.len() + blobs)?.as_slice(), &head].concat())?;
        for ((blob, head), size) in self.blobs.iter().zip(&heads).zip(sized) {
            file.write_all(&[&[BLOBS], delimiter(size)?.as_slice(), head].concat())?;
            write_tensor(blob, file)?;
        }
        Ok(())
    }
}

/// A blob without its values, which have the same layout as in other formats.
fn blob_head(blob: &Tensor) -> Result<Vec<u8>> {
    let dim = dims_in_file(blob.dims()).into_iter().map(|size| size as i64).collect();
    let shape = ShapeMessage { dim }.encode_to_vec();
    let (shape_size, data_size) = (delimiter(shape.len())?, delimiter(4 * blob.elem_count())?);
    Ok([&[SHAPE], shape_size.as_slice(), &shape, &[DATA], &data_size].concat())
}

fn delimiter(length: usize) -> Result<Vec<u8>> {
    let mut out = vec![];
    prost::encode_length_delimiter(length, &mut out)?;
    Ok(out)
}
