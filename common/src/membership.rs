//! Who belongs to the mesh, and what a member may do. Signed by the offline owner key, or by a coordinator that may issue.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{MeshId, NodeId},
    seal::{Payload, SealError, Sealed, Verifier},
    time::WallTime,
};

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A host: gossips its own record, answers coordinators, commands nothing.
    Node,
    /// May send leases and commands.
    Coordinator,
    /// A person's key: may sign STOPs.
    Operator,
}

/// One member's rights, as its issuer signed them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// Which mesh.
    pub mesh: MeshId,
    /// Whose membership.
    pub key: NodeId,
    /// The host's name in the mesh; unique, because only the issuer gives it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Grows with every renewal; the leading part of a coordinator's epoch.
    pub serial: u64,
    /// Not valid from this moment on.
    pub expires: WallTime,
    /// A coordinator that may issue memberships of role `node`.
    pub may_issue: bool,
    /// Tags given by the issuer; they win over those of the host's own file.
    pub tags: BTreeMap<String, String>,
}

impl Payload for Membership {
    const CONTEXT: &'static str = "patchmesh/membership/1";
    const LIMIT: usize = 2048;
}

/// A membership with what is needed to check it: nothing if the owner signed, the issuer's own membership otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Credential {
    /// A sealed [`Membership`].
    pub membership: Sealed,
    /// The issuing coordinator's [`Membership`], sealed by the owner.
    pub issuer: Option<Sealed>,
}

/// Why a credential was not accepted. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A signature is wrong, or the bytes are none.
    #[error("the membership cannot be read")]
    Seal(#[from] SealError),
    /// Of another mesh.
    #[error("the membership is for mesh {0}, not for this one")]
    OtherMesh(MeshId),
    /// Not signed by the owner, nor by a coordinator that may issue role `node`.
    #[error("{0} may not issue this membership")]
    MayNotIssue(NodeId),
    /// Its time, or its issuer's, is over.
    #[error("the membership of {name} expired at {}", .expires.rfc3339())]
    Expired {
        /// Whose.
        name: String,
        /// When.
        expires: WallTime,
    },
}

impl Credential {
    /// The membership, if every signature up to the owner of `mesh` is right and nothing in the chain has expired at `now`.
    ///
    /// # Errors
    /// [`CredentialError`] names the first link that does not hold.
    pub fn check(&self, mesh: MeshId, now: WallTime, keys: &dyn Verifier) -> Result<Membership, CredentialError> {
        self.check_until(mesh, now, keys).map(|(membership, _)| membership)
    }

    /// As [`Credential::check`], and from when on it will no longer hold: the first expiry of the chain.
    ///
    /// # Errors
    /// [`CredentialError`] names the first link that does not hold.
    pub fn check_until(
        &self,
        mesh: MeshId,
        now: WallTime,
        keys: &dyn Verifier,
    ) -> Result<(Membership, WallTime), CredentialError> {
        let membership = open(&self.membership, mesh, now, keys)?;
        let expires = membership.expires;
        if self.membership.author.0 == mesh.0 {
            return Ok((membership, expires));
        }
        let refused = CredentialError::MayNotIssue(self.membership.author);
        let sealed = self.issuer.as_ref().filter(|sealed| sealed.author.0 == mesh.0).ok_or(refused.clone())?;
        let issuer = open(sealed, mesh, now, keys)?;
        let may = issuer.key == self.membership.author
            && issuer.role == Role::Coordinator
            && issuer.may_issue
            && membership.role == Role::Node
            && !membership.may_issue;
        if may { Ok((membership, expires.min(issuer.expires))) } else { Err(refused) }
    }
}

fn open(sealed: &Sealed, mesh: MeshId, now: WallTime, keys: &dyn Verifier) -> Result<Membership, CredentialError> {
    let membership: Membership = sealed.open(keys)?;
    if membership.mesh != mesh {
        return Err(CredentialError::OtherMesh(membership.mesh));
    }
    if now >= membership.expires {
        return Err(CredentialError::Expired { name: membership.name, expires: membership.expires });
    }
    Ok(membership)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{Ed25519, Ed25519Signer, Signer};

    fn signer(seed: u8) -> Ed25519Signer {
        Ed25519Signer::from_secret(&[seed; 32])
    }

    fn membership(key: u8, role: Role, may_issue: bool) -> Membership {
        Membership {
            mesh: MeshId(signer(1).id().0),
            key: signer(key).id(),
            name: format!("host-{key}"),
            role,
            serial: 1,
            expires: WallTime(1000),
            may_issue,
            tags: BTreeMap::new(),
        }
    }

    fn check(credential: &Credential, now: i64) -> Result<Membership, CredentialError> {
        credential.check(MeshId(signer(1).id().0), WallTime(now), &Ed25519)
    }

    #[test]
    fn the_owner_issues_anything_until_it_expires() {
        let wanted = membership(3, Role::Coordinator, true);
        let credential = Credential { membership: Sealed::seal(&signer(1), &wanted), issuer: None };
        assert_eq!(check(&credential, 999), Ok(wanted));
        assert!(matches!(check(&credential, 1000), Err(CredentialError::Expired { .. })));
    }

    #[test]
    fn a_coordinator_issues_nodes_and_nothing_else() {
        let issuer = Some(Sealed::seal(&signer(1), &membership(2, Role::Coordinator, true)));
        let node = Credential {
            membership: Sealed::seal(&signer(2), &membership(3, Role::Node, false)),
            issuer: issuer.clone(),
        };
        assert!(check(&node, 0).is_ok());
        let upstart =
            Credential { membership: Sealed::seal(&signer(2), &membership(3, Role::Coordinator, false)), issuer };
        assert!(matches!(check(&upstart, 0), Err(CredentialError::MayNotIssue(_))));
    }

    #[test]
    fn a_node_issues_nothing_and_nobody_issues_for_another_mesh() {
        let by_node = Credential {
            membership: Sealed::seal(&signer(2), &membership(3, Role::Node, false)),
            issuer: Some(Sealed::seal(&signer(1), &membership(2, Role::Node, false))),
        };
        assert!(matches!(check(&by_node, 0), Err(CredentialError::MayNotIssue(_))));
        let mut foreign = membership(3, Role::Node, false);
        foreign.mesh = MeshId([9; 32]);
        let foreign = Credential { membership: Sealed::seal(&signer(1), &foreign), issuer: None };
        assert!(matches!(check(&foreign, 0), Err(CredentialError::OtherMesh(_))));
    }
}
