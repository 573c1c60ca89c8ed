//! What goes into the [`Gossip`](super::Gossip) machine and what comes out.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{ExchangeAnswer, ExchangeRequest, Item, NodeRecord, RecordBody};
use crate::{
    id::{MeshId, NodeId},
    run::message::SignedStop,
    time::WallTime,
};

/// The pace. Equal on all hosts of a mesh, or silence is judged wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// A host without news publishes this often, so that silence can be told.
    pub heartbeat: Duration,
    /// Without news or link for this long a member is [`Presence::Silent`]: three heartbeats.
    pub silent_after: Duration,
    /// Longest time between exchanges with a random neighbour; shorter while there are news.
    pub exchange_every: Duration,
    /// Least time between two own versions that are not urgent.
    pub min_interval: Duration,
    /// Links that a host keeps up by itself.
    pub links: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(30),
            silent_after: Duration::from_secs(90),
            exchange_every: Duration::from_secs(5),
            min_interval: Duration::from_secs(1),
            links: 6,
        }
    }
}

/// What a machine is made of, at first and after every restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    /// This host's key.
    pub me: NodeId,
    /// Its mesh.
    pub mesh: MeshId,
    /// The pace.
    pub settings: Settings,
    /// Members that are known from configuration, with addresses.
    pub bootstrap: BTreeMap<NodeId, Vec<String>>,
    /// What was remembered; items that no longer hold are dropped.
    pub saved: Vec<Item>,
    /// The orders that were remembered; those that no longer hold are dropped.
    pub orders: Vec<SignedStop>,
}

/// What the world tells [`Gossip`](super::Gossip).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The deadline came, or any other reason to look at the clock.
    Tick,
    /// The addresses on which this host can be reached. Nothing is published before the first of these.
    Listening(Vec<String>),
    /// What this host says of itself has changed; `addresses` in it are ignored.
    Describe(RecordBody),
    /// The record that [`Effect::Seal`] asked for.
    Sealed(Item),
    /// Somebody at this host gives an order: it is judged as any other, and spread.
    Order(Box<SignedStop>),
    /// A neighbour's credential was accepted, and every protocol works.
    LinkUp {
        /// Who.
        peer: NodeId,
        /// Its wall clock.
        wall: WallTime,
    },
    /// The last connection to a neighbour ended.
    LinkDown(NodeId),
    /// Somebody passes a record on.
    Announced {
        /// The shell's name for this message.
        token: u64,
        /// The record.
        item: Item,
    },
    /// A neighbour asks.
    Asked {
        /// Who.
        from: NodeId,
        /// The shell's name for this question.
        token: u64,
        /// What.
        request: ExchangeRequest,
    },
    /// A neighbour answers.
    Answered {
        /// Who.
        from: NodeId,
        /// What.
        answer: ExchangeAnswer,
    },
}

/// What to do with an announced record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// News: pass it on.
    Accept,
    /// Known, or not for us to judge.
    Ignore,
    /// Whoever passed this on is broken or hostile; the text says why.
    Reject(String),
}

/// What [`Gossip`](super::Gossip) asks the world to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Seal this record, and come back with [`Event::Sealed`].
    Seal(NodeRecord),
    /// Keep this for the next start. Can be rebuilt from neighbours: nothing waits for it to be durable.
    Remember(Item),
    /// Drop what was kept of this author.
    Forget(NodeId),
    /// Hand this order, which was not known, to whoever obeys orders here. Repeated until [`Event::Describe`] names it.
    Ordered(Box<SignedStop>),
    /// Keep these orders for the next start, in place of those before.
    RememberOrders(Vec<SignedStop>),
    /// Tell every neighbour.
    Announce(Item),
    /// Say whether an announced record is passed on.
    Judge {
        /// Of the event.
        token: u64,
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
        token: u64,
        /// What.
        answer: ExchangeAnswer,
    },
    /// Try to link up.
    Dial {
        /// With whom.
        node: NodeId,
        /// Where.
        addresses: Vec<String>,
    },
    /// This key is a member's until then: let it in.
    Admit {
        /// The key.
        node: NodeId,
        /// The end of its membership.
        until: WallTime,
    },
    /// A neighbour sent what only a broken or hostile one can send.
    Block {
        /// Who.
        node: NodeId,
        /// What it sent.
        why: String,
    },
    /// The answer of [`Gossip::hosts`](super::Gossip::hosts) is another one now.
    Changed,
}
