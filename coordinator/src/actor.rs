//! The coordinator actor: translates what happens into events for [`Controller`], performs its effects, nothing else.

mod answers;
mod gating;
mod hearing;
pub mod looks;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix::{Actor, ActorContext as _, AsyncContext, Context, Handler, Message, Recipient};
use futures::channel::oneshot;
use patchmesh_common::{
    gossip::RecordBody,
    id::{CommandId, MeshId, NodeId, RolloutId},
    machine::{Cx, Machine},
    membership::Credential,
    rollout::{
        Operation,
        controller::{self, Controller, Effect, Event, Seen, Settings, Words},
        ledger::LedgerAct,
        spec::RolloutSpec,
        survey::{Candidate, Found, Survey, SurveyError},
        waiting::Waiting,
    },
    run::message::{LeaseFrame, OrderStamp, SignedStop, StopOrder, ToCoordinator, ToHost},
    seal::{Ed25519, Ed25519Signer, Sealed},
    time::Now,
};
use patchmesh_node::{
    api::document::{is_host, tags},
    clock,
    host::gates::Gates,
    peer::{Deliver, Describe, Inbound, KnownHost, Order, Ordered, Presence, Skew, Stop, ViewChanged},
};
use rand::{Rng, rngs::ChaCha12Rng};
use tokio::sync::mpsc;

use crate::{
    api::document::{SurveyRow, SurveysDocument, WatchEvent},
    fault::Fault,
    ledger::LedgerFile,
    service::freeze::Question,
    status::View,
    watch::{self, Watcher},
};

/// Messages that may wait for the actor. A host sends one every two seconds while it works.
const MAILBOX: usize = 4096;
/// Code of the fault that the targets match none of the hosts, of which some are known.
pub const EMPTY_TARGETS: &str = "empty-targets";
/// How often watchers are shown what changed.
const SHOW: Duration = Duration::from_millis(100);

struct Asking {
    request: CommandId,
    name: String,
    operation: Operation,
    question: Question,
    survey: Survey,
    reply: oneshot::Sender<Found>,
}

/// Owns the machine, its ledger file, and everybody who waits for an answer.
pub struct CoordinatorActor {
    settings: Settings,
    controller: Controller,
    ledger: LedgerFile,
    continues: bool,
    fleet: Option<u32>,
    signer: Ed25519Signer,
    credential: Credential,
    mesh: Recipient<Deliver>,
    orders: Recipient<Order>,
    record: Recipient<Describe>,
    shown: Vec<OrderStamp>,
    gates: Arc<Gates>,
    rng: ChaCha12Rng,
    view: Vec<KnownHost>,
    asking: Vec<Asking>,
    hearings: Vec<hearing::Hearing>,
    looks: looks::Looks,
    watchers: Vec<Watcher>,
    timer: Option<actix::SpawnHandle>,
}

/// What the actor is made of.
pub struct Parts {
    /// For the machine.
    pub settings: Settings,
    /// The machine, rebuilt from the ledger.
    pub controller: Controller,
    /// The open ledger.
    pub ledger: LedgerFile,
    /// Whether the ledger is the one that the last process left.
    pub continues: bool,
    /// Most slots of all rollouts together.
    pub fleet: Option<u32>,
    /// The coordinator's key.
    pub signer: Ed25519Signer,
    /// Its membership.
    pub credential: Credential,
    /// Sends lease frames.
    pub mesh: Recipient<Deliver>,
    /// Spreads orders.
    pub orders: Recipient<Order>,
    /// Takes what the coordinator says of itself.
    pub record: Recipient<Describe>,
    /// Asks the gates of rings.
    pub gates: Gates,
    /// Seeded from the operating system.
    pub rng: ChaCha12Rng,
}

impl CoordinatorActor {
    /// An actor that has not started yet.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            settings,
            controller,
            ledger,
            continues,
            fleet,
            signer,
            credential,
            mesh,
            orders,
            record,
            gates,
            rng,
        } = parts;
        Self {
            settings,
            controller,
            ledger,
            continues,
            fleet,
            signer,
            credential,
            mesh,
            orders,
            record,
            shown: Vec::new(),
            gates: Arc::new(gates),
            rng,
            view: Vec::new(),
            asking: Vec::new(),
            hearings: Vec::new(),
            looks: looks::Looks::default(),
            watchers: Vec::new(),
            timer: None,
        }
    }

    /// What documents are made from.
    pub fn status(&self) -> View<'_> {
        View { ledger: self.controller.ledger(), desk: self.controller.desk(), now: clock::now() }
    }

    /// Which mesh this is.
    pub fn mesh(&self) -> MeshId {
        self.settings.mesh
    }

    /// Every member that the mesh knows, this coordinator included.
    pub fn members(&self) -> &[KnownHost] {
        &self.view
    }

    /// Feeds one event to the machine and performs what it asks for.
    pub fn feed(&mut self, event: Event, cx: &mut Context<Self>) {
        let now = clock::now();
        let mut effects = Vec::new();
        let stood_back = self.controller.desk().rival.is_some();
        self.controller.step(&mut Cx::new(now, &mut self.rng, &Ed25519, &mut effects), event);
        if self.controller.desk().rival.is_some() && !stood_back {
            tracing::warn!(why = Waiting::Rival.text(), "standing back");
        }
        for effect in effects {
            self.perform(effect, now, cx);
        }
        self.show_orders();
        self.rearm(now, cx);
    }

    fn perform(&mut self, effect: Effect, now: Now, cx: &Context<Self>) {
        match effect {
            Effect::Save(entry) => {
                if let Err(error) = self.ledger.append(&self.signer, &entry) {
                    // Whether the entry is on disk is unknown: only a rebuild from the file can tell.
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the ledger could not be written; ending"
                    );
                    std::process::exit(1);
                }
                tracing::info!(act = ?watch::act_name(&entry.act), "ledger");
                self.warn(&entry.act);
            }
            Effect::Tell { to, body } => self.tell(to, body, now),
            Effect::AskGates { rollout, ring, name, attempt, gates } => {
                self.ask_gates(gating::Asking { rollout, ring, name, attempt }, gates, cx.address());
            }
            Effect::Order(order) => {
                if self.orders.try_send(Order(Box::new(self.sealed_stop(&order)))).is_err() {
                    tracing::warn!(
                        "the mesh is busy: a STOP goes to the hosts at work only, until the coordinator is started again"
                    );
                }
            }
            Effect::TellStop { to, order } => {
                let body = ToHost::Stop(Box::new(self.sealed_stop(&order)));
                self.tell(to, body, now);
            }
        }
    }

    /// The coordinator's own record names the orders that its ledger holds: the mesh hands up what it does not name.
    fn show_orders(&mut self) {
        let orders = self.controller.ledger().stamps();
        if self.shown != orders
            && self.record.try_send(Describe(RecordBody { orders: orders.clone(), ..RecordBody::default() })).is_ok()
        {
            self.shown = orders;
        }
    }

    /// Says what an operator must know, and what nobody asked for.
    fn warn(&self, act: &LedgerAct) {
        let new = self.controller.ledger().rollouts.is_empty();
        match act {
            LedgerAct::EpochOpened { epoch, continued: false } if !new => tracing::warn!(
                counter = epoch.counter,
                "leases may be out that this ledger does not know: it is a copy or restored, or another coordinator came in \
                 between; a host that has not said what it holds is granted nothing and counts as a held slot; see patchmesh slots ls"
            ),
            LedgerAct::Released { host, held, by, because, .. } => {
                tracing::warn!(host = %host.short(), held = held.as_str(), by, because, risk = held.risk(), "a slot was released by name");
            }
            _ => {}
        }
    }

    fn sealed_stop(&self, order: &StopOrder) -> SignedStop {
        SignedStop { order: Sealed::seal(&self.signer, order), credential: self.credential.clone() }
    }

    fn tell(&mut self, to: NodeId, body: ToHost, now: Now) {
        let id = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        let command = self.controller.command(to, body, id, now.wall, self.ledger.head());
        let frame = LeaseFrame { credential: self.credential.clone(), sealed: Sealed::seal(&self.signer, &command) };
        if self.mesh.try_send(Deliver { to, frame }).is_err() {
            tracing::warn!(host = %to.short(), "the mesh is busy: a message was dropped and will be repeated");
        }
    }

    fn rearm(&mut self, now: Now, cx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel_future(timer);
        }
        if let Some(deadline) = self.controller.deadline() {
            let pause = deadline.since(now.boot);
            self.timer = Some(cx.run_later(pause, |actor, cx| actor.feed(Event::Tick, cx)));
        }
    }

    /// Asks the targets of `spec` what they would do by `question`.
    ///
    /// # Errors
    /// A [`Fault`] if no host matches.
    pub fn survey(&mut self, spec: &RolloutSpec, question: Question) -> Result<oneshot::Receiver<Found>, Fault> {
        let services = &self.controller.ledger().services;
        let candidates = self.view.iter().filter(|host| !host.own && is_host(host)).map(|host| Candidate {
            node: host.node,
            name: host.membership.name.clone(),
            tags: tags(host),
            mode: host.record.body.mode,
            alive: host.presence == Presence::Alive,
            rank: services.rank(&host.node),
        });
        let now = clock::now();
        let survey = Survey::begin(spec, candidates.collect(), now.boot).map_err(|error| {
            let remedy = "see patchmesh get hosts; a host is known once its daemon has joined the mesh";
            let code = match error {
                SurveyError::Nobody(known) if known > 0 => EMPTY_TARGETS,
                SurveyError::Nobody(_) | SurveyError::Unknown(_) => "no-targets",
            };
            Fault::new(code, error.to_string(), "nothing was planned", remedy)
        })?;
        let (reply, answer) = oneshot::channel();
        let (request, name, operation) = (CommandId(self.draw()), spec.name.clone(), spec.operation);
        let asking = Asking { request, name, operation, question, survey, reply };
        self.ask(&asking, now);
        self.asking.push(asking);
        self.finish_surveys(now);
        Ok(answer)
    }

    /// The plans for which hosts are being asked.
    pub fn surveys(&self) -> SurveysDocument {
        SurveysDocument::new(self.asking.iter().map(|asking| {
            let targets = u32::try_from(asking.survey.progress().1).unwrap_or(u32::MAX);
            let waits_for = asking.survey.waits_for().map(str::to_owned).collect();
            SurveyRow { rollout: asking.name.clone(), targets, waits_for }
        }))
    }

    fn ask(&mut self, asking: &Asking, now: Now) {
        for node in asking.survey.pending().collect::<Vec<_>>() {
            let (request, operation) = (asking.request, asking.operation);
            let body = match &asking.question {
                Question::Plain(baseline) => ToHost::Resolve { request, baseline: *baseline },
                Question::By(snapshot) => ToHost::ResolveBy { request, operation, snapshot: snapshot.clone() },
            };
            self.tell(node, body, now);
        }
    }

    fn finish_surveys(&mut self, now: Now) {
        for mut asking in std::mem::take(&mut self.asking) {
            if asking.survey.is_over(now.boot) {
                // Nobody waits any more if the client has gone: the answers changed nothing.
                let _ = asking.reply.send(asking.survey.freeze());
                continue;
            }
            if asking.survey.repeats(now.boot) {
                self.ask(&asking, now);
            }
            self.asking.push(asking);
        }
    }

    fn fold_answer(&mut self, frame: &LeaseFrame, now: Now) {
        let Some(answer) = controller::open_answer(&self.settings, frame, now.wall, &Ed25519) else { return };
        let host = frame.sealed.author;
        match answer.body {
            ToCoordinator::Resolved { request, result } => {
                if let Some(asking) = self.asking.iter_mut().find(|asking| asking.request == request) {
                    asking.survey.answered(host, answers::credible(result));
                }
                self.finish_surveys(now);
            }
            ToCoordinator::Sightings { request, result: Ok(words) } => self.testified(host, request, words, now),
            ToCoordinator::Patches { request, result } => self.looks.answered(host, request, result),
            _ => {}
        }
    }

    /// Shows a rollout from now on to whoever holds the receiver.
    pub fn watch(&mut self, rollout: RolloutId, queue: usize) -> mpsc::Receiver<WatchEvent> {
        let (watcher, events) = Watcher::new(rollout, queue);
        self.watchers.push(watcher);
        events
    }

    fn show(&mut self) {
        let mut watchers = std::mem::take(&mut self.watchers);
        let view = self.status();
        watchers.retain_mut(|watcher| watcher.show(&view));
        self.watchers = watchers;
    }

    /// Random bytes, for a new id.
    pub fn draw<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

impl Actor for CoordinatorActor {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Context<Self>) {
        cx.set_mailbox_capacity(MAILBOX);
        let (incarnation, continues) = (patchmesh_common::id::Incarnation(self.rng.next_u64()), self.continues);
        self.feed(Event::Started { incarnation, continues }, cx);
        // Nobody has been heard yet, so that nothing was granted by what held before.
        self.feed(Event::Fleet(self.fleet), cx);
        cx.run_interval(SHOW, |actor, _| {
            if !actor.asking.is_empty() {
                actor.finish_surveys(clock::now());
            }
            if !actor.hearings.is_empty() {
                actor.finish_hearings(clock::now());
            }
            if !actor.looks.is_empty() {
                actor.repeat_looks(clock::now());
            }
            if !actor.watchers.is_empty() {
                actor.show();
            }
        });
    }
}

impl Handler<Inbound> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, message: Inbound, cx: &mut Context<Self>) {
        self.fold_answer(&message.frame, clock::now());
        self.feed(Event::Heard(Box::new(message.frame)), cx);
    }
}

impl Handler<ViewChanged> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, message: ViewChanged, cx: &mut Context<Self>) {
        self.view = message.0;
        let alive = self.view.iter().filter(|host| host.presence == Presence::Alive);
        let alive: BTreeSet<_> = alive.map(|host| host.node).collect();
        self.asking.iter_mut().for_each(|asking| asking.survey.see(&alive));
        let seen = self.view.iter().filter(|host| !host.own && is_host(host)).map(|host| Seen {
            node: host.node,
            alive: host.presence == Presence::Alive,
            held: host.record.body.held.map(|(lease, _)| lease),
            sealed: host.record.sealed_at,
            words: Words { name: host.membership.name.clone(), tags: tags(host), expires: host.membership.expires },
        });
        self.feed(Event::View(seen.collect()), cx);
    }
}

impl Handler<Ordered> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Ordered(signed): Ordered, cx: &mut Context<Self>) {
        self.feed(Event::Ordered(signed), cx);
    }
}

impl Handler<Stop> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, _: Stop, cx: &mut Context<Self>) {
        cx.stop();
    }
}

impl Handler<Skew> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, message: Skew, cx: &mut Context<Self>) {
        self.feed(Event::Skew(message.0), cx);
    }
}

type Work = Box<dyn FnOnce(&mut CoordinatorActor, &mut Context<CoordinatorActor>) + Send>;

/// Something to be done on the actor, between two events: how the API reads and commands.
pub struct Ask(pub Work);

impl Message for Ask {
    type Result = ();
}

impl Handler<Ask> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, message: Ask, cx: &mut Context<Self>) {
        message.0(self, cx);
    }
}
