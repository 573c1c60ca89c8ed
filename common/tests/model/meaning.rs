//! What of a world decides anything, now or later.

use core::{hash::Hash as _, time::Duration};
use std::sync::Arc;

use patchmesh_common::{
    machine::Machine as _,
    rollout::{
        controller::Controller,
        ledger::Progress,
        planner::{Contact, Handshake},
    },
    run::{machine::PatchRun, message::ToHost},
    time::WallTime,
};

use crate::{
    canon::{Canon, OLD, Recorder},
    host::Host,
    message::{Held, epoch_print},
    setup::{PATIENCE, host_settings},
    world::World,
};

impl World {
    /// Tells worlds apart by what decides anything.
    pub(crate) fn fold(&mut self, canon: &mut Canon) {
        let control = &self.control;
        let print = self.control_print.get_or_insert_with(|| Arc::new(record_control(control)));
        let print = print.clone();
        for (at, host) in self.hosts.iter_mut().enumerate() {
            let (machine, boots) = (&host.machine, host.boots);
            host.print.get_or_insert_with(|| Arc::new(record_host(machine, at, boots)));
        }
        canon.record(&print, self.control_now());
        canon.word(self.broken.map_or(0, |broken| 1 + broken as u64));
        for (at, host) in self.hosts.iter().enumerate() {
            let now = self.host_now(at);
            host.print.iter().for_each(|print| canon.record(print, now));
            canon.word(self.down[at].len() as u64);
            self.down[at].iter().for_each(|message| canon.record(&message.print, now));
            canon.word(self.up[at].len() as u64);
            self.up[at].iter().for_each(|message| canon.record(&message.print, now));
            for held in &self.held {
                match held {
                    Held::Down(to, message, expires) if *to == at => {
                        canon.word((expires.0 - now.wall.0).div_euclid(1000).clamp(-1, 60) as u64);
                        canon.record(&message.print, now);
                    }
                    Held::Up(from, message) if *from == at => canon.record(&message.print, now),
                    _ => {}
                }
            }
            canon.word(u64::MAX);
        }
        for (at, host) in self.hosts.iter().enumerate() {
            canon.record(&self.record_truth(host), self.host_now(at));
            let journal = host.machine.journal();
            canon.remembered(host.granted.iter().map(|lease| &lease.0));
            canon.remembered(host.begun.iter().map(|lease| &lease.0));
            canon.remembered(journal.ended.iter().map(|lease| &lease.0));
            canon.remembered(journal.refused.iter().map(|lease| &lease.0));
        }
        canon.remembered(self.control.ledger().reported.iter().map(|lease| &lease.0));
    }

    /// What really happened on the host, as far as it can still make a difference.
    fn record_truth(&self, host: &Host) -> Recorder {
        Recorder::of(|r| {
            if let Some(said) = host.said {
                let age = (self.now - said.at).min(u64::from(OLD)) as u32;
                r.past(said.nonce.0, |r| (age, host.clock - said.clock).hash(r));
            }
            host.pending.map(|pending| core::mem::discriminant(&pending)).hash(r);
            let run = host.machine.journal().run.as_ref();
            let current = host.runner.filter(|(lease, ..)| run.is_some_and(|run| run.lease.id == *lease));
            current.map(|(_, attempt, runner)| (attempt, runner as u8)).hash(r);
            host.granted.iter().all(|lease| self.is_reported(*lease)).hash(r);
        })
    }
}

/// Everything of the controller but the constant plan, what is derived, and history that decides nothing: leases that are
/// only remembered for the case that a record names one that is not.
fn record_control(machine: &Controller) -> Recorder {
    let (ledger, desk) = (machine.ledger(), machine.desk());
    Recorder::of(|r| {
        epoch_print(ledger.epoch).hash(r);
        (
            machine.deadline().is_some(),
            ledger.discontinuous,
            ledger.copied,
            &ledger.adopted,
            &ledger.foreign,
            &ledger.leased,
        )
            .hash(r);
        for state in ledger.rollouts.values() {
            (state.ended_at.is_some(), state.paused, state.halted, state.stopped.is_some()).hash(r);
            for (host, planned) in state.hosts.iter().zip(&state.plan.hosts) {
                epoch_print(machine.command(planned.node, ToHost::Adopt, 0, WallTime(0), Default::default()).after)
                    .hash(r);
                core::mem::discriminant(&host.progress).hash(r);
                match &host.progress {
                    // The number of attempts decides nothing, but an offered lease carries it.
                    Progress::NotStarted => (host.attempts, host.deferrals).hash(r),
                    Progress::Running { .. } => host.attempts.hash(r),
                    Progress::Refused(refusal) => refusal.code.hash(r),
                    _ => {}
                }
                host.report.as_ref().map(|report| report.outcome).hash(r);
                // Nobody asks a host again that is done, nor what is remembered of the talk with it.
                let done = matches!(host.progress, Progress::Reported | Progress::Refused(_) | Progress::Skipped);
                if let Some(contact) = desk.contacts.get(&planned.node).filter(|_| !done) {
                    record_contact(contact, r);
                }
            }
        }
    })
}

fn record_contact(contact: &Contact, r: &mut Recorder) {
    // Repetitions come after 2 s; an offer is forgotten after 20 s; nobody prepares in vain twice a minute.
    r.since(contact.heard, Duration::from_secs(2));
    r.since(contact.resent, Duration::from_secs(2));
    r.until(contact.quiet_until);
    (contact.alive, contact.handshake.is_some(), contact.refused.is_some(), contact.in_vain.is_some()).hash(r);
    contact.in_vain.iter().for_each(|since| r.since(*since, Duration::from_secs(61)));
    if let Some((_, lease, handshake, since)) = &contact.handshake {
        lease.hash(r);
        match handshake {
            Handshake::Offered { .. } => false.hash(r),
            Handshake::Ready { nonce, .. } => nonce.hash(r),
        }
        r.since(*since, Duration::from_secs(21));
    }
    if let Some((refusal, since, until)) = &contact.refused {
        refusal.code.hash(r);
        r.since(*since, PATIENCE + Duration::from_secs(1));
        r.until(*until);
    }
    contact.progress.as_ref().map(|(phase, _)| phase).hash(r);
}

/// Everything of the host's machine but history that decides nothing: the steps, and what the last scan found.
fn record_host(machine: &PatchRun, at: usize, boots: u8) -> Recorder {
    let (settings, journal) = (host_settings(at, boots), machine.journal());
    let mut r = Recorder::without(machine, &(&settings, journal));
    if journal.run.is_none() {
        r.rest();
    }
    epoch_print(journal.epoch).hash(&mut r);
    settings.boot_id.hash(&mut r);
    journal.run.is_some().hash(&mut r);
    if let Some(run) = &journal.run {
        (run.lease.id, run.granted.boot_id, run.last).hash(&mut r);
        (run.pre_install_begun, run.touched, run.reboot_required, run.rebooted, run.released).hash(&mut r);
        run.fault.as_ref().map(|fault| (fault.outcome, &fault.error.code)).hash(&mut r);
        run.report.is_some().hash(&mut r);
    }
    r
}
