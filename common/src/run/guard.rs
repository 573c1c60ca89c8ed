//! May a disruptive phase begin now? Asked before each of them, by the host's own clocks and its own journal.

use super::{
    Phase,
    act::Guard,
    journal::{Fault, Run},
    machine::PatchRun,
    message::{LatestStart, MAX_SKEW, Outcome, RunError},
};
use crate::{
    gossip::Mode,
    time::{BootTime, Now, WallTime},
};
use core::time::Duration;

/// The answer.
pub(super) enum Permit {
    /// It may begin.
    Yes,
    /// The skew is not known yet; ask again when it is.
    Unsure,
    /// It may, so far, but not before this instant.
    Wait(WallTime),
    /// It may not, and nothing disruptive may any more.
    No(Fault),
}

impl LatestStart {
    /// Seconds since `Go` for `phase`; phases that are not disruptive have no limit.
    pub fn of(&self, phase: Phase) -> u64 {
        match phase {
            Phase::PreInstall => self.pre_install,
            Phase::Transaction => self.transaction,
            Phase::PostInstall => self.post_install,
            Phase::Reboot => self.reboot,
            _ => u64::MAX,
        }
    }
}

impl Run {
    /// The latest boot time, in the boot of `Go`, at which `phase` may begin.
    pub(super) fn latest(&self, phase: Phase) -> BootTime {
        self.granted.at.plus(Duration::from_secs(self.lease.latest_start.of(phase)))
    }

    /// What is checked as the last act before `phase`.
    pub(super) fn last_check(&self, phase: Phase) -> Guard {
        let mut opening = self.lease.opening;
        if phase == Phase::PreInstall {
            opening.closes = opening.last_start;
        }
        Guard { rollout: self.lease.rollout, opening, latest: self.latest(phase), lease: Some(self.lease.id) }
    }

    /// Why the run does not go on: deferred while nothing was changed, failed afterwards.
    pub(super) fn refuse(&self, phase: Phase, code: &str, because: &str) -> Fault {
        let (outcome, unchanged) = if self.touched {
            (Outcome::Failed, "the packages are installed; the rest of the run was left out")
        } else {
            (Outcome::Deferred, "no package was changed")
        };
        let text = format!("{} was not begun: {because}; {unchanged}", phase.as_str());
        Fault { outcome, error: RunError { code: code.into(), text, log: String::new() } }
    }
}

impl PatchRun {
    /// Judges `phase` of `run`. Also hooks that may have begun before the daemon died need a start: whether they had is not known,
    /// and on-exit hooks undo them.
    pub(super) fn permit(&self, run: &Run, phase: Phase, now: Now) -> Permit {
        let opening = &run.lease.opening;
        // How far the clock is off is judged when it says that the time has come.
        let reboot_at = run.lease.reboot.at().filter(|at| phase == Phase::Reboot && now.wall < *at);
        let open = match phase {
            Phase::PreInstall => opening.admits_start(now.wall),
            _ => opening.admits_step(now.wall),
        };
        let (code, because) = if self.settings.mode != Mode::Enforce {
            ("observe-mode", String::from("the host's own file no longer says mode = \"enforce\""))
        } else if self.journal.stopped(run.lease.rollout) {
            ("stopped", String::from("a STOP covers the rollout; resume it to go on"))
        } else if run.released {
            ("released", String::from("an operator released its slot, so that nothing more begins under this lease"))
        } else if run.granted.boot_id != self.settings.boot_id {
            (
                "unexpected-reboot",
                String::from("the host was rebooted by something else, so deadlines cannot be proven"),
            )
        } else if now.boot > run.latest(phase) {
            let late = now.boot.since(run.latest(phase)).as_secs();
            ("past-deadline", format!("its latest start was {late} s ago"))
        } else if !open {
            let span = format!("{} to {}", opening.opens.rfc3339(), opening.closes.rfc3339());
            ("outside-opening", format!("{} is outside the opening {span}", now.wall.rfc3339()))
        } else if let Some(at) = reboot_at.filter(|at| *at >= opening.closes) {
            let (at, closes) = (at.rfc3339(), opening.closes.rfc3339());
            (
                "outside-opening",
                format!("its time, {at}, is after the opening closes at {closes}; reboot the host by hand"),
            )
        } else if let Some(at) = reboot_at {
            return Permit::Wait(at);
        } else {
            match self.skew {
                None => return Permit::Unsure,
                Some(skew) if within_skew(skew) => return Permit::Yes,
                Some(skew) => ("clock-skew", format!("the clock is {skew} ms from the mesh's median; set it right")),
            }
        };
        Permit::No(run.refuse(phase, code, &because))
    }
}

/// Whether a clock `skew` milliseconds from the median may judge windows.
pub(super) fn within_skew(skew: i64) -> bool {
    u128::from(skew.unsigned_abs()) <= MAX_SKEW.as_millis()
}
