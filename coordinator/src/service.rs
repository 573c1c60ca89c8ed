//! What the API is answered with: reads and commands on the coordinator actor.

use std::{collections::BTreeMap, sync::Arc};

use actix::{Addr, Context};
use futures::channel::oneshot;
use patchmesh_common::{
    id::{NodeId, RolloutId},
    patch::{
        Baseline,
        baseline::OperatingSystem,
        snapshot::{Choice, Rules, Snapshot},
    },
    rollout::{
        Operation, RebootOption,
        approval::SignedVerdict,
        controller::{Event, last_step},
        intent::Intent,
        ledger::{Ledger, Progress, RolloutState as Standing},
        plan::{ExcludedHost, PlannedHost},
        service::ServiceSpec,
        spec::RolloutSpec,
        survey::Found,
    },
    run::message::{SignedStop, StopScope},
    selector::Selector,
    time::WallTime,
};
use patchmesh_node::{
    api::{
        document::{LeaseEnd, OrdersDocument, StopDocument, is_host},
        orders,
    },
    clock,
    peer::{KnownHost, PeerActor},
};
use tokio::sync::mpsc;

use crate::{
    actor::{Ask, CoordinatorActor},
    api::{
        Answer, Service, WATCH_QUEUE,
        document::{
            AppliedDocument, CommandDocument, CommandsDocument, ComplianceDocument, Estimate, Excluded, Frozen,
            HistoryDocument, HostDocument, HostRow, HostsDocument, KeptDocument, PatchesDocument, PlanDocument,
            PlanHost, PoliciesDocument, PolicyDocument, ReleaseDocument, ReleaseRequest, RolloutDocument,
            RolloutsDocument, ServiceDocument, ServicesDocument, SlotsDocument, StepsDocument, SurveysDocument, Time,
            WaitingDocument, WatchEvent, WhyDocument, WindowDocument, WindowListDocument,
        },
        not_found, uncanonical,
    },
    fault::Fault,
    snapshots::Snapshots,
    status::View,
    store::Store,
};

use self::{freeze::Question, thaw::thaw};

/// How long a plan may be applied, in milliseconds: a day is long enough for a review.
const PLAN_LIFETIME: i64 = 24 * 3600 * 1000;
/// Hosts that an error names one by one.
const MAX_NAMED: usize = 4;

/// The service over one actor.
#[derive(Clone)]
pub struct Coordinator {
    actor: Addr<CoordinatorActor>,
    peer: Addr<PeerActor>,
    store: Arc<Store>,
    snapshots: Snapshots,
    trying: Arc<due::Trying>,
    replanning: Arc<due::Trying<RolloutId>>,
    writing: Arc<logs::Writing>,
}

/// Why a plan is started.
enum Starts {
    /// Somebody asks for it.
    By(String),
    /// It is due: of a policy, or of a task.
    Due(String),
    /// It plans this rollout again.
    Replan(RolloutId),
}

impl Coordinator {
    /// The service over `actor`, whose mesh peer is `peer`, and what is kept in `store` and `snapshots`.
    pub fn new(actor: Addr<CoordinatorActor>, peer: Addr<PeerActor>, store: Arc<Store>, snapshots: Snapshots) -> Self {
        Self {
            actor,
            peer,
            store,
            snapshots,
            trying: Arc::default(),
            replanning: Arc::default(),
            writing: Arc::default(),
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut CoordinatorActor, &mut Context<CoordinatorActor>) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask(Box::new(move |actor, cx| {
            // The client may have gone: what was done stays done, and is in the ledger.
            let _ = reply.send(work(actor, cx));
        }));
        let busy = || Fault::new("busy", "the coordinator is busy", "nothing was changed", "try again");
        self.actor.try_send(ask).map_err(|_| busy())?;
        answer.await.map_err(|_| busy())
    }

    async fn operate(
        &self,
        id: String,
        event: impl FnOnce(RolloutId) -> Event + Send + 'static,
    ) -> Result<RolloutDocument, Fault> {
        self.ask(move |actor, cx| {
            let rollout = find(&actor.status(), &id)?.0;
            if let Some(end) = actor.status().ledger.rollouts.get(&rollout).and_then(|state| state.ended_at) {
                let text = format!("rollout {id} ended at {}", end.rfc3339());
                return Err(Fault::new("rollout-ended", text, "nothing was changed", "apply a new plan"));
            }
            actor.feed(event(rollout), cx);
            let view = actor.status();
            find(&view, &id).map(|(id, state)| view.recap(id, state))
        })
        .await?
    }

    async fn make_plan(&self, spec: RolloutSpec) -> Result<PlanDocument, Fault> {
        self.judge_urgent(&spec).await?;
        self.judge_ring_gates(&spec.ring_gates, "nothing was planned").await?;
        let openings = freeze::openings(&spec, &self.store, clock::now().wall)?;
        freeze::reboot_in(&spec, &openings)?;
        let question = self.question(&spec).await?;
        let (asked, with) = (spec.clone(), question.clone());
        let Found { planned, excluded, rings } = self
            .ask(move |actor, _| actor.survey(&asked, with))
            .await??
            .await
            .map_err(|_| Fault::new("busy", "the survey was dropped", "nothing was planned", "plan again"))?;
        let now = clock::now().wall;
        let empty = spec.rings.iter().zip(&rings).find(|(_, hosts)| **hosts == 0);
        if let Some((ring, _)) = empty {
            return Err(empty_ring(&ring.name, &excluded));
        }
        let frozen = Frozen { openings, ..self.freeze(&spec, question, &planned, now).await? };
        let (of, on) = (spec.clone(), planned.clone());
        let (expected, claims) = self
            .ask(move |actor, _| {
                let ledger = actor.status().ledger;
                (estimates(ledger, &of, &on), recheck::claimed(ledger, &on))
            })
            .await?;
        let mut left = planned.iter().zip(expected).map(|(host, estimate_seconds)| {
            let planned = PlanHost::new(host.name.clone(), host.node.to_string(), &host.transaction, spec.reboot);
            PlanHost { estimate_seconds, ..planned }
        });
        let hosts = rings.iter().map(|count| left.by_ref().take(*count as usize).collect()).collect();
        let excluded = excluded
            .into_iter()
            .map(|host| Excluded {
                node_id: Some(host.node.to_string()),
                waiting: WaitingDocument {
                    code: host.code,
                    text: format!("{}; {}", host.text, host.remedy),
                    command: Some(format!("patchmesh why host {}", host.name)),
                },
                host: host.name,
            })
            .collect();
        let times = (Time(now), Time(WallTime(now.0.saturating_add(PLAN_LIFETIME))));
        let plan = PlanDocument::new(&spec, frozen, times, hosts, excluded);
        plan.and_then(|plan| plan.claimed_by(claims)).map_err(uncanonical)
    }

    /// Works on what is kept, on a thread that may wait for the disk: the mesh shares the other one.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Snapshots) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let kept = self.snapshots.clone();
        tokio::task::spawn_blocking(move || work(&kept)).await.unwrap_or_else(|error| {
            Err(Fault::new("busy", "the files were not read to their end", "nothing was planned", "plan again")
                .because(error))
        })
    }

    /// What the hosts of `spec` are asked with.
    async fn question(&self, spec: &RolloutSpec) -> Result<Question, Fault> {
        let systems = self.ask(|actor, _| actor.members().iter().filter_map(operating_system).collect()).await?;
        let (store, spec, at) = (self.store.clone(), spec.clone(), clock::now().wall);
        let read = move |kept: &Snapshots| {
            store.read().and_then(|library| freeze::question(&spec, &library, kept, &systems, at))
        };
        let mut question = self.on_disk(read).await?;
        if let Question::By(snapshot) = &mut question
            && snapshot.rules.needs_sightings()
        {
            let heard = self.ask(|actor, _| actor.hear_witnesses()).await?.await;
            snapshot.rules.first_seen = heard.unwrap_or_default();
        }
        question.sendable()
    }

    /// Keeps what the hosts were asked with, and what they resolved.
    async fn freeze(
        &self,
        spec: &RolloutSpec,
        question: Question,
        planned: &[PlannedHost],
        now: WallTime,
    ) -> Result<Frozen, Fault> {
        let rules = match question {
            Question::Plain(Baseline::All) => Snapshot::new(now, Rules::plain(Choice::All), None),
            Question::Plain(Baseline::Security) => Snapshot::new(now, Rules::plain(Choice::Security), None),
            Question::By(snapshot) => *snapshot,
        };
        let facts = self.ask(|actor, _| facts(actor.members())).await?;
        let (named, operation, planned) = (spec.baseline.plain().is_none(), spec.operation, planned.to_vec());
        self.on_disk(move |kept| {
            let asked = if named { Some(kept.keep(&rules)?) } else { None };
            let versions = match (operation, &rules.versions) {
                (Operation::Scan, _) => None,
                // Promoted as it is: what one fleet took of it is no smaller snapshot.
                (Operation::Install, Some(_)) => asked,
                (Operation::Install, None) => {
                    freeze::versions(&rules, &planned, &facts).map(|frozen| kept.keep(&frozen)).transpose()?
                }
            };
            Ok(Frozen { rules: asked, versions, openings: Vec::new() })
        })
        .await
    }

    async fn start(&self, document: PlanDocument, starts: Starts) -> Result<AppliedDocument, Fault> {
        let now = clock::now().wall;
        recheck::unexpired(&document, now)?;
        if let Ok(spec) = RolloutSpec::try_from(document.spec.clone()) {
            self.judge_urgent(&spec).await?;
        }
        let claims = document.claims.clone();
        let plan = thaw(document, now)?;
        self.judge_ring_gates(&plan.ring_gates, "nothing was started").await?;
        self.ask(move |actor, cx| {
            if let Some(known) = recheck::applied(&actor.status(), &plan) {
                return Ok(AppliedDocument::new(known.to_string(), false));
            }
            // Of what nobody has read nothing has to be read again: hosts of another rollout are waited for.
            if matches!(starts, Starts::By(_)) {
                freeze::still_open(&plan.openings, now)?;
                recheck::unclaimed(actor.status().ledger, &claims, &plan.hosts)?;
            }
            let id = RolloutId(actor.draw());
            let plan = Box::new(plan);
            match starts {
                Starts::By(by) | Starts::Due(by) => actor.feed(Event::Apply { id, plan, by }, cx),
                Starts::Replan(of) => {
                    actor.feed(Event::Replan { id, of, plan }, cx);
                    if !actor.status().ledger.rollouts.contains_key(&id) {
                        return Err(replans::not_due(of));
                    }
                }
            }
            Ok(AppliedDocument::new(id.to_string(), true))
        })
        .await?
    }
}

impl Service for Coordinator {
    fn hosts(&self) -> Answer<'_, HostsDocument> {
        Box::pin(self.ask(|actor, _| HostsDocument::from(actor.members())))
    }

    fn host(&self, name: String) -> Answer<'_, HostDocument> {
        Box::pin(async move {
            self.ask(move |actor, _| {
                let host = actor.members().iter().find(|host| host.membership.name == name);
                host.map(document).ok_or_else(|| not_found("host", &name))
            })
            .await?
        })
    }

    fn compliance(&self, selector: Selector) -> Answer<'_, ComplianceDocument> {
        Box::pin(self.ask(move |actor, _| ComplianceDocument::of(actor.members(), &selector)))
    }

    fn patches(&self, name: String) -> Answer<'_, PatchesDocument> {
        Box::pin(async move {
            let (node, report) = self.report(&name).await?;
            Ok(PatchesDocument::new(name, node.to_string(), report))
        })
    }

    fn history(&self, name: String) -> Answer<'_, HistoryDocument> {
        Box::pin(async move {
            let (node, report) = self.report(&name).await?;
            Ok(HistoryDocument::new(name, node.to_string(), report))
        })
    }

    fn why_host(&self, name: String) -> Answer<'_, WhyDocument> {
        Box::pin(async move {
            let asked = self.ask(move |actor, _| {
                why::host(&actor.status(), actor.members(), &name).ok_or_else(|| not_found("host", &name))
            });
            let (mut why, waits) = asked.await??;
            why.chain.extend(waits.iter().filter_map(|(id, name)| self.not_replanned(*id, name)));
            Ok(why)
        })
    }

    fn why_rollout(&self, id: String) -> Answer<'_, WhyDocument> {
        Box::pin(async move {
            let asked = self.ask(move |actor, _| {
                let view = actor.status();
                find(&view, &id).map(|(id, state)| (id, state.plan.name.clone(), why::rollout(&view, id, state)))
            });
            let (id, name, mut why) = asked.await??;
            why.chain.extend(self.not_replanned(id, &name));
            Ok(why)
        })
    }

    fn why_patch(&self, name: String) -> Answer<'_, WhyDocument> {
        Box::pin(self.ask(move |actor, _| why::patch(&actor.status(), &name)))
    }

    fn plan(&self, spec: RolloutSpec) -> Answer<'_, PlanDocument> {
        Box::pin(self.make_plan(spec))
    }

    fn surveys(&self) -> Answer<'_, SurveysDocument> {
        Box::pin(self.ask(|actor, _| actor.surveys()))
    }

    fn apply(&self, plan: PlanDocument, by: String) -> Answer<'_, AppliedDocument> {
        Box::pin(self.start(plan, Starts::By(by)))
    }

    fn recheck(&self, plan: PlanDocument) -> Answer<'_, ()> {
        Box::pin(self.ask_again(plan))
    }

    fn rollouts(&self) -> Answer<'_, RolloutsDocument> {
        Box::pin(self.ask(|actor, _| {
            let view = actor.status();
            RolloutsDocument::new(view.ledger.rollouts.iter().map(|(id, state)| view.row(*id, state)).collect())
        }))
    }

    fn rollout(&self, id: String) -> Answer<'_, RolloutDocument> {
        Box::pin(async move {
            self.ask(move |actor, _| {
                let view = actor.status();
                find(&view, &id).map(|(id, state)| view.recap(id, state))
            })
            .await?
        })
    }

    fn steps(&self, id: String, host: Option<String>) -> Answer<'_, StepsDocument> {
        Box::pin(async move {
            self.ask(move |actor, _| {
                let view = actor.status();
                find(&view, &id).and_then(|(id, state)| steps::steps(&view, id, state, host.as_deref()))
            })
            .await?
        })
    }

    fn commands(&self) -> Answer<'_, CommandsDocument> {
        Box::pin(self.ask(|actor, _| commands::list(&actor.status())))
    }

    fn command(&self, id: String) -> Answer<'_, CommandDocument> {
        Box::pin(async move {
            self.ask(move |actor, _| {
                let view = actor.status();
                find(&view, &id).and_then(|(id, state)| commands::show(&view, id, state))
            })
            .await?
        })
    }

    fn watch(&self, id: String) -> Answer<'_, mpsc::Receiver<WatchEvent>> {
        Box::pin(async move {
            self.ask(move |actor, _| {
                let rollout = find(&actor.status(), &id)?.0;
                Ok(actor.watch(rollout, WATCH_QUEUE))
            })
            .await?
        })
    }

    fn pause(&self, id: String, by: String) -> Answer<'_, RolloutDocument> {
        Box::pin(self.operate(id, |rollout| Event::Pause { rollout, by }))
    }

    fn resume(&self, id: String, by: String) -> Answer<'_, RolloutDocument> {
        Box::pin(self.operate(id, |rollout| Event::Resume { rollout, by }))
    }

    fn stop(&self, id: String, by: String) -> Answer<'_, RolloutDocument> {
        Box::pin(self.operate(id, |rollout| Event::Stop { rollout, by }))
    }

    fn verdict(&self, id: String, signed: SignedVerdict) -> Answer<'_, RolloutDocument> {
        Box::pin(self.take_verdict(id, signed))
    }

    fn slots(&self) -> Answer<'_, SlotsDocument> {
        Box::pin(self.list_slots())
    }

    fn release(&self, host: String, asked: ReleaseRequest) -> Answer<'_, ReleaseDocument> {
        Box::pin(self.release_slot(host, asked))
    }

    fn services(&self) -> Answer<'_, ServicesDocument> {
        Box::pin(self.list_services())
    }

    fn service(&self, name: String) -> Answer<'_, ServiceDocument> {
        Box::pin(self.show_service(name))
    }

    fn keep_service(&self, spec: ServiceSpec, by: String) -> Answer<'_, KeptDocument> {
        Box::pin(self.take_service(spec, by))
    }

    fn drop_service(&self, name: String, by: String) -> Answer<'_, KeptDocument> {
        Box::pin(self.delete_service(name, by))
    }

    fn intend(&self, intent: Intent, by: String) -> Answer<'_, ()> {
        Box::pin(self.note_intent(intent, by))
    }

    fn store(&self) -> Arc<Store> {
        self.store.clone()
    }

    fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    fn policies(&self) -> Answer<'_, PoliciesDocument> {
        Box::pin(self.list_policies())
    }

    fn policy(&self, name: String) -> Answer<'_, PolicyDocument> {
        Box::pin(async move { self.describe_policy(&name).await })
    }

    fn windows(&self) -> Answer<'_, WindowListDocument> {
        Box::pin(self.list_windows())
    }

    fn window(&self, name: String) -> Answer<'_, WindowDocument> {
        Box::pin(self.describe_window(name))
    }

    fn orders(&self) -> Answer<'_, OrdersDocument> {
        Box::pin(async move { Ok(orders::list(&self.peer).await?) })
    }

    fn order(&self, signed: SignedStop) -> Answer<'_, StopDocument> {
        Box::pin(async move {
            let order = orders::give(&self.peer, signed).await?;
            self.standing(order.scope).await
        })
    }

    fn standing(&self, scope: StopScope) -> Answer<'_, StopDocument> {
        Box::pin(async move {
            let (order, members) = orders::standing(&self.peer, scope).await?;
            self.ask(move |actor, _| {
                let ledger = actor.status().ledger;
                StopDocument::new(order, &members, |host| lease_end(ledger, &host.node))
            })
            .await
        })
    }
}

/// How long each of the planned hosts is expected to take. One with nothing to do takes no time.
fn estimates(ledger: &Ledger, spec: &RolloutSpec, planned: &[PlannedHost]) -> Vec<Estimate> {
    let expected = ledger.durations.expect(spec.operation, spec.reboot);
    let of = |host: &PlannedHost| {
        if spec.operation == Operation::Install && host.transaction.is_empty() {
            return Estimate { p50: Some(0), p95: Some(0) };
        }
        let found = expected.of(&host.node, ledger.reboots.get(&host.node));
        Estimate { p50: found.map(|found| found.p50.into()), p95: found.map(|found| found.p95.into()) }
    };
    planned.iter().map(of).collect()
}

/// When `node` begins its last disruptive step, as far as this ledger knows.
fn lease_end(ledger: &Ledger, node: &NodeId) -> LeaseEnd {
    if ledger.foreign.contains_key(node) || (ledger.discontinuous && !ledger.adopted.contains(node)) {
        return LeaseEnd::Unknown;
    }
    let Some((rollout, _)) = ledger.leased.get(node) else { return LeaseEnd::None };
    let state = ledger.rollouts.get(rollout);
    let reboot = state.map_or(RebootOption::Never, |state| state.plan.reboot);
    let host = state.and_then(|state| state.index.get(node).map(|at| &state.hosts[*at].progress));
    match host {
        Some(Progress::Running { since, opening, .. }) => LeaseEnd::Until(last_step(*since, opening, reboot)),
        _ => LeaseEnd::Unknown,
    }
}

/// The rollout with this id, or the newest with this name.
fn find<'a>(view: &View<'a>, id: &str) -> Result<(RolloutId, &'a Standing), Fault> {
    let ledger = view.ledger;
    let by_id = RolloutId::parse(id).and_then(|id| ledger.rollouts.get_key_value(&id));
    let by_name = || {
        let named = ledger.rollouts.iter().filter(|(_, state)| state.plan.name == id);
        named.max_by_key(|(_, state)| state.started_at)
    };
    by_id.or_else(by_name).map(|(id, state)| (*id, state)).ok_or_else(|| not_found("rollout", id))
}

/// A ring without hosts would settle at once, and the next one would begin without what it was to show.
fn empty_ring(ring: &str, excluded: &[ExcludedHost]) -> Fault {
    let left_out = excluded.iter().take(MAX_NAMED).map(|host| format!("{} ({})", host.name, host.code));
    let left_out: Vec<_> = left_out.collect();
    let text = match excluded.len() {
        0 => format!("ring {ring} selects no target that an earlier ring does not have"),
        count => {
            let more = if count > left_out.len() { ", …" } else { "" };
            format!("ring {ring} has no host that could be planned; left out are {}{more}", left_out.join(", "))
        }
    };
    Fault::new("ring-empty", text, "nothing was planned", "change what it selects, mend its hosts, or leave it out")
}

fn document(host: &KnownHost) -> HostDocument {
    let body = &host.record.body;
    HostDocument {
        schema: HostDocument::SCHEMA.to_owned(),
        row: HostRow::from(host),
        manager: body.facts.manager.clone(),
        kernel: body.facts.kernel.clone(),
        agent_version: body.facts.agent_version.clone(),
        addresses: body.addresses.clone(),
        scanned_at: body.scanned_at.map(Time),
        membership_expires: Some(Time(host.membership.expires)),
    }
}

fn operating_system(host: &KnownHost) -> Option<OperatingSystem> {
    let facts = &host.record.body.facts;
    OperatingSystem::of_host(&facts.os, &facts.os_version).filter(|_| is_host(host))
}

fn facts(members: &[KnownHost]) -> BTreeMap<NodeId, (String, String)> {
    let of = |host: &KnownHost| {
        let facts = &host.record.body.facts;
        (host.node, (facts.os.clone(), facts.os_version.clone()))
    };
    members.iter().map(of).collect()
}

mod commands;
mod due;
pub mod freeze;
mod gates;
mod kept;
mod logs;
mod recheck;
mod replans;
mod reports;
mod services;
mod slots;
mod steps;
mod thaw;
mod tidying;
pub mod urgent;
mod verdicts;
pub mod why;

#[cfg(test)]
mod tests;
