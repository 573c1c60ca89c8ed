//! The view: the newest record of every member, each under an unexpired membership.
//!
//! Laws (tested): [`View::merge`] is commutative, associative and idempotent, and no author's stamp ever falls.

use std::collections::BTreeMap;

use super::{
    Item, NodeRecord, Stamp,
    wire::{MAX_DELTA, MAX_MEMBERS},
};
use crate::{
    id::{MeshId, NodeId},
    membership::{CredentialError, Membership},
    seal::{SealError, Verifier},
    time::WallTime,
};

/// One member as the view holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The author's bytes, forwarded as they came.
    pub item: Item,
    /// What the credential says.
    pub membership: Membership,
    /// When the credential, or its issuer's, ends.
    pub until: WallTime,
    /// What the record says.
    pub record: NodeRecord,
}

impl Member {
    /// Which record this is.
    pub fn stamp(&self) -> Stamp {
        Stamp { author: self.item.record.author, incarnation: self.record.incarnation, version: self.record.version }
    }
}

/// What a merge changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// A newer record, or a new member.
    Newer,
    /// The record is the same, the membership was renewed.
    Renewed,
    /// Nothing.
    Old,
}

/// Why an item was not believed. The view is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The membership does not hold.
    #[error("the author's membership was not accepted")]
    Credential(#[from] CredentialError),
    /// The membership is somebody else's.
    #[error("{author} shows the membership of {member}")]
    OtherAuthor {
        /// Who signed the record.
        author: NodeId,
        /// Whose membership came with it.
        member: NodeId,
    },
    /// The record does not open.
    #[error("the record was not accepted")]
    Record(#[from] SealError),
    /// A record for another mesh.
    #[error("the record is for mesh {0}, not for this one")]
    OtherMesh(MeshId),
    /// The view is full.
    #[error("the view already holds {MAX_MEMBERS} members")]
    Full,
}

impl Rejected {
    /// Whether only a broken or hostile sender can have passed this on. Expiry is no proof: clocks differ.
    pub fn blames_the_sender(&self) -> bool {
        !matches!(self, Self::Credential(CredentialError::Expired { .. }) | Self::Full)
    }
}

/// What one host believes of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    mesh: MeshId,
    members: BTreeMap<NodeId, Member>,
}

impl View {
    /// An empty view of `mesh`.
    pub fn new(mesh: MeshId) -> Self {
        Self { mesh, members: BTreeMap::new() }
    }

    /// The member with key `node`.
    pub fn get(&self, node: &NodeId) -> Option<&Member> {
        self.members.get(node)
    }

    /// Every member, by key.
    pub fn members(&self) -> impl Iterator<Item = (&NodeId, &Member)> {
        self.members.iter()
    }

    /// Believes `item` if its credential holds at `now`, and keeps what is newest: the record of the highest (incarnation,
    /// version), the credential of the highest serial.
    ///
    /// # Errors
    /// [`Rejected`]; nothing changed.
    pub fn merge(&mut self, item: Item, now: WallTime, keys: &dyn Verifier) -> Result<Merged, Rejected> {
        let author = item.record.author;
        let known = self.members.get(&author);
        if known.is_some_and(|known| known.item == item) {
            return Ok(Merged::Old);
        }
        // A signature that was right once is right for ever; only its time ends.
        let proven = known.filter(|known| known.item.credential == item.credential && now < known.until);
        let proven = proven.map(|known| (known.membership.clone(), known.until));
        let offered = check(self.mesh, item, proven, now, keys)?;
        let Some(known) = known else {
            if self.members.len() >= MAX_MEMBERS {
                return Err(Rejected::Full);
            }
            self.members.insert(author, offered);
            return Ok(Merged::Newer);
        };
        let newer = offered.stamp().rank() > known.stamp().rank();
        let rights = |member: &Member| (member.membership.serial, member.item.credential.clone());
        let renewed = rights(&offered) > rights(known);
        if !newer && !renewed {
            return Ok(Merged::Old);
        }
        let (right, said) = (if renewed { &offered } else { known }, if newer { &offered } else { known });
        let merged = Member {
            item: Item { credential: right.item.credential.clone(), record: said.item.record.clone() },
            membership: right.membership.clone(),
            until: right.until,
            record: said.record.clone(),
        };
        self.members.insert(author, merged);
        Ok(if newer { Merged::Newer } else { Merged::Renewed })
    }

    /// Removes and returns whoever's membership, or whose issuer's, has ended at `now`.
    pub fn expire(&mut self, now: WallTime) -> Vec<NodeId> {
        let ended: Vec<NodeId> =
            self.members.iter().filter(|(_, member)| now >= member.until).map(|(node, _)| *node).collect();
        for node in &ended {
            self.members.remove(node);
        }
        ended
    }

    /// Which record of whom is here, by key.
    pub fn digest(&self) -> Vec<Stamp> {
        self.members.values().map(Member::stamp).collect()
    }

    /// What somebody with `digest` lacks, at most [`MAX_DELTA`] items.
    pub fn delta(&self, digest: &[Stamp]) -> Vec<Item> {
        let theirs: BTreeMap<_, _> = digest.iter().map(|stamp| (stamp.author, stamp.rank())).collect();
        self.members
            .iter()
            .filter(|(node, member)| theirs.get(node).is_none_or(|rank| member.stamp().rank() > *rank))
            .take(MAX_DELTA)
            .map(|(_, member)| member.item.clone())
            .collect()
    }

    /// Whose records somebody with `digest` has newer, at most [`MAX_DELTA`].
    pub fn lacks(&self, digest: &[Stamp]) -> Vec<NodeId> {
        digest
            .iter()
            .filter(|stamp| self.members.get(&stamp.author).is_none_or(|member| stamp.rank() > member.stamp().rank()))
            .take(MAX_DELTA)
            .map(|stamp| stamp.author)
            .collect()
    }

    /// The items of `authors` that are here, at most [`MAX_DELTA`].
    pub fn items(&self, authors: &[NodeId]) -> Vec<Item> {
        authors
            .iter()
            .take(MAX_DELTA)
            .filter_map(|author| self.members.get(author).map(|member| member.item.clone()))
            .collect()
    }
}

/// What `item` says, if it may be believed. `proven` is what its credential says, where that is known to hold.
fn check(
    mesh: MeshId,
    item: Item,
    proven: Option<(Membership, WallTime)>,
    now: WallTime,
    keys: &dyn Verifier,
) -> Result<Member, Rejected> {
    let (membership, until) = match proven {
        Some(proven) => proven,
        None => item.credential.check_until(mesh, now, keys)?,
    };
    if membership.key != item.record.author {
        return Err(Rejected::OtherAuthor { author: item.record.author, member: membership.key });
    }
    let record: NodeRecord = item.record.open(keys)?;
    if record.mesh != mesh {
        return Err(Rejected::OtherMesh(record.mesh));
    }
    Ok(Member { item, membership, until, record })
}
