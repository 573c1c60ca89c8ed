//! The gate: strangers meet a closed door, not a protocol.
//!
//! [`Gated`] wraps the behaviours that know or tell anything. A connection whose key is not admitted gets handlers that speak
//! no protocol, and the wrapped behaviours never hear of it. Which kind a connection is, is fixed when it is established; an
//! admitted peer must connect anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    task::{Context, Poll},
};

use either::Either;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
        dummy,
    },
};

/// See the module.
pub(super) struct Gated<B> {
    inner: B,
    admitted: BTreeSet<PeerId>,
    /// Connections of which `inner` knows, or will know as soon as they are announced.
    full: BTreeMap<ConnectionId, PeerId>,
}

impl<B> Gated<B> {
    /// Nobody is admitted yet.
    pub(super) fn new(inner: B) -> Self {
        Self { inner, admitted: BTreeSet::new(), full: BTreeMap::new() }
    }

    /// The wrapped behaviours.
    pub(super) fn inner(&mut self) -> &mut B {
        &mut self.inner
    }

    /// Future connections of `peer` get every protocol.
    pub(super) fn admit(&mut self, peer: PeerId) {
        self.admitted.insert(peer);
    }

    /// Future connections of `peer` get none. Existing ones are the caller's to close.
    pub(super) fn expel(&mut self, peer: &PeerId) {
        self.admitted.remove(peer);
    }

    /// Whether this connection has every protocol.
    pub(super) fn is_full(&self, connection: ConnectionId) -> bool {
        self.full.contains_key(&connection)
    }

    /// Full connections of `peer` other than `connection`: what the wrapped behaviours count.
    fn others(&self, peer: PeerId, connection: ConnectionId) -> usize {
        self.full.iter().filter(|(id, owner)| **id != connection && **owner == peer).count()
    }
}

type Handler<B> = Either<THandler<B>, dummy::ConnectionHandler>;

impl<B: NetworkBehaviour> NetworkBehaviour for Gated<B> {
    type ConnectionHandler = Handler<B>;
    type ToSwarm = B::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<Handler<B>, ConnectionDenied> {
        if !self.admitted.contains(&peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        let handler = self.inner.handle_established_inbound_connection(connection, peer, local, remote)?;
        self.full.insert(connection, peer);
        Ok(Either::Left(handler))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<Handler<B>, ConnectionDenied> {
        if !self.admitted.contains(&peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        let handler = self.inner.handle_established_outbound_connection(connection, peer, address, role, port)?;
        self.full.insert(connection, peer);
        Ok(Either::Left(handler))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                if self.is_full(event.connection_id) {
                    let other_established = self.others(event.peer_id, event.connection_id);
                    let event = ConnectionEstablished { other_established, ..event };
                    self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(event));
                }
            }
            FromSwarm::ConnectionClosed(event) => {
                if self.full.remove(&event.connection_id).is_some() {
                    let remaining_established = self.others(event.peer_id, event.connection_id);
                    let event = ConnectionClosed { remaining_established, ..event };
                    self.inner.on_swarm_event(FromSwarm::ConnectionClosed(event));
                }
            }
            FromSwarm::AddressChange(change) => {
                if self.is_full(change.connection_id) {
                    self.inner.on_swarm_event(event);
                }
            }
            // Dials are this task's own; the wrapped behaviours wait for none.
            FromSwarm::DialFailure(_) | FromSwarm::ListenFailure(_) => {}
            other => self.inner.on_swarm_event(other),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => self.inner.on_connection_handler_event(peer, connection, event),
            Either::Right(never) => match never {},
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            let Poll::Ready(action) = self.inner.poll(cx) else { return Poll::Pending };
            match action {
                // "Any" connection of the peer might be a gated one, whose handler takes no messages.
                ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event } => {
                    let Some(one) = self.full.iter().find(|(_, owner)| **owner == peer_id).map(|(id, _)| *id) else {
                        continue;
                    };
                    let handler = NotifyHandler::One(one);
                    return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event: Either::Left(event) });
                }
                action => return Poll::Ready(action.map_in(Either::Left)),
            }
        }
    }
}
