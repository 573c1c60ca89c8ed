//! Services stay up, in truth: whatever a ledger says of their members.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::{LeaseId, NodeId},
    rollout::{Operation, probe::PROBE_FRESH},
};

use super::{DeskBook, Promise, Record, Seen};
use crate::{
    scenario::SILENT_AFTER,
    truth::{Spot, Truth},
};

/// The promise.
pub(super) const STATEMENT: &str = "no Go is saved that would leave a service below its minAvailable, counting as down every host \
    that is down for longer than its silence takes to be noticed, leased, at work, released but unheard, or failing its probe for \
    longer than what it showed before counts";

/// How long a dead host may count as up after its last word has arrived, in milliseconds: a link that is cut is noticed late, and
/// silence later. A partition may hold the word itself back for longer.
const NOTICED: u64 = SILENT_AFTER + 60_000;

#[derive(Clone, Debug)]
struct Kept {
    least: u32,
    members: BTreeSet<NodeId>,
    probed: bool,
}

/// Knows which hosts run, what they are at work on, and what every ledger holds; members are those of the scenario.
#[derive(Default)]
pub(super) struct Availability {
    kept: BTreeMap<Spot, BTreeMap<String, Kept>>,
    /// Machines that run an identity.
    running: BTreeMap<NodeId, BTreeSet<Spot>>,
    /// Since when no machine does.
    down: BTreeMap<NodeId, u64>,
    live: BTreeMap<Spot, (LeaseId, NodeId)>,
    held: BTreeMap<(Spot, NodeId), LeaseId>,
    /// When a view last took a newer record of a member.
    believed: BTreeMap<(Spot, NodeId), u64>,
    unheard: BTreeMap<(Spot, LeaseId), NodeId>,
    /// Since when, and until when, an identity fails its probe.
    ails: BTreeMap<NodeId, (u64, u64)>,
}

impl Availability {
    fn free(&mut self, spot: Spot, host: NodeId, lease: LeaseId) -> bool {
        let holds = self.held.get(&(spot, host)) == Some(&lease);
        if holds {
            self.held.remove(&(spot, host));
        }
        holds
    }

    /// Why `node` counts as down for this coordinator, if it does.
    fn why_down(&self, desk: Spot, node: NodeId, at: u64, probed: bool) -> Option<&'static str> {
        let fails = |(since, until): &(u64, u64)| at < *until && u128::from(at - since) > PROBE_FRESH.as_millis();
        if probed && self.ails.get(&node).is_some_and(fails) {
            return Some("failing its probe");
        }
        let word = self.believed.get(&(desk, node)).copied().unwrap_or(0);
        if self.down.get(&node).is_some_and(|since| at - word.max(*since) > NOTICED) {
            return Some("down");
        }
        if self.live.values().any(|(_, host)| *host == node) {
            return Some("at work");
        }
        if self.unheard.iter().any(|((spot, _), host)| (*spot, *host) == (desk, node)) {
            return Some("released");
        }
        self.held.contains_key(&(desk, node)).then_some("leased")
    }

    fn go(&mut self, desk: Spot, host: NodeId, at: u64, record: &mut Record) {
        let kept = self.kept.get(&desk).into_iter().flatten().filter(|(_, kept)| kept.members.contains(&host));
        for (name, Kept { least, members, probed }) in kept {
            let others = || members.iter().filter(|node| **node != host);
            let down: Vec<_> =
                others().filter_map(|node| Some((*node, self.why_down(desk, *node, at, *probed)?))).collect();
            let up = others().count() - down.len();
            record.demand("availability", at, &[desk], up >= *least as usize, || {
                let down: Vec<_> = down.iter().map(|(node, why)| format!("{node} {why}")).collect();
                let all = members.len();
                format!("a Go was saved that leaves {up} of the {all} members of {name} up; {least} must be: {down:?}")
            });
        }
    }
}

impl Promise for Availability {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        let Seen { at, spot, node, truth, excused } = seen;
        match truth {
            Truth::Serves { service, least: Some(least), members, probed } => {
                let kept = Kept { least: *least, members: members.iter().copied().collect(), probed: *probed };
                self.kept.entry(spot).or_default().insert(service.clone(), kept);
            }
            Truth::Serves { service, least: None, .. } => {
                self.kept.entry(spot).or_default().remove(service);
            }
            Truth::Ails { until } => {
                self.ails.insert(node, (at, *until));
            }
            Truth::Believed { author, .. } => {
                let serves = |kept: &BTreeMap<_, Kept>| kept.values().any(|kept| kept.members.contains(author));
                if self.kept.get(&spot).is_some_and(serves) {
                    self.believed.insert((spot, *author), at);
                }
            }
            Truth::Started { .. } | Truth::Resumed => {
                self.running.entry(node).or_default().insert(spot);
                self.down.remove(&node);
            }
            Truth::Died { .. } | Truth::Paused => {
                let running = self.running.entry(node).or_default();
                running.remove(&spot);
                if running.is_empty() {
                    self.down.entry(node).or_insert(at);
                }
            }
            Truth::GoSaved { host, lease, disrupts: true, .. } => {
                self.go(spot, *host, at, record);
                self.held.insert((spot, *host), *lease);
            }
            Truth::Folded { host, lease, .. } | Truth::Returned { host, lease, .. } => {
                self.free(spot, *host, *lease);
                self.unheard.remove(&(spot, *lease));
            }
            // It has said what it holds: what is still at work counts as that.
            Truth::Adopted(host) => {
                let live = |lease: &LeaseId| self.live.values().any(|(live, _)| live == lease);
                self.unheard.retain(|(desk, lease), of| (*desk, *of) != (spot, *host) || live(lease));
            }
            Truth::Released { host, lease: Some(lease) } if self.free(spot, *host, *lease) => {
                self.unheard.insert((spot, *lease), *host);
            }
            // A clone works under another's identity, which may be up beside it.
            Truth::Granted { lease, operation: Operation::Install, .. } if !excused => {
                self.live.insert(spot, (*lease, node));
            }
            Truth::Settled { lease, .. } if self.live.get(&spot).is_some_and(|(live, _)| live == lease) => {
                self.live.remove(&spot);
            }
            _ => {}
        }
    }

    fn replaced(&mut self, spot: Spot, desk: &DeskBook) {
        self.kept.remove(&spot);
        self.unheard.retain(|(other, _), _| *other != spot);
        self.held.retain(|(other, _), _| *other != spot);
        let held = desk.values().filter(|book| book.disrupts).flat_map(|book| &book.held);
        self.held.extend(held.map(|(node, lease)| ((spot, *node), *lease)));
    }
}
