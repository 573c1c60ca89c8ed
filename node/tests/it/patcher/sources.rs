//! Repositories that a baseline names: every act of a run sees the same.

use std::io::Write as _;

use patchmesh_common::patch::{
    baseline::{PatchBaseline, Spec},
    snapshot::{Choice, Rules, Snapshot, Written},
};

use super::*;

/// A package manager that writes down from where it is told to work.
struct Noting(Scripted);

impl Noting {
    fn note(&self, act: &str, sources: &[Source]) {
        let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
        let mut file = std::fs::File::options().create(true).append(true).open(self.0.0.join("from")).unwrap();
        writeln!(file, "{act} {}", names.join(",")).unwrap();
    }
}

impl Backend for Noting {
    fn resolve(&self, baseline: Baseline) -> BoxFuture<'_, Result<Resolution, Refusal>> {
        self.0.resolve(baseline)
    }
    fn resolve_by<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Resolution, Refusal>> {
        self.note("resolve", &question.sources);
        self.0.resolve_by(question)
    }
    fn check<'a>(&'a self, planned: &'a Transaction, sources: &'a [Source]) -> BoxFuture<'a, Result<(), Refusal>> {
        self.note("check", sources);
        self.0.check(planned, sources)
    }
    fn install_plan(&self, planned: &Transaction, sources: &[Source]) -> Result<Vec<Step>, String> {
        self.note("install", sources);
        let script = ": > \"$1/dirty\"; exit 1";
        self.0.install_plan(planned, sources).map(|_| vec![shell(script, &[&self.0.0])])
    }
    fn repair_plan<'a>(
        &'a self,
        mend: Mend,
        planned: &'a Transaction,
        sources: &'a [Source],
    ) -> BoxFuture<'a, Result<Vec<Step>, String>> {
        self.note("repair", sources);
        self.0.repair_plan(mend, planned, sources)
    }
    fn audit(&self) -> BoxFuture<'_, Result<Option<String>, String>> {
        self.0.audit()
    }
    fn installed(&self) -> BoxFuture<'_, Result<PackageSet, String>> {
        self.0.installed()
    }
    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, String>> {
        self.0.unfinished()
    }
    fn refresh<'a>(&'a self, sources: &'a [Source]) -> BoxFuture<'a, Result<Option<String>, String>> {
        self.note("refresh", sources);
        self.0.refresh(sources)
    }
    fn look<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, String>> {
        self.note("look", &question.sources);
        self.0.look(question)
    }
    fn sightings(&self) -> Vec<(Seen, Sighting)> {
        self.0.sightings()
    }
    fn allows(&self, sources: &[Source]) -> Result<(), Refusal> {
        if !sources.is_empty() && self.0.0.join("strict").exists() {
            let code = RefusalCode::SourceNotAllowed;
            return Err(Refusal { code, text: "elsewhere".into(), remedy: "correct it".into() });
        }
        self.0.allows(sources)
    }
    fn reboot_required(&self) -> BoxFuture<'_, bool> {
        self.0.reboot_required()
    }
}

fn start(host: &Host) -> Running {
    let (answer, answers) = mpsc::channel(1024);
    let (hold, held) = mpsc::channel(64);
    let (settings, mut ports) = host.parts(Mesh(answer, hold).start());
    ports.backend = Arc::new(Noting(Scripted(host.folder.path().to_owned())));
    let actor = PatchActor::open(settings, ports).unwrap().start();
    actor.try_send(Skew(Some(3))).unwrap();
    Running { actor, answers, held }
}

/// A snapshot of one baseline with a source called extra for these releases.
fn snapshot(products: &[&str]) -> Snapshot {
    let extra = Source {
        name: "extra".into(),
        products: products.iter().map(|product| (*product).to_owned()).collect(),
        configuration: "deb https://deb.example.org s main".into(),
    };
    let spec = Spec { operating_system: Some("DEBIAN".into()), sources: Some(vec![extra]), ..Spec::default() };
    let baselines = vec![Written::new(&PatchBaseline { name: "own".into(), spec, labels: Default::default() })];
    let rules = Rules { baselines, choice: Choice::One, list: None, first_seen: Vec::new() };
    Snapshot { at: WallTime(0), rules, versions: None }
}

async fn resolved(running: &mut Running, operation: Operation, snapshot: &Snapshot) -> Result<Resolution, Refusal> {
    let request = CommandId([4; 16]);
    running.say(ToHost::ResolveBy { request, operation, snapshot: Box::new(snapshot.clone()) });
    let answer = |body| match body {
        ToCoordinator::Resolved { result, .. } => Some(result),
        _ => None,
    };
    running.hear("Resolved", answer).await
}

fn from(host: &Host) -> Vec<String> {
    let mut lines: Vec<_> =
        std::fs::read_to_string(host.path("from")).unwrap_or_default().lines().map(str::to_owned).collect();
    lines.dedup();
    lines
}

#[test]
fn every_act_of_a_run_works_from_the_baselines_sources() {
    in_system(async {
        let host = Host::new();
        let mut running = start(&host);
        let snapshot = snapshot(&["Debian11", "debian12"]);
        resolved(&mut running, Operation::Install, &snapshot).await.unwrap();
        running
            .grant(Lease { baseline: Approval::Snapshot(snapshot.id()), reboot: RebootOption::Never, ..lease() })
            .await;
        let report = running.report().await;
        assert_eq!(report.packages, transaction().changes, "the repair has completed it");
        let acts = ["resolve extra", "check extra", "install extra", "repair extra", "look extra"];
        assert_eq!(from(&host), acts);
    });
}

#[test]
fn a_scan_fetches_from_the_baselines_sources() {
    in_system(async {
        let host = Host::new();
        let mut running = start(&host);
        let snapshot = snapshot(&["*"]);
        resolved(&mut running, Operation::Scan, &snapshot).await.unwrap();
        let (operation, transaction) = (Operation::Scan, Transaction::default());
        let baseline = Approval::Snapshot(snapshot.id());
        running.grant(Lease { baseline, operation, transaction, ..lease() }).await;
        running.report().await;
        assert_eq!(from(&host)[..], ["refresh extra", "look extra"]);
    });
}

#[test]
fn sources_for_other_releases_alone_are_refused() {
    in_system(async {
        let host = Host::new();
        let mut running = start(&host);
        for operation in [Operation::Install, Operation::Scan] {
            let refusal = resolved(&mut running, operation, &snapshot(&["Debian11"])).await.unwrap_err();
            assert_eq!(refusal.code, RefusalCode::NoBaseline);
            assert_eq!(refusal.text, "the baseline own has sources for other products, and none for Debian12");
        }
        assert_eq!(from(&host), Vec::<String>::new());
    });
}

#[test]
fn a_scan_too_is_refused_where_the_host_does_not_allow_the_sources() {
    in_system(async {
        let host = Host::new();
        touch(&host.path("strict"));
        let mut running = start(&host);
        for operation in [Operation::Install, Operation::Scan] {
            let refusal = resolved(&mut running, operation, &snapshot(&["*"])).await.unwrap_err();
            assert_eq!(refusal.code, RefusalCode::SourceNotAllowed);
        }
        assert_eq!(from(&host), Vec::<String>::new());
    });
}
