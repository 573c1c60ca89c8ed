//! STOPs and their ends, as the mesh knows them: of every scope the winning order, with the signature that makes it one.
//!
//! Laws (tested): taking is commutative, associative and idempotent, also where not everything fits.

use std::collections::BTreeMap;

use crate::{
    id::MeshId,
    run::{
        frame::FrameError,
        message::{OrderStamp, SignedStop, StopScope},
    },
    seal::Verifier,
    time::WallTime,
};

/// Most scopes of which an order is kept and passed on, and which one record names: the latest ones, and always the one that
/// covers everything. Hosts obey what they saved, whether it is still kept here or not.
pub const MAX_ORDERS: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Known {
    signed: SignedStop,
    stamp: OrderStamp,
    until: WallTime,
}

/// The winning order of every scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Orders {
    mesh: MeshId,
    known: BTreeMap<StopScope, Known>,
}

impl Orders {
    pub(super) fn new(mesh: MeshId) -> Self {
        Self { mesh, known: BTreeMap::new() }
    }

    /// Takes `signed` if its signer may stop, its membership holds at `now`, and no order that is known outranks it. `true` if
    /// that is news.
    ///
    /// # Errors
    /// [`FrameError`]; nothing changed.
    pub(super) fn take(&mut self, signed: SignedStop, now: WallTime, keys: &dyn Verifier) -> Result<bool, FrameError> {
        // What would not be kept is not worth a signature's time.
        if signed.read().is_ok_and(|order| !self.wants(&order.stamp())) {
            return Ok(false);
        }
        let (order, until) = signed.order_until(self.mesh, now, keys)?;
        let stamp = order.stamp();
        self.known.insert(stamp.scope, Known { signed, stamp, until });
        if self.known.len() > MAX_ORDERS
            && let Some(least) = self.stamps().min_by_key(OrderStamp::weight)
        {
            self.known.remove(&least.scope);
        }
        Ok(true)
    }

    /// Whether an order would be kept: it outranks the known one of its scope, and is none of the least.
    fn wants(&self, stamp: &OrderStamp) -> bool {
        match self.known.get(&stamp.scope) {
            Some(known) => stamp.rank() > known.stamp.rank(),
            None => self.known.len() < MAX_ORDERS || self.stamps().any(|known| stamp.weight() > known.weight()),
        }
    }

    /// The order of `scope`.
    pub fn get(&self, scope: StopScope) -> Option<OrderStamp> {
        self.known.get(&scope).map(|known| known.stamp)
    }

    /// Every order, by scope.
    pub fn stamps(&self) -> impl Iterator<Item = OrderStamp> + '_ {
        self.known.values().map(|known| known.stamp)
    }

    /// Every order with its signature, by scope.
    pub fn signed(&self) -> impl Iterator<Item = &SignedStop> {
        self.known.values().map(|known| &known.signed)
    }

    /// The orders that somebody who saved `saved` lacks, by scope.
    pub(super) fn beyond<'a>(&'a self, saved: &'a [OrderStamp]) -> impl Iterator<Item = &'a SignedStop> {
        let lacks =
            |stamp: &OrderStamp| !saved.iter().any(|saved| saved.scope == stamp.scope && saved.rank() >= stamp.rank());
        self.known.values().filter(move |known| lacks(&known.stamp)).map(|known| &known.signed)
    }

    /// Forgets what nobody believes any more, because the signer's membership has ended; `true` if there was any.
    pub(super) fn expire(&mut self, now: WallTime) -> bool {
        let before = self.known.len();
        self.known.retain(|_, known| now < known.until);
        self.known.len() != before
    }
}

/// The orders of `stamps` that one record has room for, by scope.
pub(super) fn latest(mut stamps: Vec<OrderStamp>) -> Vec<OrderStamp> {
    stamps.sort_by_key(|stamp| core::cmp::Reverse(stamp.weight()));
    stamps.truncate(MAX_ORDERS);
    stamps.sort();
    stamps
}
