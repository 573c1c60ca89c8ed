//! The shells together, for real.

mod mesh;
