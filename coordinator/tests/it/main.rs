//! Sessions of commands and everything else that needs the crate from outside, in one binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(clippy::print_stderr, reason = "a test that skips itself says so")]

mod api;
mod demo;
mod fake;
mod schemas;
mod scripts;
mod windows;
