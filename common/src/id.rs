//! Identities: keys, boots, epochs, rollouts, leases.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of lower- or upper-case hex; `None` if `text` is anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let pairs = text.as_bytes().chunks_exact(2);
    if pairs.remainder().is_empty() { pairs.map(pair).collect() } else { None }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $bytes]);

        // As the bytes are ordered. Ids are the keys of nearly every map and differ early: eight bytes are compared in place.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> core::cmp::Ordering {
                match (self.0.split_first_chunk::<8>(), other.0.split_first_chunk::<8>()) {
                    (Some((one, rest)), Some((other, other_rest))) => {
                        u64::from_be_bytes(*one).cmp(&u64::from_be_bytes(*other)).then_with(|| rest.cmp(other_rest))
                    }
                    _ => self.0.cmp(&other.0),
                }
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $name {
            /// Parses lower- or upper-case hex of exactly the right length.
            pub fn parse(text: &str) -> Option<Self> {
                unhex(text)?.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

hex_id! {
    /// A member of the mesh: its ed25519 public key, which is also its libp2p peer id.
    NodeId, 32
}
hex_id! {
    /// A mesh: its owner's ed25519 public key.
    MeshId, 32
}
hex_id! {
    /// One boot of one host, as the kernel names it (`/proc/sys/kernel/random/boot_id`).
    BootId, 16
}
hex_id! {
    /// One rollout. Random.
    RolloutId, 8
}
hex_id! {
    /// One permission: one host, one run, exact contents. Random.
    LeaseId, 16
}
hex_id! {
    /// 128 random bits that live in memory only: a restart makes a late `Go` stale.
    Nonce, 16
}
hex_id! {
    /// One command, for deduplication. Random.
    CommandId, 16
}

hex_id! {
    /// What was approved for a rollout, frozen: the hash of its encoding ([`crate::patch::snapshot::Snapshot`]).
    SnapshotId, 32
}

impl NodeId {
    /// The first eight hex digits: enough to tell hosts apart in a log line, never to decide anything.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

/// One life of a process: it grows with every start, and tells a copy from its original.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// The fence: a host acts under no epoch lower than the highest it saved, or equal to it but of another incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Serial of the coordinator's membership.
    pub serial: u64,
    /// Grows with every start of a coordinator.
    pub counter: u64,
    /// Random for every start, and kept when a coordinator jumps: tells two coordinators on copies of one store apart, and in a
    /// ledger a start from a jump.
    pub incarnation: Incarnation,
}

impl Epoch {
    /// The part that orders epochs. Two epochs of equal rank and different incarnation exclude each other.
    pub fn rank(&self) -> (u64, u64) {
        (self.serial, self.counter)
    }

    /// Whether a host that saved `self` may act under `offered`.
    pub fn admits(&self, offered: &Self) -> bool {
        offered.rank() > self.rank() || offered == self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_as_hex() {
        let id = LeaseId([0xab; 16]);
        assert_eq!(LeaseId::parse(&id.to_string()), Some(id));
        assert_eq!(LeaseId::parse("ab"), None);
        assert_eq!(RolloutId::parse("zzzzzzzzzzzzzzzz"), None);
    }

    #[test]
    fn an_epoch_admits_itself_and_higher_ones_but_no_twin() {
        let saved = Epoch { serial: 1, counter: 4, incarnation: Incarnation(9) };
        let twin = Epoch { incarnation: Incarnation(8), ..saved };
        let next = Epoch { counter: 5, ..twin };
        assert!(saved.admits(&saved) && saved.admits(&next));
        assert!(!saved.admits(&twin) && !next.admits(&saved));
    }
}
