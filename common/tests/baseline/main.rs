//! Baselines from outside: every limit broken by one, files of AWS there and back, and hand-worked evaluations.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

mod arbitrary;
mod clocks;
mod identity;
mod laws;
mod limits;
mod table;
