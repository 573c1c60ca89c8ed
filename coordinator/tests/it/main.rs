//! Sessions of commands and everything else that needs the crate from outside, in one binary.

mod api;
mod demo;
mod fake;
mod schemas;
mod scripts;
