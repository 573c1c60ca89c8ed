//! Nobody speaks for another.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::id::{Incarnation, NodeId};

use super::{Books, Promise, Record, Seen};
use crate::{
    keys::place,
    truth::{Spot, Truth},
};

/// The promise.
pub(super) const STATEMENT: &str = "no view holds a record that its owner did not seal; versions never fall";

type Rank = (Incarnation, u64);

/// Remembers what every author sealed and what every view took.
#[derive(Default)]
pub(super) struct Authorship {
    /// Clones of one identity may seal two records of one rank.
    sealed: BTreeMap<NodeId, BTreeSet<(Rank, u64)>>,
    views: BTreeMap<Spot, BTreeMap<usize, Rank>>,
}

impl Promise for Authorship {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        match seen.truth {
            Truth::Sealed { author, rank, digest } => {
                self.sealed.entry(*author).or_default().insert((*rank, *digest));
            }
            Truth::Believed { author, rank, digest, .. } => {
                let own = self.sealed.get(author).is_some_and(|sealed| sealed.contains(&(*rank, *digest)));
                record.demand("authorship", seen.at, &[seen.spot], own, || {
                    format!("a view took a record {rank:?} of {author}, which {author} never sealed")
                });
                let before = self.views.entry(seen.spot).or_default().insert(place(author), *rank);
                record.demand("authorship", seen.at, &[seen.spot], before <= Some(*rank), || {
                    format!("the record of {author} fell from {before:?} to {rank:?}")
                });
            }
            Truth::ViewStarted => {
                self.views.remove(&seen.spot);
            }
            _ => {}
        }
    }

    fn recount(&self, books: &Books) -> Option<String> {
        for host in &books.hosts {
            for (author, rank) in &host.view {
                let sealed = self.sealed.get(author);
                if sealed.is_none_or(|sealed| sealed.range((*rank, 0)..=(*rank, u64::MAX)).next().is_none()) {
                    return Some(format!(
                        "the view of {} holds {rank:?} of {author}, which was never sealed",
                        host.spot
                    ));
                }
            }
        }
        None
    }
}
