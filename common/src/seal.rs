//! Signed bytes. What was signed is kept and forwarded as it came, never re-encoded.

use core::any::Any;
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    id::NodeId,
    wire::{self, Malformed},
};

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signature([u8; 32], [u8; 32]);

impl Signature {
    /// From the usual 64 bytes.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&bytes[..32]);
        s.copy_from_slice(&bytes[32..]);
        Self(r, s)
    }

    /// The usual 64 bytes.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.1);
        bytes
    }
}

impl core::fmt::Debug for Signature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Signature({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// What may be sealed. The context is signed with the bytes, so that a signature over one kind is none over another.
pub trait Payload: Serialize + DeserializeOwned {
    /// Names the kind and its version, e.g. `patchmesh/record/1`.
    const CONTEXT: &'static str;
    /// Largest accepted encoding, in bytes.
    const LIMIT: usize;
}

/// Signs. The secret stays with the implementer.
pub trait Signer {
    /// Whose signature this makes.
    fn id(&self) -> NodeId;
    /// Signs `body` under `context`.
    fn sign(&self, context: &str, body: &[u8]) -> Signature;
}

/// Checks signatures: a pure function behind a port, so that simulations may use a keyed hash.
pub trait Verifier {
    /// Whether `author` signed `body` under `context`.
    fn verify(&self, author: &NodeId, context: &str, body: &[u8], signature: &Signature) -> bool;

    /// Where is noted what sealed bytes said; nowhere by default. What it finds is as good as opening them once more.
    fn memo(&self) -> Option<&dyn Memo> {
        None
    }
}

/// Remembers what sealed bytes said. Opening is a pure function of the bytes: where thousands of machines of one process hear
/// the same ones, they need be checked and decoded only once.
pub trait Memo {
    /// What was noted under the author and the signature of `sealed`. Whoever asks must compare the bytes.
    fn recall(&self, sealed: &Sealed) -> Option<Arc<dyn Any + Send + Sync>>;
    /// Notes what `sealed` says. May forget whatever it likes.
    fn note(&self, sealed: &Sealed, said: Arc<dyn Any + Send + Sync>);
}

/// Bytes, who signed them, and the signature. Nothing is known of the content until [`Sealed::open`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sealed {
    /// Whose key signed.
    pub author: NodeId,
    /// The encoded payload, exactly as its author made it.
    pub body: Vec<u8>,
    /// Over the context and `body`.
    pub signature: Signature,
}

/// Why sealed bytes were not opened. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The signature is not `author`'s over these bytes.
    #[error("the signature is not that of {0}")]
    Forged(NodeId),
    /// Signed well, but not what it should be.
    #[error("the sealed bytes of {0} do not decode")]
    Malformed(NodeId, #[source] Malformed),
}

impl Sealed {
    /// Encodes and signs `payload`.
    pub fn seal<T: Payload>(signer: &dyn Signer, payload: &T) -> Self {
        let body = wire::encode(payload);
        let signature = signer.sign(T::CONTEXT, &body);
        Self { author: signer.id(), body, signature }
    }

    /// Checks the signature, then decodes. Never the other way round.
    ///
    /// # Errors
    /// [`SealError`]: the signature is wrong, or the bytes are too many or not a `T`.
    pub fn open<T: Payload>(&self, keys: &dyn Verifier) -> Result<T, SealError> {
        if !keys.verify(&self.author, T::CONTEXT, &self.body, &self.signature) {
            return Err(SealError::Forged(self.author));
        }
        wire::decode(&self.body, T::LIMIT).map_err(|error| SealError::Malformed(self.author, error))
    }
}

fn signed_bytes(context: &str, body: &[u8]) -> Vec<u8> {
    [context.as_bytes(), &[0], body].concat()
}

/// The production verifier: strict ed25519.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ed25519;

impl Verifier for Ed25519 {
    fn verify(&self, author: &NodeId, context: &str, body: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.to_bytes());
        VerifyingKey::from_bytes(&author.0)
            .is_ok_and(|key| key.verify_strict(&signed_bytes(context, body), &signature).is_ok())
    }
}

/// The production signer.
#[derive(Clone)]
pub struct Ed25519Signer(SigningKey);

impl Ed25519Signer {
    /// From a 32-byte secret.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }
}

impl Signer for Ed25519Signer {
    fn id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, context: &str, body: &[u8]) -> Signature {
        Signature::from_bytes(&self.0.sign(&signed_bytes(context, body)).to_bytes())
    }
}

impl core::fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Ed25519Signer({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note(String);
    impl Payload for Note {
        const CONTEXT: &'static str = "test/note/1";
        const LIMIT: usize = 64;
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Other(String);
    impl Payload for Other {
        const CONTEXT: &'static str = "test/other/1";
        const LIMIT: usize = 64;
    }

    #[test]
    fn a_seal_opens_for_its_own_kind_and_author_only() {
        let signer = Ed25519Signer::from_secret(&[7; 32]);
        let sealed = Sealed::seal(&signer, &Note("hello".into()));
        assert_eq!(sealed.open::<Note>(&Ed25519), Ok(Note("hello".into())));
        assert_eq!(sealed.open::<Other>(&Ed25519), Err(SealError::Forged(signer.id())));
        let mut stolen = sealed.clone();
        stolen.author = Ed25519Signer::from_secret(&[8; 32]).id();
        assert!(stolen.open::<Note>(&Ed25519).is_err());
        let mut bent = sealed;
        bent.body[1] ^= 1;
        assert!(bent.open::<Note>(&Ed25519).is_err());
    }

    #[test]
    fn a_well_signed_payload_over_its_limit_is_refused() {
        let signer = Ed25519Signer::from_secret(&[7; 32]);
        let sealed = Sealed::seal(&signer, &Note("x".repeat(65)));
        assert!(matches!(sealed.open::<Note>(&Ed25519), Err(SealError::Malformed(..))));
    }
}
