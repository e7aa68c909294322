//! Small programs; see `examples/examples`.
