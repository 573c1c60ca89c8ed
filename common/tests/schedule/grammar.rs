//! What is understood, and what is refused with which words.

use jiff::civil::{Date, date};
use patchmesh_common::schedule::{
    cron::Cron,
    expression::{MAX_SCHEDULE, Schedule, ScheduleError},
};
use proptest::prelude::*;

fn days(fields: &str, from: Date, count: usize) -> Vec<String> {
    let cron = Cron::parse(&format!("0 2 {fields}")).unwrap();
    cron.times_from(from).take(count).map(|time| time.date().to_string()).collect()
}

fn refused(text: &str) -> String {
    Schedule::parse(text).unwrap_err().to_string()
}

#[test]
fn the_specials_of_the_day_fields() {
    let from = date(2026, 1, 1);
    assert_eq!(days("L 2 ? *", from, 3), ["2026-02-28", "2027-02-28", "2028-02-29"]);
    assert_eq!(days("? * 6L *", from, 2), ["2026-01-30", "2026-02-27"], "the last Friday");
    assert_eq!(days("? * friL *", from, 1), ["2026-01-30"], "names in any case");
    assert_eq!(days("? * TUE#2 *", from, 3), ["2026-01-13", "2026-02-10", "2026-03-10"], "Patch Tuesday");
    assert_eq!(days("? * 3#2 *", from, 1), ["2026-01-13"], "1 is Sunday");
    assert_eq!(days("? * MON#5 *", from, 3), ["2026-03-30", "2026-06-29", "2026-08-31"], "no run without a fifth");
    assert_eq!(days("31 * ? *", from, 3), ["2026-01-31", "2026-03-31", "2026-05-31"]);
    assert_eq!(days("? * TUE#2,TUE#4 *", from, 3), ["2026-01-13", "2026-01-27", "2026-02-10"]);
    assert_eq!(days("1,L * ? *", from, 4), ["2026-01-01", "2026-01-31", "2026-02-01", "2026-02-28"]);
}

#[test]
fn the_nearest_weekday_stays_in_its_month() {
    assert_eq!(days("3W * ? *", date(2026, 1, 1), 2), ["2026-01-02", "2026-02-03"], "a Saturday, and a Tuesday");
    assert_eq!(days("15W * ? *", date(2026, 2, 1), 1), ["2026-02-16"], "a Sunday");
    assert_eq!(days("1W * ? *", date(2026, 8, 1), 1), ["2026-08-03"], "Saturday the 1st");
    assert_eq!(days("1W * ? *", date(2026, 2, 1), 1), ["2026-02-02"], "Sunday the 1st");
    assert_eq!(days("31W * ? *", date(2026, 5, 1), 1), ["2026-05-29"], "Sunday the 31st");
    assert_eq!(days("31W * ? *", date(2026, 10, 1), 1), ["2026-10-30"], "Saturday the 31st");
    assert_eq!(days("31W * ? *", date(2026, 6, 1), 1), ["2026-07-31"], "June has none");
    assert_eq!(days("29W 2 ? *", date(2026, 1, 1), 1), ["2028-02-29"]);
}

#[test]
fn seconds_may_stand_first() {
    let cron = Cron::parse("30 15 2 1 1 ? 2027").unwrap();
    let times: Vec<_> = cron.times_from(date(2026, 1, 1)).map(|time| time.to_string()).collect();
    assert_eq!(times, ["2027-01-01T02:15:30"]);
    assert_eq!(refused("cron(0,30 15 2 1 1 ? *)"), "it opens more often than every 5 minutes");
}

#[test]
fn years_are_1970_to_2199() {
    let count = |text: &str| Cron::parse(text).unwrap().times_from(Date::MIN).count();
    assert_eq!(count("0 2 1 1 ? *"), 230);
    assert_eq!(count("0 2 1 1 ? 2199"), 1);
    assert_eq!(count("0 2 29 2 ? 2190/1"), 2, "2192 and 2196");
    assert_eq!(Cron::parse("0 2 1 1 ? *").unwrap().times_from(date(2200, 1, 1)).count(), 0);
    assert!(refused("cron(0 2 1 1 ? 1969)").contains("the field year is \"1969\": it takes 1970-2199"));
    assert!(refused("cron(0 2 1 1 ? 2200)").contains("the field year"));
}

#[test]
fn exactly_one_day_field_is_open() {
    for fields in ["* * *", "? * ?", "1 * MON", "1 * *", "* * MON"] {
        assert_eq!(refused(&format!("cron(0 2 {fields} *)")), "exactly one of day-of-month and day-of-week must be ?");
    }
    for fields in ["* * ?", "? * *"] {
        assert!(Schedule::parse(&format!("cron(0 2 {fields} *)")).is_ok(), "{fields}");
    }
}

#[test]
fn every_field_says_what_it_takes() {
    for (text, said) in [
        ("cron(60 2 1 * ? *)", "the field minutes is \"60\": it takes 0-59 with , - * /"),
        ("cron(0 24 1 * ? *)", "the field hours is \"24\": it takes 0-23 with , - * /"),
        ("cron(0 2 0 * ? *)", "the field day-of-month is \"0\": it takes 1-31 with , - * ? /, L, or a day and W"),
        ("cron(0 2 1 13 ? *)", "the field month is \"13\": it takes 1-12 or JAN-DEC with , - * /"),
        ("cron(0 2 1 JANUARY ? *)", "the field month is \"JANUARY\": it takes"),
        ("cron(0 2 ? * 8 *)", "the field day-of-week is \"8\": it takes 1-7 (1 is SUN)"),
        ("cron(0 2 ? * 0 *)", "the field day-of-week is \"0\""),
        ("cron(0 2 ? * TUE#6 *)", "the field day-of-week is \"TUE#6\""),
        ("cron(0 2 ? * TUE#0 *)", "the field day-of-week is \"TUE#0\""),
        ("cron(0 2 ? * L *)", "the field day-of-week is \"L\""),
        ("cron(0 2 32W * ? *)", "the field day-of-month is \"32W\""),
        ("cron(0 2 LW * ? *)", "the field day-of-month is \"LW\""),
        ("cron(0 2 ? * 3W *)", "the field day-of-week is \"3W\""),
        ("cron(0 2 1#2 * ? *)", "the field day-of-month is \"1#2\""),
        ("cron(? 2 1 * ? *)", "the field minutes is \"?\""),
        ("cron(0 2 1 ? ? *)", "the field month is \"?\""),
        ("cron(0/0 2 1 * ? *)", "the field minutes is \"0/0\""),
        ("cron(0/60 2 1 * ? *)", "the field minutes is \"0/60\""),
        ("cron(0 2 1,, * ? *)", "the field day-of-month is \"\""),
        ("cron(-5 2 1 * ? *)", "the field minutes is \"\""),
        ("cron(00005 2 1 * ? *)", "the field minutes is \"00005\""),
        ("cron(0 22-2 1 * ? *)", "the field hours is \"22-2\", which ends before it begins"),
        ("cron(0 2 ? * FRI-MON *)", "the field day-of-week is \"FRI-MON\", which ends before it begins"),
    ] {
        let told = refused(text);
        assert!(told.starts_with(said), "{text}: {told}");
    }
    assert!(Schedule::parse("cron(05 02 01 01 ? 2027)").is_ok(), "leading zeros are harmless");
}

#[test]
fn the_three_forms() {
    for text in [
        "",
        "cron",
        "cron(",
        "cron)",
        "0 2 1 * ? *",
        "every(5 minutes)",
        "Cron(0 2 1 * ? *)",
        "cron (0 2 1 * ? *)",
        " cron(0 2 1 * ? *)",
    ] {
        assert_eq!(refused(text), "write cron(…), rate(…) or at(…)", "{text:?}");
    }
    assert!(refused("cron(0 2 1 * ?)").starts_with("it has 5 fields: write cron(minutes hours"));
    assert!(refused("cron(0 0 0 2 1 * ? *)").starts_with("it has 8 fields"));
    let long = format!("cron({})", "0".repeat(MAX_SCHEDULE));
    assert_eq!(refused(&long), "it has 262 characters, and at most 256 are allowed");
    for text in ["rate(1 hour)", "rate(2 hours)", "rate(5 minutes)", "rate(1 day)", "rate(30 days)"] {
        assert!(matches!(Schedule::parse(text), Ok(Schedule::Rate(_))), "{text}");
    }
    for text in [
        "rate()",
        "rate(1 hours)",
        "rate(2 hour)",
        "rate(0 hours)",
        "rate(-1 hour)",
        "rate(1.5 hours)",
        "rate(1  hour)",
        "rate(1 week)",
        "rate(9999999999 days)",
    ] {
        assert_eq!(Schedule::parse(text), Err(ScheduleError::Rate), "{text}");
    }
    assert!(matches!(Schedule::parse("at(2027-02-28T23:59:59)"), Ok(Schedule::At(_))));
    for text in [
        "at()",
        "at(2027-02-29T00:00:00)",
        "at(2027-02-28)",
        "at(2027-02-28T10:00)",
        "at(2027-02-28T10:00:00Z)",
        "at(2027-02-28 10:00:00)",
        "at(2027-02-28T24:00:00)",
        "at(2027-02-28T10:00:60)",
        "at(1969-12-31T00:00:00)",
        "at(2200-01-01T00:00:00)",
    ] {
        assert_eq!(Schedule::parse(text), Err(ScheduleError::At), "{text}");
    }
}

#[test]
fn five_minutes_are_between_two_openings() {
    for text in [
        "cron(* * * * ? *)",
        "cron(0/4 2 1 * ? *)",
        "cron(0,58 * 1 * ? *)",
        "cron(58,0 0,23 * * ? *)",
        "cron(58,0 0,23 31,1 * ? *)",
        "rate(1 minute)",
        "rate(4 minutes)",
    ] {
        assert_eq!(Schedule::parse(text), Err(ScheduleError::TooOften), "{text}");
    }
    for text in [
        "cron(0/5 * * * ? *)",
        "cron(0,58 1,3 1 * ? *)",
        "cron(0,58 0,23 1 * ? *)",
        "cron(58,0 0,23 ? * MON,WED *)",
        "rate(5 minutes)",
    ] {
        assert!(Schedule::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn what_never_occurs_is_refused() {
    for text in [
        "cron(0 2 31 2 ? *)",
        "cron(0 2 30W 2 ? *)",
        "cron(0 2 29 2 ? 2027)",
        "cron(0 2 ? 2 MON#5 2027)",
        "cron(0 2 31 4,6,9,11 ? *)",
    ] {
        assert_eq!(Schedule::parse(text), Err(ScheduleError::Never), "{text}");
    }
    assert!(Schedule::parse("cron(0 2 ? 2 SUN#5 2032)").is_ok(), "February 2032 has five Sundays");
}

proptest! {
    #[test]
    fn no_text_panics(text in "(cron|rate|at)?\\(?[0-9A-Za-z?*#/,\\- :]{0,60}\\)?") {
        let _ = Schedule::parse(&text);
    }
}
