//! Disruption stays inside openings, as long as one of the two clocks is right.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::{BootId, LeaseId},
    run::message::{LatestStart, MAX_SKEW},
    schedule::Opening,
    time::{BootTime, Now},
};

use super::{Promise, Record, Seen};
use crate::{
    clock::true_wall,
    truth::{Spot, Step, Truth},
};

/// The promise.
pub(super) const STATEMENT: &str = "a disruptive step begins only if the coordinator's clock at Go and the host's clock at the step \
    place it inside an opening and before its last start, and the lease's relative deadline has not passed; it holds in true \
    time if at least one of the two clocks is right";

/// How far outside the opening a step may begin in true time: two clocks may each be off by the largest skew, and the lease's
/// deadline was reckoned when it was offered, up to half a minute before `Go`.
const TOLERANCE: i64 = 2 * MAX_SKEW.as_millis() as i64 + 30_000;

struct Go {
    opening: Opening,
    now: Now,
    error: i64,
}

struct Grant {
    opening: Opening,
    latest: LatestStart,
    at: BootTime,
    boot: BootId,
}

/// Remembers when each lease got its `Go`, by both clocks.
#[derive(Default)]
pub(super) struct Window {
    gone: BTreeMap<LeaseId, Go>,
    granted: BTreeMap<(Spot, LeaseId), Grant>,
}

fn is_right(error: i64) -> bool {
    u128::from(error.unsigned_abs()) <= MAX_SKEW.as_millis()
}

impl Promise for Window {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        let Seen { at, spot, truth, .. } = seen;
        match truth {
            Truth::GoSaved { lease, opening, now, error, .. } => {
                self.gone.insert(*lease, Go { opening: *opening, now: *now, error: *error });
                record.demand("window", at, &[spot], opening.admits_start(now.wall), || {
                    format!("a Go was saved at {} by the coordinator's clock, outside its opening", now.wall.rfc3339())
                });
            }
            Truth::Granted { lease, opening, latest, now, boot, .. } => {
                let grant = Grant { opening: *opening, latest: *latest, at: now.boot, boot: *boot };
                self.granted.insert((spot, *lease), grant);
            }
            Truth::Step { lease, step, now, boot, error, .. } => {
                let Some((go, grant)) = self.gone.get(lease).zip(self.granted.get(&(spot, *lease))) else {
                    record.demand("window", at, &[spot], false, || {
                        format!("{step:?} began under lease {lease}, which no coordinator has granted")
                    });
                    return;
                };
                let open = |wall| match step {
                    Step::PreInstall => grant.opening.admits_start(wall),
                    _ => grant.opening.admits_step(wall),
                };
                record.demand("window", at, &[spot], open(now.wall), || {
                    format!("{step:?} began at {} by the host's clock, outside the opening", now.wall.rfc3339())
                });
                let same = *boot == grant.boot && go.opening == grant.opening;
                let waited = now.boot.since(grant.at).as_millis() / 1000;
                let latest = u128::from(grant.latest.of(step.phase()));
                record.demand("window", at, &[spot], same && waited <= latest, || {
                    format!("{step:?} began {waited} s after Go, {latest} s are allowed; same boot and opening: {same}")
                });
                let (wall, opening) = (true_wall(at).0, grant.opening);
                let inside = opening.opens.0.saturating_sub(TOLERANCE) <= wall
                    && wall < opening.closes.0.saturating_add(TOLERANCE);
                record.demand("window", at, &[spot], inside || !(is_right(go.error) || is_right(*error)), || {
                    format!(
                        "{step:?} began at {} in truth, outside the opening to {}, although a clock was right \
                         (coordinator {} ms off at {}, host {error} ms off)",
                        true_wall(at).rfc3339(),
                        opening.closes.rfc3339(),
                        go.error,
                        go.now.wall.rfc3339()
                    )
                });
            }
            _ => {}
        }
    }
}
