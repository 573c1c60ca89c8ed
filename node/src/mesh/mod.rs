//! libp2p, and nothing else knows libp2p.
//!
//! One task owns the swarm ([`start`]); it takes [`Command`]s and gives [`Event`]s over bounded channels. It lets in whoever
//! shows an unexpired membership of the mesh for the key that the connection proved, and nobody else ([`gated`]).

mod codec;
mod gated;
mod net;
mod swarm;

use std::{fmt, sync::Arc};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use patchmesh_common::{
    gossip::{ExchangeAnswer, ExchangeRequest, Item, Verdict},
    id::{MeshId, NodeId},
    membership::Credential,
    run::message::LeaseFrame,
    time::WallTime,
};

use crate::{hand::Hand, identity::Identity};

pub use net::start;

/// What the mesh task needs to begin.
pub struct Settings {
    /// The only mesh that is spoken with.
    pub mesh: MeshId,
    /// This host's right to be in it; shown to members and to whom this host dials.
    pub credential: Credential,
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Where it is marked what is being decoded.
    pub hand: Arc<Hand>,
}

/// What the mesh task is asked to do. Everything may be lost with the connection that it needs.
#[derive(Debug)]
pub enum Command {
    /// Link up with a member.
    Dial {
        /// Whom.
        node: NodeId,
        /// Where it may be.
        addresses: Vec<String>,
    },
    /// Tell every neighbour.
    Announce(Box<Item>),
    /// Say whether an announced record is passed on.
    Judge {
        /// Of the event.
        message: Announcement,
        /// Whether.
        verdict: Verdict,
    },
    /// Ask a neighbour.
    Exchange {
        /// Whom.
        to: NodeId,
        /// What.
        request: ExchangeRequest,
    },
    /// Answer a neighbour.
    Answer {
        /// Of the event.
        reply: Reply,
        /// What.
        answer: ExchangeAnswer,
    },
    /// Bring a frame to a member, dialling it if need be.
    Deliver {
        /// Whom.
        to: NodeId,
        /// Where it may be.
        addresses: Vec<String>,
        /// What.
        frame: Box<LeaseFrame>,
    },
    /// This key is a member's until then.
    Admit {
        /// The key.
        node: NodeId,
        /// The end of its membership.
        until: WallTime,
    },
    /// Break with a peer for a while.
    Block {
        /// Whom.
        node: NodeId,
        /// What it did.
        why: String,
    },
}

/// What the mesh task says.
#[derive(Debug)]
pub enum Event {
    /// Where this host can now be reached.
    Listening(Vec<String>),
    /// A member is connected, and every protocol works.
    LinkUp {
        /// Who.
        peer: NodeId,
        /// Its wall clock.
        wall: WallTime,
    },
    /// The last connection with a member ended.
    LinkDown(NodeId),
    /// A member passes a record on.
    Announced {
        /// To judge it by.
        message: Announcement,
        /// The record.
        item: Box<Item>,
    },
    /// A member asks.
    Asked {
        /// Who.
        from: NodeId,
        /// What.
        request: ExchangeRequest,
        /// To answer by.
        reply: Reply,
    },
    /// A member answers.
    Answered {
        /// Who.
        from: NodeId,
        /// What.
        answer: ExchangeAnswer,
    },
    /// A frame came, over a member that is not necessarily its author.
    Frame {
        /// The member that passed it on.
        from: NodeId,
        /// What.
        frame: Box<LeaseFrame>,
    },
}

/// Names one announced message.
#[derive(Debug)]
pub struct Announcement {
    id: libp2p::gossipsub::MessageId,
    from: PeerId,
}

impl Announcement {
    /// The neighbour from whom it came first.
    pub fn neighbour(&self) -> Option<NodeId> {
        node_id(&self.from)
    }
}

/// The way back to whoever asked. Dropping it tells the asker that there is no answer.
pub struct Reply(swarm::ExchangeChannel);

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Why the mesh task did not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// Not a multiaddress.
    #[error("`{0}` is not an address such as /ip4/0.0.0.0/tcp/7878")]
    Address(String),
    /// Cannot listen.
    #[error("cannot listen on {address}: {text}; is another daemon running there?")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        text: String,
    },
    /// libp2p refused its configuration.
    #[error("the mesh cannot be set up: {0}")]
    SetUp(String),
}

/// An ed25519 key as a libp2p peer id: the protobuf of the key under an identity multihash.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The peer id of a member.
fn peer_id(node: &NodeId) -> Option<PeerId> {
    PeerId::from_bytes(&[&PEER_ID_PREFIX[..], &node.0].concat()).ok()
}

/// The key of a peer; `None` for other kinds of key, which are never members.
fn node_id(peer: &PeerId) -> Option<NodeId> {
    peer.to_bytes().strip_prefix(&PEER_ID_PREFIX)?.try_into().ok().map(NodeId)
}

/// How a member is written in `bootstrap`: the address with `/p2p/` and the key in libp2p's spelling.
pub fn bootstrap_address(node: &NodeId, address: &str) -> String {
    peer_id(node).map_or_else(|| address.to_owned(), |peer| format!("{address}/p2p/{peer}"))
}

/// Splits a `bootstrap` entry into the member's key and its address.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn parse_bootstrap(text: &str) -> Result<(NodeId, String), String> {
    let mut address: Multiaddr = text.parse().map_err(|error| format!("`{text}` is not a multiaddress: {error}"))?;
    let Some(Protocol::P2p(peer)) = address.pop() else {
        return Err(format!("`{text}` does not end in /p2p/ and the member's peer id"));
    };
    let node = node_id(&peer).ok_or_else(|| format!("the key in `{text}` is not an ed25519 key"))?;
    Ok((node, address.to_string()))
}

/// Whether `text` is a multiaddress.
pub fn is_address(text: &str) -> bool {
    text.parse::<Multiaddr>().is_ok()
}

/// The libp2p key pair of an identity.
fn keypair(identity: &Identity) -> Result<libp2p::identity::Keypair, MeshError> {
    libp2p::identity::Keypair::ed25519_from_bytes(identity.secret())
        .map_err(|error| MeshError::SetUp(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_peer_id_are_copies() {
        let identity = Identity::from_secret([7; 32]);
        let keypair = keypair(&identity).unwrap();
        let peer = keypair.public().to_peer_id();
        assert_eq!(node_id(&peer), Some(identity.node()));
        assert_eq!(peer_id(&identity.node()), Some(peer));
    }

    #[test]
    fn a_bootstrap_entry_names_a_key() {
        let node = Identity::from_secret([7; 32]).node();
        let text = bootstrap_address(&node, "/ip4/127.0.0.1/tcp/7878");
        assert_eq!(parse_bootstrap(&text), Ok((node, "/ip4/127.0.0.1/tcp/7878".into())));
        assert!(parse_bootstrap("/ip4/127.0.0.1/tcp/7878").unwrap_err().contains("/p2p/"));
        assert!(parse_bootstrap("localhost:7878").unwrap_err().contains("multiaddress"));
    }
}
