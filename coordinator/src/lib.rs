//! The Patchmesh coordinator service, its CLI and the demo.

pub mod api;
pub mod cli;
pub mod command;
pub mod demo;
pub mod fault;
pub mod manifest;
pub mod output;
pub mod render;
