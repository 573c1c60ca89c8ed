//! The shells together, for real.

#[cfg(test)]
mod apt;
mod mesh;
