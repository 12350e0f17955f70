//! Caffe's `.caffemodel`: a network definition in protocol buffers. Only the names, types and blobs of the layers are
//! read, in the current format (`layer`) and in that of 2013 and 2014 (`layers`). Writing uses the current format.
//!
//! A layer's blobs become `NAME.weight` and `NAME.bias`, those of a batch normalization `NAME.running_mean`,
//! `NAME.running_var` and `NAME.weight_sum`: Caffe stores sums, which are divided by the third blob on reading and
//! multiplied by it on writing. Connections between layers are neither read nor written: Caffe finds weights by name,
//! using a separate prototxt.

mod blobs;
mod proto;
mod write;

pub use write::write;

use super::found::Named;
use anyhow::{Context, Result, bail, ensure};
use blobs::{BlobLayout, tensors};
use prost::{Message, bytes::Bytes};
use proto::{LayerMessage, NetMessage, V1LayerMessage};
use std::{collections::BTreeSet, io::Read};

/// Size limit of protocol buffers.
const LARGEST_FILE: u64 = 2 << 30;

/// Whether a file with these first bytes can be a model: its first field is a name or a layer.
pub(super) fn may_begin(start: &[u8]) -> bool {
    matches!(start, [0x0a | 0x12, ..] | [0xa2, 0x06, ..])
}

/// Tensors in memory layout. Layers without blobs are omitted.
pub(super) fn read(file: &mut impl Read, length: u64) -> Result<Named> {
    let kind = "not a .caffemodel, or it is truncated or corrupt";
    ensure!(length <= LARGEST_FILE, "it has {length} bytes, more than the limit of a .caffemodel");
    let mut bytes = Vec::with_capacity(length as usize);
    file.read_to_end(&mut bytes)?;
    let net = NetMessage::decode(Bytes::from(bytes)).context(kind)?;
    let mut named = Named::new();
    let mut layers = BTreeSet::new();
    for layer in net.layer.into_iter().map(parsed).chain(net.layers.into_iter().map(parsed_v1)) {
        let (name, layer_kind, blobs) = layer.context(kind)?;
        if blobs.is_empty() {
            continue;
        }
        ensure!(layers.insert(name.clone()), "two layers with weights are called `{name}`");
        let tensors = tensors(layer_kind, blobs).with_context(|| format!("layer `{name}`"))?;
        named.extend(tensors.into_iter().map(|(part, tensor)| (format!("{name}.{part}"), tensor)));
    }
    if named.is_empty() {
        bail!("it holds no layer with weights: a solver state, or {kind}")
    }
    Ok(named)
}

fn parsed(layer: Bytes) -> Result<(String, BlobLayout, Vec<Bytes>)> {
    let LayerMessage { name, kind, blobs } = LayerMessage::decode(layer)?;
    let kind = match kind.as_str() {
        "Convolution" | "Deconvolution" => BlobLayout::Convolution,
        "InnerProduct" => BlobLayout::InnerProduct,
        "BatchNorm" => BlobLayout::BatchNorm,
        _ => BlobLayout::Other,
    };
    Ok((name, kind, blobs))
}

/// The type numbers are those of `V1LayerParameter.LayerType`.
fn parsed_v1(layer: Bytes) -> Result<(String, BlobLayout, Vec<Bytes>)> {
    let V1LayerMessage { name, kind, blobs } = V1LayerMessage::decode(layer)?;
    let kind = match kind {
        4 | 39 => BlobLayout::Convolution,
        14 => BlobLayout::InnerProduct,
        _ => BlobLayout::Other,
    };
    Ok((name, kind, blobs))
}
