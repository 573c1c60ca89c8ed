//! The protocols and their limits.

use std::{sync::Arc, time::Duration};

use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder,
    allow_block_list::{self, BlockedPeers},
    connection_limits::{self, ConnectionLimits},
    gossipsub, identify, noise,
    request_response::{self, ProtocolSupport, ResponseChannel},
    swarm::NetworkBehaviour,
    tcp, yamux,
};
use patchmesh_common::{
    gossip::{ExchangeAnswer, ExchangeRequest, Hello, Item, MAX_EXCHANGE, MAX_HELLO, MAX_ITEM},
    run::message::{LeaseFrame, MAX_FRAME},
    wire::{self, Malformed},
};

use super::{MeshError, codec::Framed, gated::Gated, keypair};
use crate::{hand::Hand, identity::Identity};

/// Connections that carry nothing for this long are closed; overlay links carry an exchange more often.
const IDLE: Duration = Duration::from_secs(300);
/// Two, because two members may dial each other at the same moment.
const PER_PEER: u32 = 2;
/// A coordinator is connected with every host of a wave; the open-files limit of a service is usually 1024 or more.
const CONNECTIONS: u32 = 768;
/// Handshakes at once, each way: beyond it strangers wait outside.
const PENDING: u32 = 128;
/// Streams at once of one connection and protocol: each may hold one frame in memory.
const STREAMS: usize = 8;
/// Largest gossipsub frame: an item, and control messages beside it.
const TRANSMIT: usize = 2 * MAX_ITEM;
/// How often announcing tends its own links. Every neighbour costs a message each time; what is missed meanwhile, exchanges
/// repair, and for the same reason few links are enough: each record comes over every one of them.
const UPKEEP: Duration = Duration::from_secs(5);
/// The topic on which records are announced.
const RECORDS: &str = "/patchmesh/records/1";

pub(super) type ExchangeChannel = ResponseChannel<Result<ExchangeAnswer, Malformed>>;
pub(super) type Asking<Q, A> = request_response::Behaviour<Framed<Q, A>>;

/// Everything; the gate stands last, so that a connection that another behaviour denies never reaches it.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) blocked: allow_block_list::Behaviour<BlockedPeers>,
    pub(super) hello: Asking<Hello, Hello>,
    pub(super) gated: Gated<Members>,
}

/// What only members speak.
#[derive(NetworkBehaviour)]
pub(super) struct Members {
    pub(super) gossipsub: gossipsub::Behaviour,
    identify: identify::Behaviour,
    pub(super) exchange: Asking<ExchangeRequest, ExchangeAnswer>,
    pub(super) lease: Asking<LeaseFrame, ()>,
}

pub(super) fn records() -> gossipsub::IdentTopic {
    gossipsub::IdentTopic::new(RECORDS)
}

fn asking<Q, A>(name: &'static str, ask: usize, answer: usize, hand: &Arc<Hand>) -> Asking<Q, A>
where
    Framed<Q, A>: request_response::Codec<Protocol = StreamProtocol> + Clone + Send + 'static,
{
    let config = request_response::Config::default().with_max_concurrent_streams(STREAMS);
    let protocol = (StreamProtocol::new(name), ProtocolSupport::Full);
    request_response::Behaviour::with_codec(Framed::new(ask, answer, Arc::clone(hand)), [protocol], config)
}

/// One name for one sealed record: honest authors seal each (incarnation, version) once, and a forgery under the same numbers
/// gets another name, so that it cannot keep the real record from spreading.
fn message_id(message: &gossipsub::Message, hand: &Hand) -> gossipsub::MessageId {
    let hash = match hand.read::<Item>(&message.data, MAX_ITEM) {
        Some(Ok(item)) => blake3::hash(&wire::encode(&item.record)),
        Some(Err(_)) | None => blake3::hash(&message.data),
    };
    gossipsub::MessageId::new(&hash.as_bytes()[..16])
}

fn gossip(hand: Arc<Hand>) -> Result<gossipsub::Behaviour, String> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(move |message| message_id(message, &hand))
        .flood_publish(false)
        .heartbeat_interval(UPKEEP)
        .mesh_n_low(2)
        .mesh_n(3)
        .mesh_n_high(6)
        .mesh_outbound_min(1)
        .gossip_lazy(2)
        .max_transmit_size(TRANSMIT)
        .build()
        .map_err(|error| error.to_string())?;
    let mut gossip = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config)?;
    gossip.subscribe(&records()).map_err(|error| error.to_string())?;
    Ok(gossip)
}

pub(super) fn build(identity: &Identity, hand: &Arc<Hand>) -> Result<Swarm<Behaviour>, MeshError> {
    let keypair = keypair(identity)?;
    let limits = ConnectionLimits::default()
        .with_max_established_per_peer(Some(PER_PEER))
        .with_max_established(Some(CONNECTIONS))
        .with_max_pending_incoming(Some(PENDING))
        .with_max_pending_outgoing(Some(PENDING));
    let told = identify::Config::new("/patchmesh/1".into(), keypair.public())
        .with_agent_version("patchmesh".into())
        .with_hide_listen_addrs(true);
    let members = Members {
        gossipsub: gossip(Arc::clone(hand)).map_err(MeshError::SetUp)?,
        identify: identify::Behaviour::new(told),
        exchange: asking("/patchmesh/exchange/1", MAX_EXCHANGE, MAX_EXCHANGE, hand),
        lease: asking("/patchmesh/lease/1", MAX_FRAME, 0, hand),
    };
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        blocked: allow_block_list::Behaviour::default(),
        hello: asking("/patchmesh/hello/1", MAX_HELLO, MAX_HELLO, hand),
        gated: Gated::new(members),
    };
    let set_up = |error: &dyn std::fmt::Display| MeshError::SetUp(error.to_string());
    Ok(SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|error| set_up(&error))?
        .with_behaviour(|_| behaviour)
        .map_err(|error| set_up(&error))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build())
}
