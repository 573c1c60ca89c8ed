//! The production machines of a whole fleet under virtual time: coordinators, hosts, a network that loses and delays, disks,
//! clocks, processes that die at any effect. One seed gives one run, on every machine.
//!
//! The world performs what the machines ask for and keeps its own books of what hosts *really* did; the promises are
//! checked against these books, never against what a machine believes.

pub mod chance;
pub mod cli;
mod clock;
pub mod fault;
pub mod invariant;
mod keys;
mod packages;
mod queue;
pub mod report;
pub mod sabotage;
pub mod scenario;
pub mod spread;
#[cfg(test)]
mod tests;
mod trace;
pub mod truth;
pub mod world;
