//! apt/mod
