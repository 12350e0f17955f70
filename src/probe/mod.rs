//! Probes: measure a frozen representation by training simple classifiers on it.

pub mod downsample;
pub mod feature_cache;
pub mod linear;

pub mod nonlinear; // retrains all later layers

pub mod features; // feature matrices of whole data sets
pub mod products; // inner products of feature matrices

pub mod knn; // nearest neighbors
pub mod softmax; // a linear classifier fitted on all rows at once
pub mod svm; // linear SVMs, one per class

pub mod low_shot; // the same SVMs on few examples
