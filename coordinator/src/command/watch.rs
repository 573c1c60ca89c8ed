//! Follows a rollout to its end: progress on stderr, the recap on stdout, the exit code of its state. Ctrl-C detaches.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    api::{
        client::Client,
        document::{RolloutDocument, WatchEvent},
    },
    fault::{Exit, Fault},
    output::{self, Format},
    render::{self, Live},
};

/// What a watched rollout can be printed as.
pub const FORMATS: [Format; 3] = [Format::Table, Format::Json, Format::Jsonl];
/// How long a coordinator may be away before a watcher gives up; a restart takes a few seconds.
const RECONNECT: Duration = Duration::from_secs(60);
/// Between two tries to reach it again.
const RETRY: Duration = Duration::from_millis(250);
/// How long a stream may be silent before the watcher asks how the rollout stands: events may be lost, an end may not.
const SILENCE: Duration = Duration::from_secs(5);

/// Follows the rollout `id`, prints its recap in `format`, and says how the command ends.
///
/// # Errors
/// Exit 7 if the coordinator stays away; what printing says.
pub async fn follow(client: &Client, id: &str, format: Format) -> Result<Exit, Fault> {
    let detached = async {
        // Without a handler Ctrl-C would end the process anyway; then detaching has no words.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let mut live = Live::new(format != Format::Jsonl);
    let followed = until_over(client, id, &mut live, |event| print_event(event, format));
    match until(followed, detached).await {
        Some(recap) => {
            live.clear();
            let recap = recap?;
            print_recap(&recap, format)?;
            Ok(recap.state.exit().unwrap_or(Exit::Error))
        }
        None => {
            live.clear();
            output::talk(&format!(
                "detached: rollout {id} goes on\n  watch it:  patchmesh rollout watch {id}\n  stop it:   patchmesh rollout stop {id}\n"
            ));
            Ok(Exit::Detached)
        }
    }
}

/// Prints the last document of a watched rollout.
///
/// # Errors
/// What printing says.
pub fn print_recap(recap: &RolloutDocument, format: Format) -> Result<(), Fault> {
    match format {
        Format::Table => output::print(&render::recap(recap)),
        _ => output::print_document(recap, format),
    }
}

/// Prints an event where every event is a document.
///
/// # Errors
/// What printing says.
pub fn print_event(event: &WatchEvent, format: Format) -> Result<(), Fault> {
    match event {
        WatchEvent::Event(event) if format == Format::Jsonl => output::print_document(event, format),
        _ => Ok(()),
    }
}

/// `work`'s result, or `None` if `ended` was first.
async fn until<T>(work: impl Future<Output = T>, ended: impl Future<Output = ()>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = ended => None,
    }
}

/// Follows the rollout `id` until it is over, over restarts of the coordinator; its recap. Every event goes to `each`.
///
/// # Errors
/// Exit 7 if the coordinator stays away for a minute; what the coordinator or `each` says.
pub async fn until_over(
    client: &Client,
    id: &str,
    live: &mut Live,
    mut each: impl FnMut(&WatchEvent) -> Result<(), Fault>,
) -> Result<RolloutDocument, Fault> {
    let mut away_since: Option<Instant> = None;
    loop {
        match stream(client, id, live, &mut each, &mut away_since).await {
            Ok(recap) => return Ok(recap),
            Err(fault) if fault.exit == Exit::NoCoordinator => {
                let since = *away_since.get_or_insert_with(|| {
                    live.say(&format!("the coordinator is away; waiting for it up to {} s", RECONNECT.as_secs()));
                    Instant::now()
                });
                if since.elapsed() > RECONNECT {
                    return Err(fault);
                }
                sleep(RETRY).await;
            }
            Err(fault) => return Err(fault),
        }
    }
}

async fn stream(
    client: &Client,
    id: &str,
    live: &mut Live,
    each: &mut impl FnMut(&WatchEvent) -> Result<(), Fault>,
    away_since: &mut Option<Instant>,
) -> Result<RolloutDocument, Fault> {
    // A rollout that ended while the coordinator was away has no more events.
    let standing = client.rollout(id).await?;
    if standing.is_over() {
        return Ok(standing);
    }
    let mut events = client.watch(id).await?;
    if away_since.take().is_some() {
        live.say("the coordinator is back");
    }
    loop {
        let event = match timeout(SILENCE, events.next()).await {
            Ok(event) => event?,
            Err(_) => {
                let standing = client.rollout(id).await?;
                if standing.is_over() {
                    return Ok(standing);
                }
                continue;
            }
        };
        match &event {
            Some(WatchEvent::Recap(recap)) => return Ok((**recap).clone()),
            Some(happened) => {
                match happened {
                    WatchEvent::Event(event) => live.event(event),
                    WatchEvent::Progress(progress) => live.progress(progress),
                    WatchEvent::Recap(_) => {}
                }
                each(happened)?;
            }
            // Ended without a recap: the service stopped, or this watcher was too slow.
            None => {
                let standing = client.rollout(id).await?;
                if standing.is_over() {
                    return Ok(standing);
                }
                sleep(RETRY).await;
                events = client.watch(id).await?;
            }
        }
    }
}
