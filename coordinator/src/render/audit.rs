//! A ledger for people.

use super::one_line;
use crate::{
    api::document::{AuditDocument, EntryDocument, StateDocument},
    output::Rows,
};

/// Digits of a hash that people compare at a glance.
const SHORT: usize = 16;

/// `audit verify`.
pub fn audit(document: &AuditDocument) -> String {
    let author = document.author.as_deref().unwrap_or("nobody");
    let mut text = format!("ledger of  {author}\nentries    {}\nhead       {}\n", document.entries, document.head);
    match (document.chain.first_bad, &document.chain.text) {
        (Some(entry), Some(why)) => {
            text.push_str(&format!("chain      broken at entry {entry}: {why}\n"));
        }
        _ => text.push_str("chain      whole\n"),
    }
    let said = &document.testimonies;
    let (denied, excused) = (said.violations.len(), said.excused);
    text.push_str(&format!("hosts      {} testify, {denied} saw another ledger, {excused} excused\n", said.checked));
    if document.torn_bytes > 0 {
        text.push_str(&format!("torn       {} bytes of an entry that is not whole\n", document.torn_bytes));
    }
    let mut rows = Rows::new(&["promise", "checked", "broken"]);
    for (name, promise) in &document.promises {
        rows.push(vec![name.clone(), promise.checked.to_string(), promise.violations.len().to_string()]);
    }
    text.push('\n');
    text.push_str(&rows.table());
    let broken = document.promises.iter().flat_map(|(name, promise)| {
        promise.violations.iter().map(move |one| (one.entry, name, one.host.as_deref().unwrap_or("-"), &one.text))
    });
    let mut broken: Vec<_> = broken.collect();
    broken.sort();
    if !broken.is_empty() {
        let mut rows = Rows::new(&["entry", "promise", "host", "what"]);
        for (entry, name, host, what) in broken {
            rows.push(vec![entry.to_string(), name.clone(), host.to_owned(), one_line(what)]);
        }
        text.push_str(&format!("\n{}", rows.table()));
    }
    if !document.excused.is_empty() {
        let mut rows = Rows::new(&["entry", "excused host", "lease", "because"]);
        for one in &document.excused {
            let lease = one.lease.clone().unwrap_or_default();
            rows.push(vec![one.entry.to_string(), one.host.clone(), lease, one_line(&one.because)]);
        }
        text.push_str(&format!("\n{}", rows.table()));
    }
    text
}

/// The heads of [`entry`].
pub fn entry_header() -> String {
    columns(["ENTRY", "HASH", "AT", "ACT", "BY", "ROLLOUT", "HOST", "WHAT"])
}

/// One entry on one line: a ledger is longer than a table that must be measured first.
pub fn entry(entry: &EntryDocument) -> String {
    let hash: String = entry.hash.chars().take(SHORT).collect();
    let rollout = entry.rollout_name.as_ref().or(entry.rollout.as_ref()).map_or("-", String::as_str);
    let host = entry.host.as_deref().unwrap_or("-");
    let (number, by, what) = (entry.entry.to_string(), one_line(&entry.by), one_line(&entry.text));
    columns([&number, &hash, &entry.at, &entry.act, &by, rollout, host, &what])
}

fn columns([number, hash, at, act, by, rollout, host, what]: [&str; 8]) -> String {
    let line = format!("{number:<6} {hash:<SHORT$}  {at:<24}  {act:<12}  {by:<16}  {rollout:<12}  {host:<12}  {what}");
    format!("{}\n", line.trim_end())
}

/// The slots of `state`.
pub fn held_slots(document: &StateDocument) -> Rows {
    let mut rows = Rows::new(&["slot held by", "rollout", "name", "lease", "since"]);
    for slot in &document.slots {
        let (rollout, name) = (slot.rollout.clone(), slot.rollout_name.clone());
        rows.push(vec![slot.host.clone(), rollout, name, slot.lease.clone(), slot.since.to_string()]);
    }
    rows
}
