//! The protocol and every decision of Patchmesh.
//!
//! Whatever must behave the same in production and in simulation lives here, and nothing else does. The crate owns no
//! clock, no randomness, no task, no file, no socket and no hash-ordered collection: time and chance are arguments.

pub mod duration;
pub mod gossip;
pub mod id;
pub mod inventory;
pub mod labels;
pub mod machine;
pub mod membership;
pub mod patch;
pub mod poison;
pub mod rollout;
pub mod run;
pub mod schedule;
pub mod seal;
pub mod selector;
pub mod time;
pub mod wire;
