//! The daemon and its parts, with real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests end this way")]

mod boot;
mod daemon;
mod patcher;
mod poison;
mod runner;
