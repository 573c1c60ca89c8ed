//! STOPs and resumes at the API of any member: handing one to the mesh, and who has saved it.

use actix::Addr;
use patchmesh_common::{
    gossip::KnownHost,
    id::{RolloutId, hex, unhex},
    run::message::{MAX_STOP, OrderStamp, SignedStop, StopScope},
    wire,
};

use super::document::{ErrorDocument, OrderRequest, OrdersDocument};
use crate::peer::{Known, KnownOrders, Order, PeerActor, View};

/// The body that carries `signed`.
pub fn encode(signed: &SignedStop) -> OrderRequest {
    OrderRequest { order: hex(&wire::encode(signed)) }
}

/// The order in a body. Nothing of it has been checked.
///
/// # Errors
/// Why it is none.
pub fn decode(request: &OrderRequest) -> Result<SignedStop, String> {
    let bytes = unhex(&request.order).ok_or("`order` is not hex")?;
    wire::decode(&bytes, MAX_STOP).map_err(|error| format!("`order` is no order: {error}"))
}

/// The scope in a path: `all`, or a rollout's id.
pub fn scope(segment: &str) -> Option<StopScope> {
    if segment == "all" { Some(StopScope::All) } else { RolloutId::parse(segment).map(StopScope::Rollout) }
}

/// The orders that `peer` knows.
///
/// # Errors
/// `busy`.
pub async fn known(peer: &Addr<PeerActor>) -> Result<KnownOrders, ErrorDocument> {
    peer.send(Known).await.map_err(|_| busy())
}

/// The same, as a document.
///
/// # Errors
/// `busy`.
pub async fn list(peer: &Addr<PeerActor>) -> Result<OrdersDocument, ErrorDocument> {
    let KnownOrders { mesh, next_sequence, orders } = known(peer).await?;
    Ok(OrdersDocument::new(mesh, next_sequence, orders))
}

/// Hands an order to the mesh, and answers which one it is.
///
/// # Errors
/// `order-refused`, `order-outranked`, `busy`.
pub async fn give(peer: &Addr<PeerActor>, signed: SignedStop) -> Result<OrderStamp, ErrorDocument> {
    peer.send(Order(Box::new(signed))).await.map_err(|_| busy())?
}

/// The winning order of `scope`, and the members that may have saved it.
///
/// # Errors
/// `not-found`, `busy`.
pub async fn standing(peer: &Addr<PeerActor>, scope: StopScope) -> Result<(OrderStamp, Vec<KnownHost>), ErrorDocument> {
    let order = known(peer).await?.orders.into_iter().find(|order| order.scope == scope).ok_or_else(|| {
        let text = "this member knows no order of that scope";
        ErrorDocument::new("not-found", text, "nothing was changed", "give one with patchmesh stop")
    })?;
    Ok((order, peer.send(View).await.map_err(|_| busy())?))
}

fn busy() -> ErrorDocument {
    ErrorDocument::new("busy", "this member's mesh peer is busy or has ended", "nothing was changed", "try again")
}
