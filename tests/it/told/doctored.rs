//! The comparison of logs and ledger, over a record that is right and over what may be wrong in it.

use super::{
    judge::{Asked, Compared, judge},
    record::{Dpkg, Entry, Host, Record, Row},
};
use crate::fleet::Line;

/// When the ledger begins, in milliseconds.
const EPOCH: i64 = 1_800_000_000_000;

/// `at` in seconds.
fn entry(at: i64, act: &str, host: Option<&str>, text: &str) -> Entry {
    let lease = host.map(|host| format!("lease-{host}"));
    let (rollout, host) = (Some("r1".to_owned()), host.map(str::to_owned));
    Entry { at: EPOCH + at * 1000, act: act.into(), by: "somebody".into(), rollout, host, lease, text: text.into() }
}

fn hook(at: i64, phase: &str) -> Line {
    Line { at: u128::try_from(EPOCH + at * 1000).unwrap() * 1_000_000, phase: phase.into(), attempt: 1 }
}

fn dpkg(at: i64, text: &str) -> Dpkg {
    Dpkg { at: EPOCH + at * 1000, text: text.into() }
}

/// A host that is at work for ten seconds from `at` on.
fn host(at: i64) -> Host {
    let lines = ["upgrade lib:all 1.0 1.1", "status unpacked lib:all 1.1", "status installed lib:all 1.1"];
    Host {
        hooks: vec![
            hook(at + 1, "pre-install"),
            hook(at + 5, "post-install"),
            hook(at + 7, "post-reboot"),
            hook(at + 9, "on-exit"),
        ],
        dpkg: lines.map(|text| dpkg(at + 3, text)).to_vec(),
    }
}

fn row(host: &str) -> Row {
    let (rollout, host) = ("r1".to_owned(), host.to_owned());
    let packages = [("lib".to_owned(), "1.0".to_owned(), "1.1".to_owned())].into();
    Row { rollout, host, outcome: "succeeded".into(), code: None, rebooted: true, packages }
}

/// The canary `a`, then `b`; `c` is left alone.
fn right() -> Record {
    let report = "succeeded: 1 package changed";
    let ledger = vec![
        entry(0, "started", None, "Install on 3 hosts"),
        entry(10, "granted", Some("a"), "Go"),
        entry(20, "reported", Some("a"), report),
        entry(30, "granted", Some("b"), "Go"),
        entry(40, "reported", Some("b"), report),
        entry(40, "ended", None, "ended"),
    ];
    let idle = Row { outcome: "notStarted".into(), rebooted: false, packages: [].into(), ..row("c") };
    let hosts = [("a", host(10)), ("b", host(30)), ("c", Host::default())];
    let hosts = hosts.into_iter().map(|(name, host)| (name.to_owned(), host)).collect();
    Record { hosts, ledger, rows: vec![row("a"), row("b"), idle] }
}

fn asked() -> Asked {
    Asked { id: "r1".into(), rings: vec![vec!["a".into()], vec!["b".into(), "c".into()]], at_once: 1 }
}

fn own<'a>(record: &'a mut Record, name: &str) -> &'a mut Host {
    record.hosts.get_mut(name).unwrap()
}

#[test]
fn a_record_that_is_right_holds() {
    assert_eq!(judge(&right(), &[asked()]), (vec![], Compared { grants: 2, hooks: 8, configured: 2 }));
}

/// What the comparison says of a record in which something is not as it should be.
#[test]
fn whatever_does_not_fit_is_named() {
    type Doctor = fn(&mut Record);
    let cases: [(&str, Doctor); 24] = [
        ("c: dpkg says \"status installed lib:all 1.1\" at 1800000033000 without a grant", |record| {
            own(record, "c").dpkg.push(dpkg(33, "status installed lib:all 1.1"));
        }),
        ("c: hook pre-install at 1800000033000 without a grant", |record| {
            own(record, "c").hooks.push(hook(33, "pre-install"));
        }),
        ("a: hook pre-install at 1800000009000 without a grant", |record| {
            own(record, "a").hooks[0] = hook(9, "pre-install")
        }),
        ("a: hook on-exit at 1800000021000 without a grant", |record| own(record, "a").hooks[3] = hook(21, "on-exit")),
        ("a: dpkg says \"upgrade lib:all 1.0 1.1\" outside of its hooks", |record| own(record, "a").dpkg[0].at -= 3000),
        ("a: dpkg says \"purge lib:all 1.1 <none>\", which nobody asked for", |record| {
            own(record, "a").dpkg.push(dpkg(14, "purge lib:all 1.1 <none>"));
        }),
        ("a: its hooks ran in the order [\"pre-install\", \"post-reboot\", \"post-reboot\", \"on-exit\"]", |record| {
            own(record, "a").hooks[1] = hook(15, "post-reboot");
        }),
        ("a: its hooks ran in the order [\"pre-install\", \"post-install\", \"pre-install\", \"on-exit\"]", |record| {
            own(record, "a").hooks[2] = hook(17, "pre-install");
        }),
        ("a: succeeded after the hooks {\"on-exit\", \"post-reboot\", \"pre-install\"}", |record| {
            own(record, "a").hooks.remove(1);
        }),
        ("a: it reported before its last hook", |record| _ = own(record, "a").hooks.pop()),
        ("a: told as rebooted: false", |record| record.rows[0].rebooted = false),
        ("a: dpkg configured lib:all 2 times", |record| {
            own(record, "a").dpkg.push(dpkg(14, "status installed lib:all 1.1"));
        }),
        ("a: dpkg unpacked lib:all twice", |record| own(record, "a").dpkg.push(dpkg(13, "upgrade lib:all 1.0 1.1"))),
        ("a: told that {} changed", |record| record.rows[0].packages.clear()),
        ("a: reported that 1 package changed, dpkg says 0", |record| own(record, "a").dpkg.clear()),
        ("a: \"succeeded\", and by dpkg every package is whole: false", |record| _ = own(record, "a").dpkg.pop()),
        ("b: reported \"succeeded\", told as failed (hook-failed)", |record| {
            (record.rows[1].outcome, record.rows[1].code) = ("failed".into(), Some("hook-failed".into()));
        }),
        ("c is told as succeeded without a grant", |record| record.rows[2] = row("c")),
        ("b is told as succeeded without a report", |record| _ = record.ledger.remove(4)),
        ("b of ring 1 began before a was done", |record| record.ledger.swap(2, 3)),
        ("[2, 2] hosts of r1 at once by ledger and hooks; 1 may be", |record| {
            record.hosts.insert("b".into(), host(10));
            record.ledger[3].at = record.ledger[1].at;
            record.ledger.swap(2, 3);
        }),
        ("entry 4: b was granted in a rollout that had {\"halted\"}", |record| {
            record.ledger.insert(3, entry(25, "halted", None, "halted"));
        }),
        ("entry 4: b was granted in a rollout that had {\"paused\"}", |record| {
            record.ledger.insert(3, entry(25, "paused", None, "paused"));
        }),
        ("entry 5: reported in vain", |record| record.ledger.insert(5, record.ledger[4].clone())),
    ];
    for (words, doctor) in cases {
        let mut record = right();
        doctor(&mut record);
        let (wrong, _) = judge(&record, &[asked()]);
        assert!(wrong.iter().any(|text| text.contains(words)), "{words}: {wrong:#?}");
    }
}

#[test]
fn a_hook_may_run_again_as_the_next_attempt() {
    let mut record = right();
    own(&mut record, "a").hooks.insert(3, Line { attempt: 2, ..hook(18, "post-reboot") });
    assert_eq!(judge(&record, &[asked()]).0, [""; 0]);
    own(&mut record, "a").hooks[3].attempt = 3;
    assert_eq!(judge(&record, &[asked()]).0.len(), 1);
}

#[test]
fn a_released_host_frees_its_slot_and_begins_nothing_disruptive() {
    let mut record = right();
    record.ledger = vec![
        entry(10, "granted", Some("a"), "Go"),
        entry(14, "released", Some("a"), "its slot, held as lost, was released: dead"),
        entry(30, "granted", Some("b"), "Go"),
        entry(40, "reported", Some("b"), "succeeded: 1 package changed"),
        entry(50, "reported", Some("a"), "failed (interrupted): 0 packages changed"),
    ];
    (record.rows[0].outcome, record.rows[0].code) = ("failed".into(), Some("interrupted".into()));
    (record.rows[0].rebooted, record.rows[0].packages) = (false, [].into());
    *own(&mut record, "a") = Host { hooks: vec![hook(11, "pre-install"), hook(49, "on-exit")], dpkg: Vec::new() };
    let asked = [Asked { rings: vec![vec!["a".into(), "b".into(), "c".into()]], ..asked() }];
    assert_eq!(judge(&record, &asked).0, [""; 0]);

    own(&mut record, "a").dpkg.push(dpkg(45, "startup packages configure"));
    own(&mut record, "a").hooks.insert(1, hook(46, "post-install"));
    let (wrong, _) = judge(&record, &asked);
    assert_eq!(
        wrong,
        [
            "a: hook post-install at 1800000046000 after its lease was released",
            "a: dpkg says \"startup packages configure\" at 1800000045000 after its lease was released"
        ]
    );
}
