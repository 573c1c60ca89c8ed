//! What the peer actor is told, and what it tells.

use actix::{Message, Recipient};
use patchmesh_common::{
    gossip::{KnownHost, RecordBody},
    id::{MeshId, NodeId},
    run::message::{LeaseFrame, OrderStamp, SignedStop},
};

use crate::api::document::ErrorDocument;

/// A frame for a member. It may be lost, and never fails; to the local node it comes back as [`Inbound`].
#[derive(Clone, Debug)]
pub struct Deliver {
    /// For whom.
    pub to: NodeId,
    /// What.
    pub frame: LeaseFrame,
}

/// What this host says of itself has changed. `addresses` are filled in by the mesh.
#[derive(Clone, Debug)]
pub struct Describe(pub RecordBody);

/// Asks for every known member, by name.
#[derive(Clone, Copy, Debug)]
pub struct View;

/// A frame whose author is a member with an unexpired membership. Author, role, addressee and epoch are the receiver's to check.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The member that passed it on; not necessarily the author.
    pub from: NodeId,
    /// What.
    pub frame: LeaseFrame,
}

/// The view is another one now; told a few times a second at most.
#[derive(Clone, Debug)]
pub struct ViewChanged(pub Vec<KnownHost>);

/// How far the mesh's median clock is ahead of this host's, in milliseconds; `None` without neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew(pub Option<i64>);

/// Somebody at this member gives an order. Answers which one it is, once the mesh has it.
#[derive(Clone, Debug)]
pub struct Order(pub Box<SignedStop>);

/// The mesh knows an order that is not in this host's own record. Whoever obeys it checks it itself.
#[derive(Clone, Debug)]
pub struct Ordered(pub Box<SignedStop>);

/// Asks for the orders that this member knows.
#[derive(Clone, Copy, Debug)]
pub struct Known;

/// The answer to [`Known`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownOrders {
    /// Of which mesh.
    pub mesh: MeshId,
    /// The sequence that outranks all of them, and all that the records of others name.
    pub next_sequence: u64,
    /// The winning order of every scope, by scope.
    pub orders: Vec<OrderStamp>,
}

/// Ends an actor; answered when it will do nothing more. The peer's links close, and its store is free then.
#[derive(Clone, Copy, Debug)]
pub struct Stop;

/// Who is told of what. A refused send is logged and dropped.
#[derive(Clone, Default)]
pub struct Subscribe {
    /// Frames for this host.
    pub frames: Option<Recipient<Inbound>>,
    /// The view.
    pub view: Option<Recipient<ViewChanged>>,
    /// The clock.
    pub skew: Option<Recipient<Skew>>,
    /// Orders; told again, once a second, until the own record names them.
    pub orders: Option<Recipient<Ordered>>,
}

impl Message for Order {
    type Result = Result<OrderStamp, ErrorDocument>;
}

impl Message for Ordered {
    type Result = ();
}

impl Message for Known {
    type Result = KnownOrders;
}

impl Message for Deliver {
    type Result = ();
}

impl Message for Describe {
    type Result = ();
}

impl Message for Stop {
    type Result = ();
}

impl Message for View {
    type Result = Vec<KnownHost>;
}

impl Message for Inbound {
    type Result = ();
}

impl Message for ViewChanged {
    type Result = ();
}

impl Message for Skew {
    type Result = ();
}

impl Message for Subscribe {
    type Result = ();
}
