//! [`PatchActor`]: the shell around [`PatchRun`]. It translates messages into events and performs the effects, nothing else.

mod acts;
mod apt;
mod backend;
mod looks;
mod repair;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, Recipient,
    SpawnHandle, WrapFuture as _,
};
use patchmesh_common::{
    gossip::Mode,
    id::{BootId, LeaseId, MeshId, RolloutId},
    machine::{Cx, Machine as _},
    membership::Credential,
    poison::{Name, Standing},
    run::{
        journal::JournalEntry,
        machine::{Effect, Event, PatchRun, Settings},
        message::{Answer, LeaseFrame, OrderStamp},
    },
    seal::{Ed25519, Sealed, Signer},
    wire::{self, Malformed},
};
use rand::{SeedableRng as _, rngs::ChaCha12Rng};
use tokio::sync::watch;

pub use self::{
    acts::Reboot,
    backend::{Backend, Found, Mend, Question},
};
use crate::{
    chain, clock,
    hand::Hand,
    peer::{Deliver, Inbound, Ordered, Skew, Stop},
    reports::Reports,
    store::log::{Log, LogError},
};

/// Bound of the mailbox: a coordinator repeats what is refused.
pub const MAILBOX: usize = 64;
/// Name of the run journal in the state folder.
pub const JOURNAL: &str = "run.log";
/// Name of the folder of run folders in the state folder: `run/LEASE/ATTEMPT/`.
pub const RUNS: &str = "run";

/// The lease that the host runs or has to report has changed; for its gossiped record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held(pub Option<(LeaseId, RolloutId)>);

/// The orders that the host has saved have changed; for its gossiped record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedOrders(pub Vec<OrderStamp>);

impl Message for SavedOrders {
    type Result = ();
}

impl Message for Held {
    type Result = ();
}

/// What is configured.
#[derive(Clone, Debug)]
pub struct PatcherSettings {
    /// Which mesh commands the host.
    pub mesh: MeshId,
    /// Of the host's own file.
    pub mode: Mode,
    /// The present boot.
    pub boot_id: BootId,
    /// `/` or a private root.
    pub root: PathBuf,
    /// `ID` and `VERSION_ID` of the root's os-release.
    pub os: (String, String),
    /// The host's tags, those of its membership over its own.
    pub tags: BTreeMap<String, String>,
    /// The hook folders' folder.
    pub hooks: PathBuf,
    /// The daemon's state folder, which exists.
    pub state: PathBuf,
    /// Command line of the runner, to which `--spec FILE` is added.
    pub runner: Vec<String>,
}

/// What the actor is connected to.
pub struct Ports {
    /// The package manager.
    pub backend: Arc<dyn Backend>,
    /// Reboots the host; see [`boot::Boot::reboot`].
    pub reboot: Reboot,
    /// The host's key.
    pub signer: Arc<dyn Signer + Send + Sync>,
    /// The host's membership, sent along with every answer.
    pub credential: Credential,
    /// Takes answers.
    pub deliver: Recipient<Deliver>,
    /// Learns what is held.
    pub held: Recipient<Held>,
    /// Where it is marked what is being handled.
    pub hand: Arc<Hand>,
    /// Learns which orders are saved.
    pub orders: Recipient<SavedOrders>,
}

/// Why the actor cannot be made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal.
    #[error("the run journal cannot be used")]
    Log(#[from] LogError),
    /// A whole frame that is no entry.
    #[error("frame {frame} of {path} is no entry of this version; it was left as it is; use the release that wrote it")]
    Entry {
        /// The journal.
        path: PathBuf,
        /// From 0.
        frame: usize,
        /// Why.
        #[source]
        source: Malformed,
    },
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
}

/// Owns the machine and its journal. Start it on the `System` thread.
pub struct PatchActor {
    machine: PatchRun,
    log: Log,
    rng: ChaCha12Rng,
    host: acts::Host,
    detail: watch::Receiver<String>,
    ports: Ports,
    timer: Option<SpawnHandle>,
}

impl PatchActor {
    /// Opens the journal in the state folder and rebuilds the machine from it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: PatcherSettings, ports: Ports) -> Result<Self, OpenError> {
        let (log, frames, opened) = Log::open(&settings.state.join(JOURNAL))?;
        if opened.torn_bytes > 0 {
            tracing::warn!(journal = %log.path().display(), bytes = opened.torn_bytes, "a torn last frame was cut off");
        }
        let entries = decode(log.path(), &frames)?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let (shown, detail) = watch::channel(String::new());
        let host = acts::Host {
            backend: Arc::clone(&ports.backend),
            reboot: Arc::clone(&ports.reboot),
            root: settings.root,
            hooks: settings.hooks,
            runs: settings.state.join(RUNS),
            journal: log.path().to_owned(),
            runner: settings.runner,
            boot: settings.boot_id,
            os: settings.os,
            tags: settings.tags,
            reports: Reports::new(&settings.state),
            detail: Arc::new(shown),
        };
        let me = ports.signer.id();
        let settings = Settings { mesh: settings.mesh, me, mode: settings.mode, boot_id: settings.boot_id };
        let machine = PatchRun::rebuild(settings, &entries);
        Ok(Self { machine, log, rng: ChaCha12Rng::from_seed(seed), host, detail, ports, timer: None })
    }

    fn event(&mut self, ctx: &mut Context<Self>, event: Event) {
        let mut effects = Vec::new();
        self.machine.step(&mut Cx::new(clock::now(), &mut self.rng, &Ed25519, &mut effects), event);
        for effect in effects {
            self.perform(ctx, effect);
        }
        self.arm(ctx);
    }

    fn perform(&mut self, ctx: &mut Context<Self>, effect: Effect) {
        match effect {
            Effect::Save(entry) => self.save(&entry),
            Effect::Answer(answer) => self.answer(&answer),
            Effect::Start { id, act } => {
                tracing::debug!(?id, ?act, "started");
                let ended = self.host.clone().perform(act).into_actor(self);
                ctx.spawn(ended.map(move |end, actor, ctx| actor.event(ctx, Event::Ended { act: id, end })));
            }
            Effect::Held(held) => {
                self.host.prune(held.map(|(lease, _)| lease));
                if self.ports.held.try_send(Held(held)).is_err() {
                    tracing::warn!("the mesh peer did not take the held lease; the gossiped record is late");
                }
            }
            Effect::Orders(orders) => {
                if self.ports.orders.try_send(SavedOrders(orders)).is_err() {
                    tracing::warn!("the mesh peer did not take the saved orders; the gossiped record is late");
                }
            }
            Effect::Ignored { author, why } => {
                tracing::warn!(%author, why = %chain(&why), "a lease frame was not obeyed");
            }
        }
    }

    /// A save that fails is uncertain: only a restart can find out what is on disk.
    fn save(&mut self, entry: &JournalEntry) {
        self.ports.hand.put_down();
        if let Err(error) = self.log.append(&entry.encode()) {
            tracing::error!(error = %chain(&error), "the run journal cannot be written; the daemon ends and reads it back");
            std::process::exit(1);
        }
        tracing::info!(entry = kind(entry), "saved");
    }

    fn answer(&self, answer: &Answer) {
        let sealed = Sealed::seal(&*self.ports.signer, answer);
        let frame = LeaseFrame { credential: self.ports.credential.clone(), sealed };
        if self.ports.deliver.try_send(Deliver { to: answer.to, frame }).is_err() {
            tracing::warn!(to = %answer.to, "an answer was dropped because the mesh peer is busy; it will be repeated");
        }
    }

    /// Sets the only timer to what the machine wants next.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(deadline) = self.machine.deadline() else { return };
        let pause = deadline.since(clock::now().boot).max(Duration::from_millis(1));
        self.timer = Some(ctx.run_later(pause, |actor, ctx| {
            actor.timer = None;
            if actor.detail.has_changed().unwrap_or(false) {
                let line = actor.detail.borrow_and_update().clone();
                actor.event(ctx, Event::Detail(line));
            }
            actor.event(ctx, Event::Tick);
        }));
    }
}

impl Actor for PatchActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.event(ctx, Event::Started);
        let safe = self.ports.hand.is_safe(clock::now().wall);
        self.event(ctx, Event::Safe(safe));
    }
}

impl Handler<Inbound> for PatchActor {
    type Result = ();

    fn handle(&mut self, inbound: Inbound, ctx: &mut Self::Context) {
        let hand = Arc::clone(&self.ports.hand);
        let name = Name::of_bytes(&wire::encode(&inbound.frame.sealed));
        if hand.poison().standing(&name) == Standing::Quarantined {
            return hand.tell_dropped(&[name]);
        }
        // Safe mode ends by itself.
        self.event(ctx, Event::Safe(hand.is_safe(clock::now().wall)));
        let _held = hand.hold(&[name]);
        self.event(ctx, Event::Command(Box::new(inbound.frame)));
    }
}

impl Handler<Ordered> for PatchActor {
    type Result = ();

    fn handle(&mut self, Ordered(signed): Ordered, ctx: &mut Self::Context) {
        let hand = Arc::clone(&self.ports.hand);
        let name = Name::of_bytes(&wire::encode(&signed.order));
        if hand.poison().standing(&name) == Standing::Quarantined {
            return hand.tell_dropped(&[name]);
        }
        let _held = hand.hold(&[name]);
        self.event(ctx, Event::Ordered(signed));
    }
}

impl Handler<Stop> for PatchActor {
    type Result = ();

    /// Hooks and looks end with it; a runner goes on, and is adopted by the next start.
    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Skew> for PatchActor {
    type Result = ();

    fn handle(&mut self, Skew(skew): Skew, ctx: &mut Self::Context) {
        self.event(ctx, Event::Skew(skew));
    }
}

fn decode(path: &Path, frames: &[Vec<u8>]) -> Result<Vec<JournalEntry>, OpenError> {
    let decode = |(frame, bytes): (usize, &Vec<u8>)| {
        JournalEntry::decode(bytes).map_err(|source| OpenError::Entry { path: path.to_owned(), frame, source })
    };
    frames.iter().enumerate().map(decode).collect()
}

fn kind(entry: &JournalEntry) -> &'static str {
    match entry {
        JournalEntry::Epoch(_) => "epoch",
        JournalEntry::Stop(_) => "stop",
        JournalEntry::Granted { .. } => "granted",
        JournalEntry::Began { phase, .. } | JournalEntry::Ended { phase, .. } => phase.as_str(),
        JournalEntry::Barred(_) => "barred",
        JournalEntry::Settled(_) => "settled",
        JournalEntry::Acknowledged { .. } => "acknowledged",
        JournalEntry::Refused { .. } => "refused",
        JournalEntry::Released { .. } => "released",
    }
}
