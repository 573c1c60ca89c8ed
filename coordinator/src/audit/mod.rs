//! Reads the ledger file itself, without a coordinator: also while one writes it. Never changes anything.

use std::{collections::BTreeMap, path::Path};

use patchmesh_common::{
    id::{LeaseId, NodeId},
    rollout::{
        audit::{Audit, BadEntry, Denial},
        check::SHOWN,
        ledger::{Ledger, LedgerEntry, Progress},
        planner::{Contact, Desk},
    },
    seal::Ed25519,
    time::{BootTime, Now, WallTime},
};
use patchmesh_node::store::log::{LogError, Rest};

use crate::{
    api::document::{
        AuditDocument, BrokenPromise, ChainDocument, EntryDocument, ExcusedDocument, HeldSlot, PromiseDocument,
        StateDocument, TestimonyDocument, Time,
    },
    fault::Fault,
    ledger,
    status::View,
};

mod words;

pub use words::{Names, told};

/// Nothing of a ledger is ever changed by reading it.
const UNCHANGED: &str = "the ledger was left as it is";

/// What was read.
struct Reading {
    audit: Audit,
    /// The first entry that is not one, and why.
    bad: Option<(u64, String)>,
    torn_bytes: u64,
}

/// Reads the ledger in `dir` to its end, or to the first entry that does not follow. `seen` is shown every entry that does,
/// together with what was read before it and after it.
fn read(dir: &Path, mut seen: impl FnMut(&LedgerEntry, &Audit) -> bool) -> Result<Reading, Fault> {
    let (frames, rest) = ledger::look(dir).map_err(|error| unreadable(dir, error))?;
    let mut reading = Reading { audit: Audit::default(), bad: None, torn_bytes: 0 };
    let entries = frames.len() as u64;
    for (frame, number) in frames.iter().zip(0..) {
        match reading.audit.read(frame, &Ed25519) {
            Ok(entry) if seen(&entry, &reading.audit) => {}
            Ok(_) => return Ok(reading),
            Err(bad) => {
                reading.bad = Some((number, chain_of(&bad)));
                return Ok(reading);
            }
        }
    }
    match rest {
        Rest::None => {}
        Rest::Torn { bytes } => reading.torn_bytes = bytes,
        Rest::Damaged => {
            let text = "its bytes do not match their checksum: they were changed, or a disk lost them";
            reading.bad = Some((entries, text.to_owned()));
        }
    }
    Ok(reading)
}

fn chain_of(bad: &BadEntry) -> String {
    let mut text = bad.to_string();
    let mut cause = std::error::Error::source(bad);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn unreadable(dir: &Path, error: LogError) -> Fault {
    let remedy = "give the folder of a coordinator with --dir DIR, as a user who may read it";
    Fault::new("ledger-unreadable", format!("there is no readable ledger in {}", dir.display()), UNCHANGED, remedy)
        .because(error)
}

/// Checks the ledger in `dir`: its chain, every seal, every promise.
///
/// # Errors
/// Only if it cannot be read at all: what does not hold is in the document. See [`verdict`].
pub fn verify(dir: &Path) -> Result<AuditDocument, Fault> {
    let reading = read(dir, |_, _| true)?;
    let (audit, judge) = (&reading.audit, reading.audit.judge());
    let names = words::names(audit.ledger());
    let name = |node: &NodeId| words::name(&names, node);
    let mut promises: BTreeMap<String, PromiseDocument> =
        SHOWN.iter().map(|promise| ((*promise).to_owned(), Default::default())).collect();
    for (promise, checked) in judge.checked() {
        promises.entry((*promise).to_owned()).or_default().checked = *checked;
    }
    for one in judge.violations() {
        let broken = BrokenPromise { entry: one.entry, host: one.host.as_ref().map(name), text: one.text.clone() };
        promises.entry(one.promise.to_owned()).or_default().violations.push(broken);
    }
    let excused = judge.excused().iter().map(|one| ExcusedDocument {
        entry: one.entry,
        host: name(&one.host),
        lease: one.lease.as_ref().map(LeaseId::to_string),
        because: one.because.clone(),
    });
    let said = audit.testimonies();
    let denial = |one: &Denial| BrokenPromise { entry: one.entry, host: Some(name(&one.host)), text: one.text.clone() };
    let testimonies = TestimonyDocument {
        checked: said.checked,
        excused: said.excused,
        violations: said.denials.iter().map(denial).collect(),
    };
    // A host's word comes before the entry that was read last.
    let denied = testimonies.violations.first().map(|one| (one.entry, denied(one)));
    let bad = denied.or(reading.bad.clone());
    Ok(AuditDocument {
        schema: AuditDocument::SCHEMA.to_owned(),
        author: audit.author().map(|author| author.to_string()),
        entries: audit.head().entries,
        head: words::hex(&audit.head().hash),
        torn_bytes: reading.torn_bytes,
        chain: ChainDocument {
            ok: bad.is_none(),
            first_bad: bad.as_ref().map(|(number, _)| *number),
            text: bad.map(|(_, text)| text),
        },
        testimonies,
        promises,
        excused: excused.collect(),
    })
}

/// Whether the ledger holds.
///
/// # Errors
/// `promise-broken` or `ledger-broken` names the first entry that does not, and how.
pub fn verdict(document: &AuditDocument) -> Result<(), Fault> {
    let broken = document
        .promises
        .iter()
        .flat_map(|(name, promise)| promise.violations.iter().map(move |violation| (violation.entry, name, violation)));
    if let Some((entry, name, violation)) = broken.min_by_key(|(entry, ..)| *entry) {
        let host = violation.host.as_ref().map(|host| format!("{host}: ")).unwrap_or_default();
        let text = format!("entry {entry} breaks the promise {name}: {host}{}", violation.text);
        return Err(Fault::new("promise-broken", text, UNCHANGED, "see it with patchmesh audit export"));
    }
    match (document.chain.first_bad, &document.chain.text) {
        (Some(entry), Some(text)) => Err(broken_at(entry, text)),
        _ => Ok(()),
    }
}

fn denied(one: &BrokenPromise) -> String {
    format!("{} {}", one.host.as_deref().unwrap_or("a host"), one.text)
}

fn broken_at(entry: u64, text: &str) -> Fault {
    let remedy = "what comes after it proves nothing: compare it with a backup, and ask who could write there";
    Fault::new("ledger-broken", format!("entry {entry} of the ledger does not hold: {text}"), UNCHANGED, remedy)
}

/// Shows every entry of the ledger in `dir` to `show`, oldest first.
///
/// # Errors
/// As [`verify`], and what `show` says; `ledger-broken` after the last entry that holds.
pub fn export(dir: &Path, mut show: impl FnMut(EntryDocument) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut failed = None;
    let mut names = words::Names::default();
    let reading = read(dir, |entry, audit| match show(words::entry(entry, audit, &mut names)) {
        Ok(()) => true,
        Err(fault) => {
            failed = Some(fault);
            false
        }
    })?;
    match (failed, reading.bad) {
        (Some(fault), _) => Err(fault),
        (None, Some((entry, text))) => Err(broken_at(entry, &text)),
        (None, None) => Ok(()),
    }
}

/// How things stood at `at`, by the ledger in `dir`.
///
/// # Errors
/// As [`verify`]; `ledger-broken` if it does not hold up to then.
pub fn state(dir: &Path, at: WallTime) -> Result<StateDocument, Fault> {
    let (mut then, mut entries, mut last_entry) = (Ledger::default(), 0, None);
    let reading = read(dir, |entry, _| {
        // Clocks are set: what was written first happened first, and the first entry after `at` ends the past.
        let past = entry.at <= at;
        if past && then.fold(entry).is_ok() {
            (entries, last_entry) = (entries + 1, Some(Time(entry.at)));
        }
        past
    })?;
    if let Some((entry, text)) = reading.bad {
        return Err(broken_at(entry, &text));
    }
    let nodes = then.rollouts.values().flat_map(|state| state.plan.hosts.iter().map(|host| host.node));
    let heard = nodes.map(|node| (node, Contact { alive: true, ..Contact::default() }));
    let desk = Desk { contacts: heard.collect(), ..Desk::default() };
    let view = View { ledger: &then, desk: &desk, now: Now { wall: at, boot: BootTime::default() } };
    let mut rollouts: Vec<_> = then.rollouts.iter().map(|(id, state)| view.row(*id, state)).collect();
    rollouts.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(StateDocument {
        schema: StateDocument::SCHEMA.to_owned(),
        at: Time(at),
        entries,
        last_entry,
        rollouts,
        slots: slots(&then),
    })
}

fn slots(ledger: &Ledger) -> Vec<HeldSlot> {
    let held = ledger.leased.iter().filter_map(|(node, (rollout, lease))| {
        let state = ledger.rollouts.get(rollout)?;
        let at = *state.index.get(node)?;
        let Progress::Running { since, .. } = state.hosts[at].progress else { return None };
        Some(HeldSlot {
            host: state.plan.hosts[at].name.clone(),
            node_id: node.to_string(),
            rollout: rollout.to_string(),
            rollout_name: state.plan.name.clone(),
            lease: lease.to_string(),
            since: Time(since),
        })
    });
    let mut slots: Vec<_> = held.collect();
    slots.sort_by(|a, b| (&a.host, &a.node_id).cmp(&(&b.host, &b.node_id)));
    slots
}
