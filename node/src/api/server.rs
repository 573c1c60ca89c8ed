//! The daemon's side of its socket.

use std::io;

use actix::Addr;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use patchmesh_common::run::message::{MAX_STOP, OrderStamp, StopScope};
use serde::Serialize;
use tokio::net::UnixListener;

use super::{
    document::{ErrorDocument, HostsDocument, LeaseEnd, OrderRequest, StopDocument},
    orders,
};
use crate::peer::{PeerActor, View};

/// Largest request: an order in hex, and room for the JSON around it.
const MAX_BODY: usize = 2 * MAX_STOP + 1024;
/// The exit code for what only a coordinator answers.
const NO_COORDINATOR: u8 = 7;

/// Answers on `listener` from what `peer` knows, for ever.
///
/// # Errors
/// What the socket says.
pub async fn serve(listener: UnixListener, peer: Addr<PeerActor>) -> io::Result<()> {
    axum::serve(listener, router(peer)).await
}

type Peer = State<Addr<PeerActor>>;

fn router(peer: Addr<PeerActor>) -> Router {
    Router::new()
        .route("/v1/hosts", get(hosts))
        .route("/v1/orders", get(|State(peer): Peer| async move { answer(orders::list(&peer).await) }).post(order))
        .route("/v1/orders/{scope}", get(standing))
        .fallback(elsewhere)
        .method_not_allowed_fallback(elsewhere)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(peer)
}

async fn hosts(State(peer): Peer) -> Response {
    match peer.send(View).await {
        Ok(members) => answer(Ok(HostsDocument::from(&members[..]))),
        Err(error) => {
            let text = format!("the mesh peer does not answer: {error}");
            answer::<()>(Err(ErrorDocument::new("busy", text, "nothing was changed", "try again")))
        }
    }
}

async fn order(State(peer): Peer, body: Bytes) -> Response {
    let given = async {
        let request = serde_json::from_slice::<OrderRequest>(&body).map_err(|error| error.to_string());
        let signed = request.and_then(|request| orders::decode(&request)).map_err(|why| {
            let text = format!("the request body is no order: {why}");
            ErrorDocument::new("bad-request", text, "nothing was ordered", "use a patchmesh of the daemon's version")
        })?;
        orders::give(&peer, signed).await
    };
    match given.await {
        Ok(order) => answer(stands(&peer, order.scope).await),
        Err(error) => answer::<()>(Err(error)),
    }
}

async fn standing(State(peer): Peer, Path(scope): Path<String>) -> Response {
    match orders::scope(&scope) {
        Some(scope) => answer(stands(&peer, scope).await),
        None => elsewhere().await,
    }
}

/// A daemon does not grant: it cannot know who was granted what.
async fn stands(peer: &Addr<PeerActor>, scope: StopScope) -> Result<StopDocument, ErrorDocument> {
    let (order, members): (OrderStamp, _) = orders::standing(peer, scope).await?;
    Ok(StopDocument::new(order, &members, |_| LeaseEnd::Unknown))
}

async fn elsewhere() -> Response {
    let error = ErrorDocument {
        exit: NO_COORDINATOR,
        ..ErrorDocument::new(
            "no-coordinator",
            "this is the daemon of a host: it answers get hosts, stop and resume",
            "nothing was changed",
            "ask a coordinator: name its socket with --socket PATH or PATCHMESH_SOCKET",
        )
    };
    answer::<()>(Err(error))
}

fn answer<T: Serialize>(result: Result<T, ErrorDocument>) -> Response {
    match result {
        Ok(document) => Json(document).into_response(),
        Err(error) => {
            let status = match error.code.as_str() {
                "not-found" | "no-coordinator" => StatusCode::NOT_FOUND,
                "bad-request" | "order-refused" => StatusCode::BAD_REQUEST,
                "order-outranked" => StatusCode::CONFLICT,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, Json(error)).into_response()
        }
    }
}
