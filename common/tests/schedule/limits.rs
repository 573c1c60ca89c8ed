//! Every limit of a window, what its dates bound, and what a rollout is allowed.

use patchmesh_common::{
    schedule::{
        Opening,
        blackout::Blackout,
        window::{MaintenanceWindow, Spec, Window},
    },
    time::WallTime,
};

fn spec(schedule: &str) -> Spec {
    Spec { schedule: schedule.into(), duration: "4h".into(), cutoff: Some("1h".into()), ..Spec::default() }
}

fn window(spec: Spec) -> Window {
    MaintenanceWindow { name: "nightly".into(), spec, labels: Default::default() }.check().unwrap()
}

fn at(text: &str) -> WallTime {
    WallTime::parse(text).unwrap()
}

fn opens(window: &Window, from: &str, count: usize) -> Vec<String> {
    window.openings(at(from)).take(count).map(|one| one.opening.opens.rfc3339()).collect()
}

fn problems(name: &str, change: impl FnOnce(&mut Spec)) -> Vec<String> {
    let mut spec = spec("cron(0 2 * * ? *)");
    change(&mut spec);
    let found = MaintenanceWindow { name: name.into(), spec, labels: Default::default() }.check().unwrap_err();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn every_limit_is_told_with_its_field() {
    let long = "x".repeat(129);
    for (name, field) in [("ab", "name"), (long.as_str(), "name"), ("a b", "name"), ("a/bc", "name"), ("", "name")] {
        assert!(problems(name, |_| ())[0].starts_with(field), "{name}");
    }
    let one = |change: fn(&mut Spec)| {
        let found = problems("nightly", change);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    assert_eq!(one(|s| s.description = Some(String::new())), "description \"\": write 1 to 128 characters");
    assert!(
        one(|s| s.schedule = "cron(0 2 * * * *)".into()).starts_with("schedule \"cron(0 2 * * * *)\": exactly one of")
    );
    assert!(
        one(|s| s.timezone = Some("Paris".into())).starts_with("timezone \"Paris\": write the name of an IANA zone")
    );
    for wrong in ["", "4", "0h", "59s", "25h", "86401s", "2d", "4 h", "-4h"] {
        let found = problems("nightly", |s| s.duration = wrong.into());
        assert_eq!(found, [format!("duration {wrong:?}: write 1m to 24h")]);
    }
    for wrong in ["1", "-1h", "25h", "soon"] {
        let found = problems("nightly", |s| s.cutoff = Some(wrong.into()));
        assert_eq!(found, [format!("cutoff {wrong:?}: write 0h or more, and less than the duration")]);
    }
    assert_eq!(one(|s| s.cutoff = Some("4h".into())), "cutoff \"4h\": it must be shorter than the duration 4h");
    assert_eq!(one(|s| s.cutoff = Some("240m".into())), "cutoff \"240m\": it must be shorter than the duration 4h");
    assert_eq!(one(|s| s.offset_days = Some(7)), "offsetDays \"7\": write 0 to 6");
    assert_eq!(one(|s| s.offset_days = Some(-1)), "offsetDays \"-1\": write 0 to 6");
    for schedule in ["rate(1 day)", "at(2027-01-01T00:00:00)"] {
        let found = problems("nightly", |s| (s.schedule, s.offset_days) = (schedule.into(), Some(1)));
        assert_eq!(found, ["offsetDays \"1\": only a schedule of the form cron(…) takes it"]);
    }
    assert!(
        one(|s| s.start_date = Some("2026-12-01".into())).starts_with("startDate \"2026-12-01\": write an RFC 3339")
    );
    assert!(one(|s| s.end_date = Some("never".into())).starts_with("endDate \"never\""));
    assert!(one(|s| s.start_date = Some("2026-12-01T02:00:00.5Z".into())).contains("in whole seconds"));
    let order = |s: &mut Spec| {
        s.start_date = Some("2026-12-01T02:00:00+01:00".into());
        s.end_date = Some("2026-12-01T01:00:00Z".into());
    };
    assert_eq!(one(order), "endDate \"2026-12-01T01:00:00Z\": it is not after startDate 2026-12-01T01:00:00Z");
    assert!(one(|s| s.cutoff_behavior = Some("CANCEL".into())).contains("write CONTINUE_TASK or CANCEL_TASK"));
    let all = problems("no", |s| (s.duration, s.timezone) = ("x".into(), Some("x".into())));
    assert_eq!(all.len(), 3, "{all:?}");
}

#[test]
fn the_bounds_themselves_are_allowed() {
    let mut widest = spec("cron(0 2 * * ? *)");
    (widest.duration, widest.cutoff, widest.offset_days) = ("24h".into(), Some("23h".into()), Some(6));
    widest.description = Some("é".repeat(128));
    let window = MaintenanceWindow { name: "a".repeat(128), spec: widest, labels: Default::default() }.check().unwrap();
    assert!(window.enabled && window.start.is_none() && window.zone.name() == "UTC");
    assert!(
        MaintenanceWindow {
            name: "A_.".into(),
            spec: Spec { duration: "1m".into(), cutoff: None, ..spec("rate(5 minutes)") },
            labels: Default::default()
        }
        .check()
        .is_ok()
    );
}

#[test]
fn dates_bound_what_opens() {
    let mut dated = spec("cron(0 2 * * ? *)");
    dated.start_date = Some("2026-12-02T02:00:00Z".into());
    dated.end_date = Some("2026-12-05T02:00:00Z".into());
    let dated = window(dated);
    assert_eq!(
        opens(&dated, "2026-01-01T00:00:00Z", 9),
        ["2026-12-02T02:00:00Z", "2026-12-03T02:00:00Z", "2026-12-04T02:00:00Z"]
    );
    assert_eq!(opens(&dated, "2026-12-04T02:00:00Z", 9), ["2026-12-04T02:00:00Z"], "from is included");
    assert_eq!(opens(&dated, "2026-12-04T02:00:00.001Z", 9), [""; 0]);
    let last = dated.openings(at("2026-12-04T00:00:00Z")).next().unwrap().opening;
    assert_eq!((last.last_start, last.closes), (at("2026-12-04T05:00:00Z"), at("2026-12-04T06:00:00Z")));
}

#[test]
fn an_offset_counts_from_hits_of_the_validity() {
    // The second Tuesday of January 2026 is the 13th.
    let mut offset = spec("cron(0 2 ? * TUE#2 *)");
    offset.offset_days = Some(3);
    assert_eq!(
        opens(&window(offset.clone()), "2026-01-14T00:00:00Z", 2),
        ["2026-01-16T02:00:00Z", "2026-02-13T02:00:00Z"]
    );
    offset.start_date = Some("2026-01-14T00:00:00Z".into());
    assert_eq!(opens(&window(offset), "2026-01-01T00:00:00Z", 1), ["2026-02-13T02:00:00Z"], "its day had passed");
}

#[test]
fn a_rate_counts_from_its_start_or_from_1970() {
    let mut rate = spec("rate(90 minutes)");
    assert_eq!(
        opens(&window(rate.clone()), "2026-12-01T00:00:00Z", 2),
        ["2026-12-01T00:00:00Z", "2026-12-01T01:30:00Z"]
    );
    rate.start_date = Some("2026-12-01T00:10:00Z".into());
    let started = window(rate);
    assert_eq!(opens(&started, "2026-11-01T00:00:00Z", 2), ["2026-12-01T00:10:00Z", "2026-12-01T01:40:00Z"]);
    assert_eq!(opens(&started, "2026-12-01T01:40:00.001Z", 1), ["2026-12-01T03:10:00Z"]);
    let day = window(Spec { timezone: Some("Europe/Paris".into()), ..spec("rate(1 day)") });
    let local: Vec<_> = day.openings(at("2026-03-28T00:00:00Z")).take(3).map(|one| one.local).collect();
    assert_eq!(local, ["2026-03-28T01:00:00+01:00", "2026-03-29T01:00:00+01:00", "2026-03-30T02:00:00+02:00"]);
}

#[test]
fn a_window_that_is_disabled_or_over_never_opens() {
    assert_eq!(
        opens(&window(Spec { enabled: Some(false), ..spec("rate(1 day)") }), "2026-01-01T00:00:00Z", 1),
        [""; 0]
    );
    let once = window(spec("at(2026-12-01T02:00:00)"));
    assert_eq!(opens(&once, "2026-12-01T02:00:00Z", 2), ["2026-12-01T02:00:00Z"]);
    assert_eq!(opens(&once, "2026-12-01T02:00:01Z", 2), [""; 0]);
    let started = Spec { start_date: Some("2026-12-01T02:00:01Z".into()), ..spec("at(2026-12-01T02:00:00)") };
    assert_eq!(opens(&window(started), "2026-01-01T00:00:00Z", 2), [""; 0]);
}

#[test]
fn no_time_is_too_far_away() {
    for schedule in [
        "cron(0 2 * * ? *)",
        "rate(5 minutes)",
        "rate(999999999 days)",
        "at(2199-12-31T23:59:59)",
        "cron(59 23 31 12 ? 2199)",
    ] {
        for zone in ["UTC", "Pacific/Apia", "America/New_York"] {
            let window = window(Spec { timezone: Some(zone.into()), ..spec(schedule) });
            for from in
                [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX, 7_258_118_400_000, 253_402_300_799_999, -377_705_116_800_000]
            {
                let first = window.openings(WallTime(from)).next();
                assert!(first.is_none_or(|one| one.opening.opens.0 >= from), "{schedule} {from}");
                let allowed = window.allowed(WallTime(from), &[], 2);
                assert!(allowed.iter().all(|one| one.last_start.0 > from), "{schedule} {from}");
            }
            assert!(window.openings(at("2199-12-01T00:00:00Z")).count() < 10_000);
        }
    }
}

#[test]
fn a_rollout_is_allowed_what_is_left() {
    let daily = window(spec("cron(0 2 * * ? *)"));
    let allowed = |window: &Window, now: &str, blackouts: &[Blackout]| -> Vec<[String; 3]> {
        let found = window.allowed(at(now), blackouts, 2);
        found
            .iter()
            .map(|one: &Opening| [one.opens, one.last_start, one.closes].map(|time| time.rfc3339()[8..16].to_owned()))
            .collect()
    };
    assert_eq!(allowed(&daily, "2026-12-01T04:59:59Z", &[])[0], ["01T02:00", "01T05:00", "01T06:00"], "the open one");
    assert_eq!(allowed(&daily, "2026-12-01T05:00:00Z", &[])[0], ["02T02:00", "02T05:00", "02T06:00"], "nothing starts");
    let freeze = Blackout { from: at("2026-12-02T04:00:00Z"), to: at("2026-12-04T00:00:00Z") };
    let expected = [["02T02:00", "02T03:00", "02T04:00"], ["04T02:00", "04T05:00", "04T06:00"]];
    assert_eq!(allowed(&daily, "2026-12-01T05:00:00Z", &[freeze]), expected);
    let cancelling = window(Spec { cutoff_behavior: Some("CANCEL_TASK".into()), ..spec("cron(0 2 * * ? *)") });
    let expected = [["02T02:00", "02T03:00", "02T03:00"], ["04T02:00", "04T05:00", "04T05:00"]];
    assert_eq!(allowed(&cancelling, "2026-12-01T05:00:00Z", &[freeze]), expected);
    let whole = Blackout { from: at("2026-01-01T00:00:00Z"), to: at("2199-01-01T00:00:00Z") };
    assert!(daily.allowed(at("2026-12-01T05:00:00Z"), &[whole], 2).is_empty(), "and looks no further than it must");
}
