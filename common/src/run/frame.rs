//! Who may say what: the checks on a [`LeaseFrame`] that its receiver makes itself, whoever carried it.

use super::message::{Answer, Command, LeaseFrame, SignedStop, StopOrder, ToHost};
use crate::{
    id::{Epoch, MeshId, NodeId},
    membership::{Credential, CredentialError, Membership, Role},
    seal::{Payload as _, SealError, Sealed, Verifier},
    time::WallTime,
    wire::{self, Malformed},
};

/// Why a frame is not obeyed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The author's membership does not hold.
    #[error("the author's membership was not accepted")]
    Credential(#[from] CredentialError),
    /// The membership is somebody else's.
    #[error("{author} shows the membership of {member}")]
    OtherAuthor {
        /// Who signed.
        author: NodeId,
        /// Whose membership came with it.
        member: NodeId,
    },
    /// The author's role does not allow this.
    #[error("the role {role:?} of {name} does not allow this")]
    Role {
        /// Who.
        name: String,
        /// What it is.
        role: Role,
    },
    /// Not the sealed message that it should be.
    #[error("the sealed message does not open")]
    Seal(#[from] SealError),
    /// For another mesh.
    #[error("the message is for mesh {0}, not for this one")]
    OtherMesh(MeshId),
    /// For another member.
    #[error("the message is for {0}, not for this host")]
    OtherAddressee(NodeId),
    /// Too late.
    #[error("the command expired at {} by this host's clock", .0.rfc3339())]
    Expired(WallTime),
    /// The epoch does not start with the serial of the membership.
    #[error("the epoch {0:?} does not carry the serial of the author's membership")]
    ForeignEpoch(Epoch),
}

impl FrameError {
    /// Whether only a broken or hostile sender can have passed this on. Expiry is no proof: clocks differ.
    pub fn blames_the_sender(&self) -> bool {
        !matches!(self, Self::Credential(CredentialError::Expired { .. }) | Self::Expired(_))
    }
}

impl LeaseFrame {
    /// The author's membership, if it holds at `now` and is the author's own. Says nothing of what is inside.
    ///
    /// # Errors
    /// [`FrameError::Credential`] or [`FrameError::OtherAuthor`].
    pub fn author(&self, mesh: MeshId, now: WallTime, keys: &dyn Verifier) -> Result<Membership, FrameError> {
        author(&self.credential, &self.sealed, mesh, now, keys)
    }

    /// The command in it, if its author may give it to `me` in `mesh`: a STOP may come from an operator, everything else
    /// only from a coordinator. Whether it is in time ([`Command::in_time`]) and under which epoch is left to the caller, who
    /// may answer what is not.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn command(
        &self,
        me: NodeId,
        mesh: MeshId,
        now: WallTime,
        keys: &dyn Verifier,
    ) -> Result<(Membership, Command), FrameError> {
        let membership = self.author(mesh, now, keys)?;
        may(&membership, &[Role::Coordinator, Role::Operator])?;
        let command: Command = self.sealed.open(keys)?;
        addressed(command.mesh, command.to, mesh, me)?;
        if !matches!(command.body, ToHost::Stop(_)) {
            may(&membership, &[Role::Coordinator])?;
        }
        Ok((membership, command))
    }

    /// The answer in it, if a member of `mesh` sealed it for `me`.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn answer(
        &self,
        me: NodeId,
        mesh: MeshId,
        now: WallTime,
        keys: &dyn Verifier,
    ) -> Result<(Membership, Answer), FrameError> {
        let membership = self.author(mesh, now, keys)?;
        let answer: Answer = self.sealed.open(keys)?;
        addressed(answer.mesh, answer.to, mesh, me)?;
        Ok((membership, answer))
    }
}

impl Command {
    /// Whether it may still be obeyed at `now`.
    ///
    /// # Errors
    /// [`FrameError::Expired`].
    pub fn in_time(&self, now: WallTime) -> Result<(), FrameError> {
        if now >= self.expires { Err(FrameError::Expired(self.expires)) } else { Ok(()) }
    }
}

impl SignedStop {
    /// The order in it, if a coordinator or an operator of `mesh` signed it, whoever sent it.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn order(&self, mesh: MeshId, now: WallTime, keys: &dyn Verifier) -> Result<StopOrder, FrameError> {
        self.order_until(mesh, now, keys).map(|(order, _)| order)
    }

    /// As [`SignedStop::order`], and from when on nobody believes it any more: the first expiry of its signer's chain.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn order_until(
        &self,
        mesh: MeshId,
        now: WallTime,
        keys: &dyn Verifier,
    ) -> Result<(StopOrder, WallTime), FrameError> {
        let (signer, until) = self.credential.check_until(mesh, now, keys)?;
        own(&signer, &self.order)?;
        may(&signer, &[Role::Coordinator, Role::Operator])?;
        let order: StopOrder = self.order.open(keys)?;
        if order.mesh != mesh {
            return Err(FrameError::OtherMesh(order.mesh));
        }
        Ok((order, until))
    }

    /// The order in it, whoever signed it: of one that was judged before it was saved, or that is going to be judged.
    ///
    /// # Errors
    /// [`Malformed`]: the bytes are no order.
    pub fn read(&self) -> Result<StopOrder, Malformed> {
        wire::decode(&self.order.body, StopOrder::LIMIT)
    }
}

/// The membership of whoever sealed `sealed`.
fn author(
    credential: &Credential,
    sealed: &Sealed,
    mesh: MeshId,
    now: WallTime,
    keys: &dyn Verifier,
) -> Result<Membership, FrameError> {
    let membership = credential.check(mesh, now, keys)?;
    own(&membership, sealed)?;
    Ok(membership)
}

/// Whether the membership is that of whoever sealed.
fn own(membership: &Membership, sealed: &Sealed) -> Result<(), FrameError> {
    if membership.key == sealed.author {
        return Ok(());
    }
    Err(FrameError::OtherAuthor { author: sealed.author, member: membership.key })
}

fn may(member: &Membership, roles: &[Role]) -> Result<(), FrameError> {
    if roles.contains(&member.role) {
        return Ok(());
    }
    Err(FrameError::Role { name: member.name.clone(), role: member.role })
}

fn addressed(said: MeshId, to: NodeId, mesh: MeshId, me: NodeId) -> Result<(), FrameError> {
    if said != mesh {
        return Err(FrameError::OtherMesh(said));
    }
    if to != me {
        return Err(FrameError::OtherAddressee(to));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        id::CommandId,
        run::message::StopScope,
        seal::{Ed25519, Ed25519Signer, Signer as _},
    };

    fn signer(seed: u8) -> Ed25519Signer {
        Ed25519Signer::from_secret(&[seed; 32])
    }

    fn mesh() -> MeshId {
        MeshId(signer(1).id().0)
    }

    fn frame(by: u8, shown: u8, role: Role, edit: impl Fn(&mut Command)) -> LeaseFrame {
        let membership = Membership {
            mesh: mesh(),
            key: signer(shown).id(),
            name: String::from("c"),
            role,
            serial: 1,
            expires: WallTime(1000),
            may_issue: false,
            tags: BTreeMap::new(),
        };
        let mut command = Command {
            id: CommandId([1; 16]),
            mesh: mesh(),
            to: signer(9).id(),
            epoch: Epoch::default(),
            after: None,
            head: Default::default(),
            expires: WallTime(500),
            body: ToHost::Adopt,
        };
        edit(&mut command);
        let membership = Sealed::seal(&signer(1), &membership);
        LeaseFrame { credential: Credential { membership, issuer: None }, sealed: Sealed::seal(&signer(by), &command) }
    }

    fn open(frame: &LeaseFrame, now: i64) -> Result<Command, FrameError> {
        let (_, command) = frame.command(signer(9).id(), mesh(), WallTime(now), &Ed25519)?;
        command.in_time(WallTime(now))?;
        Ok(command)
    }

    /// A STOP signed by `by` in a frame of an operator.
    fn stop(by: u8, role: Role, edit: impl Fn(&mut StopOrder)) -> LeaseFrame {
        let mut order = StopOrder { mesh: mesh(), scope: StopScope::All, sequence: 1, stop: true };
        edit(&mut order);
        let credential = frame(by, by, role, |_| {}).credential;
        let signed = SignedStop { order: Sealed::seal(&signer(by), &order), credential };
        frame(4, 4, Role::Operator, |command| command.body = ToHost::Stop(Box::new(signed.clone())))
    }

    #[test]
    fn an_operator_commands_a_stop_and_nothing_else() {
        let order = |frame: &LeaseFrame| match open(frame, 0)?.body {
            ToHost::Stop(signed) => signed.order(mesh(), WallTime(0), &Ed25519),
            other => panic!("{other:?}"),
        };
        assert!(order(&stop(4, Role::Operator, |_| {})).is_ok());
        assert!(order(&stop(2, Role::Coordinator, |_| {})).is_ok());
        assert!(matches!(order(&stop(5, Role::Node, |_| {})), Err(FrameError::Role { .. })));
        assert!(matches!(order(&stop(4, Role::Operator, |order| order.mesh.0[0] ^= 1)), Err(FrameError::OtherMesh(_))));
        assert!(matches!(open(&frame(4, 4, Role::Operator, |_| {}), 0), Err(FrameError::Role { .. })));
    }

    #[test]
    fn only_a_coordinator_commands_and_only_the_addressee_in_time() {
        let good = frame(2, 2, Role::Coordinator, |_| {});
        assert!(open(&good, 499).is_ok());
        assert_eq!(open(&good, 500), Err(FrameError::Expired(WallTime(500))));
        for role in [Role::Node, Role::Operator] {
            assert!(matches!(open(&frame(2, 2, role, |_| {}), 0), Err(FrameError::Role { .. })));
        }
        let other = frame(2, 2, Role::Coordinator, |command| command.to = signer(8).id());
        assert!(matches!(open(&other, 0), Err(FrameError::OtherAddressee(_))));
        let foreign = frame(2, 2, Role::Coordinator, |command| command.mesh = MeshId([5; 32]));
        assert!(matches!(open(&foreign, 0), Err(FrameError::OtherMesh(_))));
    }

    #[test]
    fn a_borrowed_membership_or_a_bent_byte_commands_nothing() {
        assert!(matches!(open(&frame(3, 2, Role::Coordinator, |_| {}), 0), Err(FrameError::OtherAuthor { .. })));
        let mut bent = frame(2, 2, Role::Coordinator, |_| {});
        bent.sealed.body[0] ^= 1;
        assert!(matches!(open(&bent, 0), Err(FrameError::Seal(_))));
        let good = frame(2, 2, Role::Coordinator, |_| {});
        assert!(matches!(good.answer(signer(9).id(), mesh(), WallTime(0), &Ed25519), Err(FrameError::Seal(_))));
    }
}
