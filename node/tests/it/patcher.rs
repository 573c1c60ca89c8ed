//! The actor with real hooks, real runners and a real journal; only the package manager is scripted.

mod reboots;
mod repairs;
mod reports;
mod sightings;
mod sources;

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler};
use futures::future::{BoxFuture, FutureExt as _};
use patchmesh_common::{
    gossip::Mode,
    id::{BootId, CommandId, Epoch, Incarnation, LeaseId, MeshId, NodeId, RolloutId},
    inventory::{PackageChange, Transaction},
    membership::{Credential, Membership, Role},
    patch::{
        Approval, Baseline, PatchCounters,
        baseline::{ComplianceLevel, PatchBaseline, SecurityUpdates, Source, Spec},
        compliance::{HostReport, Operated},
        evaluation::{Evaluation, Reason, Row, State},
        sighting::{Seen, Sighting},
        snapshot::{Choice, Rules, Snapshot, Written},
    },
    rollout::{Operation, RebootOption},
    run::{
        Phase,
        compare::{PackageSet, Unfinished},
        message::{
            Answer, Command, LatestStart, Lease, LeaseFrame, Outcome, Refusal, RefusalCode, Report, Resolution,
            ToCoordinator, ToHost,
        },
    },
    schedule::Opening,
    seal::{Ed25519, Ed25519Signer, Sealed, Signer as _},
    time::WallTime,
};
use patchmesh_node::{
    clock,
    hand::Hand,
    host::runner::Step,
    patcher::{Backend, Found, Held, Mend, PatchActor, PatcherSettings, Ports, Question, SavedOrders},
    peer::{Deliver, Inbound, Skew},
};
use tokio::sync::mpsc;

use crate::runner::{program, shell};

const PATIENCE: Duration = Duration::from_secs(60);
const LEASE: LeaseId = LeaseId([7; 16]);

fn key(seed: u8) -> Ed25519Signer {
    Ed25519Signer::from_secret(&[seed; 32])
}

fn mesh() -> MeshId {
    MeshId(key(1).id().0)
}

fn credential(seed: u8, role: Role) -> Credential {
    let membership = Membership {
        mesh: mesh(),
        key: key(seed).id(),
        name: format!("member-{seed}"),
        role,
        serial: 1,
        expires: WallTime::MAX,
        may_issue: false,
        tags: Default::default(),
    };
    Credential { membership: Sealed::seal(&key(1), &membership), issuer: None }
}

fn transaction() -> Transaction {
    let change = PackageChange {
        name: "tool".into(),
        arch: "all".into(),
        from: Some("1".into()),
        to: "2".into(),
        sha256: "ab".into(),
    };
    Transaction { changes: vec![change], removals: Vec::new() }
}

/// A package manager whose database is one file with one version, and whose transaction waits for a gate.
struct Scripted(PathBuf);

impl Scripted {
    fn version(&self) -> String {
        std::fs::read_to_string(self.0.join("version")).unwrap().trim().into()
    }
}

impl Backend for Scripted {
    fn resolve(&self, _: Baseline) -> BoxFuture<'_, Result<Resolution, Refusal>> {
        async { Ok(Resolution { transaction: transaction(), counters: PatchCounters::default() }) }.boxed()
    }
    fn resolve_by<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Resolution, Refusal>> {
        self.note_dates(question);
        self.resolve(Baseline::All)
    }
    fn check<'a>(&'a self, planned: &'a Transaction, _: &'a [Source]) -> BoxFuture<'a, Result<(), Refusal>> {
        let changed = Refusal { code: RefusalCode::PlanChanged, text: "tool".into(), remedy: "plan again".into() };
        let same = *planned == transaction() && self.version() == "1";
        async move { if same { Ok(()) } else { Err(changed) } }.boxed()
    }
    fn install_plan(&self, _: &Transaction, _: &[Source]) -> Result<Vec<Step>, String> {
        let script = "echo unpacking; while [ ! -e \"$1/gate\" ]; do sleep 0.02; done; [ ! -e \"$1/broken\" ] || exit 1; \
                      echo 2 > \"$1/version\"; echo run >> \"$1/installs\" && [ ! -e \"$1/torn\" ]";
        Ok(vec![shell(script, &[&self.0]), shell("echo mark >> \"$1/marks\"", &[&self.0])])
    }
    fn repair_plan<'a>(
        &'a self,
        mend: Mend,
        planned: &'a Transaction,
        _: &'a [Source],
    ) -> BoxFuture<'a, Result<Vec<Step>, String>> {
        assert_eq!(*planned, transaction());
        let script = match mend {
            Mend::Configure => "echo configuring; [ -e \"$1/mended\" ] && rm \"$1/dirty\"",
            Mend::Complete => "echo 2 > \"$1/version\"; : > \"$1/mended\"; echo completed",
        };
        let steps = vec![shell(script, &[&self.0])];
        async { Ok(steps) }.boxed()
    }
    fn audit(&self) -> BoxFuture<'_, Result<Option<String>, String>> {
        let dirty = self.0.join("dirty").exists().then(|| "tool is half-installed".to_owned());
        async { Ok(dirty) }.boxed()
    }
    fn installed(&self) -> BoxFuture<'_, Result<PackageSet, String>> {
        let set = PackageSet::from([(("tool".into(), "all".into()), self.version())]);
        async { Ok(set) }.boxed()
    }
    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, String>> {
        let torn = self.0.join("torn").exists();
        let unfinished = torn.then(|| (("tool".to_owned(), "all".to_owned()), "half-configured".to_owned()));
        async { Ok(unfinished.into_iter().collect()) }.boxed()
    }
    fn refresh<'a>(&'a self, _: &'a [Source]) -> BoxFuture<'a, Result<Option<String>, String>> {
        let told = std::fs::read_to_string(self.0.join("unreachable")).ok();
        async { Ok(told) }.boxed()
    }
    fn look<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, String>> {
        if self.0.join("blind").exists() {
            return async { Err("blind".to_owned()) }.boxed();
        }
        let newer = std::fs::read_to_string(self.0.join("newer")).ok();
        let state = if newer.is_none() && self.version() == "2" { State::Installed } else { State::Missing };
        let reason = Reason {
            code: "approved",
            text: question.by.name().to_owned(),
            rule: None,
            opens_at: None,
            ignored_date_gate: false,
        };
        let row = Row {
            name: "tool".into(),
            arch: "all".into(),
            installed: Some(self.version()),
            available: (state == State::Missing).then(|| newer.unwrap_or_else(|| "2".into())),
            state,
            level: ComplianceLevel::High,
            classification: None,
            reason,
        };
        let found = Found {
            evaluation: Evaluation { rows: vec![row], not_applicable: 0 },
            blocked: BTreeMap::new(),
            listed: None,
            updates: SecurityUpdates::Compliant,
        };
        async { Ok(found) }.boxed()
    }
    fn sightings(&self) -> Vec<(Seen, Sighting)> {
        self.seen()
    }
    fn allows(&self, _: &[Source]) -> Result<(), Refusal> {
        Ok(())
    }
    fn reboot_required(&self) -> BoxFuture<'_, bool> {
        let calm = self.0.join("calm").exists();
        async move { !calm }.boxed()
    }
}

/// Takes what the actor says.
struct Mesh(mpsc::Sender<ToCoordinator>, mpsc::Sender<Held>);

impl Actor for Mesh {
    type Context = Context<Self>;
}

impl Handler<Deliver> for Mesh {
    type Result = ();
    fn handle(&mut self, deliver: Deliver, _: &mut Self::Context) {
        assert_eq!(deliver.to, key(3).id());
        let member = deliver.frame.credential.check(mesh(), WallTime(0), &Ed25519).unwrap();
        assert_eq!((member.key, member.role), (key(2).id(), Role::Node));
        let answer: Answer = deliver.frame.sealed.open(&Ed25519).unwrap();
        self.0.try_send(answer.body).unwrap();
    }
}

impl Handler<Held> for Mesh {
    type Result = ();
    fn handle(&mut self, held: Held, _: &mut Self::Context) {
        self.1.try_send(held).unwrap();
    }
}

impl Handler<SavedOrders> for Mesh {
    type Result = ();
    fn handle(&mut self, _: SavedOrders, _: &mut Self::Context) {}
}

struct Host {
    folder: tempfile::TempDir,
    boot_id: u8,
    reboots: Arc<AtomicU32>,
}

struct Running {
    actor: Addr<PatchActor>,
    answers: mpsc::Receiver<ToCoordinator>,
    held: mpsc::Receiver<Held>,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("version"), "1\n").unwrap();
        let host = Self { folder, boot_id: 1, reboots: Arc::default() };
        for point in ["pre-install", "post-install", "post-reboot", "on-exit"] {
            let hooks = host.path("hooks").join(point);
            std::fs::create_dir_all(&hooks).unwrap();
            let trace = host.path("trace");
            let script = format!("#!/bin/sh\necho $PATCHMESH_PHASE $PATCHMESH_ATTEMPT >> {}\n", trace.display());
            std::fs::write(hooks.join("10-trace"), script).unwrap();
            for path in [hooks.parent().unwrap(), &hooks, &hooks.join("10-trace")] {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> Running {
        let (answer, answers) = mpsc::channel(1024);
        let (hold, held) = mpsc::channel(64);
        let (settings, ports) = self.parts(Mesh(answer, hold).start());
        let actor = PatchActor::open(settings, ports).unwrap().start();
        actor.try_send(Skew(Some(3))).unwrap();
        Running { actor, answers, held }
    }

    fn parts(&self, peer: Addr<Mesh>) -> (PatcherSettings, Ports) {
        let settings = PatcherSettings {
            mesh: mesh(),
            mode: Mode::Enforce,
            boot_id: BootId([self.boot_id; 16]),
            root: self.path("root"),
            os: ("debian".into(), "12".into()),
            tags: BTreeMap::from([("Patch Group".into(), "prod".into())]),
            hooks: self.path("hooks"),
            state: self.folder.path().to_owned(),
            runner: program(),
        };
        let reboots = Arc::clone(&self.reboots);
        let ports = Ports {
            backend: Arc::new(Scripted(self.folder.path().to_owned())),
            reboot: Arc::new(move || {
                reboots.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }),
            signer: Arc::new(key(2)),
            credential: credential(2, Role::Node),
            deliver: peer.clone().recipient(),
            held: peer.clone().recipient(),
            orders: peer.recipient(),
            hand: Arc::new(Hand::empty()),
        };
        (settings, ports)
    }

    fn trace(&self) -> String {
        std::fs::read_to_string(self.path("trace")).unwrap_or_default()
    }
}

impl Running {
    fn say(&self, body: ToHost) {
        let now = clock::now().wall;
        let command = Command {
            id: CommandId([0; 16]),
            mesh: mesh(),
            to: key(2).id(),
            epoch: Epoch { serial: 1, counter: 1, incarnation: Incarnation(1) },
            after: None,
            head: Default::default(),
            expires: WallTime(now.0 + 60_000),
            body,
        };
        let frame =
            LeaseFrame { credential: credential(3, Role::Coordinator), sealed: Sealed::seal(&key(3), &command) };
        self.actor.try_send(Inbound { from: NodeId([0; 32]), frame }).unwrap();
    }

    async fn hear<T>(&mut self, what: &str, mut wanted: impl FnMut(ToCoordinator) -> Option<T>) -> T {
        let heard = async {
            loop {
                if let Some(found) = wanted(self.answers.recv().await.expect("the actor lives")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("{what} was never said"))
    }

    async fn grant(&mut self, lease: Lease) {
        let id = lease.id;
        self.say(ToHost::Offer(Box::new(lease)));
        let nonce = self
            .hear("Ready", |body| match body {
                ToCoordinator::Ready { nonce, .. } => Some(nonce),
                ToCoordinator::Refused { refusal, .. } => panic!("{refusal:?}"),
                _ => None,
            })
            .await;
        self.say(ToHost::Go { lease: id, nonce });
    }

    async fn phase(&mut self, wanted: Phase, line: &str) {
        self.hear(wanted.as_str(), |body| match body {
            ToCoordinator::Progress { phase, detail, .. } => (phase == wanted && detail == line).then_some(()),
            _ => None,
        })
        .await;
    }

    async fn report(&mut self) -> Report {
        self.hear("Reported", |body| match body {
            ToCoordinator::Reported(report) => Some(*report),
            _ => None,
        })
        .await
    }

    /// As a kill would: nothing of the actor runs any more, and its journal is free.
    async fn kill(mut self) {
        self.actor.try_send(Die).unwrap();
        while tokio::time::timeout(PATIENCE, self.answers.recv()).await.expect("the actor ends").is_some() {}
    }
}

struct Die;
impl actix::Message for Die {
    type Result = ();
}

fn lease() -> Lease {
    Lease {
        id: LEASE,
        rollout: RolloutId([8; 8]),
        host: key(2).id(),
        attempt: 1,
        operation: Operation::Install,
        baseline: Approval::All,
        transaction: transaction(),
        reboot: RebootOption::IfNeeded,
        hook_timeout: 60,
        opening: Opening::endless(WallTime(0)),
        latest_start: LatestStart { pre_install: 600, transaction: 600, post_install: 600, reboot: 600 },
        gates: Vec::new(),
    }
}

impl Handler<Die> for PatchActor {
    type Result = ();
    fn handle(&mut self, _: Die, ctx: &mut Self::Context) {
        actix::ActorContext::stop(ctx);
    }
}

fn in_system(test: impl Future<Output = ()>) {
    actix::System::new().block_on(test);
}

fn touch(path: &Path) {
    std::fs::write(path, "").unwrap();
}

#[test]
fn a_lease_runs_through_a_reboot_to_its_acknowledgement() {
    in_system(async {
        let mut host = Host::new();
        touch(&host.path("gate"));
        let mut first = host.start();
        first.grant(lease()).await;
        first.phase(Phase::Reboot, "").await;
        while host.reboots.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        first.kill().await;

        host.boot_id = 2;
        let mut second = host.start();
        let report = second.report().await;
        assert_eq!((report.outcome, report.rebooted, report.error), (Outcome::Succeeded, true, None));
        assert_eq!(report.packages, transaction().changes);
        assert_eq!(report.counters.installed, 1);
        let step = report.steps.iter().find(|step| step.phase == Phase::Transaction).unwrap();
        assert_eq!(step.output, "unpacking\n");
        assert_eq!(host.trace(), "pre-install 1\npost-install 1\npost-reboot 1\non-exit 1\n");

        second.say(ToHost::Acknowledge { lease: LEASE });
        let mut held = Vec::new();
        while held.last() != Some(&Held(None)) {
            held.push(tokio::time::timeout(PATIENCE, second.held.recv()).await.unwrap().unwrap());
        }
        assert_eq!(held[0], Held(Some((LEASE, RolloutId([8; 8])))));
        second.say(ToHost::Adopt);
        let held = |body| match body {
            ToCoordinator::Adopted { held } => Some(held),
            _ => None,
        };
        assert_eq!(second.hear("Adopted", held).await, None);
    });
}

#[test]
fn a_daemon_killed_in_the_transaction_adopts_its_runner() {
    in_system(async {
        let host = Host::new();
        let mut first = host.start();
        first.grant(Lease { reboot: RebootOption::Never, ..lease() }).await;
        first.phase(Phase::Transaction, "unpacking").await;
        first.kill().await;

        let mut second = host.start();
        second.phase(Phase::Transaction, "unpacking").await;
        touch(&host.path("gate"));
        let report = second.report().await;
        assert_eq!((report.outcome, report.rebooted, report.error), (Outcome::Succeeded, false, None));
        assert_eq!(std::fs::read_to_string(host.path("installs")).unwrap(), "run\n", "installed once");
        assert_eq!(host.trace(), "pre-install 1\npost-install 1\non-exit 1\n");
    });
}

#[test]
fn what_the_transaction_did_not_do_is_reported() {
    in_system(async {
        let host = Host::new();
        touch(&host.path("gate"));
        std::fs::create_dir(host.path("installs")).unwrap();
        let mut running = host.start();
        running.grant(lease()).await;
        let report = running.report().await;
        let error = report.error.unwrap();
        assert_eq!((report.outcome, error.code.as_str()), (Outcome::Failed, "transaction-failed"));
        assert!(
            error.text.starts_with("/bin/sh failed: exit status: ") && error.log.contains("unpacking"),
            "{error:?}"
        );
        assert_eq!(host.trace(), "pre-install 1\non-exit 1\n");
        assert_eq!(report.packages.len(), 1, "what changed is reported although the run failed");
    });
}

/// Approves the tool, by the baseline `web`.
fn snapshot() -> Snapshot {
    let spec = Spec {
        operating_system: Some("DEBIAN".into()),
        approved_patches: Some(vec!["tool".into()]),
        ..Spec::default()
    };
    let baseline = PatchBaseline { name: "web".into(), spec, labels: Default::default() };
    let rules = Rules { baselines: vec![Written::new(&baseline)], ..Rules::plain(Choice::One) };
    Snapshot { at: WallTime(5), rules, versions: None }
}

impl Running {
    async fn resolve_by(&mut self, operation: Operation, snapshot: Snapshot) -> Result<Resolution, Refusal> {
        let request = CommandId([7; 16]);
        self.say(ToHost::ResolveBy { request, operation, snapshot: Box::new(snapshot) });
        let resolved = |body| match body {
            ToCoordinator::Resolved { request: of, result } if of == request => Some(result),
            _ => None,
        };
        self.hear("Resolved", resolved).await
    }

    async fn patches(&mut self) -> Result<Box<HostReport>, Refusal> {
        let request = CommandId([9; 16]);
        self.say(ToHost::Patches { request });
        let told = |body| match body {
            ToCoordinator::Patches { result, .. } => Some(result),
            _ => None,
        };
        self.hear("Patches", told).await
    }
}

#[test]
fn a_host_is_judged_by_the_snapshot_that_it_was_asked_with_and_keeps_a_report() {
    in_system(async {
        let mut host = Host::new();
        // No package asks for a reboot: what a run brings that is not to reboot waits for one all the same.
        ["gate", "calm"].iter().for_each(|name| touch(&host.path(name)));
        let mut first = host.start();
        assert_eq!(first.patches().await.unwrap_err().code, RefusalCode::NoReport);
        let judged = Lease { baseline: Approval::Snapshot(snapshot().id()), reboot: RebootOption::Never, ..lease() };
        first.say(ToHost::Offer(Box::new(judged.clone())));
        let refused = |body| match body {
            ToCoordinator::Refused { refusal, .. } => Some(refusal.code),
            _ => None,
        };
        assert_eq!(first.hear("Refused", refused).await, RefusalCode::NoBaseline, "it was never asked with it");

        first.resolve_by(Operation::Install, snapshot()).await.unwrap();
        let install = Lease { id: LeaseId([5; 16]), ..judged.clone() };
        first.grant(install.clone()).await;
        assert_eq!(first.report().await.outcome, Outcome::Succeeded);
        let told = first.patches().await.unwrap();
        let standing = &told.standing;
        assert_eq!((standing.operation, standing.baseline.as_str()), (Operation::Install, "web"));
        assert_eq!((standing.group.as_deref(), standing.severity.as_deref()), (Some("prod"), Some("HIGH")));
        assert_eq!(told.rows[0].state, State::InstalledPendingReboot, "it was installed since the host started");
        assert_eq!(told.history, []);
        let Operated { started, snapshot: by, install_list, reboot, last_no_reboot } = standing.operated.clone();
        assert!(started.is_some_and(|started| started.0 > 0 && started <= standing.at), "{started:?}");
        assert_eq!((by, install_list), (Some(snapshot().id().to_string()), false));
        assert_eq!((reboot, last_no_reboot), (Some(RebootOption::Never), Some(standing.at)));
        first.say(ToHost::Acknowledge { lease: install.id });
        first.kill().await;

        host.boot_id = 2;
        let mut second = host.start();
        second.resolve_by(Operation::Scan, snapshot()).await.unwrap();
        let (id, transaction) = (LeaseId([6; 16]), Transaction::default());
        second.grant(Lease { id, operation: Operation::Scan, transaction, ..judged }).await;
        assert_eq!(second.report().await.outcome, Outcome::Succeeded);
        let told = second.patches().await.unwrap();
        assert_eq!(told.rows[0].state, State::Installed);
        assert_eq!(told.standing.severity, None);
        let history: Vec<_> = told.history.iter().map(|standing| standing.operation).collect();
        assert_eq!(history, [Operation::Install]);
        let operated = &told.standing.operated;
        assert_eq!((operated.reboot, operated.last_no_reboot), (None, Some(told.history[0].at)));
    });
}

#[test]
fn a_snapshot_that_judges_another_system_is_refused_by_name() {
    in_system(async {
        let host = Host::new();
        let mut running = host.start();
        let mut foreign = snapshot();
        foreign.rules.baselines[0].spec = "{\"operatingSystem\":\"UBUNTU\"}".into();
        let refusal = running.resolve_by(Operation::Scan, foreign).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::NoBaseline);
        assert_eq!(refusal.text, "baseline web is for UBUNTU, and the host is debian 12");
    });
}

#[test]
fn a_frame_that_is_no_entry_is_named_and_left_alone() {
    in_system(async {
        let host = Host::new();
        let (mut log, _, _) = patchmesh_node::store::log::Log::open(&host.path("run.log")).unwrap();
        log.append(b"\xffrubbish").unwrap();
        drop(log);
        let before = std::fs::read(host.path("run.log")).unwrap();
        let (settings, ports) = host.parts(Mesh(mpsc::channel(1).0, mpsc::channel(1).0).start());
        let error = PatchActor::open(settings, ports).err().unwrap().to_string();
        assert!(error.contains("frame 0 of") && error.contains("run.log is no entry of this version"), "{error}");
        assert_eq!(std::fs::read(host.path("run.log")).unwrap(), before);
    });
}

#[test]
fn old_run_folders_are_removed_and_the_newest_kept() {
    in_system(async {
        let host = Host::new();
        for number in 0..20 {
            let folder = host.path("run").join(format!("old-{number:02}"));
            std::fs::create_dir_all(&folder).unwrap();
            let past = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000 + number);
            std::fs::File::open(&folder).unwrap().set_modified(past).unwrap();
        }
        let mut running = host.start();
        tokio::time::timeout(PATIENCE, running.held.recv()).await.unwrap();
        let mut left: Vec<_> = std::fs::read_dir(host.path("run")).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!((left.len(), left[0].to_str()), (16, Some("old-04")));
    });
}

#[test]
fn two_daemons_on_one_journal_are_told_apart() {
    in_system(async {
        let host = Host::new();
        let running = host.start();
        let error = patchmesh_node::store::log::Log::open(&host.path("run.log")).unwrap_err().to_string();
        assert!(error.contains("run.log is in use by process"), "{error}");
        running.kill().await;
        patchmesh_node::store::log::Log::open(&host.path("run.log")).unwrap();
    });
}
