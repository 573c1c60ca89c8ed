//! The only code that touches the machine.

pub mod apt;
pub mod boot;
pub mod hooks;
pub mod root;
pub mod runner;
