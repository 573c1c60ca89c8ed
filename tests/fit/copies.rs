//! Counts what gossipsub does and tells nobody but its log: copies that it had already, and its upkeep.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

#[derive(Default)]
struct Inner {
    duplicates: AtomicU64,
    upkeeps: AtomicUsize,
}

/// Of every daemon in this process.
#[derive(Clone, Default)]
pub(crate) struct Counts(Arc<Inner>);

impl Counts {
    /// Listens from now on to everything that is logged in this process.
    pub(crate) fn install() -> Self {
        let counts = Self::default();
        tracing::subscriber::set_global_default(counts.clone()).unwrap();
        counts
    }

    /// Copies that came to a daemon that had the message already.
    pub(crate) fn duplicates(&self) -> u64 {
        self.0.duplicates.load(Ordering::Relaxed)
    }

    /// How often a daemon has told others what it has, which it does at each upkeep while there is anything.
    pub(crate) fn upkeeps(&self) -> usize {
        self.0.upkeeps.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Counts {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::DEBUG && metadata.target().starts_with("libp2p_gossipsub")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        if text.0 == "Message already received, ignoring" {
            self.0.duplicates.fetch_add(1, Ordering::Relaxed);
        } else if text.0.starts_with("Gossiping IHAVE to") {
            self.0.upkeeps.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
