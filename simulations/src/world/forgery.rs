//! Enemies inside: a member that sends what is not its own to send.

use patchmesh_common::{
    gossip::Item,
    id::{CommandId, LeaseId, RolloutId},
    membership::Role,
    run::{
        Phase,
        message::{Answer, Command, LeaseFrame, Outcome, Report, ToCoordinator, ToHost},
    },
    seal::Sealed,
    time::WallTime,
};

use super::World;
use crate::{
    keys::{COORDINATOR, Key, MESH, credential, node},
    truth::Spot,
};

impl World {
    /// A member sends what is not its own to send.
    pub(super) fn forge(&mut self) -> bool {
        let Some(enemy) = self.idle_host() else { return false };
        let (evil, right) = (self.seats[enemy as usize].node, self.seats[enemy as usize].credential.clone());
        // What a copy of a host seals with the host's own key is no forgery: nobody could tell.
        let spots: Vec<Spot> =
            self.seats.iter().filter(|seat| seat.up && seat.node != evil).map(|seat| seat.spot).collect();
        for spot in spots {
            let victim = self.seats[spot as usize].node;
            let epoch = self.primary().and_then(|desk| self.seats[desk as usize].desk()).map(|desk| desk.epoch());
            let lease = self.seats[spot as usize].host().and_then(|host| host.machine.journal().held());
            let command = Command {
                id: CommandId([9; 16]),
                mesh: MESH,
                to: victim,
                epoch: epoch.unwrap_or_default(),
                after: None,
                head: Default::default(),
                expires: WallTime::MAX,
                body: ToHost::Acknowledge { lease: lease.map_or(LeaseId([0; 16]), |(lease, _)| lease) },
            };
            // Its own right, and the coordinator's right under its own seal.
            let stolen = credential(COORDINATOR, Role::Coordinator, WallTime::MAX);
            for credential in [right.clone(), stolen] {
                let frame = LeaseFrame { credential, sealed: Sealed::seal(&Key(evil), &command) };
                self.send_frame(enemy, &victim, &frame);
            }
            if let Some((lease, rollout)) = lease {
                self.forge_report(enemy, spot, lease, rollout);
            }
            // A record of the victim that the victim never made.
            let record = self.seats[spot as usize]
                .gossip
                .as_ref()
                .and_then(|gossip| gossip.view().get(&victim).map(|member| member.item.clone()));
            if let Some(mut item) = record {
                item.record.body.push(0);
                self.spread(enemy, &item);
            }
        }
        true
    }

    fn forge_report(&mut self, enemy: Spot, spot: Spot, lease: LeaseId, rollout: RolloutId) {
        let (evil, victim) = (self.seats[enemy as usize].node, self.seats[spot as usize].node);
        let now = self.seats[enemy as usize].clock.now(self.now).wall;
        let report = Report {
            lease,
            rollout,
            outcome: Outcome::Succeeded,
            phase: Phase::OnExit,
            rebooted: false,
            packages: Vec::new(),
            error: None,
            counters: Default::default(),
            steps: Vec::new(),
            started: now,
            ended: now,
        };
        let answer = Answer {
            mesh: MESH,
            to: node(COORDINATOR),
            epoch: Default::default(),
            head: None,
            body: ToCoordinator::Reported(Box::new(report)),
        };
        let mut sealed = Sealed::seal(&Key(evil), &answer);
        sealed.author = victim;
        let frame = LeaseFrame { credential: self.seats[spot as usize].credential.clone(), sealed };
        self.send_frame(enemy, &node(COORDINATOR), &frame);
    }

    fn spread(&mut self, from: Spot, item: &Item) {
        for to in self.seats[from as usize].links.clone() {
            self.inject_news(from, to, item);
        }
    }
}
