//! What a fleet left behind, read as anybody outside could: hook logs, dpkg logs, and what `patchmesh` prints.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::fleet::{Again, Line, hooks_of, host_names};

/// One line of a dpkg log; of its time only the second is known.
#[derive(Clone, Debug)]
pub(super) struct Dpkg {
    /// Milliseconds of the wall clock at which that second began.
    pub(super) at: i64,
    /// What follows the time.
    pub(super) text: String,
}

/// One line of the exported ledger.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Milliseconds of the wall clock.
    pub(super) at: i64,
    pub(super) act: String,
    pub(super) by: String,
    pub(super) rollout: Option<String>,
    pub(super) host: Option<String>,
    pub(super) lease: Option<String>,
    pub(super) text: String,
}

/// Name, and the versions from and to which it went.
pub(super) type Change = (String, String, String);

/// One host's row of `rollout status`.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) rollout: String,
    pub(super) host: String,
    pub(super) outcome: String,
    /// Of the error.
    pub(super) code: Option<String>,
    pub(super) rebooted: bool,
    pub(super) packages: BTreeSet<Change>,
}

/// What one host wrote down itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    pub(super) hooks: Vec<Line>,
    pub(super) dpkg: Vec<Dpkg>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) hosts: BTreeMap<String, Host>,
    /// In the ledger's order.
    pub(super) ledger: Vec<Entry>,
    pub(super) rows: Vec<Row>,
}

impl Record {
    /// Of a fleet and of the rollouts `ids`.
    pub(super) fn read<'a>(again: &Again, ids: impl Iterator<Item = &'a str>) -> Self {
        let demo = again.folder();
        let host = |name: String| {
            let host = Host { hooks: hooks_of(&demo, &name), dpkg: dpkg_of(&demo, &name) };
            (name, host)
        };
        let rows = ids.flat_map(|id| rows(id, &again.asked(&["rollout", "status", id, "-o", "json"]))).collect();
        Self { hosts: host_names(&demo).into_iter().map(host).collect(), ledger: exported(again), rows }
    }
}

/// What `date` makes of each of `times`, in milliseconds: it knows in which zone dpkg wrote them.
fn millis(times: &[&str]) -> Vec<i64> {
    let mut date = Command::new("date")
        .args(["-f", "-", "+%s%3N"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("date runs");
    let text: String = times.iter().flat_map(|time| [time, "\n"]).collect();
    let mut input = date.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = date.wait_with_output().expect("date ends");
    writer.join().expect("it does not panic").expect("date reads");
    let found: Vec<i64> =
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(|at| at.parse().unwrap()).collect();
    assert_eq!(found.len(), times.len(), "{times:?}");
    found
}

fn dpkg_of(demo: &Path, host: &str) -> Vec<Dpkg> {
    /// Of `2026-12-01 02:00:00`.
    const TIME: usize = 19;
    let log = demo.join("hosts").join(host).join("root/var/log/dpkg.log");
    let text = fs::read_to_string(log).expect("a dpkg log");
    let (times, rest): (Vec<_>, Vec<_>) = text.lines().map(|line| line.split_at(TIME)).unzip();
    let lines = millis(&times).into_iter().zip(rest);
    lines.map(|(at, rest)| Dpkg { at, text: rest.trim().to_owned() }).collect()
}

fn exported(again: &Again) -> Vec<Entry> {
    let dir = again.folder().join("coordinator");
    let output = again.cli(&["audit", "export", "-o", "jsonl", "--dir", dir.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a document")).collect();
    let times: Vec<_> = lines.iter().map(|line| line["at"].as_str().expect("a time")).collect();
    let entry = |(line, at): (&Value, i64)| {
        let word = |name: &str| line[name].as_str().map(str::to_owned);
        let [act, by, text] = ["act", "by", "text"].map(|name| word(name).expect("a text"));
        Entry { at, act, by, rollout: word("rollout"), host: word("host"), lease: word("lease"), text }
    };
    lines.iter().zip(millis(&times)).map(entry).collect()
}

fn rows(rollout: &str, recap: &Value) -> Vec<Row> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let change = |package: &Value| (word(&package["name"]), word(&package["from"]), word(&package["to"]));
    let row = |row: &Value| Row {
        rollout: rollout.to_owned(),
        host: word(&row["host"]),
        outcome: word(&row["outcome"]),
        code: row["error"]["code"].as_str().map(str::to_owned),
        rebooted: row["rebooted"] == true,
        packages: list(&row["packages"]).iter().map(change).collect(),
    };
    list(&recap["results"]).iter().map(row).collect()
}
