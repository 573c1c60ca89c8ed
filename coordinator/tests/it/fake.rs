//! A coordinator that knows four hosts and one rollout, and always says the same.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use patchmesh_common::{
    gossip::Mode,
    id::{RolloutId, SnapshotId},
    inventory::{PackageChange, Transaction},
    membership::Role,
    rollout::{
        Operation, RebootOption, approval::SignedVerdict, intent::Intent, service::ServiceSpec, spec::RolloutSpec,
        status::Command,
    },
    run::{
        Phase,
        message::{OrderStamp, SignedStop, StopOrder, StopScope},
    },
    schedule::Opening,
    selector::Selector,
    time::WallTime,
};
use patchmesh_coordinator::{
    api::{Answer, Service, document::*, not_found, server},
    fault::{Exit, Fault},
    service::{freeze, urgent},
    snapshots::Snapshots,
    store::Store,
};
use patchmesh_node::identity::{Grant, Identity, save_credential, sign};
use tokio::sync::{mpsc, oneshot};

pub(crate) mod commands;
pub(crate) mod ledgers;
pub(crate) mod policies;
pub(crate) mod replans;
pub(crate) mod reports;
pub(crate) mod rings;
pub(crate) mod services;
mod slots;
pub(crate) mod snapshots;
pub(crate) mod steps;
pub(crate) mod windows;

pub(crate) use slots::{release, slots};

pub(crate) const ID: &str = "00112233445566aa";

/// A [`Fake`] on a socket, on a thread of its own. Ends when dropped.
pub(crate) struct Served {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    pub(crate) fn start(fake: Fake) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let (stop, stopped) = oneshot::channel();
        let thread = serve(socket.clone(), fake, stopped);
        Self { folder, socket, stop: Some(stop), thread: Some(thread) }
    }
}

/// Serves `fake` on a thread of its own until `stopped`; the socket is open when this returns.
pub(crate) fn serve(socket: PathBuf, fake: Fake, stopped: oneshot::Receiver<()>) -> std::thread::JoinHandle<()> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = server::open(&socket).unwrap();
            ready.send(()).unwrap();
            let (told, is_told) = oneshot::channel();
            let until = async {
                let _ = stopped.await;
                let _ = told.send(());
            };
            // A watch stream that never ends would hold a graceful end up for ever.
            let cut = async {
                let _ = is_told.await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            };
            tokio::select! {
                served = server::serve(listener, Arc::new(fake), until) => served.unwrap(),
                () = cut => {}
            }
        });
    });
    is_ready.recv().unwrap();
    thread
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

pub(crate) struct Fake {
    /// How the rollout ends.
    pub(crate) ending: Option<RolloutState>,
    /// How many watch streams break off before one reaches the recap.
    pub(crate) breaks: AtomicU32,
    /// The watch stream neither moves nor ends.
    pub(crate) hangs: bool,
    /// What it keeps of baselines and groups.
    pub(crate) store: Arc<Store>,
    /// Where, for as long as it lives.
    pub(crate) folder: tempfile::TempDir,
    /// Who gave orders, in order.
    pub(crate) by: Arc<Mutex<Vec<String>>>,
    /// What they were about to change in the store, in order.
    pub(crate) intents: Arc<Mutex<Vec<Intent>>>,
}

impl Default for Fake {
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::new(folder.path()));
        Self {
            ending: None,
            breaks: AtomicU32::new(0),
            hangs: false,
            store,
            folder,
            by: Arc::default(),
            intents: Arc::default(),
        }
    }
}

/// Of a test that looks at files alone.
pub(crate) fn unnoted(_: Intent) -> Result<(), Fault> {
    Ok(())
}

fn time(text: &str) -> Time {
    Time(WallTime::parse(text).unwrap())
}

fn node(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

pub(crate) fn row(name: &str, number: u8, mode: Mode) -> HostRow {
    HostRow {
        host: name.into(),
        node_id: node(number),
        os: "debian".into(),
        os_version: Some("12".into()),
        arch: "amd64".into(),
        mode,
        tags: [("app".to_owned(), name.split('-').next().unwrap().to_owned())].into(),
        presence: Presence::Live,
        last_heard: Some(time("2026-12-01T02:00:00Z")),
        counters: Some(Counters {
            installed: 300,
            installed_other: 0,
            installed_pending_reboot: 0,
            missing: 2,
            failed: 0,
            blocked: 1,
        }),
        reboot_required: Some(false),
        held: None,
    }
}

pub(crate) fn hosts() -> HostsDocument {
    let silent = HostRow {
        presence: Presence::Unheard,
        last_heard: None,
        counters: None,
        reboot_required: None,
        os_version: None,
        tags: BTreeMap::new(),
        ..row("old-1", 4, Mode::Observe)
    };
    let busy =
        HostRow { held: Some(Held { lease: "ab".repeat(16), rollout: ID.into() }), ..row("web-1", 1, Mode::Enforce) };
    HostsDocument::new(vec![row("web-2", 2, Mode::Enforce), busy, silent, row("db-1", 3, Mode::Enforce)])
}

pub(crate) fn host(name: &str) -> Option<HostDocument> {
    let row = hosts().hosts.into_iter().find(|row| row.host == name)?;
    Some(HostDocument {
        schema: HostDocument::SCHEMA.into(),
        row,
        manager: "apt".into(),
        kernel: "6.1.0-40-amd64".into(),
        agent_version: "0.1.0".into(),
        addresses: vec!["/ip4/192.0.2.1/tcp/7878".into()],
        scanned_at: Some(time("2026-12-01T01:55:00Z")),
        membership_expires: Some(time("2027-12-01T00:00:00Z")),
    })
}

/// The owner of the mesh that the fake is a member of.
pub(crate) fn owner() -> Identity {
    Identity::from_secret([7; 32])
}

/// Keys with their memberships in `folder`: an operator's, and one of a host, which may not stop anything.
pub(crate) fn members(folder: &Path) {
    for (name, seed, role) in [("operator", 8, Role::Operator), ("host", 9, Role::Node)] {
        let (identity, place) = (Identity::from_secret([seed; 32]), folder.join(name));
        std::fs::create_dir(&place).unwrap();
        identity.save_new(&place.join("key")).unwrap();
        let expires = WallTime::parse("2100-01-01T00:00:00Z").unwrap();
        let grant = Grant { key: identity.node(), name: name.into(), role, serial: 1, expires, tags: BTreeMap::new() };
        save_credential(&place.join("membership.json"), &sign(&owner(), grant).unwrap()).unwrap();
    }
}

/// One host has not answered.
pub(crate) fn surveys() -> SurveysDocument {
    let row = SurveyRow { rollout: "weekly".into(), targets: 3, waits_for: vec!["web-3".into()] };
    SurveysDocument::new([row].into_iter())
}

pub(crate) fn orders() -> OrdersDocument {
    let resumed = OrderStamp { scope: StopScope::Rollout(RolloutId([8; 8])), sequence: 4, stop: false };
    OrdersDocument::new(owner().mesh(), 5, vec![resumed])
}

pub(crate) fn standing() -> StopDocument {
    let silent = Unconfirmed {
        host: "old-1".into(),
        node_id: node(4),
        presence: Presence::Silent,
        held: Some(Held { lease: "ab".repeat(16), rollout: ID.into() }),
        lease: "until".into(),
        lease_until: Some(time("2026-12-01T06:00:00Z")),
    };
    StopDocument {
        schema: StopDocument::SCHEMA.into(),
        order: OrderStamp { scope: StopScope::All, sequence: 5, stop: true }.into(),
        hosts: 4,
        confirmed: 3,
        leases: "until".into(),
        leases_until: silent.lease_until,
        unconfirmed: vec![silent],
    }
}

pub(crate) fn why() -> WhyDocument {
    let step = |code: &str, text: &str, at: &str, command: Option<&str>| WhyStep {
        code: code.into(),
        text: text.into(),
        at: Some(time(at)),
        command: command.map(str::to_owned),
    };
    let slots = Some("patchmesh slots ls");
    let release = Some("patchmesh slots release db-1 --because TEXT");
    let applied = "rollout weekly was applied by ops: 3 hosts, 2 at once, halts if more than 0 fail";
    let status = format!("patchmesh rollout status {ID}");
    let at_work = "web-1 holds a slot: at work, in phase transaction; answered 4 s ago";
    let silent = "db-1 holds a slot: silent for 1300 s; lost after 900 s";
    let chain = vec![
        step("slot", "waits in rollout weekly: 2 of 2 slots are held", "2026-12-01T02:00:05Z", slots),
        step("lost", silent, "2026-12-01T02:00:05Z", release),
        step("slot-held", at_work, "2026-12-01T02:00:01Z", None),
        step("applied", applied, "2026-12-01T02:00:00Z", Some(&status)),
    ];
    let answer = "web-2: waits in rollout weekly: 2 of 2 slots are held";
    WhyDocument::new("host", "web-2", answer, chain)
}

pub(crate) fn why_rollout() -> WhyDocument {
    let host = why();
    WhyDocument::new("rollout", "weekly", "weekly is Running", host.chain)
}

pub(crate) fn plan(spec: &RolloutSpec) -> PlanDocument {
    plan_in(spec, spec.openings.clone())
}

fn plan_in(spec: &RolloutSpec, openings: Vec<Opening>) -> PlanDocument {
    let change = |name: &str, from: Option<&str>, to: &str| PackageChange {
        name: name.into(),
        arch: "amd64".into(),
        from: from.map(str::to_owned),
        to: to.into(),
        sha256: "5e".repeat(32),
    };
    let web = Transaction { changes: vec![change("nginx", Some("1.22.1-9"), "1.22.1-9+deb12u3")], removals: vec![] };
    let mut db = web.clone();
    db.changes =
        vec![change("libicu72", None, "72.1-3"), change("postgresql-15", Some("15.8-0+deb12u1"), "15.12-0+deb12u2")];
    let planned = |name: &str, number, transaction: &Transaction| {
        PlanHost::new(name.into(), node(number), transaction, RebootOption::IfNeeded)
    };
    let expected =
        |host: PlanHost, p50, p95| PlanHost { estimate_seconds: Estimate { p50: Some(p50), p95: Some(p95) }, ..host };
    let hosts = vec![
        planned("db-1", 3, &db),
        expected(planned("web-1", 1, &web), 45, 210),
        expected(planned("web-2", 2, &web), 40, 190),
    ];
    let claims = vec![ClaimDocument { rollout: ID.into(), name: "monthly".into(), hosts: vec!["web-2".into()] }];
    let excluded = Excluded {
        host: "old-1".into(),
        node_id: Some(node(4)),
        waiting: WaitingDocument {
            code: "observe-mode".into(),
            text: "its own file does not say mode = \"enforce\"".into(),
            command: Some("set mode = \"enforce\" in /etc/patchmesh/patchmesh.toml on old-1".into()),
        },
    };
    let times = (time("2026-12-01T02:00:00Z"), time("2026-12-01T03:00:00Z"));
    let versions = (spec.name != "large").then_some(SnapshotId([0x5a; 32]));
    let frozen = Frozen { rules: None, versions, openings };
    let plan = PlanDocument::new(spec, frozen, times, rings::share(spec, hosts), vec![excluded]).unwrap();
    plan.claimed_by(claims).unwrap()
}

pub(crate) fn rollout(state: RolloutState) -> RolloutDocument {
    let result = |host: &str, number, outcome| HostResult {
        detail: None,
        host: host.into(),
        node_id: node(number),
        outcome,
        phase: Some(Phase::Settled),
        attempts: 1,
        rebooted: true,
        packages: vec![ChangedPackage {
            name: "nginx".into(),
            arch: "amd64".into(),
            from: Some("1.22.1-9".into()),
            to: "1.22.1-9+deb12u3".into(),
        }],
        error: None,
    };
    let failed = HostResult {
        phase: Some(Phase::Transaction),
        rebooted: false,
        packages: vec![],
        error: Some(ResultError {
            code: "transaction-failed".into(),
            text: "apt-get ended with 100; post-install hooks and the reboot were left out".into(),
            log: "Setting up nginx\ndpkg: error processing package nginx\n".into(),
        }),
        ..result("web-2", 2, HostOutcome::Failed)
    };
    let waiting = HostResult {
        detail: Some("1 of 1 slots are held".into()),
        phase: None,
        attempts: 0,
        rebooted: false,
        packages: vec![],
        ..result("db-1", 3, HostOutcome::NotStarted)
    };
    let results = match state {
        RolloutState::Succeeded => ["db-1", "web-1", "web-2"]
            .into_iter()
            .zip([3, 1, 2])
            .map(|(h, n)| result(h, n, HostOutcome::Succeeded))
            .collect(),
        RolloutState::Running => {
            let running = HostResult {
                packages: vec![],
                phase: Some(Phase::PostInstall),
                rebooted: false,
                detail: Some("waits until 2026-12-01T04:00:00Z for its reboot".into()),
                ..result("web-1", 1, HostOutcome::Running)
            };
            vec![waiting, running, result("web-2", 2, HostOutcome::Succeeded)]
        }
        _ => vec![waiting, result("web-1", 1, HostOutcome::Succeeded), failed],
    };
    let limit = |given: &str, resolved| LimitDocument { given: given.into(), resolved };
    let halted = Reason { code: "errors".into(), text: "1 host failed and 0 are allowed".into() };
    let over = state.exit().is_some();
    RolloutDocument {
        schema: RolloutDocument::SCHEMA.into(),
        id: ID.into(),
        name: "weekly".into(),
        operation: Operation::Install,
        state,
        reason: (state == RolloutState::Halted).then_some(halted),
        limits: LimitsDocument { max_concurrency: limit("50%", 1), max_errors: limit("0", 0) },
        hosts: HostCounts::of(results.iter().map(|result| result.outcome)),
        peak_concurrency: 1,
        started_at: Some(time("2026-12-01T02:00:00Z")),
        ended_at: over.then_some(time("2026-12-01T02:03:07Z")),
        duration_seconds: Some(Seconds(187_000)),
        rings: vec![rings::all(
            HostCounts::of(results.iter().map(|result| result.outcome)),
            if state == RolloutState::Succeeded { RingState::Settled } else { RingState::Open },
        )],
        replans: None,
        replanned_as: None,
        results,
        outside_window: None,
    }
}

/// Its row of the list.
pub(crate) fn listed(of: RolloutDocument) -> RolloutRow {
    let RolloutDocument { id, name, operation, state, hosts, started_at, ended_at, outside_window, .. } = of;
    RolloutRow { id, name, operation, state, hosts, started_at, ended_at, outside_window }
}

/// One that goes outside windows.
pub(crate) fn urgent(state: RolloutState) -> RolloutDocument {
    let outside_window =
        Some(OutsideWindow { because: "CVE-2026-0001 is exploited".into(), by: "ann (uid 1000)".into() });
    RolloutDocument { name: "urgent".into(), outside_window, ..rollout(state) }
}

pub(crate) fn event() -> EventDocument {
    EventDocument {
        schema: EventDocument::SCHEMA.into(),
        at: "2026-12-01T02:00:01.250Z".into(),
        rollout: ID.into(),
        kind: EventKind::HostPhase,
        host: Some("web-1".into()),
        node_id: Some(node(1)),
        phase: Some(Phase::Transaction),
        outcome: None,
        state: None,
        code: None,
        text: "unpacking nginx".into(),
    }
}

pub(crate) fn progress() -> ProgressDocument {
    let recap = rollout(RolloutState::Running);
    ProgressDocument {
        schema: ProgressDocument::SCHEMA.into(),
        rollout: ID.into(),
        state: RolloutState::Running,
        reason: None,
        rings: recap.rings,
        active: vec![Active { host: "web-1".into(), phase: Phase::Verify, seconds: 7, detail: "scanning".into() }],
        waiting: vec![WaitingGroup { code: "slots".into(), text: "every slot is taken".into(), hosts: 1 }],
    }
}

impl Fake {
    fn now(&self) -> RolloutDocument {
        rollout(RolloutState::Running)
    }

    /// The store, with windows that are as they are since the first of December 2026.
    pub(crate) fn aged(&self) -> &Store {
        let files = std::fs::read_dir(self.folder.path().join("windows")).into_iter().flatten();
        for file in files {
            let file = std::fs::File::options().write(true).open(file.unwrap().path()).unwrap();
            let since = u64::try_from(time("2026-12-01T00:00:00Z").0.0).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_millis(since)).unwrap();
        }
        &self.store
    }

    fn ordered(&self, by: String) {
        self.by.lock().unwrap().push(by);
    }

    fn known(&self, id: &str, state: RolloutState) -> Result<RolloutDocument, Fault> {
        if id == rings::RINGED {
            return Ok(rings::ringed(&[]));
        }
        match id {
            replans::SUPERSEDED => return Ok(replans::superseded(true)),
            replans::AGAIN => return Ok(replans::again()),
            "urgent" => return Ok(urgent(state)),
            _ => {}
        }
        if [ID, "weekly"].contains(&id) { Ok(rollout(state)) } else { Err(not_found("rollout", id)) }
    }
}

fn say<T: Send + 'static>(answer: Result<T, Fault>) -> Answer<'static, T> {
    Box::pin(async { answer })
}

impl Service for Fake {
    fn hosts(&self) -> Answer<'_, HostsDocument> {
        say(Ok(hosts()))
    }

    fn host(&self, name: String) -> Answer<'_, HostDocument> {
        say(host(&name).ok_or_else(|| not_found("host", &name)))
    }

    fn compliance(&self, selector: Selector) -> Answer<'_, ComplianceDocument> {
        say(Ok(reports::compliance(&selector)))
    }

    fn patches(&self, name: String) -> Answer<'_, PatchesDocument> {
        say(reports::report(&name).map(|(node, report)| PatchesDocument::new(name, node, report)))
    }

    fn history(&self, name: String) -> Answer<'_, HistoryDocument> {
        say(reports::report(&name).map(|(node, report)| HistoryDocument::new(name, node, report)))
    }

    fn why_host(&self, name: String) -> Answer<'_, WhyDocument> {
        say(if name == "web-2" { Ok(why()) } else { Err(not_found("host", &name)) })
    }

    fn why_rollout(&self, id: String) -> Answer<'_, WhyDocument> {
        say(if id == "weekly" || id == ID { Ok(why_rollout()) } else { Err(not_found("rollout", &id)) })
    }

    fn why_patch(&self, name: String) -> Answer<'_, WhyDocument> {
        let text = format!("no rollout of this ledger was planned to install {name}");
        let command = Some("patchmesh describe host NAME --patches".to_owned());
        let step = WhyStep { code: "not-planned".into(), text, at: None, command };
        say(Ok(WhyDocument::new("patch", &name, format!("nobody knows of a rollout that installs {name}"), vec![step])))
    }

    fn plan(&self, spec: RolloutSpec) -> Answer<'_, PlanDocument> {
        let now = WallTime::parse("2026-12-01T02:00:00Z").unwrap();
        let known = hosts()
            .hosts
            .into_iter()
            .map(|row| (row.host, patchmesh_common::id::NodeId::parse(&row.node_id).unwrap(), row.tags))
            .collect();
        if let Err(fault) = urgent::refuse_covered(&spec, &known, self.aged(), now) {
            return say(Err(fault));
        }
        say(freeze::openings(&spec, self.aged(), now).map(|openings| plan_in(&spec, openings)))
    }

    fn surveys(&self) -> Answer<'_, SurveysDocument> {
        say(Ok(surveys()))
    }

    fn apply(&self, plan: PlanDocument, by: String) -> Answer<'_, AppliedDocument> {
        self.ordered(by);
        say(match plan.rollout.as_str() {
            "stale" => Err(Fault::new(
                "plan-stale",
                format!("the plan for stale was valid until {}", plan.expires_at),
                "no rollout was started",
                "plan again",
            )
            .exit(Exit::StalePlan)),
            // Somebody has applied it already.
            name => Ok(AppliedDocument::new(ID.to_owned(), name != "again")),
        })
    }

    fn recheck(&self, plan: PlanDocument) -> Answer<'_, ()> {
        let moved = "the world has moved since the plan was made: web-1 would now install nginx:amd64 1.22.1-9+deb12u4 \
                     instead of 1.22.1-9+deb12u3; rollout weekly has taken web-2";
        let try_this = "plan again and review the new plan";
        let fault = || Fault::new("world-moved", moved, "no rollout was started", try_this).exit(Exit::StalePlan);
        say(if plan.rollout == "large" { Err(fault()) } else { Ok(()) })
    }

    fn rollouts(&self) -> Answer<'_, RolloutsDocument> {
        say(Ok(RolloutsDocument::new([self.now(), urgent(RolloutState::Halted)].map(listed).into())))
    }

    fn rollout(&self, id: String) -> Answer<'_, RolloutDocument> {
        say(self.known(&id, RolloutState::Running))
    }

    fn steps(&self, id: String, host: Option<String>) -> Answer<'_, StepsDocument> {
        say(self.known(&id, RolloutState::Halted).and_then(|rollout| steps::steps(rollout, host.as_deref())))
    }

    fn services(&self) -> Answer<'_, ServicesDocument> {
        say(Ok(services::services()))
    }

    fn service(&self, name: String) -> Answer<'_, ServiceDocument> {
        say(services::service(&name))
    }

    fn keep_service(&self, spec: ServiceSpec, _: String) -> Answer<'_, KeptDocument> {
        say(Ok(services::kept(&spec)))
    }

    fn drop_service(&self, name: String, _: String) -> Answer<'_, KeptDocument> {
        say(services::dropped(&name))
    }

    fn windows(&self) -> Answer<'_, WindowListDocument> {
        say(windows::list(self.aged()))
    }

    fn window(&self, name: String) -> Answer<'_, WindowDocument> {
        say(windows::one(self.aged(), &name))
    }

    fn policies(&self) -> Answer<'_, PoliciesDocument> {
        say(policies::list(&self.store))
    }

    fn policy(&self, name: String) -> Answer<'_, PolicyDocument> {
        say(policies::one(&self.store, &name))
    }

    fn snapshots(&self) -> Snapshots {
        snapshots::keep(self.folder.path())
    }

    fn watch(&self, id: String) -> Answer<'_, mpsc::Receiver<WatchEvent>> {
        if let Err(fault) = self.known(&id, RolloutState::Running) {
            return say(Err(fault));
        }
        let (sender, receiver) = mpsc::channel(8);
        sender.try_send(WatchEvent::Progress(progress())).unwrap();
        sender.try_send(WatchEvent::Event(event())).unwrap();
        if self.hangs {
            tokio::spawn(async move { sender.closed().await });
        } else if self.breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            let recap = rollout(self.ending.unwrap_or(RolloutState::Succeeded));
            sender.try_send(WatchEvent::Recap(Box::new(recap))).unwrap();
        }
        say(Ok(receiver))
    }

    fn commands(&self) -> Answer<'_, CommandsDocument> {
        say(Ok(commands::commands()))
    }

    fn command(&self, id: String) -> Answer<'_, CommandDocument> {
        let stopped = !self.by.lock().unwrap().is_empty();
        let status = if stopped { Command::Cancelling } else { Command::Failed };
        say(self.known(&id, RolloutState::Running).map(|_| commands::command(status)))
    }

    fn pause(&self, id: String, by: String) -> Answer<'_, RolloutDocument> {
        self.ordered(by);
        say(self.known(&id, RolloutState::Paused))
    }

    fn resume(&self, id: String, by: String) -> Answer<'_, RolloutDocument> {
        self.ordered(by);
        say(self.known(&id, RolloutState::Running))
    }

    fn stop(&self, id: String, by: String) -> Answer<'_, RolloutDocument> {
        self.ordered(by);
        say(self.known(&id, RolloutState::Stopped))
    }

    fn verdict(&self, _: String, signed: SignedVerdict) -> Answer<'_, RolloutDocument> {
        say(rings::verdict(&signed))
    }

    fn orders(&self) -> Answer<'_, OrdersDocument> {
        say(Ok(orders()))
    }

    fn order(&self, signed: SignedStop) -> Answer<'_, StopDocument> {
        let refused =
            |error| Fault::new("order-refused", "the order does not decode", "nothing was ordered", "").because(error);
        let answered = |order: StopOrder| StopDocument { order: order.stamp().into(), ..standing() };
        say(signed.read().map(answered).map_err(refused))
    }

    fn standing(&self, scope: StopScope) -> Answer<'_, StopDocument> {
        let given = OrderStamp { scope, sequence: orders().next_sequence, stop: true };
        say(Ok(StopDocument { order: given.into(), ..standing() }))
    }

    fn intend(&self, intent: Intent, by: String) -> Answer<'_, ()> {
        self.ordered(by);
        self.intents.lock().unwrap().push(intent);
        say(Ok(()))
    }

    fn store(&self) -> Arc<Store> {
        self.store.clone()
    }

    fn slots(&self) -> Answer<'_, SlotsDocument> {
        say(Ok(slots()))
    }

    fn release(&self, host: String, asked: ReleaseRequest) -> Answer<'_, ReleaseDocument> {
        self.ordered(asked.by.clone());
        say(match (host.as_str(), asked.even_if_heard) {
            ("db-1", _) => Ok(release(&asked.because)),
            ("web-1", false) => Err(Fault::new(
                "host-is-heard",
                "web-1 answered 1 s ago",
                "its slot stays held",
                "take that risk with --even-if-heard",
            )),
            ("web-1", true) => Ok(ReleaseDocument { host, ..release(&asked.because) }),
            _ => Err(Fault::new(
                "not-held",
                format!("{host} holds no slot"),
                "nothing was changed",
                "see patchmesh slots ls",
            )),
        })
    }
}

/// The built binary, with nothing of the tester's own settings.
pub(crate) fn patchmesh(folder: &Path) -> std::process::Command {
    // Beside the test binary's folder first: a copy of both runs where the sources and the build folder are not.
    let beside = std::env::current_exe().unwrap().parent().unwrap().with_file_name("patchmesh");
    let binary = if beside.exists() { beside } else { env!("CARGO_BIN_EXE_patchmesh").into() };
    let mut command = std::process::Command::new(binary);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TMPDIR", std::env::temp_dir()).current_dir(folder);
    command
}
