//! The shells together, for real.

#[cfg(test)]
mod mesh;
