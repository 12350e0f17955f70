//! What a reader of one format hands over.

use crate::element::Element;
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use std::collections::BTreeMap;

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// What a reader of one format has found.
#[derive(Default)]
pub(super) struct RawWeights {
    pub tensors: Named,
    pub metadata: BTreeMap<String, String>,
    pub unread: BTreeMap<String, String>,
    /// Tensors whose numbers are of another type in the file.
    pub converted: BTreeMap<&'static str, Vec<String>>,
    pub notes: Vec<String>,
}

impl RawWeights {
    /// Takes in a tensor of this type in the file. What is too large for any type in memory (seeds may be) is passed over.
    pub(super) fn add(&mut self, name: String, element: Element, tensor: Result<Tensor>) -> Result<()> {
        let tensor = match tensor {
            Err(error) if element == Element::U64 => {
                self.unread.insert(name, format!("{error:#}"));
                return Ok(());
            }
            other => other.with_context(|| format!("tensor `{name}`"))?,
        };
        if element.name() != element.dtype().as_str() {
            self.converted.entry(element.name()).or_default().push(name.clone());
        }
        ensure!(!self.tensors.contains_key(&name), "two tensors are called `{name}`");
        self.tensors.insert(name, tensor);
        Ok(())
    }
}
