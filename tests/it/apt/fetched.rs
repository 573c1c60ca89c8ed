//! What a daemon fetches without being asked, before it scans.

use std::{fs, sync::Arc, time::Duration};

use actix::{Actor, Context, Handler};
use patchmesh_common::gossip::{Mode, RecordBody};
use patchmesh_node::{
    hand::Hand,
    peer::{Describe, Stop},
    portrait::{FETCHED, Portrait},
};
use tokio::sync::mpsc;

use super::fixture::{Fixture, possible};

/// Longest wait for a scan.
const PATIENCE: Duration = Duration::from_secs(60);

struct Told(mpsc::Sender<RecordBody>);

impl Actor for Told {
    type Context = Context<Self>;
}

impl Handler<Describe> for Told {
    type Result = ();
    fn handle(&mut self, Describe(body): Describe, _: &mut Self::Context) {
        self.0.try_send(body).unwrap();
    }
}

/// How many packages are missing by the first scan of a daemon that starts now.
async fn missing(fixture: &Fixture, mode: Mode) -> u32 {
    let (say, mut told) = mpsc::channel(64);
    let body = RecordBody { mode, ..RecordBody::default() };
    let state = fixture.folder.path().join("daemon");
    fs::create_dir_all(&state).unwrap();
    let peer = Told(say).start().recipient();
    let portrait = Portrait::new(body, Arc::new(fixture.open().await), &state, peer, Arc::new(Hand::empty())).start();
    let scanned = async {
        loop {
            let body = told.recv().await.expect("the portrait lives");
            if body.scanned_at.is_some() {
                return body.counters.missing;
            }
        }
    };
    let missing = tokio::time::timeout(PATIENCE, scanned).await.expect("no scan");
    portrait.send(Stop).await.unwrap();
    missing
}

#[test]
fn indexes_are_fetched_before_a_scan_once_in_a_while_where_the_host_may_be_changed() {
    if !possible() {
        return;
    }
    actix::System::new().block_on(async {
        let fixture = Fixture::new();
        // Of a repository in a folder apt keeps links and no indexes, unless it is told to copy.
        let list = fixture.root().join("etc/apt/sources.list");
        fs::write(&list, fs::read_to_string(&list).unwrap().replace("file:", "copy:")).unwrap();
        let lists = fixture.root().join("var/lib/apt/lists");
        fs::remove_dir_all(&lists).unwrap();
        fs::create_dir_all(lists.join("partial")).unwrap();
        fixture.apt(&["update"]);
        let all = missing(&fixture, Mode::Observe).await;
        fixture.publish(|deb| (deb.name, deb.version) != ("epo", "1:0.5"));
        assert_eq!(missing(&fixture, Mode::Observe).await, all, "an observing host fetched");
        assert_eq!(missing(&fixture, Mode::Enforce).await, all - 1);
        fixture.publish(|_| true);
        assert_eq!(missing(&fixture, Mode::Enforce).await, all - 1, "fetched again at once");

        // A repository that is gone keeps neither the others from being fetched nor the host from being scanned.
        let dists = fixture.folder.path().join("repo/dists");
        fs::rename(dists.join("sec"), dists.join("gone")).unwrap();
        let stamp = fs::File::open(fixture.folder.path().join("daemon").join(FETCHED)).unwrap();
        stamp.set_modified(std::time::SystemTime::now() - Duration::from_secs(7 * 3600)).unwrap();
        assert_eq!(missing(&fixture, Mode::Enforce).await, all);
        // What failed is tried again by the next scan.
        fixture.publish(|deb| (deb.name, deb.version) != ("epo", "1:0.5"));
        let _ = fs::rename(dists.join("sec"), dists.join("gone"));
        assert_eq!(missing(&fixture, Mode::Enforce).await, all - 1);
    });
}
