//! The view between starts: a thread writes it, because the store blocks.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::store::cache::{Cache, CacheError};
use patchmesh_common::{
    gossip::{Item, MAX_ITEM, MAX_ORDERS},
    id::NodeId,
    run::message::{MAX_STOP, SignedStop},
    wire,
};

/// Writes waiting for the thread. What is lost beyond it comes back from the neighbours.
const WRITES: usize = 1024;
/// How long writes are collected. Every member seals anew twice a minute, and what a crash loses comes back from the
/// neighbours in seconds: the disk need not hear of each.
const COLLECT: Duration = Duration::from_secs(60);

type Write = (Vec<u8>, Option<Vec<u8>>);

/// The key of the orders; records are kept under their authors' keys, which are longer.
const ORDERS: &[u8] = b"orders";

/// The way to the writing thread. Dropping it waits until everything is written and the store is closed.
pub(super) struct Memory {
    writes: Option<SyncSender<Write>>,
    writer: Option<JoinHandle<()>>,
}

impl Memory {
    /// Opens the store in `state` and reads what was kept. Damage is repaired and said.
    pub(super) fn open(state: &Path) -> Result<(Self, Vec<Item>, Vec<SignedStop>), CacheError> {
        let (cache, repair) = Cache::open(state)?;
        if let Some(repair) = repair {
            let kept = repair.kept.map_or_else(|| String::from("(deleted)"), |path| path.display().to_string());
            tracing::warn!(
                why = repair.why,
                kept,
                "the cache in {} was damaged and is rebuilt from the mesh: no journal or lease was in it",
                state.display()
            );
        }
        let entries = cache.all().unwrap_or_else(|error| {
            tracing::warn!(error, "the kept view cannot be read; it is rebuilt from the mesh");
            Vec::new()
        });
        // What another version wrote is not an item any more, and comes anew from the neighbours.
        let orders = entries.iter().find(|(key, _)| key == ORDERS);
        let orders =
            orders.and_then(|(_, bytes)| wire::decode(bytes, MAX_ORDERS * MAX_STOP + 8).ok()).unwrap_or_default();
        let items = entries.iter().filter_map(|(_, bytes)| wire::decode(bytes, MAX_ITEM).ok()).collect();
        let (writes, inbox) = sync_channel(WRITES);
        let writer = thread::Builder::new()
            .name(String::from("cache"))
            .spawn(move || write_all(cache, &inbox))
            .map_err(|source: io::Error| CacheError::Io { dir: state.into(), source })?;
        Ok((Self { writes: Some(writes), writer: Some(writer) }, items, orders))
    }

    pub(super) fn remember(&self, item: &Item) {
        self.write((item.record.author.0.to_vec(), Some(wire::encode(item))));
    }

    pub(super) fn forget(&self, author: &NodeId) {
        self.write((author.0.to_vec(), None));
    }

    pub(super) fn remember_orders(&self, orders: &[SignedStop]) {
        self.write((ORDERS.to_vec(), Some(wire::encode(&orders))));
    }

    fn write(&self, write: Write) {
        if self.writes.as_ref().is_none_or(|writes| writes.try_send(write).is_err()) {
            tracing::debug!("the cache is behind: one record is not kept");
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.writes = None;
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::warn!("the cache's thread ended early; some records were not kept");
        }
    }
}

fn write_all(mut cache: Cache, inbox: &Receiver<Write>) {
    while let Ok(first) = inbox.recv() {
        let mut newest = BTreeMap::from([first]);
        let until = Instant::now() + COLLECT;
        while let Ok((key, value)) = inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
            newest.insert(key, value);
        }
        for (key, value) in newest {
            if let Err(error) = cache.set(&key, value.as_deref()) {
                tracing::warn!(error, "a record was not kept");
            }
        }
        if let Err(error) = cache.flush() {
            tracing::warn!(%error, "the cache was not flushed");
        }
    }
}
