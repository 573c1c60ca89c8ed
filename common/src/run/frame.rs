//! Who may say what: the checks on a [`LeaseFrame`] that its receiver makes itself, whoever carried it.

use super::message::{Answer, Command, LeaseFrame};
use crate::{
    id::{MeshId, NodeId},
    membership::{CredentialError, Membership, Role},
    seal::{SealError, Verifier},
    time::WallTime,
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
    #[error("{name} is a {role:?} and may not send this")]
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
    #[error("the command expired at {}", .0.rfc3339())]
    Expired(WallTime),
}

impl LeaseFrame {
    /// The author's membership, if it holds at `now` and is the author's own. Says nothing of what is inside.
    ///
    /// # Errors
    /// [`FrameError::Credential`] or [`FrameError::OtherAuthor`].
    pub fn author(&self, mesh: MeshId, now: WallTime, keys: &dyn Verifier) -> Result<Membership, FrameError> {
        let membership = self.credential.check(mesh, now, keys)?;
        if membership.key != self.sealed.author {
            return Err(FrameError::OtherAuthor { author: self.sealed.author, member: membership.key });
        }
        Ok(membership)
    }

    /// The command in it, if a coordinator of `mesh` sealed it for `me` and it has not expired at `now`. The epoch is left to
    /// the caller, who knows the highest.
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
        if membership.role != Role::Coordinator {
            return Err(FrameError::Role { name: membership.name, role: membership.role });
        }
        let command: Command = self.sealed.open(keys)?;
        addressed(command.mesh, command.to, mesh, me)?;
        if now >= command.expires {
            return Err(FrameError::Expired(command.expires));
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
        id::{CommandId, Epoch},
        membership::Credential,
        run::message::ToHost,
        seal::{Ed25519, Ed25519Signer, Sealed, Signer as _},
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
            expires: WallTime(500),
            body: ToHost::Adopt,
        };
        edit(&mut command);
        let membership = Sealed::seal(&signer(1), &membership);
        LeaseFrame { credential: Credential { membership, issuer: None }, sealed: Sealed::seal(&signer(by), &command) }
    }

    fn open(frame: &LeaseFrame, now: i64) -> Result<Command, FrameError> {
        frame.command(signer(9).id(), mesh(), WallTime(now), &Ed25519).map(|(_, command)| command)
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
