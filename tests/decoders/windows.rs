//! Schedules and maintenance windows, and the openings that they yield.

use patchmesh_common::{
    schedule::{
        blackout::Blackout,
        window::{MaintenanceWindow, Spec, Window},
    },
    time::WallTime,
};
use patchmesh_coordinator::manifest::{self, Manifest, window as manifests};

/// From which windows are asked: before and after all schedules, and around what clocks do in between.
const FROM: [i64; 5] = [i64::MIN, 0, 1_774_000_000_000, 7_258_000_000_000, i64::MAX];
/// Zones with gaps and overlaps of an hour, of half an hour, at midnight, and of a whole day.
const ZONES: [&str; 5] = ["UTC", "Europe/Paris", "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia"];
/// Openings that are looked at from each instant.
const LOOKED: usize = 24;

/// The first byte chooses a manifest, or a zone and an offset for a schedule.
pub(super) fn window(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    if *kind == 0 {
        match manifest::parse("w.yaml", &text) {
            Ok(Manifest::Window(window)) => {
                opens(&window);
                if let Ok(written) = manifests::yaml((*window).clone()) {
                    assert_eq!(manifests::parse("w.yaml", &written).ok(), Some(*window), "{written}");
                }
            }
            Ok(_) => {}
            Err(fault) => assert!(fault.chain().contains("w.yaml"), "{} does not say where", fault.chain()),
        }
        return;
    }
    let zone = ZONES[usize::from(*kind) % ZONES.len()];
    for offset_days in [None, Some(i64::from(*kind) % 7)] {
        let spec = Spec {
            schedule: text.to_string(),
            timezone: Some(zone.to_owned()),
            duration: "2h".to_owned(),
            cutoff: Some("30m".to_owned()),
            offset_days,
            ..Spec::default()
        };
        let window = MaintenanceWindow { name: "fuzzed".to_owned(), spec, labels: Default::default() };
        if window.check().is_ok() {
            opens(&window);
        }
    }
}

/// What was read keeps every limit, and opens in order, from wherever it is asked.
#[expect(clippy::panic, reason = "panicking is what this is for")]
fn opens(window: &MaintenanceWindow) {
    let checked = window.check().unwrap_or_else(|problems| panic!("it was read, and breaks {problems:?}"));
    for from in FROM.map(WallTime) {
        let found: Vec<_> = checked.openings(from).take(LOOKED).collect();
        assert!(found.iter().all(|one| one.opening.opens >= from), "before it was asked for");
        assert!(found.is_sorted_by(|one, next| one.opening.opens < next.opening.opens), "out of order");
        let ordered =
            |one: &patchmesh_common::schedule::Opening| one.opens < one.last_start && one.last_start <= one.closes;
        assert!(found.iter().all(|one| ordered(&one.opening)), "an opening out of order");
        if let [_, second, ..] = found.as_slice() {
            assert_eq!(
                checked.openings(second.opening.opens).next().as_ref(),
                Some(second),
                "it depends on the question"
            );
        }
        allowed(&checked, from, found.first().map(|one| one.opening.opens));
    }
}

/// What a rollout is allowed lies before and after a blackout, never in it.
fn allowed(window: &Window, now: WallTime, first: Option<WallTime>) {
    let from = first.unwrap_or(now);
    let blackout =
        Blackout { from: WallTime(from.0.saturating_add(600_000)), to: WallTime(from.0.saturating_add(9_000_000)) };
    for piece in window.allowed(now, &[blackout], 4) {
        assert!(
            piece.opens < piece.last_start && piece.last_start <= piece.closes && now < piece.last_start,
            "{piece:?}"
        );
        assert!(piece.closes <= blackout.from || blackout.to <= piece.opens, "{piece:?} in {blackout:?}");
    }
}
