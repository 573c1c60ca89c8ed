//! The Patchmesh coordinator service, its CLI and the demo.

pub mod actor;
pub mod api;
pub mod audit;
pub mod baselines;
pub mod cli;
pub mod command;
pub mod demo;
pub mod fault;
pub mod ledger;
pub mod logs;
pub mod manifest;
pub mod output;
pub mod render;
pub mod serve;
pub mod service;
pub mod snapshots;
pub mod status;
pub mod store;
pub mod watch;
