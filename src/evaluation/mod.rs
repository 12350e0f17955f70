//! What predicted colours are worth to others than the loss.
pub mod interpretability;
