//! Signing behind its port: a keyed hash, because thousands of real signatures would be most of a simulation's time.

use patchmesh_common::{
    id::{MeshId, NodeId},
    membership::{Credential, Membership, Role},
    seal::{Sealed, Signature, Signer, Verifier},
    time::WallTime,
};

/// The key of one member. Not secret: nothing here tests cryptography.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(pub(crate) NodeId);

/// Checks what [`Key`] signs.
pub(crate) struct Keys;

fn mark(author: &NodeId, context: &str, body: &[u8]) -> Signature {
    let mut hasher = blake3::Hasher::new_keyed(&author.0);
    hasher.update(context.as_bytes()).update(&[0]).update(body);
    let mut bytes = [0; 64];
    hasher.finalize_xof().fill(&mut bytes);
    Signature::from_bytes(&bytes)
}

impl Signer for Key {
    fn id(&self) -> NodeId {
        self.0
    }

    fn sign(&self, context: &str, body: &[u8]) -> Signature {
        mark(&self.0, context, body)
    }
}

impl Verifier for Keys {
    fn verify(&self, author: &NodeId, context: &str, body: &[u8], signature: &Signature) -> bool {
        mark(author, context, body) == *signature
    }
}

/// The mesh and its owner.
pub(crate) const MESH: MeshId = MeshId([0xff; 32]);

/// The id of host `number`, or of the coordinator with [`COORDINATOR`].
pub(crate) fn node(number: usize) -> NodeId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    NodeId(id)
}

/// The coordinator's number.
pub(crate) const COORDINATOR: usize = usize::MAX >> 1;

/// A membership that never expires.
pub(crate) fn credential(number: usize, role: Role) -> Credential {
    let membership = Membership {
        mesh: MESH,
        key: node(number),
        name: format!("host-{number:04}"),
        role,
        serial: 1,
        expires: WallTime::MAX,
        may_issue: false,
        tags: Default::default(),
    };
    Credential { membership: Sealed::seal(&Key(NodeId(MESH.0)), &membership), issuer: None }
}
