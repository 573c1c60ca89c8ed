//! Enrolment: what happens on a connection until it is a link.
//!
//! The dialler shows its credential; the listener checks it, lets the key in and shows its own, or says nothing and closes.
//! Then both know each other, and the dialler connects anew if the connection was still a gated one on either side.

use std::time::Instant;

use libp2p::{
    PeerId,
    request_response::{self, Message},
    swarm::ConnectionId,
};
use patchmesh_common::{
    gossip::Hello, id::NodeId, membership::CredentialError, seal::Ed25519, time::WallTime, wire::Malformed,
};

use super::{Net, REFUSED, name};
use crate::{
    clock,
    mesh::{Event, node_id},
};

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Credential(CredentialError),
    #[error("it shows the membership of {0} and has another key")]
    OtherKey(String),
}

impl Net {
    /// Every connection of the peer speaks everything; the hello may travel over any of them.
    fn is_full(&self, peer: &PeerId) -> bool {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.peer == *peer)
            .all(|(id, _)| self.swarm.behaviour().gated.is_full(*id))
    }

    fn own_hello(&self, full: bool) -> Hello {
        Hello { wall: clock::now().wall, credential: self.settings.credential.clone(), full }
    }

    pub(super) fn say_hello(&mut self, peer: PeerId) {
        let full = self.is_full(&peer);
        let hello = self.own_hello(full);
        let id = self.swarm.behaviour_mut().hello.send_request(&peer, Ok(hello));
        self.asked.insert(id, full);
    }

    /// Checks who is at the other end: the mesh's own signature over the very key that the connection proved.
    fn check(&self, peer: &PeerId, hello: &Hello) -> Result<(NodeId, WallTime), Refused> {
        let (membership, until) = hello
            .credential
            .check_until(self.settings.mesh, clock::now().wall, &Ed25519)
            .map_err(Refused::Credential)?;
        match node_id(peer) {
            Some(node) if node == membership.key => Ok((node, until)),
            _ => Err(Refused::OtherKey(membership.name)),
        }
    }

    fn welcome(&mut self, peer: PeerId, connection: ConnectionId, hello: &Hello) -> bool {
        match self.check(&peer, hello) {
            Ok((node, until)) => {
                self.admit(node, until);
                true
            }
            Err(Refused::Credential(error)) => {
                tracing::warn!(peer = %name(&peer), %error, "peer refused: it learned nothing and was not obeyed");
                self.swarm.close_connection(connection);
                self.block(peer, REFUSED);
                false
            }
            Err(error @ Refused::OtherKey(_)) => {
                self.offended(peer, &error.to_string());
                false
            }
        }
    }

    /// The connection is a link, if it is one for both.
    fn confirm(&mut self, peer: PeerId, id: ConnectionId, theirs: &Hello) {
        if !theirs.full || !self.swarm.behaviour().gated.is_full(id) {
            return;
        }
        let first = !self.is_linked(&peer);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.up = true;
        let Some(node) = node_id(&peer).filter(|_| first) else { return };
        self.out.push(Event::LinkUp { peer: node, wall: theirs.wall });
        for frame in self.waiting.remove(&node).into_iter().flat_map(|waiting| waiting.frames) {
            self.members().lease.send_request(&peer, Ok(*frame));
        }
    }

    pub(super) fn on_hello(
        &mut self,
        event: request_response::Event<Result<Hello, Malformed>, Result<Hello, Malformed>>,
    ) {
        match event {
            request_response::Event::Message { peer, connection_id, message } => match message {
                Message::Request { request: Ok(hello), channel, .. } => {
                    if self.welcome(peer, connection_id, &hello) {
                        let answer = self.own_hello(self.swarm.behaviour().gated.is_full(connection_id));
                        if self.swarm.behaviour_mut().hello.send_response(channel, Ok(answer)).is_ok() {
                            self.confirm(peer, connection_id, &hello);
                        }
                    }
                }
                Message::Response { response: Ok(hello), request_id } => {
                    let said_full = self.asked.remove(&request_id).unwrap_or(false);
                    if !self.welcome(peer, connection_id, &hello) {
                        return;
                    }
                    if !hello.full || !self.swarm.behaviour().gated.is_full(connection_id) {
                        self.dial_anew(peer, connection_id);
                    } else if said_full {
                        self.confirm(peer, connection_id, &hello);
                    }
                    // Otherwise another connection of the peer is about to close; the next tick says hello again.
                }
                Message::Request { request: Err(error), .. } | Message::Response { response: Err(error), .. } => {
                    self.offended(peer, &format!("malformed hello: {error}"));
                }
            },
            request_response::Event::OutboundFailure { peer, connection_id, request_id, error } => {
                self.asked.remove(&request_id);
                if self.connections.get(&connection_id).is_some_and(|connection| !connection.up) {
                    tracing::info!(peer = %name(&peer), %error, "peer did not take our membership; its log says why");
                    self.swarm.close_connection(connection_id);
                }
            }
            request_response::Event::InboundFailure { .. } | request_response::Event::ResponseSent { .. } => {}
        }
    }

    /// Both sides have let each other in; a new connection gets every protocol.
    fn dial_anew(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(address) = self.connections.get(&id).and_then(|connection| connection.dialled.clone()) else { return };
        if self.redial.contains_key(&peer) {
            return;
        }
        self.redial.insert(peer, (Instant::now(), Some(address)));
        self.swarm.close_connection(id);
    }
}
