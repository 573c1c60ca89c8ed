//! A rollout in the words of AWS Run Command: one command, one invocation per target. A view of the ledger, which decides
//! nothing. Where AWS's documents leave a case open, the rule is written at its line.

use serde::{Deserialize, Serialize};

use super::{
    ledger::{Progress, RolloutState},
    plan::{ExcludedBecause, ExcludedHost},
};
use crate::{
    run::{
        HOOK_TIMED_OUT,
        message::{Outcome, RefusalCode, Report},
    },
    schedule::{self, Standing},
    time::WallTime,
};

/// How one target stands: AWS's `StatusDetails` of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Invocation {
    /// Not started yet.
    Pending,
    /// At work; also one that is silent, until the rollout ends.
    InProgress,
    /// Was started, and put off before anything was installed: it will be started again.
    Delayed,
    /// Did what was asked, or had nothing to do.
    Success,
    /// Was not heard of before the rollout ended, or could not start in its openings.
    DeliveryTimedOut,
    /// Began, and a time that it was given ran out before it was done.
    ExecutionTimedOut,
    /// Failed.
    Failed,
    /// The rollout was stopped before it started.
    Cancelled,
    /// Silent, or it refused for a reason of its own.
    Undeliverable,
    /// Too many others had failed before it started.
    Terminated,
    /// No baseline is for it.
    InvalidPlatform,
    /// Its own file does not allow it.
    AccessDenied,
}

impl Invocation {
    /// AWS's coarse status. Where their documents do not say which, a target that was reached by nobody has failed, and one
    /// that was called off was cancelled.
    pub fn coarse(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Delayed => "Delayed",
            Self::Success => "Success",
            Self::DeliveryTimedOut | Self::ExecutionTimedOut => "TimedOut",
            Self::Failed | Self::Undeliverable | Self::InvalidPlatform | Self::AccessDenied => "Failed",
            Self::Cancelled | Self::Terminated => "Cancelled",
        }
    }

    /// Whether nothing more comes of it.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress | Self::Delayed)
    }

    /// Whether it counts against max-errors.
    pub fn is_error(self) -> bool {
        matches!(self, Self::Failed | Self::ExecutionTimedOut)
    }
}

/// How the whole stands: AWS's `StatusDetails` of a command. What a plan refuses before there is a rollout (too many targets,
/// no right to a group) is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Command {
    /// No target has started.
    Pending,
    /// Some have, and not all are done.
    InProgress,
    /// Those that started were put off.
    Delayed,
    /// Every target is done, and not too many failed.
    Success,
    /// Too many were not heard of.
    DeliveryTimedOut,
    /// Too many failed, or nobody could be reached.
    Failed,
    /// Not all succeeded, and not enough failed for `Failed`.
    Incomplete,
    /// Stopped; some targets are still at work.
    Cancelling,
    /// Stopped.
    Cancelled,
    /// There was no target.
    NoInstancesInTag,
}

impl Command {
    /// Whether nothing more comes of it.
    fn is_over(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress | Self::Delayed | Self::Cancelling)
    }

    /// AWS's coarse status.
    pub fn coarse(self) -> &'static str {
        match self {
            Self::Pending | Self::Delayed => "Pending",
            Self::InProgress => "InProgress",
            Self::Success => "Success",
            Self::DeliveryTimedOut => "TimedOut",
            Self::Failed | Self::Incomplete | Self::NoInstancesInTag => "Failed",
            Self::Cancelling => "Cancelling",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// AWS's counters of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Targets.
    pub targets: u32,
    /// Those of which nothing more comes.
    pub completed: u32,
    /// Those that count against max-errors.
    pub errors: u32,
    /// Those that were not heard of in time.
    pub delivery_timed_out: u32,
}

impl Counters {
    /// Of these invocations.
    pub fn of(invocations: &[Invocation]) -> Self {
        let count = |counts: fn(&Invocation) -> bool| {
            u32::try_from(invocations.iter().filter(|one| counts(one)).count()).unwrap_or(u32::MAX)
        };
        Self {
            targets: count(|_| true),
            completed: count(|one| one.is_terminal()),
            errors: count(|one| one.is_error()),
            delivery_timed_out: count(|one| *one == Invocation::DeliveryTimedOut),
        }
    }
}

/// How the host at `at` of a rollout stands.
pub fn invocation(state: &RolloutState, at: usize) -> Invocation {
    let host = &state.hosts[at];
    match &host.progress {
        Progress::Running { .. } if state.ended_at.is_some() => Invocation::DeliveryTimedOut,
        Progress::Running { .. } => Invocation::InProgress,
        Progress::Reported => host.report.as_deref().map_or(Invocation::Failed, reported),
        Progress::Refused(refusal) => refused(refusal.code),
        // Its owner's hook said no before anything began.
        Progress::LeftOut => Invocation::Undeliverable,
        Progress::Skipped => Invocation::Success,
        Progress::Released(_) => Invocation::DeliveryTimedOut,
        Progress::NotStarted if state.halted => Invocation::Terminated,
        Progress::NotStarted if state.is_called_off() => Invocation::Cancelled,
        Progress::NotStarted => match state.ended_at {
            Some(end) if is_over(state, end) => Invocation::DeliveryTimedOut,
            Some(_) => Invocation::Undeliverable,
            None if host.report.is_some() => Invocation::Delayed,
            None => Invocation::Pending,
        },
    }
}

fn is_over(state: &RolloutState, end: WallTime) -> bool {
    schedule::standing(&state.plan.openings, end) == Standing::Over
}

fn reported(report: &Report) -> Invocation {
    let code = report.error.as_ref().map(|error| error.code.as_str());
    match (report.outcome, code) {
        (Outcome::Succeeded, _) => Invocation::Success,
        (_, Some("past-deadline" | "outside-opening" | HOOK_TIMED_OUT)) => Invocation::ExecutionTimedOut,
        _ => Invocation::Failed,
    }
}

/// A refusal means that nothing began: no error.
fn refused(code: RefusalCode) -> Invocation {
    match code {
        RefusalCode::ObserveMode | RefusalCode::SourceNotAllowed => Invocation::AccessDenied,
        RefusalCode::NoBaseline => Invocation::InvalidPlatform,
        RefusalCode::OutsideOpening => Invocation::DeliveryTimedOut,
        _ => Invocation::Undeliverable,
    }
}

/// How a target stands that the plan left out.
pub fn excluded(host: &ExcludedHost) -> Invocation {
    match host.because {
        ExcludedBecause::Silent | ExcludedBecause::NoRing => Invocation::Undeliverable,
        ExcludedBecause::Observing => Invocation::AccessDenied,
        ExcludedBecause::Refused => {
            let known = [RefusalCode::ObserveMode, RefusalCode::SourceNotAllowed, RefusalCode::NoBaseline];
            known.into_iter().find(|code| code.as_str() == host.code).map_or(Invocation::Undeliverable, refused)
        }
    }
}

/// How every target of a rollout stands: the plan's hosts in its order, then those that it left out.
pub fn invocations(state: &RolloutState) -> Vec<Invocation> {
    let planned = (0..state.hosts.len()).map(|at| invocation(state, at));
    planned.chain(state.plan.excluded.iter().map(excluded)).collect()
}

/// How a rollout stands as a whole.
pub fn command(state: &RolloutState) -> Command {
    let stopped = state.is_called_off() && !state.halted;
    let rolled_up = roll_up(&invocations(state), state.plan.max_errors.resolved, stopped);
    // Ours, and no case of theirs: however well every target ended, what it was for is not there, or nobody looked.
    let failed = state.halted && (state.failed_ring().is_some() || state.failed_hook().is_some());
    if (failed || state.unshown().is_some()) && rolled_up.is_over() { Command::Failed } else { rolled_up }
}

/// What the invocations make of the command. `stopped`: an operator ended it.
///
/// AWS's documents contradict each other on exactly max-errors failures: the newer text is followed, by which they are a
/// success. Time-outs next to a success are one as long as they are fewer than max-errors, or than one.
pub fn roll_up(invocations: &[Invocation], max_errors: u32, stopped: bool) -> Command {
    let Counters { targets, completed, errors, delivery_timed_out } = Counters::of(invocations);
    let all = |kind: Invocation| invocations.iter().all(|one| *one == kind);
    let some = |kind: Invocation| invocations.contains(&kind);
    if targets == 0 {
        return Command::NoInstancesInTag;
    }
    match (stopped, completed == targets) {
        // One that is called off after everybody was done was not called off.
        (true, true) if some(Invocation::Cancelled) || errors == 0 && !all(Invocation::Success) => {
            return Command::Cancelled;
        }
        (true, false) => return Command::Cancelling,
        (false, false) if all(Invocation::Pending) => return Command::Pending,
        (false, false) if !some(Invocation::InProgress) && completed == 0 => return Command::Delayed,
        (false, false) => return Command::InProgress,
        (_, true) => {}
    }
    let unreached = [Invocation::Undeliverable, Invocation::InvalidPlatform, Invocation::AccessDenied];
    if errors > max_errors || unreached.into_iter().any(all) {
        Command::Failed
    } else if delivery_timed_out >= max_errors.max(1) {
        Command::DeliveryTimedOut
    } else if (some(Invocation::Success) || errors == targets)
        && !some(Invocation::Cancelled)
        && !some(Invocation::Terminated)
    {
        Command::Success
    } else {
        Command::Incomplete
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Invocation::*, *};

    const ALL: [Invocation; 12] = [
        Pending,
        InProgress,
        Delayed,
        Success,
        DeliveryTimedOut,
        ExecutionTimedOut,
        Failed,
        Cancelled,
        Undeliverable,
        Terminated,
        InvalidPlatform,
        AccessDenied,
    ];

    /// The table of invocation statuses: coarse status, terminal, error.
    #[test]
    fn invocation_statuses_are_as_run_commands() {
        let table = [
            (Pending, "Pending", false, false),
            (InProgress, "InProgress", false, false),
            (Delayed, "Delayed", false, false),
            (Success, "Success", true, false),
            (DeliveryTimedOut, "TimedOut", true, false),
            (ExecutionTimedOut, "TimedOut", true, true),
            (Failed, "Failed", true, true),
            (Cancelled, "Cancelled", true, false),
            (Undeliverable, "Failed", true, false),
            (Terminated, "Cancelled", true, false),
            (InvalidPlatform, "Failed", true, false),
            (AccessDenied, "Failed", true, false),
        ];
        for (status, coarse, terminal, error) in table {
            assert_eq!(
                (status.coarse(), status.is_terminal(), status.is_error()),
                (coarse, terminal, error),
                "{status:?}"
            );
        }
    }

    /// The table of command statuses, and what it leaves open.
    #[test]
    fn commands_roll_up_as_run_commands() {
        let up = |invocations: &[Invocation], max_errors| roll_up(invocations, max_errors, false);
        let table: [(&[Invocation], u32, Command); 23] = [
            (&[Pending, Pending], 0, Command::Pending),
            (&[Pending, Delayed], 0, Command::Delayed),
            (&[Pending, InProgress], 0, Command::InProgress),
            (&[Pending, Success], 0, Command::InProgress),
            (&[Failed, InProgress], 0, Command::InProgress),
            (&[Success, Success], 0, Command::Success),
            // Exactly max-errors failures, and one more.
            (&[Success, Failed, Failed, Failed], 3, Command::Success),
            (&[Success, Failed, Failed, Failed, ExecutionTimedOut], 3, Command::Failed),
            (&[Success, Failed], 0, Command::Failed),
            (&[Failed, Failed], 2, Command::Success),
            (&[Failed, Terminated], 0, Command::Failed),
            // Time-outs do not stop the sending, and decide the result.
            (&[Success, DeliveryTimedOut], 0, Command::DeliveryTimedOut),
            (&[Success, DeliveryTimedOut], 1, Command::DeliveryTimedOut),
            (&[Success, DeliveryTimedOut], 2, Command::Success),
            (&[DeliveryTimedOut], 2, Command::Incomplete),
            // One success among five with four that could not be reached.
            (&[Success, Undeliverable, Undeliverable, Undeliverable, Undeliverable], 0, Command::Success),
            (&[Undeliverable, Undeliverable], 5, Command::Failed),
            (&[InvalidPlatform, InvalidPlatform], 5, Command::Failed),
            (&[AccessDenied], 5, Command::Failed),
            (&[Undeliverable, AccessDenied], 5, Command::Incomplete),
            (&[Failed, Undeliverable], 5, Command::Incomplete),
            (&[Success, Cancelled], 0, Command::Incomplete),
            (&[], 0, Command::NoInstancesInTag),
        ];
        for (invocations, max_errors, expected) in table {
            assert_eq!(up(invocations, max_errors), expected, "{invocations:?}, max-errors {max_errors}");
        }
        let stopped = |invocations: &[Invocation]| roll_up(invocations, 1, true);
        assert_eq!(stopped(&[Success, InProgress, Cancelled]), Command::Cancelling);
        assert_eq!(stopped(&[Success, Cancelled]), Command::Cancelled);
        assert_eq!(stopped(&[Success, Success]), Command::Success, "everybody was done");
        let coarse = [
            (Command::Delayed, "Pending"),
            (Command::DeliveryTimedOut, "TimedOut"),
            (Command::Incomplete, "Failed"),
            (Command::Cancelling, "Cancelling"),
        ];
        coarse.iter().for_each(|(status, word)| assert_eq!(status.coarse(), *word));
    }

    proptest! {
        #[test]
        fn a_roll_up_is_of_the_set_and_keeps_its_rules(
            picks in prop::collection::vec(0usize..ALL.len(), 1..12), max_errors in 0u32..5, stopped: bool,
        ) {
            let mut invocations: Vec<_> = picks.iter().map(|pick| ALL[*pick]).collect();
            let status = roll_up(&invocations, max_errors, stopped);
            let counters = Counters::of(&invocations);
            prop_assert!(counters.errors + counters.delivery_timed_out <= counters.completed);
            prop_assert!(counters.completed <= counters.targets);
            let open = matches!(
                status,
                Command::Pending | Command::InProgress | Command::Delayed | Command::Cancelling
            );
            prop_assert_eq!(open, counters.completed < counters.targets);
            // Sending stops at one more than max-errors, and that is never called a success.
            prop_assert!(status != Command::Success || counters.errors <= max_errors);
            prop_assert!(status != Command::Failed || counters.errors > max_errors || counters.errors == 0);
            invocations.reverse();
            prop_assert_eq!(roll_up(&invocations, max_errors, stopped), status);
        }
    }
}
