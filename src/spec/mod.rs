//! The typed YAML: parsing with located errors, extends, overrides, the resolved form and its hash.
