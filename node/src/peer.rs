//! The actor around the `Gossip` machine: mesh events become machine events, effects become mesh commands. Nothing else.

mod careful;
mod message;
mod remember;

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext as _, Addr, AsyncContext as _, Context, Handler, MessageResult, SpawnHandle, StreamHandler,
};
use patchmesh_common::{
    gossip::{Effect, Event, Gossip, Item, MAX_ORDERS, MAX_RECORD, NodeRecord, Settings, Start},
    id::{MeshId, NodeId},
    machine::{Cx, Machine as _},
    membership::Credential,
    patch::compliance::TAG,
    run::message::{LeaseFrame, OrderStamp, SignedStop},
    seal::{Sealed, Verifier},
    wire,
};
use rand::{SeedableRng as _, rngs::ChaCha12Rng};
use tokio::sync::mpsc;

use self::remember::Memory;
use crate::{
    api::document::ErrorDocument,
    chain, clock,
    hand::Hand,
    identity::Identity,
    mesh::{self, Announcement, Command, MeshError, Reply},
    store::cache::CacheError,
};

pub use self::message::{
    Deliver, Describe, Inbound, Known, KnownOrders, Order, Ordered, Skew, Stop, Subscribe, View, ViewChanged,
};
pub use patchmesh_common::gossip::{KnownHost, Presence};

/// Messages waiting for the actor; a refused send is the sender's to notice.
const MAILBOX: usize = 256;
/// The view is told at most this often.
const COALESCE: Duration = Duration::from_millis(250);
/// A clock that moved less against the others is not told again.
const SKEW_STEP: i64 = 250;

/// What a peer is made of.
#[derive(Clone)]
pub struct Setup {
    /// This host's key.
    pub identity: Identity,
    /// Its mesh.
    pub mesh: MeshId,
    /// Its right to be in it, already checked.
    pub credential: Credential,
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Members to begin with, and where they are.
    pub bootstrap: BTreeMap<NodeId, Vec<String>>,
    /// Where the view is kept between starts; `None` keeps nothing.
    pub state: Option<PathBuf>,
    /// The pace; equal on all hosts of a mesh.
    pub pace: Settings,
    /// Where it is marked what is being handled.
    pub hand: Arc<Hand>,
    /// Checks signatures.
    pub keys: &'static (dyn Verifier + Sync),
}

/// A running peer.
#[derive(Clone, Debug)]
pub struct PeerHandle {
    /// The actor; use `try_send` or `send`.
    pub address: Addr<PeerActor>,
    /// This host's key.
    pub node: NodeId,
}

/// Why a peer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The mesh task did not start.
    #[error("the mesh cannot be joined")]
    Mesh(#[from] MeshError),
    /// The store cannot be used.
    #[error("the view cannot be kept")]
    Cache(#[from] CacheError),
    /// The system has no randomness to give.
    #[error("no randomness: {0}")]
    Entropy(String),
}

/// The actor. See the module.
pub struct PeerActor {
    setup: Setup,
    machine: Gossip,
    rng: ChaCha12Rng,
    mesh: mpsc::Sender<Command>,
    events: Option<mpsc::Receiver<mesh::Event>>,
    memory: Option<Memory>,
    told: Subscribe,
    skew: Option<i64>,
    timer: Option<SpawnHandle>,
    telling: bool,
    /// What the event in hand may be answered by; the token is always 0, because a step answers before it returns.
    reply: Option<Reply>,
    announcement: Option<Announcement>,
}

/// Starts mesh task and actor. Call it on the actix system's thread.
///
/// # Errors
/// [`StartError`]: nothing runs.
pub fn start(setup: Setup, told: Subscribe) -> Result<PeerHandle, StartError> {
    let (memory, saved, orders) = match &setup.state {
        Some(state) => {
            let (memory, saved, orders) = Memory::open(state)?;
            // What the last life may have died of comes again from the neighbours, and is then handled with care.
            if setup.hand.aborted() { (Some(memory), Vec::new(), Vec::new()) } else { (Some(memory), saved, orders) }
        }
        None => (None, Vec::new(), Vec::new()),
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| StartError::Entropy(error.to_string()))?;
    let settings = mesh::Settings {
        mesh: setup.mesh,
        credential: setup.credential.clone(),
        listen: setup.listen.clone(),
        hand: Arc::clone(&setup.hand),
    };
    let (mesh, events) = mesh::start(settings, &setup.identity)?;
    let node = setup.identity.node();
    let authors: Vec<NodeId> = saved.iter().map(|item: &Item| item.record.author).collect();
    let (mesh_id, bootstrap) = (setup.mesh, setup.bootstrap.clone());
    let start = Start { me: node, mesh: mesh_id, settings: setup.pace, bootstrap, saved, orders };
    let machine = Gossip::new(start, clock::now(), setup.keys);
    if let Some(memory) = &memory {
        authors.iter().filter(|author| machine.view().get(author).is_none()).for_each(|author| memory.forget(author));
    }
    let actor = PeerActor {
        machine,
        rng: ChaCha12Rng::from_seed(seed),
        mesh,
        events: Some(events),
        memory,
        told,
        skew: None,
        timer: None,
        telling: false,
        reply: None,
        announcement: None,
        setup,
    };
    Ok(PeerHandle { address: actor.start(), node })
}

impl Actor for PeerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Some(mut events) = self.events.take() {
            ctx.add_stream(futures::stream::poll_fn(move |cx| events.poll_recv(cx)));
        }
        self.step(ctx, Event::Tick);
    }
}

impl PeerActor {
    fn step(&mut self, ctx: &mut Context<Self>, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut effects = Vec::new();
            let mut cx = Cx::new(clock::now(), &mut self.rng, self.setup.keys, &mut effects);
            self.machine.step(&mut cx, event);
            for effect in effects {
                events.extend(self.perform(ctx, effect));
            }
        }
        (self.reply, self.announcement) = (None, None);
        self.tell_skew();
        self.arm(ctx);
    }

    /// Performs one effect; what it ends in at once comes back as an event.
    fn perform(&mut self, ctx: &mut Context<Self>, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Seal(record) => return self.seal(&record).map(Event::Sealed),
            Effect::Remember(item) => {
                if let Some(memory) = &self.memory {
                    memory.remember(&item);
                }
            }
            Effect::Forget(node) => {
                if let Some(memory) = &self.memory {
                    memory.forget(&node);
                }
            }
            Effect::Ordered(signed) => self.hand_order(signed),
            Effect::RememberOrders(orders) => {
                if let Some(memory) = &self.memory {
                    memory.remember_orders(&orders);
                }
            }
            Effect::Announce(item) => self.command(Command::Announce(Box::new(item))),
            Effect::Judge { verdict, .. } => {
                if let Some(message) = self.announcement.take() {
                    self.command(Command::Judge { message, verdict });
                }
            }
            Effect::Exchange { to, request } => self.command(Command::Exchange { to, request }),
            Effect::Answer { answer, .. } => {
                if let Some(reply) = self.reply.take() {
                    self.command(Command::Answer { reply, answer });
                }
            }
            Effect::Dial { node, addresses } => self.command(Command::Dial { node, addresses }),
            Effect::Admit { node, until } => self.command(Command::Admit { node, until }),
            Effect::Block { node, why } => self.command(Command::Block { node, why }),
            Effect::Changed => self.tell_view(ctx),
        }
        None
    }

    fn seal(&self, record: &NodeRecord) -> Option<Item> {
        let record = Sealed::seal(self.setup.identity.signer(), fitting(record)?.as_ref());
        Some(Item { credential: self.setup.credential.clone(), record })
    }

    fn command(&self, command: Command) {
        if let Err(error) = self.mesh.try_send(command) {
            tracing::warn!(%error, "a command to the mesh was dropped");
        }
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(at) = self.machine.deadline() {
            // A millisecond more than needed, so that the clock has passed the deadline when the timer fires.
            let wait = at.since(clock::now().boot) + Duration::from_millis(1);
            self.timer = Some(ctx.run_later(wait, |actor, ctx| {
                actor.timer = None;
                actor.step(ctx, Event::Tick);
            }));
        }
    }

    fn tell_view(&mut self, ctx: &mut Context<Self>) {
        if self.telling || self.told.view.is_none() {
            return;
        }
        self.telling = true;
        ctx.run_later(COALESCE, |actor, _| {
            actor.telling = false;
            if let Some(view) = &actor.told.view
                && let Err(error) = view.try_send(ViewChanged(actor.machine.hosts()))
            {
                tracing::warn!(%error, "the view was not told");
            }
        });
    }

    fn tell_skew(&mut self) {
        let skew = self.machine.skew();
        let moved = match (skew, self.skew) {
            (Some(new), Some(old)) => new.abs_diff(old) >= SKEW_STEP.unsigned_abs(),
            (new, old) => new != old,
        };
        if let Some(told) = self.told.skew.as_ref().filter(|_| moved) {
            match told.try_send(Skew(skew)) {
                Ok(()) => self.skew = skew,
                Err(error) => tracing::warn!(%error, "the clock skew was not told"),
            }
        }
    }

    fn hand_order(&self, signed: Box<SignedStop>) {
        if let Some(orders) = &self.told.orders
            && let Err(error) = orders.try_send(Ordered(signed))
        {
            tracing::warn!(%error, "an order was not taken; it is handed up again in a second");
        }
    }

    fn hand_up(&self, from: NodeId, frame: LeaseFrame) {
        if let Err(error) = frame.author(self.setup.mesh, clock::now().wall, self.setup.keys) {
            let author = frame.sealed.author.short();
            tracing::warn!(from = %from.short(), author, error = chain(&error), "lease frame dropped: nothing was obeyed");
            return;
        }
        match &self.told.frames {
            Some(frames) => {
                if let Err(error) = frames.try_send(Inbound { from, frame }) {
                    tracing::warn!(%error, from = %from.short(), "lease frame dropped: its receiver is busy");
                }
            }
            None => tracing::debug!(from = %from.short(), "lease frame dropped: nobody takes frames here"),
        }
    }
}

impl StreamHandler<mesh::Event> for PeerActor {
    fn handle(&mut self, event: mesh::Event, ctx: &mut Self::Context) {
        match event {
            mesh::Event::Listening(addresses) => self.step(ctx, Event::Listening(addresses)),
            mesh::Event::LinkUp { peer, wall } => self.step(ctx, Event::LinkUp { peer, wall }),
            mesh::Event::LinkDown(peer) => self.step(ctx, Event::LinkDown(peer)),
            mesh::Event::Announced { message, item } => {
                self.announcement = Some(message);
                self.announced(ctx, *item);
            }
            mesh::Event::Asked { from, request, reply } => {
                self.reply = Some(reply);
                self.asked(ctx, from, request);
            }
            mesh::Event::Answered { from, answer } => self.answered(ctx, from, answer),
            mesh::Event::Frame { from, frame } => self.framed(from, *frame),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        tracing::error!("the mesh task has ended");
        ctx.stop();
    }
}

impl Handler<Deliver> for PeerActor {
    type Result = ();

    fn handle(&mut self, Deliver { to, frame }: Deliver, _: &mut Self::Context) {
        if to == self.setup.identity.node() {
            return self.hand_up(to, frame);
        }
        let addresses = self.machine.addresses(&to);
        self.command(Command::Deliver { to, addresses, frame: Box::new(frame) });
    }
}

impl Handler<Describe> for PeerActor {
    type Result = ();

    fn handle(&mut self, Describe(body): Describe, ctx: &mut Self::Context) {
        self.step(ctx, Event::Describe(body));
    }
}

impl Handler<View> for PeerActor {
    type Result = MessageResult<View>;

    fn handle(&mut self, _: View, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.machine.hosts())
    }
}

impl Handler<Known> for PeerActor {
    type Result = MessageResult<Known>;

    fn handle(&mut self, _: Known, _: &mut Self::Context) -> Self::Result {
        MessageResult(KnownOrders {
            mesh: self.setup.mesh,
            next_sequence: self.machine.next_sequence(),
            orders: self.machine.orders().stamps().collect(),
        })
    }
}

impl Handler<Order> for PeerActor {
    type Result = Result<OrderStamp, ErrorDocument>;

    fn handle(&mut self, Order(signed): Order, ctx: &mut Self::Context) -> Self::Result {
        let unchanged = "nothing was ordered";
        let order = signed.order(self.setup.mesh, clock::now().wall, self.setup.keys).map_err(|error| {
            let remedy =
                "sign with the key of an operator or a coordinator of this mesh whose membership has not expired";
            ErrorDocument::new("order-refused", chain(&error), unchanged, remedy)
        })?;
        self.step(ctx, Event::Order(signed));
        match self.machine.orders().get(order.scope) {
            Some(known) if known == order.stamp() => Ok(known),
            known => {
                let known = known
                    .map_or_else(|| format!("{MAX_ORDERS} later ones"), |known| format!("order {}", known.sequence));
                let text = format!("order {} is outranked by {known}", order.sequence);
                Err(ErrorDocument::new("order-outranked", text, unchanged, "give it again with a higher sequence"))
            }
        }
    }
}

impl Handler<Subscribe> for PeerActor {
    type Result = ();

    fn handle(&mut self, new: Subscribe, ctx: &mut Self::Context) {
        self.told.frames = new.frames.or_else(|| self.told.frames.take());
        self.told.view = new.view.or_else(|| self.told.view.take());
        self.told.orders = new.orders.or_else(|| self.told.orders.take());
        if new.skew.is_some() {
            (self.told.skew, self.skew) = (new.skew, None);
        }
        self.tell_view(ctx);
        self.tell_skew();
    }
}

impl Handler<Stop> for PeerActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.memory = None;
        ctx.stop();
    }
}

/// `record`, or if that is too large what is left of it without the standing: it is told late rather than the host never. `None` if
/// that is too large, too.
fn fitting(record: &NodeRecord) -> Option<Cow<'_, NodeRecord>> {
    let limit = MAX_RECORD;
    let size = wire::size(record);
    if size <= limit {
        return Some(Cow::Borrowed(record));
    }
    let mut short = record.clone();
    short.body.tags.remove(TAG);
    if wire::size(&short) <= limit {
        tracing::warn!(size, limit, "own record is too large and was published without the compliance: use fewer tags");
        return Some(Cow::Owned(short));
    }
    tracing::error!(size, limit, "own record is too large and was not published: use fewer tags");
    None
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{gossip::RecordBody, id::Incarnation, time::WallTime};

    use super::*;

    #[test]
    fn a_record_that_is_too_large_is_published_without_the_compliance_first() {
        let record = |tag: usize, standing: usize| {
            let tags = [("note", tag), (TAG, standing)].map(|(key, size)| (key.to_owned(), "x".repeat(size)));
            let body = RecordBody { tags: tags.into(), ..RecordBody::default() };
            NodeRecord { mesh: MeshId([0; 32]), incarnation: Incarnation(1), version: 1, sealed_at: WallTime(0), body }
        };
        let small = record(2000, 1000);
        assert_eq!(fitting(&small).as_deref(), Some(&small));
        let short = fitting(&record(3500, 1000)).unwrap().into_owned();
        assert_eq!(short.body.tags.keys().collect::<Vec<_>>(), ["note"]);
        assert_eq!(fitting(&record(MAX_RECORD, 1000)), None);
    }
}
