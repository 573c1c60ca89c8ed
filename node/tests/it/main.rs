//! The daemon from outside.

#[cfg(test)]
mod daemon;
