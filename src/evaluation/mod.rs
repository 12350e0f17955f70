//! What a method of colouring is worth, measured on pictures that it has not seen (paper section 3.1). Trains nothing.

pub mod interpretability;

pub mod color;
