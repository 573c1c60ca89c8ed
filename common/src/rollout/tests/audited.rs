//! Ledgers made by hand: one that keeps every promise, and for each promise some that break exactly that one.

use super::{
    super::{
        approval::{SignedVerdict, Verdict},
        audit::{Audit, BadEntry},
        chain::BadLink,
        check::{SHOWN, Violation},
        plan::Rollout,
        service::{Absent, Member, Part, ServiceAct, ServiceSpec},
        slots::Hold,
    },
    *,
};
use crate::run::{
    gate::{Ask, Gate},
    message::{OrderStamp, SignedStop, StepReport, StopOrder, StopScope},
};

const LONG: Opening = Opening { opens: WallTime(0), last_start: WallTime(9_000), closes: WallTime(9_999) };
pub(super) const WINDOW: Opening = Opening { opens: WallTime(0), last_start: WallTime(100), closes: WallTime(200) };

pub(super) fn entry(at: i64, act: LedgerAct) -> LedgerEntry {
    LedgerEntry { at: WallTime(at), act }
}

pub(super) fn opened(counter: u64, continued: bool) -> LedgerEntry {
    let epoch = Epoch { serial: 1, counter, incarnation: Incarnation(counter) };
    entry(0, LedgerAct::EpochOpened { epoch, continued })
}

/// Three hosts, one at a time, no failure allowed.
pub(super) fn started() -> LedgerEntry {
    entry(
        0,
        LedgerAct::Started(Box::new(Rollout {
            id: ID,
            plan: plan_of(3, 1, 0, vec![WINDOW]),
            by: "ops".into(),
            replans: None,
        })),
    )
}

/// The same, the first host in a ring of its own, which bakes for a second.
fn ringed(approvals: u8) -> LedgerEntry {
    let canary = PlannedRing { name: "canary".into(), bake: 1, ..PlannedRing::all(1, Ramp::Full) };
    let fleet = PlannedRing { name: "fleet".into(), approvals, ..PlannedRing::all(2, Ramp::Full) };
    let plan = Plan { rings: vec![canary, fleet], ..plan_of(3, 1, 0, vec![LONG]) };
    entry(0, LedgerAct::Started(Box::new(Rollout { id: ID, plan, by: "ops".into(), replans: None })))
}

/// A grant in [`LONG`].
fn ring_granted(seed: u8, at: i64) -> LedgerEntry {
    let (host, lease) = (signer(seed).id(), LeaseId([seed; 16]));
    entry(at, LedgerAct::Granted { rollout: ID, host, lease, attempt: 1, opening: LONG })
}

fn ring_settled(at: i64) -> LedgerEntry {
    entry(at, LedgerAct::RingSettled { rollout: ID, ring: 0, without: vec![] })
}

/// The word of the operator with the key `shown` on the second ring, sealed by the key `by`.
fn approved(at: i64, by: u8, shown: u8) -> LedgerEntry {
    let verdict = Verdict { mesh: mesh(), rollout: ID, ring: 1, approve: true, because: String::new() };
    let credential = Credential { membership: Sealed::seal(&signer(255), &operator(shown)), issuer: None };
    let verdict = Sealed { author: signer(shown).id(), ..Sealed::seal(&signer(by), &verdict) };
    entry(at, LedgerAct::Approved { evidence: Box::new(SignedVerdict { verdict, credential }) })
}

pub(super) fn granted(seed: u8, lease: u8, attempt: u32, at: i64) -> LedgerEntry {
    let (host, lease) = (signer(seed).id(), LeaseId([lease; 16]));
    entry(at, LedgerAct::Granted { rollout: ID, host, lease, attempt, opening: WINDOW })
}

pub(super) fn step(phase: Phase, ok: bool, at: i64) -> StepReport {
    let (started, ended) = (WallTime(at), WallTime(at + 1));
    StepReport { phase, attempt: 1, ok, started, ended, output: String::new() }
}

fn good_steps() -> Vec<StepReport> {
    let phases = [Phase::PreInstall, Phase::Transaction, Phase::PostInstall, Phase::Reboot, Phase::PostReboot];
    let all = phases.into_iter().chain([Phase::Verify, Phase::OnExit]);
    all.map(|phase| step(phase, true, 50)).collect()
}

pub(super) fn report(lease: u8, outcome: Outcome) -> Report {
    Report {
        lease: LeaseId([lease; 16]),
        rollout: ID,
        outcome,
        phase: Phase::OnExit,
        rebooted: true,
        packages: vec![change("1.1")],
        error: None,
        counters: PatchCounters::default(),
        steps: good_steps(),
        started: WallTime(50),
        ended: WallTime(60),
    }
}

fn answer(report: Report) -> Answer {
    let (mesh, to) = (mesh(), settings().me);
    Answer { mesh, to, epoch: Epoch::default(), head: None, body: ToCoordinator::Reported(Box::new(report)) }
}

pub(super) fn reported(seed: u8, report: Report) -> LedgerEntry {
    entry(70, LedgerAct::Reported { evidence: Sealed::seal(&signer(seed), &answer(report)) })
}

fn serves(act: ServiceAct) -> LedgerEntry {
    entry(2, LedgerAct::Service(act))
}

/// Two hosts that say `app=pg` stay up.
fn kept() -> LedgerEntry {
    keeps(None)
}

/// The same, of those that pass a probe.
fn probed() -> LedgerEntry {
    keeps(Some(Gate { ask: Ask::SystemdUnit("pg.service".into()), timeout_seconds: 10 }))
}

fn keeps(probe: Option<Gate>) -> LedgerEntry {
    let pg = ServiceSpec {
        name: "pg".into(),
        selector: [("app".to_owned(), "pg".to_owned())].into(),
        min_available: "2".parse().unwrap(),
        spread: None,
        last: vec![],
        probe,
    };
    serves(ServiceAct::Kept { spec: Box::new(pg), by: "ops".into() })
}

fn members(seeds: &[u8]) -> LedgerEntry {
    let member = |seed: &u8| Member {
        node: signer(*seed).id(),
        name: format!("host-{seed}"),
        expires: WallTime::MAX,
        rank: 0,
        of: [("pg".to_owned(), Part::default())].into(),
    };
    serves(ServiceAct::Members { changed: seeds.iter().map(member).collect() })
}

pub(super) fn stopped(sequence: u64) -> LedgerEntry {
    entry(1, LedgerAct::Stopped { rollout: ID, sequence, by: "ops".into() })
}

fn operator(seed: u8) -> Membership {
    Membership {
        mesh: mesh(),
        key: signer(seed).id(),
        name: "ops".into(),
        role: Role::Operator,
        serial: 1,
        expires: WallTime::MAX,
        may_issue: false,
        tags: BTreeMap::new(),
    }
}

/// An order of everything, by an operator.
fn ordered(sequence: u64, stop: bool) -> SignedStop {
    let order = StopOrder { mesh: mesh(), scope: StopScope::All, sequence, stop };
    let credential = Credential { membership: Sealed::seal(&signer(255), &operator(200)), issuer: None };
    SignedStop { order: Sealed::seal(&signer(200), &order), credential }
}

/// A rollout of three hosts that keeps every promise.
fn whole() -> Vec<LedgerEntry> {
    let deferred =
        Report { outcome: Outcome::Deferred, steps: vec![], packages: vec![], ..report(2, Outcome::Deferred) };
    vec![
        opened(1, true),
        started(),
        granted(1, 1, 1, 10),
        reported(1, report(1, Outcome::Succeeded)),
        granted(2, 2, 1, 20),
        reported(2, deferred),
        granted(2, 3, 2, 90),
        reported(2, report(3, Outcome::Failed)),
        entry(95, LedgerAct::Halted { rollout: ID }),
        entry(96, LedgerAct::Ended { rollout: ID }),
        entry(97, LedgerAct::Ordered { evidence: Box::new(ordered(4, true)) }),
    ]
}

fn frames(entries: &[LedgerEntry]) -> Vec<Vec<u8>> {
    let mut head = Head::default();
    let frame = |entry| {
        let frame = head.link(&signer(254), entry);
        head = head.after(&frame);
        frame
    };
    entries.iter().map(frame).collect()
}

/// Reads as far as the chain holds; the first entry that does not.
fn audit(frames: &[Vec<u8>]) -> (Audit, Option<(usize, BadEntry)>) {
    let mut audit = Audit::default();
    for (number, frame) in frames.iter().enumerate() {
        if let Err(bad) = audit.read(frame, &Ed25519) {
            return (audit, Some((number, bad)));
        }
    }
    (audit, None)
}

fn broken(entries: &[LedgerEntry]) -> Vec<Violation> {
    let (audit, bad) = audit(&frames(entries));
    assert_eq!(bad, None);
    audit.violations().to_vec()
}

#[test]
fn a_whole_ledger_is_clean_and_every_promise_was_looked_at() {
    let (audit, bad) = audit(&frames(&whole()));
    assert_eq!((bad, audit.violations(), audit.judge().excused()), (None, &[][..], &[][..]));
    assert_eq!((audit.head().entries, audit.author()), (11, Some(signer(254).id())));
    assert_eq!(audit.judge().checked().keys().copied().collect::<Vec<_>>(), SHOWN);
}

/// Every case breaks one promise, at its last entry, and no other one.
#[test]
fn every_promise_that_a_ledger_can_show_is_named_where_it_breaks() {
    let with = |entries: &[LedgerEntry]| {
        let mut all = vec![opened(1, true), started()];
        all.extend_from_slice(entries);
        all
    };
    // What the first host reports of the lease that it was granted.
    let says = |change: &dyn Fn(&mut Report)| {
        let mut said = report(1, Outcome::Succeeded);
        change(&mut said);
        with(&[granted(1, 1, 1, 10), reported(1, said)])
    };
    let late = |phase: Phase, at: i64| {
        says(&|said: &mut Report| {
            let steps = said.steps.iter_mut().filter(|step| step.phase >= phase);
            steps.for_each(|step| step.started = WallTime(at));
        })
    };
    let failed = |phase: Phase| {
        says(&|said: &mut Report| {
            said.outcome = Outcome::Failed;
            said.steps.iter_mut().filter(|step| step.phase == phase).for_each(|step| step.ok = false);
        })
    };
    let (first, second) = (signer(1).id(), signer(2).id());
    let elsewhere = entry(5, LedgerAct::Adopted { host: second, held: Some((LeaseId([9; 16]), ID)) });
    let empty = |host| entry(5, LedgerAct::Adopted { host, held: None });
    let third = signer(3).id();
    let forged = |change: &dyn Fn(&mut Answer), by: u8, shown: u8| {
        let mut said = answer(report(1, Outcome::Succeeded));
        change(&mut said);
        let evidence = Sealed { author: signer(shown).id(), ..Sealed::seal(&signer(by), &said) };
        with(&[granted(1, 1, 1, 10), entry(70, LedgerAct::Reported { evidence })])
    };
    let upstart = {
        let mut order = ordered(4, true);
        order.order =
            Sealed::seal(&signer(1), &StopOrder { mesh: mesh(), scope: StopScope::All, sequence: 4, stop: true });
        entry(5, LedgerAct::Ordered { evidence: Box::new(order) })
    };
    let other_opening = LedgerAct::Granted {
        rollout: ID,
        host: first,
        lease: LeaseId([1; 16]),
        attempt: 1,
        opening: Opening::endless(WallTime(0)),
    };
    let halted = entry(5, LedgerAct::Halted { rollout: ID });
    let ended = entry(5, LedgerAct::Ended { rollout: ID });
    let done = |approvals, more: &[LedgerEntry]| {
        let first =
            [opened(1, true), ringed(approvals), ring_granted(1, 10), reported(1, report(1, Outcome::Succeeded))];
        [&first[..], more].concat()
    };
    let cases: Vec<(&str, &str, Vec<LedgerEntry>)> = vec![
        ("order", "a ring before its turn", vec![opened(1, true), ringed(0), ring_granted(2, 10)]),
        ("order", "a ring that settled too early", vec![opened(1, true), ringed(0), ring_settled(10)]),
        ("order", "a ring that did not soak", done(0, &[ring_settled(80), ring_granted(2, 1_079)])),
        ("order", "a ring that nobody approved", done(1, &[ring_settled(80), ring_granted(2, 1_080)])),
        ("order", "one operator twice", done(2, &[ring_settled(80), approved(90, 200, 200), approved(91, 200, 200)])),
        ("availability", "one member too many", with(&[kept(), members(&[1, 2]), granted(1, 1, 1, 10)])),
        ("availability", "a member that nobody hears", {
            let silent = ServiceAct::Seen { absent: vec![(third, Absent::Silent)], back: vec![] };
            with(&[kept(), members(&[1, 2, 3]), serves(silent), granted(1, 1, 1, 10)])
        }),
        ("availability", "a member that no entry says to pass its probe", {
            let shown = |passed, failed| serves(ServiceAct::Probed { service: "pg".into(), passed, failed });
            let shown = [shown(vec![first, third], vec![]), shown(vec![], vec![third])];
            with(&[&[probed(), members(&[1, 2, 3])], &shown[..], &[granted(1, 1, 1, 10)]].concat())
        }),
        ("concurrency", "a host more than the fleet's limit", {
            with(&[serves(ServiceAct::Fleet { limit: Some(0) }), granted(1, 1, 1, 10)])
        }),
        ("authorship", "a word that another key sealed", done(1, &[ring_settled(80), approved(90, 1, 200)])),
        ("concurrency", "a second slot", with(&[granted(1, 1, 1, 10), granted(2, 2, 1, 10)])),
        ("concurrency", "hosts that said nothing yet", with(&[opened(2, false), granted(1, 1, 1, 10)])),
        ("concurrency", "a lease of another ledger", {
            let adopted = [opened(2, false), empty(first), elsewhere, empty(third)];
            with(&[&adopted[..], &[granted(1, 1, 1, 10)]].concat())
        }),
        ("window", "before it opens", with(&[granted(1, 1, 1, -1)])),
        ("window", "after its last start", with(&[granted(1, 1, 1, 100)])),
        ("window", "an opening that is not the plan's", with(&[entry(10, other_opening)])),
        ("window", "a hook after the last start", late(Phase::PreInstall, 150)),
        ("window", "a transaction after it closed", late(Phase::Transaction, 200)),
        ("window", "a reboot after it closed", late(Phase::Reboot, 900)),
        ("errors", "halted without cause", with(&[halted])),
        ("errors", "granted after a failure too many", {
            with(&[granted(1, 1, 1, 10), reported(1, report(1, Outcome::Failed)), granted(2, 2, 1, 80)])
        }),
        ("stop", "the rollout was stopped", with(&[stopped(1), granted(1, 1, 1, 10)])),
        ("stop", "everything was stopped", {
            let stop = entry(5, LedgerAct::Ordered { evidence: Box::new(ordered(4, true)) });
            with(&[stop, granted(1, 1, 1, 10)])
        }),
        ("stop", "a lower order over a higher one", with(&[stopped(2), stopped(1)])),
        ("fencing", "an epoch that does not rank above", with(&[opened(1, true)])),
        ("fencing", "a lease that was used", {
            with(&[granted(1, 1, 1, 10), reported(1, report(1, Outcome::Succeeded)), granted(2, 1, 1, 80)])
        }),
        ("exactness", "other packages", says(&|said: &mut Report| said.packages = vec![change("1.2")])),
        ("exactness", "no packages", says(&|said: &mut Report| said.packages.clear())),
        ("hooks", "phases out of order", says(&|said: &mut Report| said.steps.swap(0, 2))),
        ("hooks", "a transaction after a failed hook", failed(Phase::PreInstall)),
        ("hooks", "a reboot after a failed hook", failed(Phase::PostInstall)),
        ("durability", "an install that was done, again", {
            says(&|said: &mut Report| said.steps.insert(2, step(Phase::Transaction, true, 55)))
        }),
        ("durability", "granted again after its report", {
            with(&[granted(1, 1, 1, 10), reported(1, report(1, Outcome::Succeeded)), granted(1, 2, 2, 80)])
        }),
        ("durability", "an attempt that does not grow", {
            let deferred = Report { steps: vec![], packages: vec![], ..report(1, Outcome::Deferred) };
            with(&[granted(1, 1, 1, 10), reported(1, deferred), granted(1, 2, 1, 80)])
        }),
        ("liveness", "granted after the end", with(&[ended.clone(), granted(1, 1, 1, 10)])),
        ("liveness", "two ends", with(&[ended.clone(), ended])),
        ("authorship", "a report that another key sealed", forged(&|_| {}, 2, 1)),
        ("authorship", "a report to another coordinator", forged(&|said| said.to = signer(9).id(), 1, 1)),
        ("authorship", "an order without a right", with(&[upstart])),
    ];
    for (promise, what, entries) in &cases {
        let found = broken(entries);
        let named: Vec<_> = found.iter().map(|one| (one.promise, one.entry)).collect();
        assert_eq!(named, [(*promise, entries.len() as u64 - 1)], "{promise}: {what}: {found:?}");
    }
    for promise in SHOWN {
        assert!(cases.iter().any(|(named, ..)| *named == promise), "no ledger breaks {promise}");
    }
}

#[test]
fn what_was_risked_by_name_is_excused_and_what_ran_again_is_allowed() {
    let (first, second) = (signer(1).id(), signer(2).id());
    let released = |host, lease: Option<u8>, held| {
        let (lease, by, because) = (lease.map(|lease| LeaseId([lease; 16])), "ops".into(), "dead".into());
        entry(20, LedgerAct::Released { host, lease, held, by, because })
    };
    let soaked = [opened(1, true), ringed(1), ring_granted(1, 10), reported(1, report(1, Outcome::Succeeded))];
    let soaked = [&soaked[..], &[ring_settled(80), approved(90, 200, 200), ring_granted(2, 1_080)]].concat();
    assert_eq!(broken(&soaked), []);
    let lost =
        [opened(1, true), started(), granted(1, 1, 1, 10), released(first, Some(1), Hold::Lost), granted(2, 2, 1, 30)];
    assert_eq!(broken(&lost), []);
    // Of three that said nothing yet two are released and one speaks: it may be granted.
    let none = |host| entry(5, LedgerAct::Adopted { host, held: None });
    let unheard = [
        opened(1, true),
        started(),
        opened(2, false),
        none(first),
        released(second, None, Hold::Unknown),
        released(signer(3).id(), None, Hold::Unknown),
        granted(1, 1, 1, 30),
    ];
    assert_eq!(broken(&unheard), []);
    let (audit, _) = audit(&frames(&unheard));
    let hosts: Vec<_> = audit.judge().excused().iter().map(|one| (one.host, one.lease)).collect();
    assert_eq!(hosts, [(second, None), (signer(3).id(), None)]);
    // A phase that was cut short runs again; the host's clock may stand where it likes in what is not disruptive.
    let mut again = report(1, Outcome::Succeeded);
    again.steps.insert(0, step(Phase::PreInstall, false, 49));
    again.steps.insert(2, step(Phase::Transaction, false, 50));
    again.steps.iter_mut().filter(|step| step.phase > Phase::Reboot).for_each(|step| step.started = WallTime(9_000));
    assert_eq!(broken(&[opened(1, true), started(), granted(1, 1, 1, 10), reported(1, again)]), []);
}

#[test]
fn an_entry_that_was_changed_dropped_put_in_or_forged_is_named() {
    let good = frames(&whole());
    let named = |frames: &[Vec<u8>]| audit(frames).1.expect("it is not whole");
    for at in 0..good.len() {
        for byte in [0, 40, 70, good[at].len() - 1] {
            let mut bent = good.clone();
            bent[at][byte] ^= 1;
            assert_eq!(named(&bent).0, at, "byte {byte} of entry {at}");
        }
        if at + 1 < good.len() {
            let mut cut = good.clone();
            cut.remove(at);
            assert_eq!(named(&cut), (at, BadEntry::Link(BadLink::Broken)), "without entry {at}");
        }
        let mut doubled = good.clone();
        doubled.insert(at, good[at].clone());
        assert!(named(&doubled).0 <= at + 1, "entry {at} twice");
    }
    // Put in by somebody who has not the key, with everything behind it chained anew: its own link gives it away.
    let mut head = Head::default();
    let forged = whole().into_iter().enumerate().map(|(at, entry)| {
        let by = if at == 4 { signer(253) } else { signer(254) };
        let frame = head.link(&by, &entry);
        head = head.after(&frame);
        frame
    });
    assert_eq!(named(&forged.collect::<Vec<_>>()), (4, BadEntry::Link(BadLink::Foreign(signer(253).id()))));
    // Put in by the coordinator itself: the chain holds, and a promise does not.
    let mut entries = whole();
    entries.insert(3, granted(3, 9, 1, 15));
    let found = broken(&entries);
    assert_eq!((found[0].promise, found[0].entry, found[0].host), ("concurrency", 3, Some(signer(3).id())));
    // A host that is in no plan.
    entries[3] = granted(99, 9, 1, 15);
    assert!(matches!(named(&frames(&entries)), (3, BadEntry::Fold(_))));
    let stamp = OrderStamp { scope: StopScope::All, sequence: 4, stop: true };
    assert_eq!(audit(&good).0.ledger().stamps(), [stamp]);
}

/// The report of the first host's lease in a ledger whose `Go` came with `head`.
fn testified(head: Head) -> LedgerEntry {
    let answer = Answer { head: Some(head), ..answer(report(1, Outcome::Succeeded)) };
    entry(70, LedgerAct::Reported { evidence: Sealed::seal(&signer(1), &answer) })
}

fn head_of(entries: &[LedgerEntry]) -> Head {
    frames(entries).iter().fold(Head::default(), |head, frame| head.after(frame))
}

#[test]
fn a_host_testifies_against_a_ledger_that_was_written_anew() {
    let began = [opened(1, true), started(), granted(1, 1, 1, 10)];
    let saw = testified(head_of(&began));
    let of = |entries: &[LedgerEntry]| {
        let (audit, bad) = audit(&frames(entries));
        assert_eq!(bad, None, "the chain itself holds");
        audit.testimonies().clone()
    };
    let whole = of(&[&began[..], core::slice::from_ref(&saw)].concat());
    assert_eq!((whole.checked, whole.excused, whole.denials.len()), (1, 0, 0));
    // The coordinator leaves its grant out, or dates it back, and signs everything anew.
    for rewritten in [
        vec![opened(1, true), started(), saw.clone()],
        vec![opened(1, true), started(), granted(1, 1, 1, 9), saw.clone()],
        vec![opened(1, true), saw.clone()],
    ] {
        let found = of(&rewritten);
        let denials: Vec<_> = found.denials.iter().map(|one| (one.entry, one.host)).collect();
        assert_eq!(denials, [(rewritten.len() as u64 - 1, signer(1).id())]);
        assert!(found.denials[0].text.contains("another ledger"), "{}", found.denials[0].text);
    }
    // A `Go` that was said before it was kept.
    let early = testified(head_of(&began[..2]));
    let found = of(&[&began[..], &[early]].concat());
    assert!(found.denials[0].text.contains("entry 2 grants it"), "{}", found.denials[0].text);
    // A ledger that admits that it does not know everything is believed.
    let restored = of(&[opened(1, true), started(), opened(2, false), saw.clone()]);
    assert_eq!((restored.checked, restored.excused, restored.denials.len()), (1, 1, 0));
    // Also of a host that was granted something before, and saw the ledger that was lost after that.
    let later = of(&[opened(1, true), started(), granted(1, 1, 1, 9), opened(2, false), saw.clone()]);
    assert_eq!((later.checked, later.excused, later.denials.len()), (1, 1, 0));
    // Not of what it granted itself since then.
    let own = of(&[opened(1, false), started(), granted(1, 1, 1, 9), saw]);
    assert_eq!((own.checked, own.excused, own.denials.len()), (1, 0, 1));
}
