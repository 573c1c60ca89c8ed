//! Births and deaths: of daemons, of hosts, of whole fleets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use patchmesh_common::{
    gossip::{Mode, RecordBody},
    inventory::HostFacts,
    membership::Role,
    time::WallTime,
};

use super::{
    Happening, World,
    desk::Desk,
    hand::Hand,
    host::Host,
    mesh::Heard,
    push::Push,
    seat::{Part, Seat},
};
use crate::{
    clock::{Clock, true_wall},
    keys::{COORDINATOR, credential, node},
    truth::{Spot, Truth},
};

/// A daemon that died is started again after this, in milliseconds, at least and at most.
const RESTART: (u64, u64) = (500, 3_000);

/// Messages that wait for a paused process; the rest finds its buffers full.
const SOCKET: usize = 256;

impl World {
    pub(super) fn populate(&mut self) {
        let hosts = self.scenario.hosts;
        for number in 0..hosts {
            self.settle(number, None);
        }
        self.settle(COORDINATOR, None);
        for spot in 0..self.seats.len() as Spot {
            let delay = self.seats[spot as usize].chance.below(5_000);
            self.after(delay, Happening::Start { spot });
        }
        self.begin_operations();
        for number in 0..self.chaos.timed() {
            let at = self.chaos.time_of(number);
            self.at(at, Happening::Fault { number });
        }
        self.at(self.scenario.heal, Happening::Heal);
        if self.scenario.rests {
            self.after(0, Happening::Rest);
        }
        if hosts <= super::SMALL {
            self.after(super::RECOUNT, Happening::Recount);
        }
    }

    /// A new machine with the identity `number`; its membership ends at `expires` in true time.
    pub(super) fn settle(&mut self, number: u32, expires: Option<u64>) -> Spot {
        let spot = self.seats.len() as Spot;
        let (me, coordinator) = (node(number), number == COORDINATOR);
        let named = |part: &str| format!("{part} {spot}");
        let mut chance = self.seeds.chance(&named("machine"));
        let mesh_chance = self.seeds.chance(&named("mesh"));
        let inner = self.seeds.chance(&named("run"));
        let push = Push::new(self.seeds.chance(&named("push")));
        // Up for minutes or for weeks.
        let booted = self.now as i64 - chance.between(20_000, 2_000_000_000) as i64;
        let mut clock = Clock::right(booted);
        clock.offset = chance.below(4_000) as i64 - 2_000;
        let role = if coordinator { Role::Coordinator } else { Role::Node };
        let part = if coordinator {
            Part::Desk(Box::new(Desk::new(inner)))
        } else {
            Part::Host(Box::new(Host::new(inner, self.seeds.chance(&named("packages")), me)))
        };
        let until = expires.map_or(WallTime::MAX, true_wall);
        let tags = if coordinator { BTreeMap::new() } else { self.tags(number) };
        self.seats.push(Seat {
            spot,
            number,
            node: me,
            credential: credential(number, role, until),
            clock,
            boots: 1,
            powered: true,
            gone: false,
            up: false,
            life: 0,
            paused_until: 0,
            parked: Vec::new(),
            slow_until: 0,
            view_lost: false,
            chance,
            hand: Hand::new(self.seeds.chance(&named("hand"))),
            mesh_chance,
            gossip: None,
            kept: Vec::new(),
            kept_orders: Vec::new(),
            body: RecordBody { tags, ..body() },
            links: BTreeSet::new(),
            push,
            heard: Heard::default(),
            blocked: BTreeMap::new(),
            mesh_wake: 0,
            rested: 0,
            skew: None,
            published: VecDeque::new(),
            part,
        });
        spot
    }

    pub(super) fn start(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        if seat.up || !seat.powered || seat.gone {
            return;
        }
        seat.up = true;
        seat.life += 1;
        let (boot, at) = (seat.boot_id(), seat.clock.now(self.now).wall);
        self.tell(spot, Truth::Started { boot, at });
        self.open_hand(spot);
        match self.seats[spot as usize].part {
            Part::Host(_) => self.start_run(spot),
            Part::Desk(_) => self.start_desk(spot),
        }
        self.tell_safe(spot);
        if self.seats[spot as usize].up {
            self.start_mesh(spot);
        }
    }

    /// The daemon dies. It is started again unless the power failed.
    pub(super) fn kill(&mut self, spot: Spot, power: bool) {
        self.die(spot, power);
        if self.seats[spot as usize].powered && !self.seats[spot as usize].gone {
            let pause = self.seats[spot as usize].chance.between(RESTART.0, RESTART.1);
            self.after(pause, Happening::Start { spot });
        }
    }

    /// The daemon dies and nothing starts it again.
    pub(super) fn die(&mut self, spot: Spot, power: bool) {
        let seat = &mut self.seats[spot as usize];
        if !seat.up {
            return;
        }
        seat.up = false;
        seat.life += 1;
        seat.parked.clear();
        let lost = std::mem::take(&mut seat.view_lost);
        if lost {
            seat.kept_orders.clear();
        }
        if let Some(gossip) = seat.gossip.take().filter(|_| !lost) {
            // What was written within the last half second may be gone with the power.
            let keep = |chance: &mut crate::chance::Chance| !power || !chance.once_in(4);
            let items: Vec<_> = gossip.view().members().map(|(_, member)| member.item.clone()).collect();
            seat.kept = items.into_iter().filter(|_| keep(&mut seat.chance)).collect();
        }
        if let Some(host) = seat.host_mut() {
            host.pending.clear();
            host.inbox.clear();
            host.waiting = None;
        }
        if let Some(desk) = seat.desk_mut() {
            desk.down();
        }
        self.disarm(spot);
        self.drop_links(spot, power);
        self.tell(spot, Truth::Died { power });
    }

    /// The power fails, or the kernel reboots: everything on the host dies.
    pub(super) fn power_off(&mut self, spot: Spot) {
        self.seats[spot as usize].powered = false;
        self.kill_runners(spot, true);
        self.die(spot, true);
    }

    pub(super) fn reboot_off(&mut self, spot: Spot, boots: u32) {
        if self.seats[spot as usize].boots == boots && self.seats[spot as usize].powered {
            self.power_off(spot);
        }
    }

    pub(super) fn power_on(&mut self, spot: Spot) {
        let now = self.now as i64;
        let seat = &mut self.seats[spot as usize];
        if seat.powered || seat.gone {
            return;
        }
        (seat.powered, seat.paused_until) = (true, 0);
        seat.boots += 1;
        seat.clock.booted = now;
        let pause = seat.chance.between(5_000, 20_000);
        self.after(pause, Happening::Start { spot });
    }

    /// Keeps what comes for a paused machine.
    pub(super) fn park(&mut self, spot: Spot, what: Happening) {
        let seat = &mut self.seats[spot as usize];
        if !what.is_message() || seat.parked.len() < SOCKET {
            seat.parked.push(what);
        }
    }

    pub(super) fn pause(&mut self, spot: Spot, lasts: u64) {
        let until = self.now + lasts;
        let seat = &mut self.seats[spot as usize];
        seat.paused_until = seat.paused_until.max(until);
        self.at(until, Happening::Resume { spot });
        self.strain_paused(spot);
        self.tell(spot, Truth::Paused);
    }

    pub(super) fn resume(&mut self, spot: Spot) {
        let now = self.now;
        let seat = &mut self.seats[spot as usize];
        if seat.paused_until > now {
            return;
        }
        let up = seat.up;
        for what in std::mem::take(&mut seat.parked) {
            self.at(now, what);
        }
        if up {
            self.tell(spot, Truth::Resumed);
        }
    }

    /// A machine leaves for good.
    pub(super) fn retire(&mut self, spot: Spot) {
        self.seats[spot as usize].gone = true;
        self.power_off(spot);
    }
}

fn body() -> RecordBody {
    let facts = HostFacts {
        os: String::from("debian"),
        os_version: String::from("12"),
        arch: String::from("amd64"),
        manager: String::from("apt"),
        agent_version: String::from("0.1.0"),
        kernel: String::from("6.1.0-40-amd64"),
    };
    // Its package manager was looked at before the simulation began.
    RecordBody { facts, mode: Mode::Enforce, scanned_at: Some(WallTime(0)), ..RecordBody::default() }
}
