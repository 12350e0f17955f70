//! The parts of `caffe.proto` that weights need. Layers and blobs are stored as bytes until they are parsed, so a file
//! needs only its own length in memory and no other message is parsed.

use prost::bytes::Bytes;

/// `NetParameter`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NetMessage {
    #[prost(string, tag = "1")]
    pub name: String,
    /// the format of 2013 and 2014: [`V1LayerMessage`]
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub layers: Vec<Bytes>,
    /// [`LayerMessage`]
    #[prost(bytes = "bytes", repeated, tag = "100")]
    pub layer: Vec<Bytes>,
}

/// `LayerParameter`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LayerMessage {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub kind: String,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub blobs: Vec<Bytes>,
}

/// `V1LayerParameter`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct V1LayerMessage {
    #[prost(string, tag = "4")]
    pub name: String,
    #[prost(int32, tag = "5")]
    pub kind: i32,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub blobs: Vec<Bytes>,
}

/// `BlobProto`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BlobMessage {
    /// these four are the shape if `shape` is absent
    #[prost(int32, optional, tag = "1")]
    pub num: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub channels: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    pub height: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    pub width: Option<i32>,
    #[prost(float, repeated, packed = "true", tag = "5")]
    pub data: Vec<f32>,
    #[prost(message, optional, tag = "7")]
    pub shape: Option<ShapeMessage>,
    #[prost(double, repeated, packed = "true", tag = "8")]
    pub double_data: Vec<f64>,
}

/// `BlobShape`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ShapeMessage {
    #[prost(int64, repeated, packed = "true", tag = "1")]
    pub dim: Vec<i64>,
}
