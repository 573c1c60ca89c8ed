//! Questions before a plan: what hosts answer is frozen and applied, for waves, for runs of policies and for what plans one of them again.

use patchmesh_common::{
    gossip::Presence,
    id::CommandId,
    patch::Baseline,
    rollout::{
        attempts::Start,
        controller::Event,
        plan::Plan,
        replan::Due,
        spec::RolloutSpec,
        survey::{Candidate, Found, Survey, SurveyError},
    },
    run::message::ToHost,
    schedule::Opening,
};
use rand::Rng;

use super::{Happening, World, desk::Desk, plans, rings};
use crate::truth::Spot;

/// What a plan is made for.
pub(super) enum For {
    /// A wave, by its number.
    Wave(usize),
    /// A run of a policy, in these openings.
    Run(Box<Start>, Vec<Opening>),
    /// A rollout again, in these openings.
    Again(Box<Due>, Vec<Opening>),
}

/// One round of questions before a plan.
pub(super) struct Asking {
    pub(super) of: For,
    pub(super) request: CommandId,
    pub(super) survey: Survey,
}

impl Asking {
    fn is_of_wave(&self) -> bool {
        matches!(self.of, For::Wave(_))
    }
}

impl Desk {
    /// Whether a run of a policy is being planned.
    pub(super) fn plans_runs(&self) -> bool {
        self.asking.iter().any(|asking| matches!(asking.of, For::Run(..)))
    }
}

impl World {
    /// Asks the targets of a wave what they would do. Answers whether anybody was there to be asked.
    pub(super) fn survey(&mut self, spot: Spot, number: usize) -> bool {
        let Some(spec) = self.scenario.waves.get(number).and_then(|wave| plans::spec(number, wave)) else {
            return false;
        };
        let busy = self.seats[spot as usize].desk().is_none_or(|desk| desk.asking.iter().any(Asking::is_of_wave));
        !busy && self.ask_all(spot, &spec, For::Wave(number)).is_some_and(|asked| asked.is_ok())
    }

    /// Asks the targets of `spec` what they would do; `None` if the machine is switched off.
    pub(super) fn ask_all(&mut self, spot: Spot, spec: &RolloutSpec, of: For) -> Option<Result<(), SurveyError>> {
        let seat = &mut self.seats[spot as usize];
        let (now, life) = (seat.clock.now(self.now), seat.life);
        let hosts = seat.gossip.as_ref().map(|gossip| gossip.hosts())?;
        let desk = seat.desk_mut()?;
        let ledger = desk.ledger();
        let known = hosts.into_iter().filter(|host| !host.own).map(|host| Candidate {
            node: host.node,
            name: host.membership.name.clone(),
            tags: host.record.body.tags.clone(),
            mode: host.record.body.mode,
            alive: host.presence == Presence::Alive,
            rank: ledger.services.rank(&host.node),
        });
        let survey = match Survey::begin(spec, known.collect(), now.boot) {
            Ok(survey) => survey,
            Err(error) => return Some(Err(error)),
        };
        let request = CommandId(u128::from(desk.chance.next_u64()).to_be_bytes());
        desk.asking.push(Asking { of, request, survey });
        self.ask(spot, request);
        self.after(200, Happening::Survey { spot, life, request });
        Some(Ok(()))
    }

    fn ask(&mut self, spot: Spot, request: CommandId) {
        let Some(desk) = self.seats[spot as usize].desk() else { return };
        let asking = desk.asking.iter().filter(|asking| asking.request == request);
        let asked: Vec<_> = asking.flat_map(|asking| asking.survey.pending()).collect();
        for to in asked {
            self.command(spot, to, ToHost::Resolve { request, baseline: Baseline::All });
        }
    }

    pub(super) fn survey_on(&mut self, spot: Spot, request: CommandId) {
        let seat = &mut self.seats[spot as usize];
        let (now, life) = (seat.clock.now(self.now), seat.life);
        let Some(desk) = seat.desk_mut() else { return };
        let Some(at) = desk.asking.iter().position(|asking| asking.request == request) else { return };
        let survey = &mut desk.asking[at].survey;
        if !survey.is_over(now.boot) {
            if survey.repeats(now.boot) {
                self.ask(spot, request);
            }
            return self.after(1_000, Happening::Survey { spot, life, request });
        }
        let Asking { of, survey, .. } = desk.asking.remove(at);
        let found = survey.freeze();
        match of {
            For::Wave(number) => self.apply_wave(spot, number, found),
            For::Run(start, openings) => self.apply_run(spot, &start, openings, found),
            For::Again(due, openings) => self.apply_again(spot, &due, openings, found),
        }
    }

    fn apply_wave(&mut self, spot: Spot, number: usize, found: Found) {
        let now = self.seats[spot as usize].clock.now(self.now);
        let Found { planned: hosts, excluded, .. } = found;
        let Some(wave) = self.scenario.waves.get(number).filter(|_| !hosts.is_empty()).cloned() else { return };
        let Some(spec) = plans::spec(number, &wave) else { return };
        let rings = plans::planned(&wave, hosts.len());
        let plan = Plan { hosts, excluded, rings, created_at: now.wall, ..plans::plan(&spec, &wave) };
        let id = self.rollout_id(number);
        if let Some(ringed) = rings::ringed(id, &plan) {
            self.tell(spot, ringed);
        }
        self.desk_event(spot, Event::Apply { id, plan: Box::new(plan), by: "operator".into() });
        if self.is_applied(number) {
            self.applied(number);
        }
    }
}
