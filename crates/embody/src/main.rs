//! embody.
fn main() {}
