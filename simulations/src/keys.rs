//! Signing behind its port: a keyed hash, because thousands of real signatures would be most of a simulation's time.

use core::any::Any;
use std::{cell::RefCell, sync::Arc};

use patchmesh_common::{
    id::{MeshId, NodeId},
    membership::{Credential, Membership, Role},
    seal::{Memo, Sealed, Signature, Signer, Verifier},
    time::WallTime,
};

/// The key of one member. Not secret: nothing here tests cryptography.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(pub(crate) NodeId);

/// Checks what [`Key`] signs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys;

/// As [`Keys`], for machines that hear the same records.
#[derive(Default)]
pub(crate) struct Readers(RefCell<Vec<Shelf>>);

/// What the latest records of one author said, with the beginnings of their signatures.
type Shelf = [Option<(u64, Arc<dyn Any + Send + Sync>)>; 4];

fn label(sealed: &Sealed) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&sealed.signature.to_bytes()[..8]);
    u64::from_le_bytes(word)
}

impl Verifier for Readers {
    fn verify(&self, author: &NodeId, context: &str, body: &[u8], signature: &Signature) -> bool {
        Keys.verify(author, context, body, signature)
    }

    fn memo(&self) -> Option<&dyn Memo> {
        Some(self)
    }
}

impl Memo for Readers {
    fn recall(&self, sealed: &Sealed) -> Option<Arc<dyn Any + Send + Sync>> {
        let (shelves, label) = (self.0.borrow(), label(sealed));
        let shelf = shelves.get(place(&sealed.author))?;
        shelf.iter().flatten().find(|(other, _)| *other == label).map(|(_, said)| Arc::clone(said))
    }

    fn note(&self, sealed: &Sealed, said: Arc<dyn Any + Send + Sync>) {
        let (mut shelves, place) = (self.0.borrow_mut(), place(&sealed.author));
        if shelves.len() <= place {
            shelves.resize_with(place + 1, Shelf::default);
        }
        shelves[place].rotate_right(1);
        shelves[place][0] = Some((label(sealed), said));
    }
}

/// Mixes eight bytes at a time; good enough that a changed byte, context or author never passes by accident.
fn mix(state: u64, word: u64) -> u64 {
    let wide = u128::from(state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (wide as u64) ^ ((wide >> 64) as u64).rotate_left(29)
}

fn absorb(state: u64, bytes: &[u8]) -> u64 {
    let mut state = mix(state, bytes.len() as u64 ^ 0xa5a5);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = mix(state, u64::from_le_bytes(word));
    }
    chunks.remainder().iter().fold(state, |state, byte| mix(state, u64::from(*byte) | 0x100))
}

/// A short hash of bytes, for traces and identities of messages. Not for secrets.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    absorb(0x5851_f42d_4c95_7f2d, bytes)
}

fn mark(author: &NodeId, context: &str, body: &[u8]) -> Signature {
    let mut state = absorb(digest(&author.0), context.as_bytes());
    state = absorb(state, body);
    let mut bytes = [0; 64];
    for (number, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        state = mix(state, number as u64 + 1);
        chunk.copy_from_slice(&state.to_le_bytes());
    }
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

/// The number of the coordinator's identity; hosts count from 0.
pub(crate) const COORDINATOR: u32 = u32::MAX - 1;

/// The number of the operators' identity: it is nowhere in the mesh, and signs STOPs.
pub(crate) const OPERATOR: u32 = u32::MAX - 2;

/// The key of identity `number`.
pub(crate) fn node(number: u32) -> NodeId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(u64::from(number) + 1).to_be_bytes());
    NodeId(id)
}

/// A small number for an identity, to look things up by: the coordinator's first, hosts in order.
pub(crate) fn place(node: &NodeId) -> usize {
    let mut number = [0; 8];
    number.copy_from_slice(&node.0[..8]);
    let number = u64::from_be_bytes(number);
    if number == u64::from(COORDINATOR) + 1 { 0 } else { usize::try_from(number).unwrap_or(0) }
}

/// The name of identity `number`.
pub(crate) fn name(number: u32) -> String {
    match number {
        COORDINATOR => "coordinator".into(),
        OPERATOR => "operator".into(),
        _ => format!("host-{number:04}"),
    }
}

/// A membership of identity `number` that ends at `expires`.
pub(crate) fn credential(number: u32, role: Role, expires: WallTime) -> Credential {
    let membership = Membership {
        mesh: MESH,
        key: node(number),
        name: name(number),
        role,
        serial: 1,
        expires,
        may_issue: false,
        tags: Default::default(),
    };
    Credential { membership: Sealed::seal(&Key(NodeId(MESH.0)), &membership), issuer: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_context_or_author_is_noticed() {
        let signature = Key(node(3)).sign("kind", b"some longer body");
        assert!(Keys.verify(&node(3), "kind", b"some longer body", &signature));
        assert!(!Keys.verify(&node(4), "kind", b"some longer body", &signature));
        assert!(!Keys.verify(&node(3), "kinds", b"some longer body", &signature));
        assert!(!Keys.verify(&node(3), "kind", b"some longer bodx", &signature));
    }
}
