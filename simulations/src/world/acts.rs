//! Acts on a host: hooks, the package manager and its runner, which outlives the daemon, reboots, scans.

use patchmesh_common::{
    id::{LeaseId, RolloutId},
    inventory::Transaction,
    patch::PatchCounters,
    run::{
        HookPoint, Phase,
        act::{Act, ActEnd, ActId, Adoption, Guard, HooksEnd, TransactionEnd, Verdict, Verified},
        compare::compare,
        message::{Refusal, RefusalCode, Resolution},
    },
};

use super::{Happening, World, host::Host};
use crate::{
    fault::{Kind, Moment},
    packages::Installed,
    truth::{Spot, Step, Truth},
};

/// How often a host's daemon looks whether its runner has ended, in milliseconds.
const LOOK: u64 = 500;
/// One in so many databases that are left unclean stays so until somebody comes who knows what to do.
const STUBBORN: u64 = 3;

/// A runner's folder.
#[derive(Clone, Debug)]
pub(super) struct Run {
    transaction: Transaction,
    guard: Guard,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Started, has not claimed its folder.
    Launched,
    /// Kept from starting for ever.
    Revoked,
    /// The package manager works.
    Working,
    /// The package manager works; the runner above it is gone, so nobody will write down how it ended.
    Orphaned,
    /// Has a result.
    Finished(TransactionEnd),
    /// Gone without a result.
    Dead,
}

/// What happens next in a runner.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunnerStage {
    lease: LeaseId,
    attempt: u32,
    part: Part,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// Claims its folder, checks for the last time, starts the package manager.
    Claim,
    /// Half of the packages are unpacked.
    Unpack,
    /// The package manager ends; it fails if so.
    End { fails: bool, clean: bool },
}

/// A question to the package manager whose answer is made when it ends.
#[derive(Clone, Debug)]
pub(super) enum Look {
    Resolve,
    Check(Transaction),
    Verify(LeaseId, Transaction),
    Repair(LeaseId, Transaction, String),
    Gates(LeaseId, RolloutId),
    Probe,
}

impl World {
    pub(super) fn start_act(&mut self, spot: Spot, id: ActId, act: Act) {
        if let Act::Hooks { guard: Some(guard), .. } | Act::Reboot { guard } = &act {
            let now = self.seats[spot as usize].clock.now(self.now);
            let Some(saved) = self.seats[spot as usize].host().map(Host::journal) else { return };
            if let Some((code, text)) = guard.refuses(&saved, now) {
                return self.end_act(spot, 1, id, ActEnd::Declined { code: code.into(), text });
            }
        }
        let slow = if self.seats[spot as usize].slow_until > self.now { 6_000 } else { 0 };
        let look = |world: &mut Self, least, most, look| {
            let pause = world.seats[spot as usize].chance.between(least, most) + slow;
            let life = world.seats[spot as usize].life;
            world.after(pause, Happening::Look { spot, life, act: id, look: Box::new(look) });
        };
        match act {
            Act::Resolve { .. } | Act::ResolveBy { .. } => look(self, 300, 3_000, Look::Resolve),
            // Nobody asks: reports are no part of what is proved here.
            Act::Patches | Act::Sightings => {}
            Act::Probe { .. } => self.ask_probe(spot, id),
            Act::Check { transaction, .. } => look(self, 300, 3_000, Look::Check(transaction)),
            Act::Verify { lease, expected, .. } => look(self, 200, 1_500, Look::Verify(lease, expected)),
            Act::Repair { lease, transaction, because, .. } => {
                look(self, 1_000, 8_000, Look::Repair(lease, transaction, because));
            }
            Act::Hooks { point, attempt, timeout, .. } => self.hooks(spot, id, point, attempt, timeout),
            Act::Gates { lease, rollout, .. } => look(self, 50, 5_000, Look::Gates(lease, rollout)),
            Act::Transaction { lease, attempt, transaction, guard, .. } => {
                let Some(host) = self.seats[spot as usize].host_mut() else { return };
                let set = host.installed.set();
                host.before.entry(lease).or_insert(set);
                host.runs.insert((lease, attempt), Run { transaction, guard, stage: Stage::Launched });
                host.waiting = Some((id, lease, attempt));
                let pause = self.seats[spot as usize].chance.between(20, 600);
                self.runner_after(spot, pause, RunnerStage { lease, attempt, part: Part::Claim });
            }
            Act::Adopt { lease, attempt } => self.adopt(spot, id, lease, attempt),
            Act::Reboot { .. } => self.ask_for_reboot(spot, id),
        }
    }

    fn end_act(&mut self, spot: Spot, pause: u64, act: ActId, end: ActEnd) {
        let life = self.seats[spot as usize].life;
        self.after(pause, Happening::ActEnd { spot, life, act, end: Box::new(end) });
    }

    pub(super) fn act_ended(&mut self, spot: Spot, act: ActId, end: ActEnd) {
        if let ActEnd::Hooks(hooks) = &end
            && let Some(run) = self.seats[spot as usize].host().and_then(|host| host.machine.journal().run.as_ref())
            && let Some(point) = point_of(run.last.phase)
        {
            let truth = Truth::HookEnded { lease: run.lease.id, point, ok: hooks.error.is_none() };
            self.tell(spot, truth);
        }
        self.run_event(spot, patchmesh_common::run::machine::Event::Ended { act, end });
    }

    fn step(&mut self, spot: Spot, lease: LeaseId, rollout: patchmesh_common::id::RolloutId, step: Step) {
        let now = self.now;
        let seat = &self.seats[spot as usize];
        let (clocks, boot, error) = (seat.clock.now(now), seat.boot_id(), seat.clock.error(now));
        self.tell(spot, Truth::Step { lease, rollout, step, now: clocks, boot, error });
    }

    fn hooks(&mut self, spot: Spot, id: ActId, point: HookPoint, attempt: u32, timeout: u32) {
        let Some((lease, rollout)) = self.seats[spot as usize].host().and_then(|host| host.machine.journal().held())
        else {
            return;
        };
        match point {
            HookPoint::PreInstall => self.step(spot, lease, rollout, Step::PreInstall),
            HookPoint::PostInstall => self.step(spot, lease, rollout, Step::PostInstall),
            HookPoint::PostReboot | HookPoint::OnExit => {}
        }
        self.tell(spot, Truth::Hook { lease, rollout, point, attempt });
        let mut pause = self.seats[spot as usize].chance.between(100, 4_000);
        let (mut error, mut timed_out) = (None, false);
        match self.chaos.strike(self.now, spot, Moment::Hook).map(|fault| fault.kind) {
            Some(Kind::HookHang) => {
                pause = u64::from(timeout) * 1000;
                error = Some(String::from("10-drain did not end in time and was killed"));
                timed_out = true;
                self.chaos.effective(Kind::HookHang.word());
            }
            Some(kind) => {
                error = Some(String::from("10-drain ended with 1"));
                self.chaos.effective(kind.word());
            }
            None => {}
        }
        self.end_act(spot, pause, id, ActEnd::Hooks(HooksEnd { error, timed_out, output: String::new() }));
    }

    fn runner_after(&mut self, spot: Spot, pause: u64, stage: RunnerStage) {
        let boots = self.seats[spot as usize].boots;
        self.after(pause, Happening::Runner { spot, boots, stage });
    }

    pub(super) fn runner(&mut self, spot: Spot, boots: u32, stage: RunnerStage) {
        let seat = &self.seats[spot as usize];
        if !seat.powered || seat.boots != boots {
            return;
        }
        if seat.paused_until > self.now {
            let pause = seat.paused_until - self.now;
            return self.runner_after(spot, pause, stage);
        }
        match stage.part {
            Part::Claim => self.claim(spot, stage),
            Part::Unpack => {
                let Some((host, run)) = self.run_of(spot, stage) else { return };
                if matches!(run.stage, Stage::Working | Stage::Orphaned) {
                    let half = run.transaction.changes.len().div_ceil(2);
                    host.installed.unpack(&run.transaction, half);
                }
            }
            Part::End { fails, clean } => self.finish_runner(spot, stage, fails, clean),
        }
    }

    fn run_of(&mut self, spot: Spot, stage: RunnerStage) -> Option<(&mut Host, Run)> {
        let host = self.seats[spot as usize].host_mut()?;
        let run = host.runs.get(&(stage.lease, stage.attempt))?.clone();
        Some((host, run))
    }

    fn set_stage(&mut self, spot: Spot, stage: RunnerStage, next: Stage) {
        if let Some(host) = self.seats[spot as usize].host_mut()
            && let Some(run) = host.runs.get_mut(&(stage.lease, stage.attempt))
        {
            run.stage = next;
        }
    }

    fn claim(&mut self, spot: Spot, stage: RunnerStage) {
        let now = self.seats[spot as usize].clock.now(self.now);
        let Some((host, run)) = self.run_of(spot, stage) else { return };
        if !matches!(run.stage, Stage::Launched) {
            return;
        }
        let (guard, transaction) = (run.guard, run.transaction);
        if let Some((code, text)) = guard.refuses(&host.journal(), now) {
            let verdict = Verdict::Declined { code: code.into(), text };
            let end = TransactionEnd { verdict, output: String::new(), reboot_required: false, dirty: None };
            self.set_stage(spot, stage, Stage::Finished(end));
            return self.tell_runner_ended(spot, stage);
        }
        self.set_stage(spot, stage, Stage::Working);
        self.step(spot, stage.lease, guard.rollout, Step::Transaction);
        let struck = self.chaos.strike(self.now, spot, Moment::Install).is_some();
        let broken = struck || self.breaks(spot, &transaction);
        if broken {
            self.chaos.effective(Kind::PackageBroken.word());
        }
        let chance = &mut self.seats[spot as usize].chance;
        let takes = chance.between(2_000, 30_000);
        let clean = chance.once_in(2);
        self.runner_after(spot, takes / 2, RunnerStage { part: Part::Unpack, ..stage });
        self.runner_after(spot, takes, RunnerStage { part: Part::End { fails: broken, clean }, ..stage });
        self.disturb(spot, Moment::Runner);
    }

    fn finish_runner(&mut self, spot: Spot, stage: RunnerStage, fails: bool, clean: bool) {
        let Some((host, run)) = self.run_of(spot, stage) else { return };
        if !matches!(run.stage, Stage::Working | Stage::Orphaned) {
            return;
        }
        // Also a package that was unpacked before another one failed may ask.
        let reboot_required = Installed::asks_for_reboot(&run.transaction);
        if !fails {
            host.installed.unpack(&run.transaction, run.transaction.changes.len());
        }
        let heard = !fails && reboot_required && matches!(run.stage, Stage::Working);
        let unclean = heard && self.chaos.strike(self.now, spot, Moment::Installed).is_some();
        let Some(host) = self.seats[spot as usize].host_mut() else { return };
        if unclean {
            host.stubborn = host.packages.once_in(STUBBORN);
            self.chaos.effective(Kind::PackageUnclean.word());
        } else if clean || !fails {
            host.installed.configure();
        }
        let verdict = if fails { Verdict::Failed(String::from("postinst ended with 1")) } else { Verdict::Ok };
        let dirty = host.installed.dirty();
        let end = TransactionEnd { verdict, output: String::from("Setting up…"), reboot_required, dirty };
        let orphaned = matches!(run.stage, Stage::Orphaned);
        self.set_stage(spot, stage, if orphaned { Stage::Dead } else { Stage::Finished(end) });
        self.tell_runner_ended(spot, stage);
    }

    /// The daemon that waits for the runner, if one does, notices.
    fn tell_runner_ended(&mut self, spot: Spot, stage: RunnerStage) {
        let Some((host, run)) = self.run_of(spot, stage) else { return };
        let Some((act, ..)) =
            host.waiting.filter(|(_, lease, attempt)| (*lease, *attempt) == (stage.lease, stage.attempt))
        else {
            return;
        };
        host.waiting = None;
        let adoption = match run.stage {
            Stage::Finished(end) => Adoption::Finished(end),
            _ => Adoption::Dead,
        };
        if self.seats[spot as usize].up {
            let pause = self.seats[spot as usize].chance.between(1, LOOK);
            self.end_act(spot, pause, act, ActEnd::Adopted(adoption));
        }
    }

    fn adopt(&mut self, spot: Spot, id: ActId, lease: LeaseId, attempt: u32) {
        let Some(host) = self.seats[spot as usize].host_mut() else { return };
        let adoption = match host.runs.get_mut(&(lease, attempt)).map(|run| &mut run.stage) {
            None => Adoption::NeverStarted,
            Some(stage @ (Stage::Launched | Stage::Revoked)) => {
                *stage = Stage::Revoked;
                Adoption::NeverStarted
            }
            Some(Stage::Working | Stage::Orphaned) => {
                host.waiting = Some((id, lease, attempt));
                return;
            }
            Some(Stage::Finished(end)) => Adoption::Finished(end.clone()),
            Some(Stage::Dead) => Adoption::Dead,
        };
        let pause = self.seats[spot as usize].chance.between(10, LOOK);
        self.end_act(spot, pause, id, ActEnd::Adopted(adoption));
    }

    /// Every runner dies. If `all`, everything below it does, and the packages stay as they are at that moment; otherwise its
    /// package manager works on and holds its lock.
    pub(super) fn kill_runners(&mut self, spot: Spot, all: bool) -> bool {
        let Some(host) = self.seats[spot as usize].host_mut() else { return false };
        let mut killed = None;
        for ((lease, attempt), run) in &mut host.runs {
            if matches!((&run.stage, all), (Stage::Working, _) | (Stage::Orphaned, true)) {
                run.stage = if all { Stage::Dead } else { Stage::Orphaned };
                killed = Some(RunnerStage { lease: *lease, attempt: *attempt, part: Part::Claim });
            }
        }
        if let Some(stage) = killed.filter(|_| all) {
            self.tell_runner_ended(spot, stage);
        }
        killed.is_some()
    }

    pub(super) fn looked(&mut self, spot: Spot, act: ActId, look: &Look) {
        if matches!(look, Look::Check(_)) {
            self.disturb(spot, Moment::Look);
        }
        if let Look::Gates(lease, rollout) = look {
            let ok = !self.is_unwell(spot);
            self.tell(spot, Truth::Gated { lease: *lease, rollout: *rollout, ok });
            let error = (!ok).then(|| String::from("noNewFailedUnits: web.service has failed"));
            return self.act_ended(spot, act, ActEnd::Gates(HooksEnd { error, ..HooksEnd::default() }));
        }
        if let Look::Probe = look {
            let shown = self.probed(spot);
            return self.act_ended(spot, act, ActEnd::Probed(shown));
        }
        let now = self.now;
        let repository = &self.repository;
        let seat = &mut self.seats[spot as usize];
        let Some(host) = seat.host_mut() else { return };
        let obstacle = if host.offline_until > now {
            Some((RefusalCode::RepositoryUnreachable, Kind::RepositoryGone))
        } else if host.locked_until > now {
            Some((RefusalCode::Locked, Kind::ManagerLocked))
        } else {
            None
        };
        let refusal = |code: RefusalCode| Refusal {
            code,
            text: String::from(match code {
                RefusalCode::RepositoryUnreachable => "the repository does not answer",
                RefusalCode::Locked => "another process holds the lock of the package manager",
                RefusalCode::DirtyDatabase => "the database of packages is half configured",
                RefusalCode::PlanChanged => "the repository now has another version than was planned",
                other => other.as_str(),
            }),
            remedy: String::from(if code == RefusalCode::PlanChanged { "plan again" } else { "wait until it is over" }),
        };
        let end = match look {
            Look::Gates(..) | Look::Probe => return,
            Look::Resolve => {
                let transaction = host.installed.resolve(repository);
                let resolution = Resolution { transaction, counters: PatchCounters::default() };
                ActEnd::Resolved(obstacle.map_or(Ok(resolution), |(code, _)| Err(refusal(code))))
            }
            Look::Check(planned) => {
                let result = if let Some((code, _)) = obstacle {
                    Err(refusal(code))
                } else if host.installed.dirty().is_some() {
                    Err(refusal(RefusalCode::DirtyDatabase))
                } else if host.installed.resolve(repository) != *planned {
                    self.chaos.effective(Kind::RepositoryAhead.word());
                    Err(refusal(RefusalCode::PlanChanged))
                } else {
                    Ok(())
                };
                ActEnd::Checked(result)
            }
            Look::Verify(lease, expected) => {
                let comparison = compare(host.before.get(lease), &host.installed.set(), expected);
                let comparison = comparison.finished(&host.installed.unfinished());
                let dirty = host.installed.dirty();
                ActEnd::Verified(Ok(Verified { comparison, counters: PatchCounters::default(), dirty }.into()))
            }
            Look::Repair(lease, transaction, because) => {
                if !host.stubborn {
                    host.installed.configure();
                }
                let comparison = compare(host.before.get(lease), &host.installed.set(), transaction);
                let verdict = match comparison.differences.first() {
                    None => Verdict::Ok,
                    Some(first) => Verdict::Failed(format!("{because}; after a repair, {first}")),
                };
                let (reboot_required, dirty) = (Installed::asks_for_reboot(transaction), host.installed.dirty());
                ActEnd::Repaired(TransactionEnd { verdict, output: String::new(), reboot_required, dirty })
            }
        };
        if let Some((_, kind)) = obstacle.filter(|_| matches!(look, Look::Resolve | Look::Check(_))) {
            self.chaos.effective(kind.word());
        }
        self.act_ended(spot, act, end);
    }

    fn ask_for_reboot(&mut self, spot: Spot, id: ActId) {
        let Some((lease, rollout)) = self.seats[spot as usize].host().and_then(|host| host.machine.journal().held())
        else {
            return;
        };
        self.step(spot, lease, rollout, Step::Reboot);
        if let Some(dirty) = self.seats[spot as usize].host().map(|host| host.installed.dirty()) {
            self.tell(spot, Truth::Reboots { lease, dirty });
        }
        let fault = self.chaos.strike(self.now, spot, Moment::Reboot);
        if fault.as_ref().is_some_and(|fault| fault.kind == Kind::RebootRefused) {
            self.chaos.effective(Kind::RebootRefused.word());
            return self.end_act(spot, 50, id, ActEnd::Reboot(Err(String::from("a shutdown inhibitor is held"))));
        }
        self.end_act(spot, 50, id, ActEnd::Reboot(Ok(())));
        let (down, boots) = (self.seats[spot as usize].chance.between(500, 15_000), self.seats[spot as usize].boots);
        self.after(down, Happening::PowerOff { spot, boots });
        let mut away = self.seats[spot as usize].chance.between(10_000, 60_000);
        match fault.map(|fault| (fault.kind, fault.lasts)) {
            Some((Kind::RebootNever, _)) => {
                self.chaos.effective(Kind::RebootNever.word());
                self.seats[spot as usize].gone = true;
                return;
            }
            Some((Kind::RebootLate, lasts)) => {
                self.chaos.effective(Kind::RebootLate.word());
                away += lasts;
            }
            _ => {}
        }
        self.after(down + away, Happening::PowerOn { spot });
    }
}

#[cfg(test)]
impl Host {
    /// Whether the package manager was started for this attempt.
    pub(super) fn has_worked(&self, lease: LeaseId, attempt: u32) -> bool {
        let run = self.runs.get(&(lease, attempt));
        run.is_some_and(|run| !matches!(run.stage, Stage::Launched | Stage::Revoked))
    }
}

fn point_of(phase: Phase) -> Option<HookPoint> {
    match phase {
        Phase::PreInstall => Some(HookPoint::PreInstall),
        Phase::PostInstall => Some(HookPoint::PostInstall),
        Phase::PostReboot => Some(HookPoint::PostReboot),
        Phase::OnExit => Some(HookPoint::OnExit),
        _ => None,
    }
}
