//! Two coordinators of one key on copies of one ledger: whoever started on the copy leaves the field to the other.
//!
//! The limit holds without this, because each counts what it does not know as held. But both would jump above each other
//! for ever, and neither would get anything done.

use core::time::Duration;

use super::{Controller, Effect};
use crate::{id::NodeId, machine::Cx, run::message::ToHost};

/// How long a copied ledger listens before it grants anything: whoever is at work says something to some host meanwhile.
const LISTEN: Duration = Duration::from_secs(30);
/// How long it stands back before it looks whether the other is still there.
const STAND_BACK: Duration = Duration::from_secs(300);
/// A ledger that lost epochs jumps above them one by one, hardly ever more often than this.
const MAX_JUMPS: u32 = 3;

impl Controller {
    /// At every start on a ledger that was once copied or restored: also a restart finds there what it is.
    pub(super) fn listen(&mut self, cx: &Cx<'_, Effect>) {
        self.desk.listening = self.ledger.copied.then(|| cx.now.boot.plus(LISTEN));
    }

    /// A host obeys a higher epoch than this one's. If it had adopted this one before, somebody opened the other since, and
    /// is at work. Whether this coordinator is the one to stand back.
    pub(super) fn stands_back_from(&mut self, cx: &Cx<'_, Effect>, from: NodeId) -> bool {
        let alive = self.ledger.adopted.contains(&from) || self.jumps >= MAX_JUMPS;
        if self.ledger.copied && alive && self.desk.rival.is_none() {
            self.desk.rival = Some(cx.now.boot.plus(STAND_BACK));
            self.desk.contacts.values_mut().for_each(|contact| contact.handshake = None);
        }
        self.desk.rival.is_some()
    }

    /// An epoch that is opened for its own sake is a jump like any other to whoever else is at work: a copied ledger has only
    /// so many. Whether it may open one now.
    pub(super) fn jumps_again(&mut self) -> bool {
        let may = self.desk.rival.is_none() && (!self.ledger.copied || self.jumps < MAX_JUMPS);
        self.jumps += u32::from(may && self.ledger.copied);
        may
    }

    /// Whoever listens asks only what hosts hold; whoever stands back does not even ask. A STOP is always said.
    pub(super) fn hold_back(&self, cx: &Cx<'_, Effect>, sends: &mut Vec<(NodeId, Effect)>) {
        let (back, rival) = (self.desk.stands_back(cx.now.boot), self.desk.rival.is_some());
        sends.retain(|(_, effect)| match effect {
            Effect::Tell { body: ToHost::Adopt, .. } => !rival,
            Effect::Tell { .. } => !back,
            Effect::Order(_) | Effect::TellStop { .. } | Effect::AskGates { .. } | Effect::Save(_) => true,
        });
    }

    /// After a while it asks again, under an epoch that nobody has adopted yet, and may jump once.
    pub(super) fn come_back(&mut self, cx: &mut Cx<'_, Effect>) {
        if self.desk.rival.is_none_or(|until| cx.now.boot < until) {
            return;
        }
        (self.desk.rival, self.jumps) = (None, MAX_JUMPS - 1);
        self.desk.listening = Some(cx.now.boot.plus(LISTEN));
        self.jump(cx, 0);
    }
}
