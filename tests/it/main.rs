//! The shells together, for real.

mod mesh;
#[cfg(test)]
mod apt;
