//! Asks the hosts since when versions exist.

use futures::channel::oneshot;
use patchmesh_common::{
    id::{CommandId, NodeId},
    patch::{
        sighting::{Seen, Sighting},
        snapshot::Since,
    },
    rollout::witness::Witnesses,
    run::message::ToHost,
    time::Now,
};
use patchmesh_node::{api::document::is_host, clock, peer::Presence};

use super::CoordinatorActor;

/// One round of questions, and who waits for what they come to.
pub(super) struct Hearing {
    request: CommandId,
    witnesses: Witnesses,
    reply: oneshot::Sender<Vec<Since>>,
}

impl CoordinatorActor {
    /// Asks every host that the mesh hears since when the versions exist that it is offered.
    pub fn hear_witnesses(&mut self) -> oneshot::Receiver<Vec<Since>> {
        let now = clock::now();
        let heard = self.view.iter().filter(|host| is_host(host) && host.presence == Presence::Alive);
        let witnesses = Witnesses::begin(heard.map(|host| host.node).collect::<Vec<_>>(), now.boot);
        let (reply, answer) = oneshot::channel();
        let hearing = Hearing { request: CommandId(self.draw()), witnesses, reply };
        self.ask_witnesses(&hearing, now);
        self.hearings.push(hearing);
        self.finish_hearings(now);
        answer
    }

    fn ask_witnesses(&mut self, hearing: &Hearing, now: Now) {
        for node in hearing.witnesses.pending().collect::<Vec<_>>() {
            self.tell(node, ToHost::Sightings { request: hearing.request }, now);
        }
    }

    pub(super) fn finish_hearings(&mut self, now: Now) {
        for mut hearing in std::mem::take(&mut self.hearings) {
            if hearing.witnesses.is_over(now.boot) {
                // Nobody waits any more if the client has gone: the answers changed nothing.
                let _ = hearing.reply.send(hearing.witnesses.decide());
                continue;
            }
            if hearing.witnesses.repeats(now.boot) {
                self.ask_witnesses(&hearing, now);
            }
            self.hearings.push(hearing);
        }
    }

    /// A refusal is no word: the host is asked again until the time is over.
    pub(super) fn testified(&mut self, host: NodeId, request: CommandId, words: Vec<(Seen, Sighting)>, now: Now) {
        if let Some(hearing) = self.hearings.iter_mut().find(|hearing| hearing.request == request) {
            hearing.witnesses.answered(host, words, now);
        }
        self.finish_hearings(now);
    }
}
