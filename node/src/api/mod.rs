//! What a member answers on a unix socket that only its user can open, in HTTP and JSON. A coordinator answers the same, and more.
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `GET /v1/hosts` | | `patchmesh.hosts/v1` |
//! | `GET /v1/orders` | | `patchmesh.orders/v1` |
//! | `POST /v1/orders` | `{"order": HEX}`: a sealed STOP or resume | `patchmesh.stop/v1` |
//! | `GET /v1/orders/{all,ROLLOUT}` | | `patchmesh.stop/v1` |
//!
//! Every error is a `patchmesh.error/v1` document; its member `exit` is the CLI's exit code.

pub mod document;
pub mod orders;
mod server;
pub mod socket;

pub use server::serve;

/// The daemon's socket, in its state folder.
pub const SOCKET: &str = "daemon.sock";
