//! `windows next` against openings that were worked out by hand: `tests/windows/openings.yaml`.

use std::{collections::BTreeSet, fs};

use serde::Deserialize;
use serde_json::{Value, json};

use super::fake::patchmesh;

/// One window that is asked once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Worked {
    source: String,
    spec: Value,
    from: String,
    count: u16,
    openings: Vec<String>,
}

fn worked() -> Vec<Worked> {
    serde_saphyr::from_str(include_str!("../windows/openings.yaml")).unwrap()
}

/// What must be printed.
fn expected(one: &Worked) -> Value {
    let zone = one.spec.get("timezone").cloned().unwrap_or("UTC".into());
    let opening = |line: &String| match line.split(' ').collect::<Vec<_>>()[..] {
        [opens, last_start, closes, local, note] => {
            let note = if note == "-" { Value::Null } else { note.into() };
            json!({"opens": opens, "lastStart": last_start, "closes": closes, "local": local, "zone": zone, "note": note})
        }
        _ => Value::Null,
    };
    let openings: Vec<_> = one.openings.iter().map(opening).collect();
    json!({"schema": "patchmesh.windows/v1", "window": "worked", "openings": openings})
}

#[test]
fn every_worked_opening_is_what_the_verb_prints() {
    let folder = tempfile::tempdir().unwrap();
    for one in worked() {
        let manifest = json!({
            "apiVersion": "patchmesh/v1", "kind": "MaintenanceWindow", "metadata": {"name": "worked"}, "spec": one.spec,
        });
        fs::write(folder.path().join("worked.yaml"), manifest.to_string()).unwrap();
        let words = ["windows", "next", "-f", "worked.yaml", "--from", &one.from, "-o", "json", "-n"];
        let output = patchmesh(folder.path()).args(words).arg(one.count.to_string()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{}: {told}", one.source);
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed, expected(&one), "{}", one.source);
    }
}

#[test]
fn there_are_openings_of_every_kind_and_each_names_its_source() {
    let all = worked();
    assert!(all.iter().map(|one| one.openings.len()).sum::<usize>() >= 60);
    assert!(all.iter().all(|one| one.source.starts_with("spec 4.6.")));
    let zones_with = |note: &str| -> BTreeSet<String> {
        let noted = all.iter().filter(|one| one.openings.iter().any(|line| line.ends_with(note)));
        noted.filter_map(|one| Some(one.spec.get("timezone")?.as_str()?.to_owned())).collect()
    };
    assert!(zones_with(" gap").len() >= 4 && zones_with(" overlap").len() >= 4);
    for piece in ["L ", "6L", "W ", "#2", "#5", "rate(", "at(", "offsetDays", "startDate", "endDate", "cutoff"] {
        assert!(all.iter().any(|one| one.spec.to_string().contains(piece)), "{piece}");
    }
}
