//! The Patchmesh daemon: a mesh peer and a patch runner on one host.
//!
//! Shells only: they translate what happens into events for the machines of `patchmesh-common` and perform the effects.

pub mod api;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod hand;
pub mod host;
pub mod identity;
pub mod mesh;
pub mod patcher;
pub mod peer;
pub mod portrait;
pub mod reports;
pub mod service_manager;
pub mod store;

pub use daemon::run;

/// An error and every cause below it, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
