//! Sessions: `tests/scripts/*.txt` hold commands, comments, and exactly what the commands print.
//!
//! `$ COMMAND` runs the built binary; below it stand its stdout, its stderr (each line after `! `), and, if it is not 0, its
//! exit code (`? 64`). `$ COMMAND > FILE` keeps stdout in a file. Single quotes keep spaces together. `UPDATE_SCRIPTS=1` writes down what is printed now.

use std::{fs, path::Path};

use super::fake::{self, Fake, Served, patchmesh};

/// Compiled in, so that the test binary also runs where the sources are not.
const FILES: [(&str, &str); 41] = [
    ("changed.yaml", include_str!("../scripts/changed.yaml")),
    ("guarded.yaml", include_str!("../scripts/guarded.yaml")),
    ("nightly.yaml", include_str!("../scripts/nightly.yaml")),
    ("weekly-policy.yaml", include_str!("../scripts/weekly-policy.yaml")),
    ("logging-policy.yaml", include_str!("../scripts/logging-policy.yaml")),
    ("careful-policy.yaml", include_str!("../scripts/careful-policy.yaml")),
    ("replan-policy.yaml", include_str!("../scripts/replan-policy.yaml")),
    ("wrong-policy.yaml", include_str!("../scripts/wrong-policy.yaml")),
    ("inventory.json", include_str!("../scripts/inventory.json")),
    ("limits.yaml", include_str!("../scripts/limits.yaml")),
    ("list.yaml", include_str!("../scripts/list.yaml")),
    ("listed.yaml", include_str!("../scripts/listed.yaml")),
    ("overridden.yaml", include_str!("../scripts/overridden.yaml")),
    ("mesh.yaml", include_str!("../scripts/mesh.yaml")),
    ("override.json", include_str!("../scripts/override.json")),
    ("typo.json", include_str!("../scripts/typo.json")),
    ("web.json", include_str!("../scripts/web.json")),
    ("ringless.yaml", include_str!("../scripts/ringless.yaml")),
    ("gated.yaml", include_str!("../scripts/gated.yaml")),
    ("gate-path.yaml", include_str!("../scripts/gate-path.yaml")),
    ("gate-https.yaml", include_str!("../scripts/gate-https.yaml")),
    ("gate-ring.yaml", include_str!("../scripts/gate-ring.yaml")),
    ("gate-ring-path.yaml", include_str!("../scripts/gate-ring-path.yaml")),
    ("limit-pause.yaml", include_str!("../scripts/limit-pause.yaml")),
    ("replan.yaml", include_str!("../scripts/replan.yaml")),
    ("rings.yaml", include_str!("../scripts/rings.yaml")),
    ("weekly.yaml", include_str!("../scripts/weekly.yaml")),
    ("applied.yaml", include_str!("../scripts/applied.yaml")),
    ("stale.yaml", include_str!("../scripts/stale.yaml")),
    ("large.yaml", include_str!("../scripts/large.yaml")),
    ("typo.yaml", include_str!("../scripts/typo.yaml")),
    ("pg.yaml", include_str!("../scripts/pg.yaml")),
    ("wrong-service.yaml", include_str!("../scripts/wrong-service.yaml")),
    ("windows.yaml", include_str!("../scripts/windows.yaml")),
    ("tasks.yaml", include_str!("../scripts/tasks.yaml")),
    ("wrong-tasks.yaml", include_str!("../scripts/wrong-tasks.yaml")),
    ("patch-tuesday.yaml", include_str!("../scripts/patch-tuesday.yaml")),
    ("through.yaml", include_str!("../scripts/through.yaml")),
    ("frozen.yaml", include_str!("../scripts/frozen.yaml")),
    ("last.yaml", include_str!("../scripts/last.yaml")),
    ("closing.yaml", include_str!("../scripts/closing.yaml")),
];

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

fn session(name: &str, text: &str) {
    session_in(name, text, |_| {});
}

/// A session in a folder in which `prepare` has put something.
fn session_in(name: &str, text: &str, prepare: impl FnOnce(&Path)) {
    let served = Served::start(Fake::default());
    prepare(served.folder.path());
    fake::members(served.folder.path());
    for (name, manifest) in FILES {
        fs::write(served.folder.path().join(name), manifest).unwrap();
    }
    let mut printed = String::new();
    for line in text.lines() {
        if line.starts_with('#') {
            // Blank lines are for readers: one before each comment.
            let gap = if printed.is_empty() { "" } else { "\n" };
            printed.push_str(gap);
            printed.push_str(&format!("{line}\n"));
        } else if let Some(command) = line.strip_prefix("$ patchmesh") {
            printed.push_str(&format!("{line}\n{}", run(command, served.folder.path())));
        }
    }
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        fs::write(Path::new(FOLDER).join(name), &printed).unwrap();
    }
    assert_eq!(printed, text, "{name} (UPDATE_SCRIPTS=1 writes down what is printed now)");
}

fn words(command: &str) -> Vec<&str> {
    let quoted = command.split('\'').enumerate();
    quoted.flat_map(|(at, part)| if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }).collect()
}

fn run(command: &str, folder: &Path) -> String {
    let (command, file) = command.split_once(" > ").map_or((command, None), |(command, file)| (command, Some(file)));
    // Relative, so that no error names this machine's temporary folder.
    let output = patchmesh(folder).env("PATCHMESH_SOCKET", "api.sock").args(words(command)).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let mut text = match file {
        Some(file) => {
            fs::write(folder.join(file), stdout).unwrap();
            String::new()
        }
        None => stdout.replace('\r', ""),
    };
    stderr.lines().for_each(|line| text.push_str(&format!("! {line}\n")));
    match output.status.code() {
        Some(0) => {}
        code => text.push_str(&format!("? {}\n", code.unwrap())),
    }
    text
}

#[test]
fn audits() {
    session_in("audit.txt", include_str!("../scripts/audit.txt"), fake::ledgers::write);
}

#[test]
fn baselines() {
    session("baseline.txt", include_str!("../scripts/baseline.txt"));
}

#[test]
fn explanations() {
    session("explain.txt", include_str!("../scripts/explain.txt"));
}

#[test]
fn commands() {
    session("commands.txt", include_str!("../scripts/commands.txt"));
}

#[test]
fn compliance() {
    session("compliance.txt", include_str!("../scripts/compliance.txt"));
}

#[test]
fn groups() {
    session("groups.txt", include_str!("../scripts/groups.txt"));
}

#[test]
fn rate() {
    session("rate.txt", include_str!("../scripts/rate.txt"));
}

#[test]
fn rollouts() {
    session("rollout.txt", include_str!("../scripts/rollout.txt"));
}

#[test]
fn gates() {
    session("gates.txt", include_str!("../scripts/gates.txt"));
}

#[test]
fn rings() {
    session("rings.txt", include_str!("../scripts/rings.txt"));
}

#[test]
fn stops() {
    session("stop.txt", include_str!("../scripts/stop.txt"));
}

#[test]
fn questions() {
    session("get.txt", include_str!("../scripts/get.txt"));
}

#[test]
fn usage() {
    session("usage.txt", include_str!("../scripts/usage.txt"));
}

#[test]
fn snapshots() {
    session("snapshots.txt", include_str!("../scripts/snapshots.txt"));
}

#[test]
fn steps() {
    session("steps.txt", include_str!("../scripts/steps.txt"));
}

#[test]
fn kept() {
    session("kept.txt", include_str!("../scripts/kept.txt"));
}

#[test]
fn patch_now() {
    session("patch-now.txt", include_str!("../scripts/patch-now.txt"));
}

#[test]
fn policies() {
    session("policies.txt", include_str!("../scripts/policies.txt"));
}

#[test]
fn tasks() {
    session("tasks.txt", include_str!("../scripts/tasks.txt"));
}

#[test]
fn windows() {
    session("windows.txt", include_str!("../scripts/windows.txt"));
}

#[test]
fn services() {
    session("services.txt", include_str!("../scripts/services.txt"));
}

#[test]
fn slots() {
    session("slots.txt", include_str!("../scripts/slots.txt"));
}
