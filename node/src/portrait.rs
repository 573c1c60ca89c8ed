//! What the host says of itself: keeps the body of its gossiped record true.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, Recipient, WrapFuture as _,
};
use patchmesh_common::{
    gossip::{Mode, RecordBody},
    patch::{Baseline, compliance::TAG},
    run::message::Refusal,
};

use crate::{
    clock,
    hand::Hand,
    host::{
        apt::{Apt, scan::Scan},
        root::Root,
    },
    patcher::{Held, SavedOrders},
    peer::{Describe, Stop},
    reports::Reports,
};

/// How often a host scans without being asked: AWS's host management takes inventory as often.
const SCAN_EVERY: Duration = Duration::from_secs(30 * 60);

/// How often a host fetches the indexes without being asked: as often as most repositories are written anew.
const FETCH_EVERY: Duration = Duration::from_secs(6 * 3600);
/// Name of the file in the state folder whose time of change is that of the last fetch.
pub const FETCHED: &str = "fetched";

/// Scans at the start, after each run and every half hour, and tells the mesh what changed. In mode `enforce` the indexes are
/// fetched before, at most once in six hours.
pub struct Portrait {
    body: RecordBody,
    apt: Arc<Apt>,
    reports: Reports,
    root: PathBuf,
    peer: Recipient<Describe>,
    hand: Arc<Hand>,
    /// See [`FETCHED`].
    fetched: PathBuf,
    scanning: bool,
}

impl Portrait {
    /// A portrait that begins as `body`. `state`: the daemon's folder.
    pub fn new(body: RecordBody, apt: Arc<Apt>, state: &Path, peer: Recipient<Describe>, hand: Arc<Hand>) -> Self {
        let (root, fetched, reports) = (apt.root().path().to_owned(), state.join(FETCHED), Reports::new(state));
        Self { body, apt, reports, root, peer, hand, fetched, scanning: false }
    }

    /// Whether the indexes are fetched before the next scan. What a run needs it fetches itself.
    fn may_fetch(&self) -> bool {
        self.body.mode == Mode::Enforce && self.body.held.is_none() && is_due(&self.fetched)
    }

    fn tell(&self) {
        let mut body = self.body.clone();
        body.tags.extend(self.hand.poison().tags(clock::now().wall));
        if self.peer.try_send(Describe(body)).is_err() {
            tracing::warn!("the mesh peer is busy; the host's record is late");
        }
    }

    /// What the last run found, as it stands in the record.
    fn read_report(&mut self) {
        match self.reports.standing() {
            Ok(standing) => {
                self.body.tags.remove(TAG);
                let tag = standing.and_then(|standing| standing.to_tag());
                self.body.tags.extend(tag.map(|tag| (TAG.to_owned(), tag)));
            }
            Err(error) => {
                tracing::warn!(%error, "the report cannot be read; the record goes on telling the earlier one")
            }
        }
    }

    fn scan(&mut self, cx: &mut Context<Self>) {
        if std::mem::replace(&mut self.scanning, true) {
            return;
        }
        let apt = Arc::clone(&self.apt);
        let fetch = self.may_fetch().then(|| self.fetched.clone());
        let scan = async move {
            if let Some(stamp) = fetch {
                refresh(&apt, &stamp).await;
            }
            apt.scan(Baseline::All).await
        }
        .into_actor(self);
        cx.spawn(scan.map(|scan, actor, _| actor.scanned(scan)));
    }

    fn scanned(&mut self, scan: Result<Scan, Refusal>) {
        self.scanning = false;
        self.read_report();
        match scan {
            Ok(scan) => {
                self.body.counters = scan.counters;
                self.body.scanned_at = Some(clock::now().wall);
                self.body.reboot_required = Root::open(&self.root).is_ok_and(|root| root.reboot_required());
            }
            Err(refusal) => {
                tracing::warn!(code = refusal.code.as_str(), why = refusal.text, "the host could not be scanned")
            }
        }
        self.tell();
    }
}

/// Whether the last fetch, by the time of change of `stamp`, is long enough ago; also where the clock was ahead then.
fn is_due(stamp: &Path) -> bool {
    let Ok(last) = fs::metadata(stamp).and_then(|about| about.modified()) else { return true };
    SystemTime::now().duration_since(last).map_or(true, |age| age >= FETCH_EVERY)
}

/// Fetches the indexes. What fails is told in the log; the scan goes by what is there.
async fn refresh(apt: &Apt, stamp: &Path) {
    // Before, so that a fetch that ends the daemon, or hangs, is not tried at every start.
    if let Err(error) = fs::write(stamp, "") {
        return tracing::warn!(file = %stamp.display(), %error, "the time of a fetch cannot be noted; nothing was fetched");
    }
    if let Err(refusal) = apt.refresh().await {
        tracing::warn!(
            code = refusal.code.as_str(),
            why = refusal.text,
            "not all indexes could be fetched; the scan goes by what is there"
        );
        // The network may only be coming up: the next scan tries again.
        if let Err(error) = fs::remove_file(stamp) {
            tracing::warn!(file = %stamp.display(), %error, "the next fetch waits for its usual time");
        }
    }
}

impl Actor for Portrait {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Context<Self>) {
        self.read_report();
        self.tell();
        let now = clock::now().wall;
        if let Some(until) = self.hand.poison().safe_until(now) {
            let left = Duration::from_millis(u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0));
            cx.run_later(left + Duration::from_secs(1), |actor, _| actor.tell());
        }
        self.scan(cx);
        cx.run_interval(SCAN_EVERY, Self::scan);
    }
}

impl Handler<Stop> for Portrait {
    type Result = ();

    fn handle(&mut self, _: Stop, cx: &mut Context<Self>) {
        cx.stop();
    }
}

impl Handler<SavedOrders> for Portrait {
    type Result = ();

    fn handle(&mut self, SavedOrders(orders): SavedOrders, _: &mut Context<Self>) {
        // Also what was told before: the mesh peer asks again for what it was too busy to take.
        self.body.orders = orders;
        self.tell();
    }
}

impl Handler<Held> for Portrait {
    type Result = ();

    fn handle(&mut self, held: Held, cx: &mut Context<Self>) {
        if self.body.held == held.0 {
            return;
        }
        self.body.held = held.0;
        self.tell();
        if held.0.is_none() {
            self.scan(cx);
        }
    }
}
