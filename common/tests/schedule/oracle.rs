//! Our cron against croner's, where both read an expression in the same way, in local time.

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{Date, DateTime};
use patchmesh_common::schedule::{
    cron::{Cron, MAX_YEAR},
    expression::ScheduleError,
};
use proptest::{collection::vec, prelude::*, sample::select};

/// Local times that are compared for every expression.
const COMPARED: usize = 40;

/// A list of values, ranges and steps between `least` and `most`.
fn list(least: i16, most: i16) -> impl Strategy<Value = String> {
    let value = least..=most;
    let item = prop_oneof![
        4 => value.clone().prop_map(|value| value.to_string()),
        2 => (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (value.clone(), 1..=most - least).prop_map(|(first, step)| format!("{first}/{step}")),
        1 => (1..=most - least).prop_map(|step| format!("*/{step}")),
        1 => (value.clone(), value, 1..=most - least).prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
    ];
    vec(item, 1..4).prop_map(|items| items.join(","))
}

fn any_or(field: impl Strategy<Value = String> + 'static) -> BoxedStrategy<String> {
    prop_oneof![1 => Just("*".to_owned()), 2 => field].boxed()
}

fn named(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(select(names), 1..4).prop_map(|names| names.join(","))
}

const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

fn days() -> impl Strategy<Value = (String, String)> {
    let of_month = prop_oneof![
        3 => any_or(list(1, 31)),
        1 => Just("L".to_owned()),
        2 => (1..=31).prop_map(|day| format!("{day}W")),
    ];
    let of_week = prop_oneof![
        3 => any_or(list(1, 7)),
        1 => named(WEEKDAYS),
        2 => (1..=7).prop_map(|day| format!("{day}L")),
        2 => (1..=7, 1..=5).prop_map(|(day, nth)| format!("{day}#{nth}")),
        1 => (select(WEEKDAYS), 1..=5).prop_map(|(day, nth)| format!("{day}#{nth}")),
    ];
    prop_oneof![of_month.prop_map(|days| (days, "?".to_owned())), of_week.prop_map(|days| ("?".to_owned(), days)),]
}

fn expression() -> impl Strategy<Value = String> {
    let minutes =
        prop_oneof![2 => list(0, 59), 1 => Just("0".to_owned()), 1 => (5..=59).prop_map(|step| format!("0/{step}"))];
    let month = any_or(prop_oneof![list(1, 12), named(MONTHS)]);
    // Years begin with 1 there, so that the steps of * fall on others.
    let year = any_or(list(2020, 2040).prop_map(|years| years.replace("*/", "1970-2199/")));
    (minutes, any_or(list(0, 23)), days(), month, year).prop_map(
        |(minutes, hours, (of_month, of_week), month, year)| {
            format!("{minutes} {hours} {of_month} {month} {of_week} {year}")
        },
    )
}

/// The expression as croner reads it: seconds first, weekdays from 1 on.
fn croner(text: &str) -> croner::Cron {
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .sloppy_ranges(true)
        .build();
    parser.parse(&format!("0 {text}")).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn theirs(text: &str, from: Date) -> Vec<DateTime> {
    let cron = croner(text);
    let from = NaiveDate::from_ymd_opt(
        from.year().into(),
        u32::from(from.month().unsigned_abs()),
        u32::from(from.day().unsigned_abs()),
    );
    let mut now: NaiveDateTime = from.unwrap().and_hms_opt(0, 0, 0).unwrap();
    let mut found = Vec::new();
    while found.len() < COMPARED {
        let Ok(next) = cron.find_next_occurrence(&now, found.is_empty()) else { break };
        if next.year() > MAX_YEAR.into() {
            break;
        }
        let small = |value: u32| i8::try_from(value).unwrap();
        let date = Date::new(next.year().try_into().unwrap(), small(next.month()), small(next.day())).unwrap();
        found.push(date.at(small(next.hour()), small(next.minute()), small(next.second()), 0));
        now = next;
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 768, ..ProptestConfig::default() })]

    #[test]
    fn croner_finds_the_same_times(text in expression(), year in 2019i16..2030, month in 1i8..=12, day in 1i8..=28) {
        let from = Date::constant(year, month, day);
        match Cron::parse(&text) {
            Ok(cron) => {
                let ours: Vec<_> = cron.times_from(from).take(COMPARED).collect();
                prop_assert_eq!(ours, theirs(&text, from), "{}", text);
            }
            // What both understand, and we refuse by a rule of windows.
            Err(error @ (ScheduleError::TooOften | ScheduleError::Never)) => {
                let found = theirs(&text, Date::constant(2019, 1, 1));
                match error {
                    ScheduleError::Never => prop_assert_eq!(found, vec![], "{}", text),
                    _ => prop_assert!(too_close(&text), "{}", text),
                }
            }
            Err(error) => prop_assert!(false, "{}: {}", text, error),
        }
    }
}

/// Whether two times of one year are less than 5 minutes apart; years and months aside, which only leave times out.
fn too_close(text: &str) -> bool {
    let fields: Vec<_> = text.split(' ').collect();
    let spread = format!("{} {} {} {} {} *", fields[0], fields[1], fields[2], fields[3], fields[4]);
    let cron = croner(&spread);
    let mut now = NaiveDate::from_ymd_opt(2019, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
    for _ in 0..3000 {
        let Ok(next) = cron.find_next_occurrence(&now, false) else { return false };
        if (next - now).num_seconds() < 300 {
            return true;
        }
        now = next;
    }
    false
}
