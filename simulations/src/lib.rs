//! The production machines of a whole fleet under virtual time: one coordinator, many hosts, a network that loses and delays,
//! processes that die at any effect. One seed gives one run, on every machine.
//!
//! The world performs what the machines ask for and keeps its own books of what hosts *really* did; the promises are
//! checked against these books, never against what a machine believes.

mod host;
mod keys;
mod office;
mod world;

#[cfg(test)]
mod tests;

pub use world::{Faults, Verdict, Wave, World};
