//! Schedules and windows from outside: another implementation of cron, clocks that are set, and every limit.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

mod grammar;
mod limits;
mod oracle;
mod zones;
