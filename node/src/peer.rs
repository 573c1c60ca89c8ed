//! The mesh peer: what it and the patcher say to each other.

use actix::Message;
use patchmesh_common::{id::NodeId, run::message::LeaseFrame};

/// Send this frame to that member. May be lost; never fails.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// The addressee.
    pub to: NodeId,
    /// What to deliver.
    pub frame: LeaseFrame,
}

impl Message for Deliver {
    type Result = ();
}

/// A lease frame that a member delivered. Nothing of it has been checked.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Who delivered it, which may be another than its author.
    pub from: NodeId,
    /// What it delivered.
    pub frame: LeaseFrame,
}

impl Message for Inbound {
    type Result = ();
}

/// How far this host's wall clock is from the mesh's median, in milliseconds; `None` while unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew(pub Option<i64>);

impl Message for Skew {
    type Result = ();
}
