//! The task that owns the swarm: who is let in, who is linked, and what is carried.

mod gate;
mod members;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::ConnectedPoint,
    futures::StreamExt as _,
    gossipsub::MessageAcceptance,
    multiaddr::Protocol,
    request_response::OutboundRequestId,
    swarm::{
        ConnectionId, DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use patchmesh_common::{gossip::Verdict, id::NodeId, run::message::LeaseFrame, time::WallTime, wire};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::{
    Announcement, Command, Event, MeshError, Settings, node_id, peer_id,
    swarm::{Behaviour, BehaviourEvent, Members, build, records},
};
use crate::{clock, identity::Identity};

/// Commands waiting for the task.
const COMMANDS: usize = 512;
/// Events waiting for the actor; beyond it the network waits.
const EVENTS: usize = 256;
/// How often time-outs are looked at.
const TICK: Duration = Duration::from_secs(1);
/// A connection that is not a link by then is closed.
const GATE: Duration = Duration::from_secs(5);
/// Inbound connections of strangers at once; each lives no longer than [`GATE`].
const STRANGERS: usize = 64;
/// Whoever sends what no honest peer sends is left alone for this long.
const BLOCK: Duration = Duration::from_secs(60);
/// Whoever's membership was not accepted may try again after this long.
const REFUSED: Duration = Duration::from_secs(5);
/// Most blocked keys remembered; the oldest is forgiven first. Keys cost nothing, so this only has to be small.
const MAX_BLOCKED: usize = 1024;
/// A frame that could not be sent by then is worthless: its author repeats it.
const FRAME_LIFE: Duration = Duration::from_secs(10);
/// Frames waiting for one link.
const FRAMES: usize = 16;
/// Links waited for.
const WAITING: usize = 1024;

struct Connection {
    peer: PeerId,
    /// Where we dialled; `None` if the peer did.
    dialled: Option<Multiaddr>,
    since: Instant,
    /// Both sides accepted each other, and both speak every protocol on it.
    up: bool,
}

struct Waiting {
    since: Instant,
    frames: VecDeque<Box<LeaseFrame>>,
}

struct Net {
    swarm: Swarm<Behaviour>,
    settings: Settings,
    me: NodeId,
    connections: BTreeMap<ConnectionId, Connection>,
    admitted: BTreeMap<NodeId, WallTime>,
    blocked: BTreeMap<PeerId, Instant>,
    /// Peers that were just admitted: dialled anew as soon as their gated connection has closed.
    redial: BTreeMap<PeerId, (Instant, Option<Multiaddr>)>,
    waiting: BTreeMap<NodeId, Waiting>,
    /// Hellos under way, and what they said of our side.
    asked: BTreeMap<OutboundRequestId, bool>,
    out: Vec<Event>,
}

/// Starts the task on the current tokio runtime. It ends when either channel is dropped.
///
/// # Errors
/// [`MeshError`]: an address is none, or cannot be listened on.
pub fn start(
    settings: Settings,
    identity: &Identity,
) -> Result<(mpsc::Sender<Command>, mpsc::Receiver<Event>), MeshError> {
    let mut swarm = build(identity, &settings.hand)?;
    for text in &settings.listen {
        let address: Multiaddr = text.parse().map_err(|_| MeshError::Address(text.clone()))?;
        swarm
            .listen_on(address)
            .map_err(|error| MeshError::Listen { address: text.clone(), text: error.to_string() })?;
    }
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (outbox, events) = mpsc::channel(EVENTS);
    let mut net = Net {
        swarm,
        me: identity.node(),
        connections: BTreeMap::new(),
        admitted: BTreeMap::new(),
        blocked: BTreeMap::new(),
        redial: BTreeMap::new(),
        waiting: BTreeMap::new(),
        asked: BTreeMap::new(),
        out: Vec::new(),
        settings,
    };
    if net.settings.listen.is_empty() {
        net.out.push(Event::Listening(Vec::new()));
    }
    tokio::spawn(net.run(inbox, outbox));
    Ok((commands, events))
}

impl Net {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>, outbox: mpsc::Sender<Event>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            for event in std::mem::take(&mut self.out) {
                if outbox.send(event).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                command = inbox.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                _ = tick.tick() => self.on_tick(),
            }
        }
    }

    fn members(&mut self) -> &mut Members {
        self.swarm.behaviour_mut().gated.inner()
    }

    fn is_linked(&self, peer: &PeerId) -> bool {
        self.connections.values().any(|connection| connection.up && connection.peer == *peer)
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { node, addresses } => self.dial(&node, &addresses),
            Command::Announce(item) => {
                // Without neighbours nobody is told; exchanges tell those who come later.
                if let Err(error) = self.members().gossipsub.publish(records(), wire::encode(&*item)) {
                    tracing::debug!(%error, "record not announced");
                }
            }
            Command::Judge { message, verdict } => self.judge(&message, verdict),
            Command::Exchange { to, request } => {
                if let Some(peer) = peer_id(&to).filter(|peer| self.is_linked(peer)) {
                    self.members().exchange.send_request(&peer, Ok(request));
                }
            }
            Command::Answer { reply, answer } => {
                // The asker may be gone; then there is nobody to tell.
                let _ = self.members().exchange.send_response(reply.0, Ok(answer));
            }
            Command::Deliver { to, addresses, frame } => self.deliver(to, &addresses, frame),
            Command::Admit { node, until } => self.admit(node, until),
            Command::Block { node, why } => {
                if let Some(peer) = peer_id(&node) {
                    self.offended(peer, &why);
                }
            }
        }
    }

    fn judge(&mut self, message: &Announcement, verdict: Verdict) {
        let (acceptance, offence) = match verdict {
            Verdict::Accept => (MessageAcceptance::Accept, None),
            Verdict::Ignore => (MessageAcceptance::Ignore, None),
            Verdict::Reject(why) => (MessageAcceptance::Reject, Some(why)),
        };
        self.members().gossipsub.report_message_validation_result(&message.id, &message.from, acceptance);
        if let Some(why) = offence {
            self.offended(message.from, &why);
        }
    }

    fn dial(&mut self, node: &NodeId, addresses: &[String]) {
        let Some(peer) = peer_id(node) else { return };
        self.dial_peer(peer, addresses.iter().filter_map(|text| text.parse().ok()).collect());
    }

    fn dial_peer(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        // A new port each time: the old pair of ports may still be in TIME_WAIT after a connection that was just closed.
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .allocate_new_port()
            .build();
        match self.swarm.dial(options) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => tracing::debug!(%peer, %error, "not dialled"),
        }
    }

    fn deliver(&mut self, to: NodeId, addresses: &[String], frame: Box<LeaseFrame>) {
        let Some(peer) = peer_id(&to) else { return };
        if self.is_linked(&peer) {
            self.members().lease.send_request(&peer, Ok(*frame));
            return;
        }
        if self.waiting.len() >= WAITING && !self.waiting.contains_key(&to) {
            tracing::warn!(to = %to.short(), "frame dropped: {WAITING} other links are waited for");
            return;
        }
        let waiting =
            self.waiting.entry(to).or_insert_with(|| Waiting { since: Instant::now(), frames: VecDeque::new() });
        if waiting.frames.len() >= FRAMES {
            waiting.frames.pop_front();
        }
        waiting.frames.push_back(frame);
        self.dial(&to, addresses);
    }

    fn admit(&mut self, node: NodeId, until: WallTime) {
        if node == self.me {
            return;
        }
        if let Some(peer) = peer_id(&node) {
            let held = self.admitted.entry(node).or_insert(until);
            *held = until.max(*held);
            self.swarm.behaviour_mut().gated.admit(peer);
        }
    }

    /// Breaks with a peer that did what no honest peer does.
    fn offended(&mut self, peer: PeerId, why: &str) {
        tracing::warn!(peer = %name(&peer), why, "peer blocked for {} s: nothing of it was obeyed", BLOCK.as_secs());
        self.block(peer, BLOCK);
    }

    fn block(&mut self, peer: PeerId, time: Duration) {
        if self.blocked.len() >= MAX_BLOCKED
            && let Some(first) = self.blocked.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer)
        {
            self.unblock(&first);
        }
        self.blocked.insert(peer, Instant::now() + time);
        self.swarm.behaviour_mut().blocked.block_peer(peer);
    }

    fn unblock(&mut self, peer: &PeerId) {
        self.blocked.remove(peer);
        self.swarm.behaviour_mut().blocked.unblock_peer(*peer);
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        let forgiven: Vec<PeerId> =
            self.blocked.iter().filter(|(_, until)| now >= **until).map(|(peer, _)| *peer).collect();
        forgiven.iter().for_each(|peer| self.unblock(peer));

        let wall = clock::now().wall;
        let ended: Vec<NodeId> =
            self.admitted.iter().filter(|(_, until)| wall >= **until).map(|(node, _)| *node).collect();
        for node in ended {
            self.admitted.remove(&node);
            if let Some(peer) = peer_id(&node) {
                tracing::info!(peer = %node.short(), "membership expired: connections closed");
                self.swarm.behaviour_mut().gated.expel(&peer);
                let _ = self.swarm.disconnect_peer_id(peer);
            }
        }

        let (mut late, mut unanswered) = (Vec::new(), Vec::new());
        for (id, connection) in self.connections.iter().filter(|(_, connection)| !connection.up) {
            match now.duration_since(connection.since) {
                age if age >= GATE => late.push(*id),
                // With two connections the hello may have gone over the other one.
                age if age >= TICK && connection.dialled.is_some() => unanswered.push(connection.peer),
                _ => {}
            }
        }
        for id in late {
            self.swarm.close_connection(id);
        }
        for peer in unanswered {
            self.say_hello(peer);
        }
        self.waiting.retain(|to, waiting| {
            let keep = now.duration_since(waiting.since) < FRAME_LIFE;
            if !keep {
                tracing::debug!(to = %to.short(), frames = waiting.frames.len(), "frames dropped: no link in time");
            }
            keep
        });
        self.redial.retain(|_, (since, _)| now.duration_since(*since) < GATE);
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Hello(event)) => self.on_hello(event),
            SwarmEvent::Behaviour(BehaviourEvent::Gated(event)) => self.on_member(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => self.on_closed(peer_id, connection_id),
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening");
                self.tell_addresses();
            }
            SwarmEvent::ExpiredListenAddr { .. } => self.tell_addresses(),
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                match &error {
                    DialError::WrongPeerId { obtained, address } => {
                        tracing::warn!(peer = %name(&peer), found = %name(obtained), %address, "another key answers there");
                    }
                    error => tracing::debug!(peer = %name(&peer), %error, "no connection"),
                }
                if let Some(node) = node_id(&peer)
                    && !self.swarm.is_connected(&peer)
                {
                    self.waiting.remove(&node);
                }
            }
            SwarmEvent::ListenerClosed { reason: Err(error), addresses, .. } => {
                tracing::error!(%error, ?addresses, "no longer listening");
            }
            _ => {}
        }
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let dialled = match endpoint {
            ConnectedPoint::Dialer { address, .. } => Some(without_peer(address)),
            ConnectedPoint::Listener { .. } => None,
        };
        let outbound = dialled.is_some();
        self.connections.insert(id, Connection { peer, dialled, since: Instant::now(), up: false });
        if outbound {
            self.say_hello(peer);
            return;
        }
        let gated = &self.swarm.behaviour().gated;
        let stranger =
            |(id, connection): &(&ConnectionId, &Connection)| connection.dialled.is_none() && !gated.is_full(**id);
        if !gated.is_full(id) && self.connections.iter().filter(stranger).count() > STRANGERS {
            tracing::debug!(peer = %name(&peer), "closed: {STRANGERS} strangers are at the gate already");
            self.swarm.close_connection(id);
        }
    }

    fn on_closed(&mut self, peer: PeerId, id: ConnectionId) {
        let was_up = self.connections.remove(&id).is_some_and(|connection| connection.up);
        if was_up
            && !self.is_linked(&peer)
            && let Some(node) = node_id(&peer)
        {
            self.out.push(Event::LinkDown(node));
        }
        if !self.swarm.is_connected(&peer)
            && let Some(address) = self.redial.get_mut(&peer).and_then(|(_, address)| address.take())
        {
            self.dial_peer(peer, vec![address]);
        }
    }

    fn tell_addresses(&mut self) {
        let all: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        let far: Vec<&Multiaddr> = all.iter().filter(|address| !is_loopback(address)).collect();
        let told = if far.is_empty() { all.iter().collect() } else { far };
        self.out.push(Event::Listening(told.into_iter().map(ToString::to_string).collect()));
    }
}

/// What a log line calls a peer.
fn name(peer: &PeerId) -> String {
    node_id(peer).map_or_else(|| peer.to_string(), |node| node.to_string())
}

fn without_peer(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
        _ => false,
    })
}
