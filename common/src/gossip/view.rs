//! The view: the newest record of every member, each under an unexpired membership.
//!
//! Laws (tested): [`View::merge`] is commutative, associative and idempotent, and no author's stamp ever falls.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Item, NodeRecord, Stamp,
    wire::{MAX_DELTA, MAX_MEMBERS},
};
use crate::{
    id::{MeshId, NodeId},
    membership::{CredentialError, Membership},
    seal::{SealError, Sealed, Verifier},
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

    /// Takes a record of this member if it is newer; and whether it says the same as before.
    fn hear(&mut self, sealed: Sealed, record: NodeRecord) -> (Merged, bool) {
        if (record.incarnation, record.version) <= self.stamp().rank() {
            return (Merged::Old, true);
        }
        let same = record.body == self.record.body;
        (self.item.record, self.record) = (sealed, record);
        (Merged::Newer, same)
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
    members: BTreeMap<NodeId, Arc<Member>>,
    /// When whose membership ends, so that nobody need be asked until one does.
    ends: BTreeSet<(WallTime, NodeId)>,
}

impl View {
    /// An empty view of `mesh`.
    pub fn new(mesh: MeshId) -> Self {
        Self { mesh, members: BTreeMap::new(), ends: BTreeSet::new() }
    }

    /// The member with key `node`.
    pub fn get(&self, node: &NodeId) -> Option<&Member> {
        self.members.get(node).map(Arc::as_ref)
    }

    /// Every member, by key.
    pub fn members(&self) -> impl Iterator<Item = (&NodeId, &Member)> {
        self.members.iter().map(|(node, member)| (node, member.as_ref()))
    }

    /// Believes `item` if its credential holds at `now`, and keeps what is newest: the record of the highest (incarnation,
    /// version), the credential of the highest serial.
    ///
    /// # Errors
    /// [`Rejected`]; nothing changed.
    pub fn merge(&mut self, item: Item, now: WallTime, keys: &dyn Verifier) -> Result<Merged, Rejected> {
        self.take(item, now, keys).map(|(merged, _)| merged)
    }

    /// As [`View::merge`], and whether the author is known and says the same as before.
    pub(super) fn take(&mut self, item: Item, now: WallTime, keys: &dyn Verifier) -> Result<(Merged, bool), Rejected> {
        let author = item.record.author;
        let full = self.members.len() >= MAX_MEMBERS;
        let Some(known) = self.members.get_mut(&author) else {
            let offered = match noted(&item, now, keys) {
                Some(member) => member,
                None => note(Arc::new(check(self.mesh, item, now, keys)?), keys),
            };
            if full {
                return Err(Rejected::Full);
            }
            self.ends.insert((offered.until, author));
            self.members.insert(author, offered);
            return Ok((Merged::Newer, false));
        };
        if known.item.credential == item.credential {
            if known.item.record == item.record {
                return Ok((Merged::Old, true));
            }
            // A signature that was right once is right for ever; only its time ends.
            if now < known.until {
                if let Some(member) = noted(&item, now, keys) {
                    if member.stamp().rank() <= known.stamp().rank() {
                        return Ok((Merged::Old, true));
                    }
                    let same = member.record.body == known.record.body;
                    *known = member;
                    return Ok((Merged::Newer, same));
                }
                let record = read(self.mesh, &item, keys)?;
                let heard = Arc::make_mut(known).hear(item.record, record);
                if heard.0 == Merged::Newer {
                    note(Arc::clone(known), keys);
                }
                return Ok(heard);
            }
        }
        let offered = check(self.mesh, item, now, keys)?;
        let known = Arc::make_mut(known);
        let renewed =
            (offered.membership.serial, &offered.item.credential) > (known.membership.serial, &known.item.credential);
        if renewed {
            self.ends.remove(&(known.until, author));
            self.ends.insert((offered.until, author));
            known.item.credential = offered.item.credential;
            (known.membership, known.until) = (offered.membership, offered.until);
        }
        let heard = known.hear(offered.item.record, offered.record);
        Ok(if renewed && heard.0 == Merged::Old { (Merged::Renewed, true) } else { heard })
    }

    /// Removes and returns whoever's membership, or whose issuer's, has ended at `now`.
    pub fn expire(&mut self, now: WallTime) -> Vec<NodeId> {
        let mut ended = Vec::new();
        while let Some((until, node)) = self.ends.first().copied().filter(|(until, _)| now >= *until) {
            self.ends.remove(&(until, node));
            self.members.remove(&node);
            ended.push(node);
        }
        ended.sort_unstable();
        ended
    }

    /// Which record of whom is here, by key.
    pub fn digest(&self) -> Vec<Stamp> {
        self.members.values().map(|member| member.stamp()).collect()
    }

    /// What somebody with `digest` lacks, at most [`MAX_DELTA`] items.
    pub fn delta(&self, digest: &[Stamp]) -> Vec<Item> {
        let digest = by_author(digest);
        let mut theirs = digest.iter().peekable();
        self.members
            .iter()
            .filter(|(node, member)| {
                while theirs.next_if(|stamp| stamp.author < **node).is_some() {}
                theirs.peek().is_none_or(|stamp| stamp.author != **node || member.stamp().rank() > stamp.rank())
            })
            .take(MAX_DELTA)
            .map(|(_, member)| member.item.clone())
            .collect()
    }

    /// Whose records somebody with `digest` has newer, at most [`MAX_DELTA`], by key.
    pub fn lacks(&self, digest: &[Stamp]) -> Vec<NodeId> {
        let digest = by_author(digest);
        let mut ours = self.members.iter().peekable();
        digest
            .iter()
            .filter(|stamp| {
                while ours.next_if(|(node, _)| **node < stamp.author).is_some() {}
                ours.peek().is_none_or(|(node, member)| **node != stamp.author || stamp.rank() > member.stamp().rank())
            })
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

/// `digest` in the order of [`View::digest`], one stamp for each author: as it came, unless somebody made it otherwise.
fn by_author(digest: &[Stamp]) -> Cow<'_, [Stamp]> {
    if digest.is_sorted_by(|one, next| one.author < next.author) {
        return Cow::Borrowed(digest);
    }
    let stamps: BTreeMap<_, _> = digest.iter().map(|stamp| (stamp.author, *stamp)).collect();
    Cow::Owned(stamps.into_values().collect())
}

/// What `item` said to somebody else, if it still holds at `now`.
fn noted(item: &Item, now: WallTime, keys: &dyn Verifier) -> Option<Arc<Member>> {
    let said = keys.memo()?.recall(&item.record)?.downcast::<Member>().ok()?;
    (said.item == *item && now < said.until).then_some(said)
}

fn note(member: Arc<Member>, keys: &dyn Verifier) -> Arc<Member> {
    if let Some(memo) = keys.memo() {
        let said: Arc<Member> = Arc::clone(&member);
        memo.note(&member.item.record, said);
    }
    member
}

/// What `item` says, if it may be believed.
fn check(mesh: MeshId, item: Item, now: WallTime, keys: &dyn Verifier) -> Result<Member, Rejected> {
    let (membership, until) = item.credential.check_until(mesh, now, keys)?;
    if membership.key != item.record.author {
        return Err(Rejected::OtherAuthor { author: item.record.author, member: membership.key });
    }
    let record = read(mesh, &item, keys)?;
    Ok(Member { item, membership, until, record })
}

/// The record of `item`, whoever may say such things.
fn read(mesh: MeshId, item: &Item, keys: &dyn Verifier) -> Result<NodeRecord, Rejected> {
    let record: NodeRecord = item.record.open(keys)?;
    if record.mesh == mesh { Ok(record) } else { Err(Rejected::OtherMesh(record.mesh)) }
}
