//! What the host has seen: told to the mesh, and believed where the mesh has not decided.

use patchmesh_common::{patch::snapshot::Since, run::message::MAX_SIGHTINGS, wire};

use super::*;

fn seen(name: &str) -> Seen {
    (name.into(), "all".into(), "2".into(), "ab".into())
}

impl Scripted {
    /// What was put into the file `sightings`.
    pub(super) fn seen(&self) -> Vec<(Seen, Sighting)> {
        let bytes = std::fs::read(self.0.join("sightings")).unwrap_or_default();
        wire::decode(&bytes, usize::MAX).unwrap_or_default()
    }

    /// Writes down since when the versions exist that are asked for.
    pub(super) fn note_dates(&self, question: &Question) {
        let dates =
            ["mesh", "both", "own", "none"].map(|name| question.first_seen.get(&seen(name)).map(|since| since.0));
        std::fs::write(self.0.join("dates"), format!("{dates:?}")).unwrap();
    }
}

fn remember(host: &Host, sightings: &[(Seen, Sighting)]) {
    std::fs::write(host.path("sightings"), wire::encode(&sightings.to_vec())).unwrap();
}

fn word(name: &str, at: i64, index: Option<i64>) -> (Seen, Sighting) {
    (seen(name), Sighting { seen: WallTime(at), index: index.map(WallTime) })
}

#[test]
fn what_the_mesh_has_not_decided_counts_since_this_host_met_it() {
    in_system(async {
        let host = Host::new();
        remember(&host, &[word("both", 3, None), word("own", 4, Some(2))]);
        let mut running = host.start();
        for (clock, dates) in [("mesh", "[Some(7), Some(8), Some(2), None]"), ("aws", "[None, None, None, None]")] {
            let spec =
                Spec { operating_system: Some("DEBIAN".into()), approval_clock: Some(clock.into()), ..Spec::default() };
            let baselines = vec![Written::new(&PatchBaseline { name: "own".into(), spec, labels: Default::default() })];
            let since = |name: &str, since| {
                let (name, arch, version, sha256) = seen(name);
                Since { name, arch, version, sha256, since: WallTime(since) }
            };
            let first_seen = vec![since("mesh", 7), since("both", 8)];
            let rules = Rules { baselines, choice: Choice::One, list: None, first_seen };
            let snapshot = Box::new(Snapshot { at: WallTime(9), rules, versions: None });
            let request = CommandId([5; 16]);
            running.say(ToHost::ResolveBy { request, operation: Operation::Install, snapshot });
            let answer = |body| match body {
                ToCoordinator::Resolved { result, .. } => Some(result),
                _ => None,
            };
            running.hear("Resolved", answer).await.unwrap();
            assert_eq!(std::fs::read_to_string(host.path("dates")).unwrap(), dates, "{clock}");
        }
    });
}

#[test]
fn of_too_many_sightings_the_latest_are_not_told() {
    in_system(async {
        let host = Host::new();
        let name = |n: i64| format!("{n:0200}");
        let all: Vec<_> = (0..6000).rev().map(|n| word(&name(n), 10_000, Some(n))).collect();
        assert!(wire::size(&all) > MAX_SIGHTINGS);
        remember(&host, &all);
        let mut running = host.start();
        running.say(ToHost::Sightings { request: CommandId([6; 16]) });
        let answer = |body| match body {
            ToCoordinator::Sightings { result, .. } => Some(result),
            _ => None,
        };
        let told = running.hear("Sightings", answer).await.unwrap();
        assert!((3000..6000).contains(&told.len()), "{}", told.len());
        assert!(told.iter().zip(0..).all(|((seen, _), n)| seen.0 == name(n)));
    });
}
