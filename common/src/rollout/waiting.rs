//! Why a host is not moving, as a type: the product's voice.

use super::availability::Short;
use super::ring::Rejection;
use super::ring_gate::FailedRing;
use crate::{id::RolloutId, run::message::Refusal, schedule::Opening, time::WallTime};

/// Why a host of a rollout is not moving.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Waiting {
    /// The start handshake is under way.
    Handshake,
    /// Every slot is held.
    Slot {
        /// Slots held.
        held: usize,
        /// Of this many.
        limit: u32,
        /// Of the holders, how many are lost.
        lost: usize,
    },
    /// Failed and lost hosts together exceed the error limit. Heals when a lost host reports.
    Lost {
        /// Hosts that failed.
        failed: u32,
        /// Hosts that hold a slot and are silent.
        lost: usize,
        /// The limit.
        max_errors: u32,
    },
    /// No opening admits a start now.
    WindowClosed {
        /// The next one, if there is one.
        next: Option<Opening>,
    },
    /// An operator paused the rollout.
    Paused,
    /// More hosts failed than allowed.
    Halted,
    /// An operator stopped the rollout.
    Stopped,
    /// A STOP of every rollout stands. It ends nothing: grants go on after a resume.
    AllStopped {
        /// Of the order.
        sequence: u64,
    },
    /// The host does not answer and its neighbours do not hear it.
    Silent,
    /// The host said no; it is asked again after a while.
    Refused(Refusal),
    /// The host holds a lease of another rollout.
    Claimed(RolloutId),
    /// Some hosts have not said yet which lease they hold, after the coordinator's store was new, copied or restored.
    Reconciling {
        /// How many have not.
        missing: usize,
    },
    /// The coordinator's own clock is too far from the mesh's median.
    ClockSkew {
        /// Milliseconds by which the mesh is ahead.
        skew: i64,
    },
    /// A coordinator with a newer membership has taken over.
    Superseded,
    /// The host's slot was released, and it has not said yet what became of that lease.
    Released,
    /// The ledger is a copy or restored: another coordinator may be at work.
    Listening,
    /// Another coordinator is at work, and this one has the copy.
    Rival,
    /// The coordinator died so often that it believes no records: it knows too little to grant anything.
    SafeMode {
        /// Until then.
        until: WallTime,
    },
    /// A step before the host's own has not settled.
    Ring {
        /// The ring that is at work.
        ring: String,
        /// Its step that is open, from 1.
        step: u16,
        /// How many it has.
        steps: u16,
        /// Hosts up to this step that are not done.
        left: u32,
        /// How many of them are silent, and hold a slot or may hold one that nobody here knows.
        lost: u32,
        /// How many of them are silent, and hold none.
        down: u32,
        /// Whether nobody of the ring is done.
        alone: bool,
    },
    /// The step before has settled, and the next one of the ring opens later.
    StepWait {
        /// Which ring.
        ring: String,
        /// The step that opens, from 1.
        step: u16,
        /// How many it has.
        steps: u16,
        /// Then.
        until: WallTime,
    },
    /// The ring before has settled, and the next one begins later.
    Bake {
        /// Which one.
        ring: String,
        /// The one that settled.
        after: String,
        /// Then.
        until: WallTime,
    },
    /// The ring begins when enough operators have approved it.
    Approval {
        /// Of this rollout.
        rollout: RolloutId,
        /// Which ring.
        ring: String,
        /// How many have.
        given: usize,
        /// Of so many.
        needed: u8,
    },
    /// `ramp: aws`: more of those that began must say first that they are at work.
    Ramp {
        /// In this ring.
        ring: String,
        /// How many of it have begun.
        begun: u32,
        /// How many of these have not been heard at work.
        unacknowledged: u32,
    },
    /// An operator rejected a ring.
    Rejected(Rejection),
    /// A service of the host would have too few members up.
    Service(Box<Short>),
    /// Another member of one of its services starts before it.
    Last {
        /// Which service.
        service: String,
        /// Which member.
        before: String,
    },
    /// As many hosts hold a slot, over all rollouts, as the coordinator allows.
    Fleet {
        /// Slots held.
        held: usize,
        /// Of this many.
        limit: u32,
    },
    /// A run would not end before the opening closes, by what the host's runs and reboots took.
    NoTime {
        /// Seconds that 95 of 100 of them do not exceed, until its time for a reboot and that included.
        needs: u32,
        /// The time before which it does not reboot, if it has not come.
        reboot: Option<WallTime>,
        /// The one that is open.
        opening: Opening,
        /// The next one that is long enough, if there is one.
        next: Option<Opening>,
    },
    /// A host failed its gate before a step or ring that is still to come: nothing is granted any more.
    Gate {
        /// The first of them, in the plan's order.
        host: String,
    },
    /// `onFailure: halt`: a hook of a host failed, or ran out of its time: nothing is granted any more.
    Hook {
        /// The first of them, in the plan's order.
        host: String,
    },
    /// A ring has settled and baked, and the coordinator asks its gates.
    RingGates {
        /// Which one.
        ring: String,
        /// The ring that begins when they have passed; `None`: the rollout ends then.
        next: Option<String>,
        /// How often they were begun to be asked; 0 if not yet.
        attempt: u32,
    },
    /// A ring failed one of its gates: nothing is granted any more.
    RingFailed(Box<FailedRing>),
    /// `onSuperseded: wait`: what was planned for the host is not what it would do now; it is asked again now and then.
    Outdated(Refusal),
}

impl Waiting {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Slot { .. } => "slot",
            Self::Lost { .. } => "lost",
            Self::WindowClosed { .. } => "window-closed",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::Stopped | Self::AllStopped { .. } => "stopped",
            Self::Silent => "silent",
            Self::Refused(refusal) | Self::Outdated(refusal) => refusal.code.as_str(),
            Self::Claimed(_) => "claimed",
            Self::Reconciling { .. } => "reconciling",
            Self::ClockSkew { .. } => "clock-skew",
            Self::Superseded => "superseded",
            Self::Released => "released",
            Self::Listening => "listening",
            Self::Rival => "rival",
            Self::SafeMode { .. } => "safe-mode",
            Self::Ring { .. } => "ring",
            Self::StepWait { .. } => "step-wait",
            Self::Bake { .. } => "bake",
            Self::Approval { .. } => "approval",
            Self::Ramp { .. } => "ramp",
            Self::Rejected(_) => "rejected",
            Self::Service(_) => "service",
            Self::Last { .. } => "service-last",
            Self::Fleet { .. } => "fleet",
            Self::NoTime { .. } => "no-time",
            Self::Gate { .. } => "gate",
            Self::Hook { .. } => "hook",
            Self::RingGates { .. } => "ring-gates",
            Self::RingFailed(_) => "ring-gate-failed",
        }
    }

    /// The reason in one line.
    pub fn text(&self) -> String {
        match self {
            Self::Handshake => "asked to start, waiting for its answer".into(),
            Self::Slot { held, limit, .. } if *held < *limit as usize => {
                format!("{held} of {limit} slots are held; hosts are asked to start in their order")
            }
            Self::Slot { held, limit, lost: 0 } => format!("{held} of {limit} slots are held"),
            Self::Slot { held, limit, lost } => {
                format!("{held} of {limit} slots are held, {lost} of them by lost hosts")
            }
            Self::Lost { failed, lost, max_errors } => {
                format!("{failed} failed and {lost} lost exceed maxErrors {max_errors}; heals when a lost host reports")
            }
            Self::WindowClosed { next: Some(next) } => {
                format!("the window is closed; next opening {}", next.opens.rfc3339())
            }
            Self::WindowClosed { next: None } => "the last opening is over".into(),
            Self::Paused => "paused by an operator".into(),
            Self::Halted => "halted: more hosts failed than maxErrors allows".into(),
            Self::Stopped => "stopped by an operator".into(),
            Self::AllStopped { sequence } => {
                format!("a STOP of every rollout stands (order {sequence}); patchmesh resume --all ends it")
            }
            Self::Silent => "the host is silent".into(),
            Self::Refused(refusal) => format!("refused: {}; {}", refusal.text, refusal.remedy),
            Self::Claimed(rollout) => format!("holds a lease of rollout {rollout}"),
            Self::Reconciling { missing } => {
                match missing {
                    1 => "1 host has not said yet which lease it holds; it counts as a held slot".to_owned(),
                    many => format!("{many} hosts have not said yet which lease they hold; each counts as a held slot"),
                }
            }
            Self::ClockSkew { skew } => {
                format!("the coordinator's clock is {} s off the mesh's median", skew.unsigned_abs() / 1000)
            }
            Self::Superseded => "a coordinator with a newer membership has taken over".into(),
            Self::Released => {
                "its slot was released, and it has not reported since; it is asked again when it does".into()
            }
            Self::Listening => {
                "this coordinator's ledger is a copy or an old backup: before it grants anything it listens for another \
                 coordinator of this mesh"
                    .into()
            }
            Self::Rival => {
                "another coordinator of this mesh is at work, and this one runs on a copy or an old backup of its ledger: it \
                 stands back and grants nothing; end one of the two"
                    .into()
            }
            Self::SafeMode { until } => {
                format!(
                    "the coordinator aborted three times in ten minutes: it grants nothing until {}; STOPs and reports go on; \
                     its log says what it died of",
                    until.rfc3339()
                )
            }
            Self::Ring { ring, step, steps, left, lost, down, alone } => {
                let mut text = format!("ring {ring}, step {step} of {steps}, has not settled: {left} not done");
                if *lost > 0 {
                    text.push_str(&format!(", {lost} of them lost"));
                }
                if *down > 0 {
                    text.push_str(&format!(", {down} not begun and silent"));
                }
                if *alone && down == left {
                    text.push_str("; nobody of the ring has shown that it works: start their daemons, or stop and plan again");
                }
                text
            }
            Self::StepWait { ring, step, steps, until } => {
                format!("step {step} of {steps} of ring {ring} opens at {}: the step before has settled", until.rfc3339())
            }
            Self::Bake { ring, after, until } => {
                format!("ring {ring} begins at {}: ring {after} has settled and bakes", until.rfc3339())
            }
            Self::Approval { ring, given, needed, .. } => {
                let operators = if *needed == 1 { "1 operator has" } else { &format!("{needed} operators have") };
                let given = if *given == 1 { "1 has".to_owned() } else { format!("{given} have") };
                format!("ring {ring} begins when {operators} approved it; {given}")
            }
            Self::Ramp { ring, begun, unacknowledged } => {
                format!(
                    "ramp aws: of the {begun} hosts of ring {ring} that began, {unacknowledged} have not said yet that they are at work"
                )
            }
            Self::Rejected(Rejection { ring, by, because, .. }) => {
                format!("ring {ring} was rejected by {by}: {because}; plan again")
            }
            Self::Service(short) => short.text(),
            Self::Last { service, before } => format!("comes last in service {service}: {before} is not done yet"),
            Self::Fleet { held, limit } => {
                format!("{held} of the {limit} slots that the coordinator's limits.fleet allows to all rollouts are held")
            }
            Self::NoTime { needs, reboot, opening, next } => {
                let closes = opening.closes.rfc3339();
                let then = match next {
                    Some(next) => format!("the next opening that is long enough is that of {}", next.opens.rfc3339()),
                    None => "no later opening is long enough".to_owned(),
                };
                let reboot = reboot.map_or_else(String::new, |at| format!(" and its reboot is not before {}", at.rfc3339()));
                format!(
                    "needs up to {needs} s, as its runs and reboots took{reboot}, and the opening closes at {closes}: {then}"
                )
            }
            Self::Outdated(refusal) => {
                format!("waits until what was planned is offered to it again, or an operator stops and plans again: {}", refusal.text)
            }
            Self::RingGates { ring, next, attempt } => {
                let asked = match attempt {
                    0 => "are to be asked".to_owned(),
                    1 => "are being asked".to_owned(),
                    again => format!("are being asked (attempt {again})"),
                };
                let then = match next {
                    Some(next) => format!("ring {next} begins"),
                    None => "the rollout ends".to_owned(),
                };
                format!("ring {ring} has settled, and its gates {asked}: {then} when they have passed")
            }
            Self::RingFailed(failed) => {
                let FailedRing { ring, gate, why, .. } = &**failed;
                format!("halted: ring {ring} failed its gate {gate}: {why}; mend it and plan again")
            }
            Self::Gate { host } => {
                format!("halted: {host} failed its gate, so that no later step or ring begins; mend it and plan again")
            }
            Self::Hook { host } => {
                format!("halted: a hook of {host} failed, and hooks.onFailure is halt; mend it and plan again")
            }
        }
    }

    /// What would change it: a command, or what to do where no command does it. `None` if nothing but time or the host itself does.
    pub fn command(&self, rollout: RolloutId) -> Option<String> {
        Some(match self {
            Self::Slot { held, limit, .. } if *held < *limit as usize => {
                format!("patchmesh rollout watch {rollout}")
            }
            Self::Slot { .. }
            | Self::Fleet { .. }
            | Self::Lost { .. }
            | Self::Reconciling { .. }
            | Self::Ring { lost: 1.., .. } => "patchmesh slots ls".to_owned(),
            Self::Service(short) => short.command(),
            Self::Last { service, .. } => format!("patchmesh describe service {service}"),
            Self::Ring { left, down, alone: true, .. } if left == down => format!("patchmesh rollout stop {rollout}"),
            Self::Ring { .. } | Self::Ramp { .. } | Self::RingGates { .. } => {
                format!("patchmesh rollout watch {rollout}")
            }
            // Nobody is told to break a window or a blackout: it waits for the opening.
            Self::WindowClosed { next: Some(_) } => format!("patchmesh rollout watch {rollout}"),
            Self::WindowClosed { next: None }
            | Self::NoTime { next: None, .. }
            | Self::Halted
            | Self::Gate { .. }
            | Self::Hook { .. }
            | Self::RingFailed(_)
            | Self::Rejected(_) => "patchmesh plan -f FILE".to_owned(),
            Self::Outdated(_) => format!("patchmesh rollout stop {rollout}"),
            Self::Paused => format!("patchmesh rollout resume {rollout}"),
            Self::Stopped => format!("patchmesh resume --rollout {rollout} --key FILE"),
            Self::AllStopped { .. } => "patchmesh resume --all --key FILE".to_owned(),
            Self::Silent => "systemctl start patchmeshd".to_owned(),
            Self::Refused(refusal) => refusal.remedy.clone(),
            Self::Claimed(other) => format!("patchmesh rollout watch {other}"),
            Self::ClockSkew { .. } => "timedatectl status".to_owned(),
            Self::Released => "systemctl status patchmeshd".to_owned(),
            Self::Superseded | Self::Rival => "systemctl stop patchmesh-coordinator".to_owned(),
            Self::SafeMode { .. } => "journalctl -u patchmesh-coordinator".to_owned(),
            Self::Approval { rollout, ring, .. } => format!("patchmesh approve {rollout} --ring {ring} --key FILE"),
            Self::Handshake
            | Self::NoTime { next: Some(_), .. }
            | Self::Listening
            | Self::StepWait { .. }
            | Self::Bake { .. } => return None,
        })
    }
}
