//! Result of reading a file in one format.

use crate::element::Element;
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use std::collections::BTreeMap;

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// Contents of a file in one format.
#[derive(Default)]
pub(super) struct RawWeights {
    pub tensors: Named,
    pub metadata: BTreeMap<String, String>,
    pub unread: BTreeMap<String, String>,
    /// Tensors whose dtype in memory differs from the file's, by the file's dtype.
    pub converted: BTreeMap<&'static str, Vec<String>>,
    pub notes: Vec<String>,
}

impl RawWeights {
    /// Adds a tensor with its dtype in the file. Values too large for any dtype in memory (seeds may be) are skipped.
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
