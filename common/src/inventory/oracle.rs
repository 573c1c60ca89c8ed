//! Package managers as judges of our version orders, many pairs at a time.

use core::cmp::Ordering;
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use proptest::{
    strategy::{Strategy, ValueTree as _},
    test_runner::TestRunner,
};

/// Pairs that a test compares unless `PATCHMESH_VERSION_PAIRS` says how many.
const PAIRS: usize = 2000;

/// Random pairs: half of them independent, half with a common beginning, so that the later parts decide too.
/// `valid` says whether the package manager takes a text for a version.
pub(super) fn pairs(version: impl Strategy<Value = String>, valid: fn(&str) -> bool) -> Vec<(String, String)> {
    let count = std::env::var("PATCHMESH_VERSION_PAIRS").ok().map_or(PAIRS, |text| text.parse().unwrap());
    let mut runner = TestRunner::default();
    let mut draw = || loop {
        let text = version.new_tree(&mut runner).unwrap().current();
        if valid(&text) {
            return text;
        }
    };
    (0..count)
        .map(|n| {
            let (a, b) = (draw(), draw());
            let related = format!("{}{}", &a[..a.len() / 2], &b[b.len() / 2..]);
            if n % 2 == 0 && valid(&related) { (a, related) } else { (a, b) }
        })
        .collect()
}

/// The word for an order.
pub(super) fn word(order: Ordering) -> &'static str {
    match order {
        Ordering::Less => "lt",
        Ordering::Equal => "eq",
        Ordering::Greater => "gt",
    }
}

/// Runs `program` over all `lines`. It must print nothing but what it denies, and `end` when it has read them all.
pub(super) fn ask(program: &str, arguments: &[&str], lines: impl Iterator<Item = String>) {
    if Command::new(program).arg("--version").output().is_err() {
        assert!(std::env::var_os("PATCHMESH_VERSION_PAIRS").is_none(), "there is no {program} to compare with");
        eprintln!("skipped: there is no {program} to compare with");
        return;
    }
    let input: Vec<_> = lines.collect();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input.concat().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "end", "{program} denies these");
    println!("{} pairs compared with {program}: 0 differences", input.len());
}
