//! Slots that are held: by whom, since when, and which of them an operator may release by name.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ledger::{Ledger, Progress},
    planner::Desk,
    reboot,
};
use crate::{
    id::{LeaseId, NodeId, RolloutId},
    run::Phase,
    time::{BootTime, WallTime},
};

/// How a slot is held; of a released one, the risk that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hold {
    /// Its host is heard, and at work.
    Busy,
    /// Its host is silent.
    Lost,
    /// By a lease of another ledger.
    Foreign,
    /// Its host has not said which lease it holds since this ledger was new, copied or restored.
    Unknown,
}

impl Hold {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Lost => "lost",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
        }
    }

    /// What may happen if its slot is given to another host.
    pub fn risk(self) -> &'static str {
        match self {
            Self::Busy => "the step that runs goes on beside the next host; nothing disruptive follows it",
            Self::Lost => {
                "if the host is cut off and not dead, it may be at work beside the next host until it hears of the release"
            }
            Self::Foreign => {
                "the host may be at work for another coordinator beside the next host until it hears of the release"
            }
            Self::Unknown => {
                "the host may hold a lease that nobody here knows, and be at work beside the next host until it is heard"
            }
        }
    }
}

/// One held slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// By which member.
    pub host: NodeId,
    /// Its name in the newest plan that has it; its key if none has.
    pub name: String,
    /// Of which rollout; `None` if this ledger did not grant it.
    pub rollout: Option<RolloutId>,
    /// By which lease; `None` if the host has not said.
    pub lease: Option<LeaseId>,
    /// Since this `Go`; `None` if this ledger did not grant it.
    pub since: Option<WallTime>,
    /// How.
    pub held: Hold,
    /// For how long the host was not heard; of one that never was, since this process started.
    pub silent: Duration,
    /// The silence after which it is lost.
    pub patience: Duration,
    /// What its reboots did not exceed, if some were seen.
    pub reboots: Option<Duration>,
    /// The phase that the host last reported.
    pub phase: Option<Phase>,
    /// The time of its reboot, for which it says that it waits.
    pub reboot_at: Option<WallTime>,
}

impl Slot {
    /// How it is held, in one line.
    pub fn text(&self) -> String {
        let silent = match self.silent {
            Duration::MAX => "not heard yet".into(),
            silent => format!("silent for {} s", silent.as_secs()),
        };
        let silence = match self.reboots {
            Some(took) => format!("{silent}; its reboots took up to {} s", took.as_secs()),
            None => format!("{silent}; lost after {} s", self.patience.as_secs()),
        };
        match self.held {
            Hold::Busy => {
                let phase = self.phase.map_or("granted", Phase::as_str);
                let waits = self.reboot_at.map_or_else(String::new, |at| format!(", {}", reboot::waits(at)));
                format!("at work, in phase {phase}{waits}; answered {} s ago", self.silent.as_secs())
            }
            Hold::Lost => silence,
            Hold::Foreign => format!("holds a lease that another ledger granted; {silence}"),
            Hold::Unknown => format!("has not said which lease it holds; {silence}"),
        }
    }

    /// Whether its host is lost, however it holds the slot.
    pub fn is_lost(&self) -> bool {
        self.silent > self.patience
    }
}

/// Every held slot, by name. A host whose lease was granted here is listed once, also while that is being reconciled.
pub fn slots(ledger: &Ledger, desk: &Desk, now: BootTime) -> Vec<Slot> {
    let slot = |host: NodeId, lease: Option<LeaseId>, held: Option<Hold>| {
        let contact = desk.contacts.get(&host);
        let reboots = ledger.reboots.get(&host);
        let granted = ledger.leased.get(&host).filter(|(_, own)| lease == Some(*own));
        let state = granted.and_then(|(rollout, _)| ledger.rollouts.get(rollout));
        let since = state.and_then(|state| match state.hosts[*state.index.get(&host)?].progress {
            Progress::Running { since, .. } => Some(since),
            _ => None,
        });
        let mut slot = Slot {
            host,
            name: name(ledger, host),
            rollout: granted.map(|(rollout, _)| *rollout),
            lease,
            since,
            held: held.unwrap_or(Hold::Busy),
            silent: contact.map_or(Duration::MAX, |contact| now.since(contact.heard)),
            patience: reboots.map_or(desk.lost_after, |reboots| reboots.patience(desk.lost_after)),
            reboots: reboots.and_then(super::silence::Reboots::p99),
            phase: contact.and_then(|contact| contact.progress.as_ref()).map(|(phase, _)| *phase),
            reboot_at: contact.and_then(|contact| contact.progress.as_ref()).and_then(|(_, said)| {
                state.and_then(|state| state.plan.reboot.at()).filter(|at| *said == reboot::waits(*at))
            }),
        };
        if held.is_none() && slot.is_lost() {
            slot.held = Hold::Lost;
        }
        slot
    };
    let own = ledger.leased.iter().map(|(host, (_, lease))| slot(*host, Some(*lease), None));
    let foreign = ledger.foreign.iter().map(|(host, lease)| slot(*host, Some(*lease), Some(Hold::Foreign)));
    let mut slots: Vec<Slot> = own.chain(foreign).collect();
    let active = ledger.active.iter().filter_map(|id| ledger.rollouts.get(id));
    let mut unclear: Vec<NodeId> = active
        .flat_map(|state| state.plan.hosts.iter().map(|host| host.node))
        .filter(|node| {
            ledger.is_unclear(node) && !ledger.leased.contains_key(node) && !ledger.foreign.contains_key(node)
        })
        .collect();
    unclear.sort_unstable();
    unclear.dedup();
    slots.extend(unclear.into_iter().map(|host| slot(host, None, Some(Hold::Unknown))));
    slots.sort_by(|a, b| (&a.name, a.host, a.lease).cmp(&(&b.name, b.host, b.lease)));
    slots
}

fn name(ledger: &Ledger, host: NodeId) -> String {
    let planned = ledger.rollouts.values().filter_map(|state| {
        let at = state.index.get(&host)?;
        Some((state.started_at, &state.plan.hosts[*at].name))
    });
    planned.max().map_or_else(|| host.to_string(), |(_, name)| name.clone())
}

/// Why a slot is not released. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreleased {
    /// The host holds none.
    NotHeld,
    /// Hosts with these keys have this name.
    Ambiguous(Vec<NodeId>),
    /// The host is heard, and nobody said that it is to be released all the same.
    Heard(Box<Slot>),
}

/// Which member's slots are released by this name, or key.
///
/// A host that is heard needs `even_if_heard`: it reports by itself, and is at work. It is not refused altogether, because a
/// package manager that hangs is never killed, and would hold up a rollout for ever.
///
/// # Errors
/// [`Unreleased`].
pub fn releasable(slots: &[Slot], host: &str, even_if_heard: bool) -> Result<NodeId, Unreleased> {
    let by_key = NodeId::parse(host);
    let named: Vec<&Slot> = slots.iter().filter(|slot| slot.name == host || Some(slot.host) == by_key).collect();
    let Some(first) = named.first() else { return Err(Unreleased::NotHeld) };
    if named.iter().any(|slot| slot.host != first.host) {
        return Err(Unreleased::Ambiguous(named.iter().map(|slot| slot.host).collect()));
    }
    match named.iter().find(|slot| !slot.is_lost()) {
        Some(slot) if !even_if_heard => Err(Unreleased::Heard(Box::new((*slot).clone()))),
        _ => Ok(first.host),
    }
}
