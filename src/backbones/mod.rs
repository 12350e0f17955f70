//! Networks that learn representations, each a layer table first, then the forward pass.
pub mod alexnet;
