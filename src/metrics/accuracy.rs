//! Top-k accuracy, and mean ± standard deviation over seeds.
