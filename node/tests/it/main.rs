//! The daemon's parts with real processes.

mod patcher;
mod runner;
