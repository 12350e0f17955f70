//! run(spec), check(spec).
