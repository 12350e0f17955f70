//! Probes: how much a frozen representation knows, measured by a simple classifier on top of it.

pub mod downsample;
pub mod feature_cache;
pub mod linear;

pub mod nonlinear; // all layers above, trained anew

pub mod features; // a frozen tap over a whole set, as one matrix
pub mod products; // inner products of two such matrices

pub mod knn; // nearest neighbors
pub mod svm; // linear SVMs, one a class

pub mod low_shot; // the same SVMs from few examples
