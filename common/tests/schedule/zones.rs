//! Local times where clocks are set. The changes are those of the IANA database; its rules are named at each.

use jiff::{ToSpan, civil::DateTime, tz::TimeZone};
use patchmesh_common::{
    schedule::{
        window::{MaintenanceWindow, Spec, Window},
        zone::{Note, Zone},
    },
    time::WallTime,
};
use proptest::{prelude::*, sample::select};

fn instant(zone: &str, local: &str) -> (String, Option<&'static str>) {
    let (at, note) = Zone::parse(zone).unwrap().instant(local.parse().unwrap()).unwrap();
    (at.rfc3339(), note.map(Note::as_str))
}

#[test]
fn in_a_gap_it_is_the_first_instant_after_it() {
    // EU: last Sunday of March, 01:00 UTC. US: second Sunday of March, 02:00. AN: first Sunday of October, 02:00.
    for (zone, local, at, note) in [
        ("Europe/Paris", "2026-03-29T01:59:59", "2026-03-29T00:59:59Z", None),
        ("Europe/Paris", "2026-03-29T02:00:00", "2026-03-29T01:00:00Z", Some("gap")),
        ("Europe/Paris", "2026-03-29T02:30:00", "2026-03-29T01:00:00Z", Some("gap")),
        ("Europe/Paris", "2026-03-29T02:59:59", "2026-03-29T01:00:00Z", Some("gap")),
        ("Europe/Paris", "2026-03-29T03:00:00", "2026-03-29T01:00:00Z", None),
        ("America/New_York", "2026-03-08T02:30:00", "2026-03-08T07:00:00Z", Some("gap")),
        ("Australia/Sydney", "2026-10-04T02:30:00", "2026-10-03T16:00:00Z", Some("gap")),
        // LH: half an hour only.
        ("Australia/Lord_Howe", "2026-10-04T02:15:00", "2026-10-03T15:30:00Z", Some("gap")),
        // Chile: at midnight, so that a day begins at 01:00.
        ("America/Santiago", "2026-09-06T00:30:00", "2026-09-06T04:00:00Z", Some("gap")),
        // Samoa had no 30 December 2011.
        ("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30T10:00:00Z", Some("gap")),
    ] {
        assert_eq!(instant(zone, local), (at.to_owned(), note), "{zone} {local}");
    }
}

#[test]
fn in_an_overlap_it_is_the_earlier_one() {
    for (zone, local, at, note) in [
        ("Europe/Paris", "2026-10-25T01:59:59", "2026-10-24T23:59:59Z", None),
        ("Europe/Paris", "2026-10-25T02:00:00", "2026-10-25T00:00:00Z", Some("overlap")),
        ("Europe/Paris", "2026-10-25T02:30:00", "2026-10-25T00:30:00Z", Some("overlap")),
        ("Europe/Paris", "2026-10-25T03:00:00", "2026-10-25T02:00:00Z", None),
        ("America/New_York", "2026-11-01T01:30:00", "2026-11-01T05:30:00Z", Some("overlap")),
        ("Australia/Sydney", "2026-04-05T02:30:00", "2026-04-04T15:30:00Z", Some("overlap")),
        ("Australia/Lord_Howe", "2026-04-05T01:45:00", "2026-04-04T14:45:00Z", Some("overlap")),
        ("America/Santiago", "2026-04-04T23:30:00", "2026-04-05T02:30:00Z", Some("overlap")),
    ] {
        assert_eq!(instant(zone, local), (at.to_owned(), note), "{zone} {local}");
    }
}

#[test]
fn zones_are_those_of_iana() {
    for name in ["UTC", "Etc/UTC", "Europe/Paris", "America/Argentina/Buenos_Aires", "Asia/Kolkata", "Etc/GMT+5"] {
        assert_eq!(Zone::parse(name).unwrap().name(), name);
    }
    assert_eq!(Zone::parse("europe/paris").unwrap().name(), "Europe/Paris");
    for name in
        ["", "Paris", "CEST", "+02:00", "EST5EDT,M3.2.0,M11.1.0", "Etc/Unknown", "../etc/passwd", "Europe/Paris "]
    {
        assert_eq!(Zone::parse(name), None, "{name:?}");
    }
}

/// Zones with every kind of rule, and years with changes in them.
const ZONES: &[&str] = &[
    "UTC",
    "Europe/Paris",
    "Europe/London",
    "Europe/Dublin",
    "America/New_York",
    "America/Santiago",
    "America/St_Johns",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Asia/Gaza",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Antarctica/Troll",
];

proptest! {
    /// Gaps and overlaps in one sentence: the earliest instant from which on a clock never shows less than the local time, or
    /// first shows it.
    #[test]
    fn it_is_the_first_instant_at_which_a_clock_shows_that_time_or_more(
        name in select(ZONES), minutes in 0i64..(2026 - 1990) * 525_960, near in any::<bool>(), shift in -200i64..200,
    ) {
        let (zone, theirs) = (Zone::parse(name).unwrap(), TimeZone::get(name).unwrap());
        let mut local = DateTime::constant(1990, 1, 1, 0, 0, 0, 0) + minutes.minutes();
        if near && let Some(change) = theirs.following(theirs.to_timestamp(local).unwrap()).next() {
            local = theirs.to_datetime(change.timestamp()) + shift.minutes();
        }
        let (at, note) = zone.instant(local).unwrap();
        let shows = |at: WallTime| theirs.to_datetime(jiff::Timestamp::from_millisecond(at.0).unwrap());
        let before = WallTime(at.0 - 60_000);
        match note {
            None | Some(Note::Overlap) => prop_assert_eq!(shows(at), local),
            Some(Note::Gap) => prop_assert!(shows(at) > local && shows(before) < local, "{} {}", name, local),
        }
        // Nothing earlier shows it: clocks are never set back further than this.
        let earlier = (1..=180).map(|minute| shows(WallTime(at.0 - minute * 60_000)));
        prop_assert!(earlier.into_iter().all(|other| other != local), "{} {}", name, local);
        let again = (1..=180).any(|minute| shows(WallTime(at.0 + minute * 60_000)) == local);
        prop_assert_eq!(again, note == Some(Note::Overlap), "{} {}", name, local);
    }

    #[test]
    fn later_local_times_are_never_earlier(name in select(ZONES), minutes in 0i64..(2026 - 1990) * 525_960, step in 0i64..3000) {
        let zone = Zone::parse(name).unwrap();
        let local = DateTime::constant(1990, 1, 1, 0, 0, 0, 0) + minutes.minutes();
        prop_assert!(zone.instant(local).unwrap().0 <= zone.instant(local + step.minutes()).unwrap().0);
    }

    /// What a window yields does not depend on where one begins to look.
    #[test]
    fn openings_are_the_same_from_wherever_one_looks(
        name in select(ZONES),
        schedule in select(&["cron(0/20 * * * ? *)", "cron(30 2 * * ? *)", "cron(15 0/3 ? * SUN,6L *)", "rate(7 hours)", "cron(30 1,2 L,1W * ? *)"][..]),
        from in 631_152_000i64..1_767_225_600, later in 0i64..40 * 86_400, offset in 0i64..=6,
    ) {
        let offset = if schedule.starts_with("cron") { offset } else { 0 };
        let window = window(schedule, name, offset);
        let (from, later) = (WallTime(from * 1000), WallTime((from + later) * 1000));
        let all: Vec<_> = window.openings(from).take_while(|one| one.opening.opens.0 < later.0 + 86_400_000).collect();
        prop_assert!(all.windows(2).all(|pair| pair[0].opening.opens < pair[1].opening.opens));
        prop_assert!(all.iter().all(|one| one.opening.opens >= from));
        let rest: Vec<_> = all.iter().filter(|one| one.opening.opens >= later).cloned().collect();
        let seen: Vec<_> = window.openings(later).take(rest.len()).collect();
        prop_assert_eq!(seen, rest);
    }
}

fn window(schedule: &str, zone: &str, offset: i64) -> Window {
    let spec = Spec {
        schedule: schedule.into(),
        timezone: Some(zone.into()),
        duration: "1h".into(),
        offset_days: Some(offset),
        ..Spec::default()
    };
    MaintenanceWindow { name: "window".into(), spec, labels: Default::default() }.check().unwrap()
}
