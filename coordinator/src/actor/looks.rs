//! Questions to single hosts for their reports: who waits for which, when they are repeated, and when they are given up.

use core::time::Duration;

use futures::channel::oneshot;
use patchmesh_common::{
    id::{CommandId, NodeId},
    patch::compliance::HostReport,
    run::message::{Refusal, ToHost},
    time::{BootTime, Now},
};
use patchmesh_node::clock;

use super::CoordinatorActor;

/// How long a host may take: it reads a file.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often an unanswered question is repeated.
const REPEAT: Duration = Duration::from_secs(5);
/// Most questions that wait for an answer.
const MAX_WAITING: usize = 256;

/// What a host says to one.
pub type Told = Result<Box<HostReport>, Refusal>;

/// The questions that wait.
#[derive(Debug, Default)]
pub struct Looks(Vec<Look>);

#[derive(Debug)]
struct Look {
    request: CommandId,
    node: NodeId,
    asked: BootTime,
    deadline: BootTime,
    reply: oneshot::Sender<Told>,
}

impl Looks {
    /// Waits for what `node` says to `request`, which is asked now. The receiver ends without an answer when the host is given
    /// up. `None` if too many wait already.
    pub fn begin(&mut self, request: CommandId, node: NodeId, now: BootTime) -> Option<oneshot::Receiver<Told>> {
        if self.0.len() >= MAX_WAITING {
            return None;
        }
        let (reply, told) = oneshot::channel();
        self.0.push(Look { request, node, asked: now, deadline: now.plus(PATIENCE), reply });
        Some(told)
    }

    /// What `from` says. Nobody else can answer in its place.
    pub fn answered(&mut self, from: NodeId, request: CommandId, told: Told) {
        if let Some(at) = self.0.iter().position(|look| look.request == request && look.node == from) {
            // Whoever asked may have gone: nothing was changed.
            let _ = self.0.swap_remove(at).reply.send(told);
        }
    }

    /// The questions that are to be repeated now. Gives up those that are too old, or for whose answer nobody waits.
    pub fn due(&mut self, now: BootTime) -> Vec<(NodeId, CommandId)> {
        self.0.retain(|look| now < look.deadline && !look.reply.is_canceled());
        let repeated = self.0.iter_mut().filter(|look| now.since(look.asked) >= REPEAT).map(|look| {
            look.asked = now;
            (look.node, look.request)
        });
        repeated.collect()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl CoordinatorActor {
    /// Asks `node` for its report. `None` if too many questions wait already; the receiver ends without an answer if the host
    /// gives none in time.
    pub fn look(&mut self, node: NodeId) -> Option<oneshot::Receiver<Told>> {
        let (request, now) = (CommandId(self.draw()), clock::now());
        let told = self.looks.begin(request, node, now.boot)?;
        self.tell(node, ToHost::Patches { request }, now);
        Some(told)
    }

    pub(super) fn repeat_looks(&mut self, now: Now) {
        for (node, request) in self.looks.due(now.boot) {
            self.tell(node, ToHost::Patches { request }, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_common::run::message::RefusalCode;

    use super::*;

    const REQUEST: CommandId = CommandId([1; 16]);
    const HOST: NodeId = NodeId([2; 32]);

    fn at(seconds: u64) -> BootTime {
        BootTime::default().plus(Duration::from_secs(seconds))
    }

    fn no() -> Told {
        Err(Refusal { code: RefusalCode::NoReport, text: "none".into(), remedy: "scan".into() })
    }

    #[test]
    fn a_question_is_repeated_every_five_seconds_and_given_up_after_thirty() {
        let mut looks = Looks::default();
        let mut told = looks.begin(REQUEST, HOST, at(0)).unwrap();
        let asked: Vec<u64> = (1..60).filter(|second| !looks.due(at(*second)).is_empty()).collect();
        assert_eq!(asked, [5, 10, 15, 20, 25]);
        assert!(looks.is_empty() && told.try_recv().is_err(), "the receiver has ended without an answer");
    }

    #[test]
    fn only_the_host_that_was_asked_answers_and_only_once() {
        let mut looks = Looks::default();
        let mut told = looks.begin(REQUEST, HOST, at(0)).unwrap();
        looks.answered(NodeId([3; 32]), REQUEST, no());
        looks.answered(HOST, CommandId([9; 16]), no());
        assert_eq!(told.try_recv().unwrap(), None);
        looks.answered(HOST, REQUEST, no());
        looks.answered(HOST, REQUEST, no());
        assert_eq!(told.try_recv().unwrap(), Some(no()));
        assert!(looks.is_empty());
    }

    #[test]
    fn who_has_gone_is_forgotten_and_too_many_are_refused() {
        let mut looks = Looks::default();
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| looks.begin(REQUEST, HOST, at(0)).unwrap()).collect();
        assert!(looks.begin(REQUEST, HOST, at(0)).is_none());
        drop(waiting);
        assert_eq!(looks.due(at(5)), []);
        assert!(looks.begin(REQUEST, HOST, at(5)).is_some());
    }
}
