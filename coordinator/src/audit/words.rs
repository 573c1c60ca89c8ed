//! Entries of a ledger in words.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::{LeaseId, NodeId, RolloutId},
    membership::Membership,
    rollout::{
        approval::SignedVerdict,
        audit::Audit,
        intent::Intent,
        ledger::{Ledger, LedgerAct, LedgerEntry, report_of},
        limit::based,
        plan::{Plan, Rollout},
        ring_gate::RingVerdict,
        service::{Member, ServiceAct, ServiceSpec},
    },
    run::message::{Outcome, Report, SignedStop, StopScope},
    seal::Ed25519,
};

use crate::{api::document::EntryDocument, render::counted, watch::act_name};

/// Most hosts or services that one line names.
const MAX_LISTED: usize = 8;

/// The names that plans give.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// To members.
    hosts: BTreeMap<NodeId, String>,
    /// To rings, in order.
    rings: BTreeMap<RolloutId, Vec<String>>,
}

impl Names {
    /// Learns those of a plan that `act` starts; of several for one member the last counts.
    pub fn learn(&mut self, act: &LedgerAct) {
        if let LedgerAct::Started(rollout) = act {
            self.learn_plan(rollout.id, &rollout.plan);
        }
    }

    fn learn_plan(&mut self, id: RolloutId, plan: &Plan) {
        self.hosts.extend(plan.hosts.iter().map(|host| (host.node, host.name.clone())));
        self.rings.insert(id, plan.rings.iter().map(|ring| ring.name.clone()).collect());
    }

    /// The ring of that number, from 0, by its name; by its number, from 1, if nobody named it.
    fn ring(&self, rollout: &RolloutId, ring: u16) -> String {
        let named = self.rings.get(rollout).and_then(|rings| rings.get(usize::from(ring)));
        named.cloned().unwrap_or_else(|| (u32::from(ring) + 1).to_string())
    }
}

/// Every name that some plan of `ledger` gives to a member; of several the newest plan's.
pub(super) fn names(ledger: &Ledger) -> Names {
    let mut states: Vec<_> = ledger.rollouts.iter().collect();
    states.sort_by_key(|(_, state)| state.started_at);
    let mut names = Names::default();
    states.into_iter().for_each(|(id, state)| names.learn_plan(*id, &state.plan));
    names
}

/// The name of a member, or its key.
pub(super) fn name(names: &Names, node: &NodeId) -> String {
    names.hosts.get(node).cloned().unwrap_or_else(|| node.to_string())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whom and what an entry is about.
#[derive(Default)]
struct About {
    by: Option<String>,
    rollout: Option<RolloutId>,
    host: Option<NodeId>,
    lease: Option<LeaseId>,
    text: String,
}

/// `entry`, which `audit` read last. `names` learns from it.
pub(super) fn entry(entry: &LedgerEntry, audit: &Audit, names: &mut Names) -> EntryDocument {
    names.learn(&entry.act);
    let head = audit.head();
    let about = about(&entry.act, names);
    let rollout_name = about.rollout.and_then(|id| audit.ledger().rollouts.get(&id)).map(|state| &state.plan.name);
    EntryDocument {
        schema: EntryDocument::SCHEMA.to_owned(),
        entry: head.entries - 1,
        at: entry.at.rfc3339_millis(),
        act: act_name(&entry.act).to_owned(),
        by: about.by.unwrap_or_else(|| "coordinator".to_owned()),
        rollout: about.rollout.map(|id| id.to_string()),
        rollout_name: rollout_name.cloned(),
        host: about.host.map(|host| name(names, &host)),
        node_id: about.host.map(|host| host.to_string()),
        lease: about.lease.map(|lease| lease.to_string()),
        text: about.text,
        hash: hex(&head.hash),
    }
}

/// What an act is called, who did it, and what it says, for those who have no ledger file. `names` has learned
/// from it and from those before it.
pub fn told(act: &LedgerAct, names: &Names) -> [String; 3] {
    let About { by, host, text, .. } = about(act, names);
    let by = by.unwrap_or_else(|| "coordinator".to_owned());
    let host = host.map(|host| name(names, &host)).filter(|host| *host != by);
    [act_name(act).to_owned(), by, host.map_or_else(|| text.clone(), |host| format!("{host}: {text}"))]
}

fn about(act: &LedgerAct, names: &Names) -> About {
    let of = |rollout: &RolloutId, text: &str| About { rollout: Some(*rollout), text: text.into(), ..About::default() };
    let host_of = |host: &NodeId| (Some(*host), Some(name(names, host)));
    match act {
        LedgerAct::EpochOpened { epoch, continued } => {
            let known =
                if *continued { "every lease that is out is known" } else { "leases may be out that are not known" };
            About { text: format!("epoch {}.{} was opened; {known}", epoch.serial, epoch.counter), ..About::default() }
        }
        LedgerAct::Adopted { host, held } => {
            let text = held.map_or("holds no lease".to_owned(), |(lease, _)| format!("holds lease {lease}"));
            let (host, by) = host_of(host);
            About { by, host, rollout: held.map(|(_, id)| id), lease: held.map(|(lease, _)| lease), text }
        }
        LedgerAct::Started(rollout) => {
            About { by: Some(rollout.by.clone()), text: started(rollout), ..of(&rollout.id, "") }
        }
        LedgerAct::Granted { rollout, host, lease, attempt, .. } => {
            let text = format!("Go for attempt {attempt}: a slot is held from here on");
            About { host: Some(*host), lease: Some(*lease), text, ..of(rollout, "") }
        }
        LedgerAct::Reported { evidence } => {
            let (host, by) = host_of(&evidence.author);
            match report_of(evidence) {
                Ok(report) => {
                    About { by, host, lease: Some(report.lease), text: reported(&report), ..of(&report.rollout, "") }
                }
                Err(error) => About { by, host, text: error.to_string(), ..About::default() },
            }
        }
        LedgerAct::Returned { rollout, host, lease, refusal } => {
            let (host, by) = host_of(host);
            let text = format!("refused before anything began ({}): {}", refusal.code.as_str(), refusal.text);
            About { by, host, lease: Some(*lease), text, ..of(rollout, "") }
        }
        LedgerAct::Refused { rollout, host, refusal } => {
            let (host, by) = host_of(host);
            let text = format!("is not asked again ({}): {}", refusal.code.as_str(), refusal.text);
            About { by, host, text, ..of(rollout, "") }
        }
        LedgerAct::Paused { rollout, by } => {
            About { by: Some(by.clone()), ..of(rollout, "paused: nothing new starts until resume") }
        }
        LedgerAct::Resumed { rollout, by } => About { by: Some(by.clone()), ..of(rollout, "resumed") },
        LedgerAct::Halted { rollout } => {
            let why =
                "more hosts failed than maxErrors, or a host or ring failed its gates, or a hook that halts failed";
            of(rollout, &format!("halted: {why}; nothing starts any more"))
        }
        LedgerAct::Stopped { rollout, sequence, by } => {
            About { by: Some(by.clone()), ..of(rollout, &format!("stopped, by order {sequence}")) }
        }
        LedgerAct::Ended { rollout } => of(rollout, "ended: nothing moves any more"),
        LedgerAct::Ordered { evidence } => ordered(evidence),
        LedgerAct::Released { host, lease, held, by, because } => {
            let text = format!("its slot, held as {}, was released: {because}", held.as_str());
            About { by: Some(by.clone()), host: Some(*host), lease: *lease, text, ..About::default() }
        }
        LedgerAct::StepSettled { rollout, ring, step, without } => of(
            rollout,
            &settled(&format!("ring {}, step {}", names.ring(rollout, *ring), u32::from(*step) + 1), without, names),
        ),
        LedgerAct::RingSettled { rollout, ring, without } => {
            of(rollout, &settled(&format!("ring {}", names.ring(rollout, *ring)), without, names))
        }
        LedgerAct::Approved { evidence } | LedgerAct::Rejected { evidence } => judged(evidence, names),
        LedgerAct::Service(act) => service(act, names),
        LedgerAct::RingAsked { rollout, ring, attempt } => {
            of(rollout, &format!("the gates of ring {} are asked, attempt {attempt}", names.ring(rollout, *ring)))
        }
        LedgerAct::RingGated { rollout, ring, attempt, verdict } => {
            let said = match verdict {
                RingVerdict::Passed => "passed".to_owned(),
                RingVerdict::Failed { gate, text } => format!("failed at gate {gate}: {text}"),
            };
            let ring = names.ring(rollout, *ring);
            of(rollout, &format!("the gates of ring {ring}, attempt {attempt}: {said}"))
        }
        LedgerAct::Intent { intent, by } => About { by: Some(by.clone()), text: intended(intent), ..About::default() },
    }
}

fn intended(intent: &Intent) -> String {
    match intent {
        Intent::Created { kind, name, digest } => {
            format!("{} {name} is to be kept; blake3 {}", kind.as_str(), hex(digest))
        }
        Intent::Replaced { kind, name, digest } => {
            format!("{} {name} is to be replaced; blake3 {}", kind.as_str(), hex(digest))
        }
        Intent::Deleted { kind, name } => format!("{} {name} is to be deleted", kind.as_str()),
        Intent::Registered { group, baseline } => format!("patch group {group:?} gets baseline {baseline}"),
        Intent::Deregistered { group, baseline } => format!("patch group {group:?} loses baseline {baseline}"),
        Intent::MadeDefault { baseline } => {
            format!("baseline {baseline} becomes the default of its operating system")
        }
    }
}

fn service(act: &ServiceAct, names: &Names) -> About {
    let of = |by: &String, text: String| About { by: Some(by.clone()), text, ..About::default() };
    let seen = |text: String| About { text, ..About::default() };
    match act {
        ServiceAct::Kept { spec, by } => of(by, kept(spec)),
        ServiceAct::Dropped { name, by } => of(by, format!("service {name} holds no more")),
        ServiceAct::Fleet { limit: Some(limit) } => {
            seen(format!("at most {} of all rollouts hold a slot at once", counted(*limit as usize, "host")))
        }
        ServiceAct::Fleet { limit: None } => seen("no limit over all rollouts any more".to_owned()),
        ServiceAct::Members { changed } => {
            let member = |member: &Member| match member.of.is_empty() {
                true => format!("{} is in no service", member.name),
                false => format!("{} is in {}", member.name, listed(member.of.keys().cloned())),
            };
            seen(listed(changed.iter().map(member)))
        }
        ServiceAct::Seen { absent, back } => {
            let down = absent.iter().map(|(node, _)| format!("{} is down", name(names, node)));
            seen(listed(down.chain(back.iter().map(|node| format!("{} is up", name(names, node))))))
        }
        ServiceAct::Probed { service, passed, failed } => {
            let told = |word: &'static str| move |node| format!("{} {word}", name(names, node));
            let said = failed.iter().map(told("does not pass")).chain(passed.iter().map(told("passes")));
            seen(format!("the probe of service {service}: {}", listed(said)))
        }
    }
}

/// The first of `parts`, and how many more there are.
fn listed(parts: impl Iterator<Item = String>) -> String {
    let mut parts: Vec<_> = parts.collect();
    let more = parts.len().saturating_sub(MAX_LISTED);
    parts.truncate(MAX_LISTED);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts.join(", ")
}

fn kept(spec: &ServiceSpec) -> String {
    let selector = listed(spec.selector.iter().map(|(key, value)| format!("{key}={value}")));
    let spread = spec.spread.as_ref().map(|tag| format!(", those down with one {tag}"));
    let least = spec.min_available.given();
    let probe = spec.probe.as_ref().map(|probe| format!(", members must pass {}", probe.name()));
    let (spread, probe) = (spread.unwrap_or_default(), probe.unwrap_or_default());
    format!("service {}: {least} of {selector} stay up{spread}{probe}", spec.name)
}

fn settled(what: &str, without: &[NodeId], names: &Names) -> String {
    let passed: Vec<_> = without.iter().map(|host| name(names, host)).collect();
    match passed.is_empty() {
        true => format!("{what} settled"),
        false => format!("{what} settled without {}, which kept silent", passed.join(", ")),
    }
}

/// An operator's word on a ring, with its signer's name as its membership says.
fn judged(evidence: &SignedVerdict, names: &Names) -> About {
    let Ok((by, verdict)) = evidence.read() else {
        let by = Some(evidence.verdict.author.to_string());
        return About { by, text: "a word on a ring that does not decode".into(), ..About::default() };
    };
    let word = if verdict.approve { "approved" } else { "rejected" };
    let because = if verdict.because.is_empty() { String::new() } else { format!(": {}", verdict.because) };
    let text = format!("{word} ring {}{because}", names.ring(&verdict.rollout, verdict.ring));
    About { by: Some(by), rollout: Some(verdict.rollout), text, ..About::default() }
}

fn started(rollout: &Rollout) -> String {
    let plan = &rollout.plan;
    let (hosts, limit, errors) = (plan.hosts.len(), &plan.max_concurrency, &plan.max_errors);
    let because = plan.because.as_ref().map(|text| format!("; outside of windows: {text}")).unwrap_or_default();
    format!(
        "{:?} on {}: maxConcurrency {}, maxErrors {}; plan {}{because}",
        plan.operation,
        counted(hosts, "host"),
        based(&limit.given, limit.resolved, hosts),
        based(&errors.given, errors.resolved, hosts),
        hex(&plan.hash)
    )
}

fn reported(report: &Report) -> String {
    let outcome = match report.outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Deferred => "deferred",
    };
    let why = report.error.as_ref().map(|error| format!(" ({})", error.code)).unwrap_or_default();
    format!("{outcome}{why}: {} changed", counted(report.packages.len(), "package"))
}

/// An order of another member, with its signer's name as its membership says.
fn ordered(evidence: &SignedStop) -> About {
    let signer = evidence.credential.membership.open::<Membership>(&Ed25519);
    let by = Some(signer.map_or_else(|_| evidence.order.author.to_string(), |signer| signer.name));
    let Ok(order) = evidence.read() else {
        return About { by, text: "an order that does not decode".into(), ..About::default() };
    };
    let what = if order.stop { "STOP" } else { "resume" };
    let (rollout, scope) = match order.scope {
        StopScope::All => (None, "everything"),
        StopScope::Rollout(id) => (Some(id), "the rollout"),
    };
    About { by, rollout, text: format!("{what} of {scope}, order {}", order.sequence), ..About::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::{ID, World};

    #[test]
    fn rings_are_called_by_their_names_and_counted_from_one_where_nobody_named_them() {
        let plan = World::new(1, 0, vec![]).view().ledger.rollouts[&ID].plan.clone();
        let mut names = Names::default();
        let said = |names: &Names| {
            let step = LedgerAct::StepSettled { rollout: ID, ring: 0, step: 0, without: vec![] };
            let asked = LedgerAct::RingAsked { rollout: ID, ring: 0, attempt: 1 };
            [step, asked].map(|act| told(&act, names)[2].clone())
        };
        assert_eq!(said(&names), ["ring 1, step 1 settled", "the gates of ring 1 are asked, attempt 1"]);
        let started = Rollout { id: ID, plan, by: "ops".into(), replans: None };
        names.learn(&LedgerAct::Started(Box::new(started)));
        assert_eq!(said(&names), ["ring all, step 1 settled", "the gates of ring all are asked, attempt 1"]);
    }
}
