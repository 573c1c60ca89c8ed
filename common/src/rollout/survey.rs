//! Asks every target what its package manager would do, and freezes the answers. Changes nothing.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::{
    Operation,
    plan::{ExcludedBecause, ExcludedHost, PlannedHost},
    spec::{RolloutSpec, Targets},
};
use crate::{
    gossip::Mode,
    id::NodeId,
    inventory::Transaction,
    run::message::{Refusal, RefusalCode, Resolution},
    time::BootTime,
};

/// How long a host that the mesh hears may take to resolve: a refresh over a slow line and a large simulation.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often an unanswered question is repeated.
pub const REPEAT: Duration = Duration::from_secs(5);

/// A host that could be a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The member.
    pub node: NodeId,
    /// Its name in the mesh.
    pub name: String,
    /// Its tags, the issuer's over its own.
    pub tags: BTreeMap<String, String>,
    /// Observe or enforce.
    pub mode: Mode,
    /// Whether the mesh hears it.
    pub alive: bool,
    /// How late it starts for its services' sake: see [`super::service::Services::rank`].
    pub rank: u8,
}

/// Why nothing is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SurveyError {
    /// The targets name hosts that nobody knows.
    #[error("no host is called {}", .0.join(", "))]
    Unknown(Vec<String>),
    /// The targets match no host.
    #[error("the targets match none of the {0} known hosts")]
    Nobody(usize),
}

/// What came of the questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By ring; in each those that start last come last, otherwise by name.
    pub planned: Vec<PlannedHost>,
    /// Targets that are left out.
    pub excluded: Vec<ExcludedHost>,
    /// How many of `planned` each ring has, in order.
    pub rings: Vec<u32>,
}

/// One round of questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    operation: Operation,
    asks: bool,
    /// How many there are.
    rings: usize,
    /// With the ring of each, if one selects it.
    targets: Vec<(Option<usize>, Candidate)>,
    /// Those of the targets that are to be asked and have not answered: kept per answer, because every answer asks for them.
    open: BTreeSet<NodeId>,
    nodes: BTreeSet<NodeId>,
    answers: BTreeMap<NodeId, Result<Resolution, Refusal>>,
    asked: BootTime,
    deadline: BootTime,
}

impl Survey {
    /// Chooses the targets of `spec` among `known`.
    ///
    /// # Errors
    /// [`SurveyError`] if a named host is unknown or nothing matches.
    pub fn begin(spec: &RolloutSpec, known: Vec<Candidate>, now: BootTime) -> Result<Self, SurveyError> {
        let all = known.len();
        let there: BTreeSet<String> =
            known.iter().flat_map(|host| [host.name.clone(), host.node.to_string()]).collect();
        let named = |targets: &'_ Targets| match targets {
            Targets::Names(names) => names.iter().filter(|name| !there.contains(*name)).cloned().collect(),
            _ => Vec::new(),
        };
        let unknown: BTreeSet<String> =
            spec.rings.iter().map(|ring| &ring.selects).chain([&spec.targets]).flat_map(named).collect();
        if !unknown.is_empty() {
            return Err(SurveyError::Unknown(unknown.into_iter().collect()));
        }
        let targets = known.into_iter().filter(|host| spec.targets.admits(&host.name, &host.node, &host.tags));
        let mut targets: Vec<_> =
            targets.map(|host| (spec.ring_of(&host.name, &host.node, &host.tags), host)).collect();
        if targets.is_empty() {
            return Err(SurveyError::Nobody(all));
        }
        targets.sort_by(|(_, a), (_, b)| (a.rank, &a.name, a.node).cmp(&(b.rank, &b.name, b.node)));
        let (operation, asks, deadline) = (spec.operation, spec.asks(), now.plus(PATIENCE));
        let asked =
            |(ring, host): &&(Option<usize>, Candidate)| asks && ring.is_some() && host.alive && may(operation, host);
        Ok(Self {
            operation,
            asks,
            rings: spec.rings.len().max(1),
            open: targets.iter().filter(asked).map(|(_, host)| host.node).collect(),
            nodes: targets.iter().map(|(_, host)| host.node).collect(),
            targets,
            answers: BTreeMap::new(),
            asked: now,
            deadline,
        })
    }

    /// Hosts that are to be asked and have not answered. Silent hosts are not asked, and for an Install not those that observe; a
    /// Scan by what no host has to be given asks nobody.
    pub fn pending(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.open.iter().copied()
    }

    /// Whether the pending questions are to be repeated now; if so, the next time is later.
    pub fn repeats(&mut self, now: BootTime) -> bool {
        let due = now.since(self.asked) >= REPEAT;
        if due {
            self.asked = now;
        }
        due
    }

    /// Keeps the answer of a host that was asked. One that is busy with others' questions is asked again.
    pub fn answered(&mut self, node: NodeId, result: Result<Resolution, Refusal>) {
        if !self.nodes.contains(&node) {
            return;
        }
        if !result.as_ref().is_err_and(|no| no.code == RefusalCode::Busy) {
            self.open.remove(&node);
        } else if self.answers.contains_key(&node) {
            // An answer that was overtaken by a repeated question.
            return;
        }
        self.answers.insert(node, result);
    }

    /// The mesh as it is seen now: whoever it does not hear any more has nothing to answer with, and is left out.
    pub fn see(&mut self, alive: &BTreeSet<NodeId>) {
        let answers = &mut self.answers;
        self.open.retain(|node| {
            let heard = alive.contains(node);
            if !heard {
                answers.remove(node);
            }
            heard
        });
    }

    /// Whose answer is waited for, by name.
    pub fn waits_for(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter(|(_, host)| self.open.contains(&host.node)).map(|(_, host)| host.name.as_str())
    }

    /// How many of the targets have answered or are not asked, and how many there are.
    pub fn progress(&self) -> (usize, usize) {
        (self.targets.len() - self.open.len(), self.targets.len())
    }

    /// Whether nobody is left to wait for.
    pub fn is_over(&self, now: BootTime) -> bool {
        now >= self.deadline || self.open.is_empty()
    }

    /// The planned hosts by ring, rank and name, and the targets that are left out.
    pub fn freeze(mut self) -> Found {
        let mut found = Found { rings: vec![0; self.rings], ..Found::default() };
        let mut planned = Vec::new();
        for (ring, host) in core::mem::take(&mut self.targets) {
            let outcome = match ring {
                Some(ring) => self.outcome(&host).map(|transaction| (ring, transaction)),
                None => Err(no_ring()),
            };
            match outcome {
                Ok((ring, transaction)) => {
                    found.rings.iter_mut().skip(ring).take(1).for_each(|hosts| *hosts += 1);
                    planned.push((ring, PlannedHost { node: host.node, name: host.name, transaction }));
                }
                Err((because, code, text, remedy)) => {
                    found.excluded.push(ExcludedHost { node: host.node, name: host.name, because, code, text, remedy });
                }
            }
        }
        // By rank and name within a ring, as the targets are.
        planned.sort_by_key(|(ring, _)| *ring);
        found.planned = planned.into_iter().map(|(_, host)| host).collect();
        found
    }

    fn outcome(&mut self, host: &Candidate) -> Result<Transaction, LeftOut> {
        let silent = || {
            let remedy = format!("start its daemon, then plan again; see: patchmesh why host {}", host.name);
            Err((ExcludedBecause::Silent, "silent".into(), "the host did not answer".into(), remedy))
        };
        if !host.alive {
            return silent();
        }
        if !self.asks {
            return Ok(Transaction::default());
        }
        if !may(self.operation, host) {
            let code = RefusalCode::ObserveMode.as_str().to_owned();
            let text = "the host's own file does not say mode = \"enforce\"".to_owned();
            let remedy = "set mode = \"enforce\" in the host's configuration file and restart its daemon".to_owned();
            return Err((ExcludedBecause::Observing, code, text, remedy));
        }
        match self.answers.remove(&host.node) {
            Some(Ok(resolution)) => Ok(resolution.transaction),
            Some(Err(no)) => Err((ExcludedBecause::Refused, no.code.as_str().to_owned(), no.text, no.remedy)),
            None => silent(),
        }
    }
}

/// Why a target is left out: the kind of reason, its word, the reason, and what to do.
type LeftOut = (ExcludedBecause, String, String, String);

fn no_ring() -> LeftOut {
    let remedy = "add a last ring with all: true for the rest, or take the host out of the targets".to_owned();
    (ExcludedBecause::NoRing, "no-ring".into(), "no ring of the rollout selects it".into(), remedy)
}

fn may(operation: Operation, host: &Candidate) -> bool {
    operation == Operation::Scan || host.mode == Mode::Enforce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{
        OnSuperseded, RebootOption,
        limit::Ramp,
        spec::{Asked, RingSpec},
    };

    fn spec(targets: Targets, operation: Operation) -> RolloutSpec {
        RolloutSpec {
            urgent: None,
            name: "wave".into(),
            operation,
            targets,
            baseline: Asked::All,
            install_list: None,
            max_concurrency: "1".parse().unwrap(),
            max_errors: "0".parse().unwrap(),
            openings: vec![],
            windows: vec![],
            blackouts: vec![],
            reboot: RebootOption::Never,
            hook_timeout: Duration::from_secs(1),
            on_hook_failure: Default::default(),
            rings: vec![],
            ramp: Ramp::Full,
            gates: Vec::new(),
            ring_gates: Vec::new(),
            on_superseded: OnSuperseded::Skip,
        }
    }

    fn ring(name: &str, selects: Targets) -> RingSpec {
        let (steps, wait, bake) = (vec![], Duration::ZERO, Duration::ZERO);
        RingSpec { name: name.into(), selects, steps, wait, bake, approvals: 0 }
    }

    fn candidate(seed: u8, mode: Mode, alive: bool) -> Candidate {
        let tags = BTreeMap::from([("role".to_owned(), format!("r{}", seed % 2))]);
        Candidate { node: NodeId([seed; 32]), name: format!("host-{seed}"), tags, mode, alive, rank: 0 }
    }

    #[test]
    fn every_target_is_planned_or_excluded_with_a_reason() {
        let known = vec![
            candidate(4, Mode::Enforce, false),
            candidate(3, Mode::Observe, true),
            candidate(2, Mode::Enforce, true),
            candidate(1, Mode::Enforce, true),
        ];
        let mut survey = Survey::begin(&spec(Targets::All, Operation::Install), known, BootTime(0)).unwrap();
        assert_eq!(survey.pending().collect::<Vec<_>>(), [NodeId([1; 32]), NodeId([2; 32])]);
        let refusal = Refusal { code: RefusalCode::Locked, text: "held".into(), remedy: "wait".into() };
        survey.answered(NodeId([1; 32]), Err(refusal));
        assert!(!survey.is_over(BootTime(0)) && survey.is_over(BootTime(120_000)));
        let resolution = Resolution { transaction: Transaction::default(), counters: Default::default() };
        survey.answered(NodeId([2; 32]), Ok(resolution));
        assert!(survey.is_over(BootTime(0)));
        let Found { planned, excluded, rings } = survey.freeze();
        assert_eq!(rings, [1]);
        assert_eq!(planned.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["host-2"]);
        let codes: Vec<_> = excluded.iter().map(|host| (host.name.as_str(), host.code.as_str())).collect();
        assert_eq!(codes, [("host-1", "locked"), ("host-3", "observe-mode"), ("host-4", "silent")]);
    }

    #[test]
    fn a_busy_host_is_asked_again_until_the_deadline() {
        let known = vec![candidate(2, Mode::Enforce, true), candidate(4, Mode::Enforce, true)];
        let mut survey = Survey::begin(&spec(Targets::All, Operation::Install), known, BootTime(0)).unwrap();
        let busy = Refusal { code: RefusalCode::Busy, text: "two at work".into(), remedy: "ask again".into() };
        survey.answered(NodeId([2; 32]), Err(busy.clone()));
        survey.answered(NodeId([4; 32]), Err(busy));
        assert_eq!(survey.pending().count(), 2);
        let resolution = Resolution { transaction: Transaction::default(), counters: Default::default() };
        survey.answered(NodeId([2; 32]), Ok(resolution));
        let late = Refusal { code: RefusalCode::Busy, text: "two at work".into(), remedy: "ask again".into() };
        survey.answered(NodeId([2; 32]), Err(late));
        assert_eq!(survey.progress(), (1, 2), "an answer stands, whatever a repeated question met");
        assert!(!survey.is_over(BootTime(0)) && survey.is_over(BootTime(120_000)));
        let Found { planned, excluded, rings } = survey.freeze();
        assert_eq!(planned.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["host-2"]);
        assert_eq!(excluded.iter().map(|host| host.code.as_str()).collect::<Vec<_>>(), ["busy"]);
        assert_eq!(rings, [1]);
    }

    #[test]
    fn whom_the_mesh_does_not_hear_any_more_is_not_waited_for() {
        let known = vec![candidate(2, Mode::Enforce, true), candidate(4, Mode::Enforce, true)];
        let mut survey = Survey::begin(&spec(Targets::All, Operation::Install), known, BootTime(0)).unwrap();
        assert_eq!(survey.waits_for().collect::<Vec<_>>(), ["host-2", "host-4"]);
        let busy = Refusal { code: RefusalCode::Busy, text: "two at work".into(), remedy: "ask again".into() };
        survey.answered(NodeId([4; 32]), Err(busy));
        survey.see(&[NodeId([2; 32]), NodeId([4; 32])].into());
        assert!(!survey.is_over(BootTime(0)));
        survey.see(&[NodeId([2; 32])].into());
        assert_eq!(survey.waits_for().collect::<Vec<_>>(), ["host-2"]);
        let resolution = Resolution { transaction: Transaction::default(), counters: Default::default() };
        survey.answered(NodeId([2; 32]), Ok(resolution));
        assert!(survey.is_over(BootTime(0)), "long before the deadline");
        let Found { planned, excluded, .. } = survey.freeze();
        assert_eq!(planned.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["host-2"]);
        assert_eq!(excluded.iter().map(|host| host.code.as_str()).collect::<Vec<_>>(), ["silent"]);
    }

    #[test]
    fn rings_come_in_order_and_whom_none_selects_is_left_out_unasked() {
        let odd = Targets::Labels([("role".to_owned(), "r1".to_owned())].into());
        let mut ringed = spec(Targets::All, Operation::Install);
        ringed.rings = vec![ring("canary", Targets::Names(["host-3".to_owned()].into())), ring("odd", odd)];
        let known = || (1..=5).map(|seed| candidate(seed, Mode::Enforce, true)).collect::<Vec<_>>();
        let mut survey = Survey::begin(&ringed, known(), BootTime(0)).unwrap();
        let pending: Vec<_> = survey.pending().collect();
        assert_eq!(pending, [1, 3, 5].map(|seed| NodeId([seed; 32])), "whom no ring selects is not asked");
        for node in pending {
            survey.answered(node, Ok(Resolution { transaction: Transaction::default(), counters: Default::default() }));
        }
        let Found { planned, excluded, rings } = survey.freeze();
        let names: Vec<_> = planned.iter().map(|host| host.name.as_str()).collect();
        assert_eq!((names, rings), (vec!["host-3", "host-1", "host-5"], vec![1, 2]));
        let codes: Vec<_> = excluded.iter().map(|host| (host.name.as_str(), host.code.as_str())).collect();
        assert_eq!(codes, [("host-2", "no-ring"), ("host-4", "no-ring")]);
        ringed.rings[0].selects = Targets::Names(["host-9".to_owned()].into());
        let error = Survey::begin(&ringed, known(), BootTime(0)).unwrap_err();
        assert_eq!(error, SurveyError::Unknown(vec!["host-9".into()]), "a canary that does not exist is a mistake");
    }

    #[test]
    fn whoever_starts_last_comes_last_in_its_ring_and_no_earlier_step_has_it() {
        let ranked = |seed: u8, rank: u8| Candidate { rank, ..candidate(seed, Mode::Enforce, true) };
        let mut ringed = spec(Targets::All, Operation::Scan);
        let canary = Targets::Names(["host-1".to_owned(), "host-2".to_owned()].into());
        ringed.rings = vec![ring("canary", canary), ring("rest", Targets::All)];
        let known = vec![ranked(1, 1), ranked(2, 0), ranked(3, 2), ranked(4, 1), ranked(5, 0)];
        let found = Survey::begin(&ringed, known, BootTime(0)).unwrap().freeze();
        let names: Vec<_> = found.planned.iter().map(|host| host.name.as_str()).collect();
        assert_eq!(names, ["host-2", "host-1", "host-5", "host-4", "host-3"]);
    }

    #[test]
    fn a_scan_asks_nobody_and_targets_that_do_not_exist_are_named() {
        let known = || vec![candidate(1, Mode::Observe, true), candidate(2, Mode::Enforce, true)];
        let survey = Survey::begin(&spec(Targets::All, Operation::Scan), known(), BootTime(0)).unwrap();
        assert!(survey.is_over(BootTime(0)));
        assert_eq!(survey.freeze().planned.len(), 2);
        let by_key = Targets::Names([NodeId([1; 32]).to_string()].into());
        let found = Survey::begin(&spec(by_key, Operation::Scan), vec![candidate(1, Mode::Enforce, true)], BootTime(0));
        assert_eq!(found.unwrap().freeze().planned[0].name, "host-1");
        let names = Targets::Names(["host-1".to_owned(), "nobody".to_owned()].into());
        let error = Survey::begin(&spec(names, Operation::Scan), known(), BootTime(0)).unwrap_err();
        assert_eq!(error, SurveyError::Unknown(vec!["nobody".into()]));
        let labels = Targets::Labels([("role".to_owned(), "none".to_owned())].into());
        assert_eq!(
            Survey::begin(&spec(labels, Operation::Scan), known(), BootTime(0)).unwrap_err(),
            SurveyError::Nobody(2)
        );
    }
}
