//! Starts and ends the daemon.

/// Runs the daemon.
pub fn run() {}
