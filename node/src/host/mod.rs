//! The only code that touches the machine.

pub mod adopt;
pub mod apt;
pub mod boot;
mod executable;
pub mod gates;
pub mod hooks;
mod process;
pub mod root;
pub mod runner;
pub mod sightings;
