//! The view between starts: a thread writes it, because the store blocks.

use std::{io, path::Path, thread};

use patchmesh_common::{
    gossip::{Item, MAX_ITEM},
    id::NodeId,
    wire,
};
use tokio::sync::mpsc;

use crate::store::cache::{Cache, CacheError};

/// Writes waiting for the thread. What is lost beyond it comes back from the neighbours.
const WRITES: usize = 1024;

type Write = (NodeId, Option<Vec<u8>>);

/// The way to the writing thread; it ends, and closes the store, when this is dropped.
pub(super) struct Memory {
    writes: mpsc::Sender<Write>,
}

impl Memory {
    /// Opens the store in `state` and reads what was kept. Damage is repaired and said.
    pub(super) fn open(state: &Path) -> Result<(Self, Vec<Item>), CacheError> {
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
        let items = cache.all().unwrap_or_else(|error| {
            tracing::warn!(error, "the kept view cannot be read; it is rebuilt from the mesh");
            Vec::new()
        });
        // What another version wrote is not an item any more, and comes anew from the neighbours.
        let items = items.iter().filter_map(|(_, bytes)| wire::decode(bytes, MAX_ITEM).ok()).collect();
        let (writes, inbox) = mpsc::channel(WRITES);
        thread::Builder::new()
            .name(String::from("cache"))
            .spawn(move || write_all(cache, inbox))
            .map_err(|source: io::Error| CacheError::Io { dir: state.into(), source })?;
        Ok((Self { writes }, items))
    }

    pub(super) fn remember(&self, item: &Item) {
        self.write((item.record.author, Some(wire::encode(item))));
    }

    pub(super) fn forget(&self, author: &NodeId) {
        self.write((*author, None));
    }

    fn write(&self, write: Write) {
        if self.writes.try_send(write).is_err() {
            tracing::debug!("the cache is behind: one record is not kept");
        }
    }
}

fn write_all(mut cache: Cache, mut inbox: mpsc::Receiver<Write>) {
    while let Some(first) = inbox.blocking_recv() {
        let mut next = Some(first);
        while let Some((author, value)) = next {
            if let Err(error) = cache.set(&author.0, value.as_deref()) {
                tracing::warn!(error, "a record was not kept");
            }
            next = inbox.try_recv().ok();
        }
        if let Err(error) = cache.flush() {
            tracing::warn!(%error, "the cache was not flushed");
        }
    }
}
