//! A message that kills whoever reads it: quarantined after two deaths, safe mode after three, and the others go on.
//!
//! The host is a process of its own, this test binary once more, with everything of the daemon between the network and the
//! machine. No message is known to kill that, so its signature check, a port, panics over records with a certain tag.

use std::{
    collections::BTreeMap,
    env,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use patchmesh_common::{
    gossip::{NodeRecord, RecordBody, Settings},
    id::{MeshId, NodeId},
    membership::{Credential, Role},
    poison::{QUARANTINE_TAG, SAFE_TAG},
    seal::{Ed25519, Payload as _, Signature, Verifier},
};
use patchmesh_node::{
    clock, daemon,
    hand::Hand,
    identity::{Grant, Identity, load_membership, save_credential, sign},
    peer::{self, Describe, KnownHost, PeerHandle, Setup, Subscribe, View},
};

const FOLDER: &str = "PATCHMESH_TEST_FOLDER";
/// Records with it in them kill the host.
const DEADLY: &str = "deadly";
/// Nothing here takes a tenth of this, unless it never ends.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

struct Brittle;

impl Verifier for Brittle {
    fn verify(&self, author: &NodeId, context: &str, body: &[u8], signature: &Signature) -> bool {
        let deadly = body.windows(DEADLY.len()).any(|part| part == DEADLY.as_bytes());
        assert!(!(deadly && context == NodeRecord::CONTEXT), "a deadly record was read");
        Ed25519.verify(author, context, body, signature)
    }
}

/// Members seal anew all the time, as real ones do: what kills must be known again all the same.
fn pace() -> Settings {
    Settings {
        heartbeat: Duration::from_millis(200),
        silent_after: Duration::from_secs(20),
        exchange_every: Duration::from_millis(100),
        min_interval: Duration::from_millis(20),
        ..Settings::default()
    }
}

fn body(tags: &[(&str, &str)]) -> RecordBody {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    RecordBody { tags, ..RecordBody::default() }
}

fn start(
    mesh: MeshId,
    identity: Identity,
    credential: Credential,
    near: &str,
    hand: Hand,
    brittle: bool,
) -> PeerHandle {
    let (node, address) = patchmesh_node::mesh::parse_bootstrap(near).map_or((None, None), |(n, a)| (Some(n), Some(a)));
    let setup = Setup {
        identity,
        mesh,
        credential,
        listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
        bootstrap: node.zip(address).map(|(node, address)| (node, vec![address])).into_iter().collect(),
        state: None,
        pace: pace(),
        hand: Arc::new(hand),
        keys: if brittle { &Brittle } else { &Ed25519 },
    };
    peer::start(setup, Subscribe::default()).unwrap()
}

/// The host: it tells in its own record what it knows of the others. Ends by itself only where its parent could not end it.
#[test]
#[ignore = "a process of the tests below"]
fn a_brittle_host() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    daemon::abort_on_panic();
    daemon::log_to_stderr();
    let identity = Identity::load(&folder.join("key")).unwrap();
    let mesh = MeshId::parse(std::fs::read_to_string(folder.join("mesh")).unwrap().trim()).unwrap();
    let (credential, _) = load_membership(&folder.join("membership"), &identity, mesh, clock::now().wall).unwrap();
    let near = std::fs::read_to_string(folder.join("near")).unwrap();
    let hand = Hand::open(folder, clock::now()).unwrap();
    hand.watch_panics();
    let own = hand.poison().tags(clock::now().wall);
    actix::System::with_tokio_rt(daemon::runtime).block_on(async move {
        let peer = start(mesh, identity, credential, &near, hand, true);
        let until = Instant::now() + 10 * PATIENCE;
        while Instant::now() < until {
            let hosts = peer.address.send(View).await.unwrap();
            let news = hosts.iter().filter_map(|host| host.record.body.tags.get("news")).max().cloned();
            let mut told = body(&[("heard", &news.unwrap_or_default()), ("knows", &hosts.len().to_string())]);
            told.tags.extend(own.clone());
            peer.address.send(Describe(told)).await.unwrap();
            tokio::time::sleep(LOOK).await;
        }
    });
}

struct Fleet {
    folder: tempfile::TempDir,
    good: PeerHandle,
    bad: PeerHandle,
    host: NodeId,
    child: Option<Child>,
    deaths: usize,
}

impl Fleet {
    async fn new() -> Self {
        let (owner, folder) = (Identity::generate().unwrap(), tempfile::tempdir().unwrap());
        let path = |name: &str| folder.path().join(name);
        let grant = |key: NodeId, name: &str| {
            let expires = clock::now().wall.plus(Duration::from_secs(3600));
            sign(&owner, Grant { key, name: name.into(), role: Role::Node, serial: 1, expires, tags: BTreeMap::new() })
        };
        let member = |name: &str| {
            let identity = Identity::generate().unwrap();
            let credential = grant(identity.node(), name).unwrap();
            (identity, credential)
        };
        let (identity, credential) = member("good");
        let good = start(owner.mesh(), identity, credential, "", Hand::empty(), false);
        good.address.send(Describe(body(&[("news", "1")]))).await.unwrap();
        let near = until("an address", async || {
            let view = good.address.send(View).await.unwrap();
            let address = view.first()?.record.body.addresses.first()?.clone();
            Some(patchmesh_node::mesh::bootstrap_address(&good.node, &address))
        })
        .await;
        let (identity, credential) = member("bad");
        let bad = start(owner.mesh(), identity, credential, &near, Hand::empty(), false);
        let identity = Identity::load_or_create(&path("key")).unwrap();
        save_credential(&path("membership"), &grant(identity.node(), "host").unwrap()).unwrap();
        std::fs::write(path("mesh"), owner.mesh().to_string()).unwrap();
        std::fs::write(path("near"), near).unwrap();
        Self { host: identity.node(), folder, good, bad, child: None, deaths: 0 }
    }

    async fn kills(&self, how: &str) {
        self.bad.address.send(Describe(body(&[(DEADLY, how)]))).await.unwrap();
        until("all know of it", async || {
            let view = self.good.address.send(View).await.unwrap();
            view.iter().any(|host| host.record.body.tags.get(DEADLY).is_some_and(|known| known == how)).then_some(())
        })
        .await;
    }

    /// Starts the host, again after each death.
    fn supervise(&mut self) {
        if let Some(child) = &mut self.child {
            let Some(status) = child.try_wait().unwrap() else { return };
            assert_eq!(status.signal(), Some(6), "it ended otherwise than by an abort: {status}");
            self.deaths += 1;
        }
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "poison::a_brittle_host", "--ignored", "--nocapture"])
            .env(FOLDER, self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// What the good one knows of the host.
    async fn seen(&self) -> Option<KnownHost> {
        self.good.address.send(View).await.unwrap().into_iter().find(|known| known.node == self.host)
    }

    async fn says(&mut self, key: &str, what: &str) {
        until(&format!("the host says {what} of {key}"), async || {
            self.supervise();
            let tags = self.seen().await?.record.body.tags;
            tags.get(key).is_some_and(|said| said.starts_with(what)).then_some(())
        })
        .await;
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone, if the test failed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not in {} s", PATIENCE.as_secs());
        tokio::time::sleep(LOOK).await;
    }
}

#[test]
fn what_killed_a_host_twice_is_quarantined_and_the_fleet_goes_on() {
    actix::System::with_tokio_rt(daemon::runtime).block_on(async {
        let mut fleet = Fleet::new().await;
        fleet.kills("always the same").await;
        fleet.says(QUARANTINE_TAG, "1: ").await;
        assert_eq!(fleet.deaths, 2, "the second death quarantines");
        fleet.good.address.send(Describe(body(&[("news", "2")]))).await.unwrap();
        fleet.says("heard", "2").await;
        fleet.says("knows", "2").await;
        assert!(!fleet.seen().await.unwrap().record.body.tags.contains_key(SAFE_TAG));
        assert_eq!(fleet.deaths, 2, "it lives on beside the one that kills");
    });
}

#[test]
fn a_host_that_ever_new_messages_kill_believes_nobody_and_still_says_so() {
    actix::System::with_tokio_rt(daemon::runtime).block_on(async {
        let mut fleet = Fleet::new().await;
        for (deaths, how) in ["one", "two", "three"].iter().enumerate() {
            fleet.kills(how).await;
            until("a death", async || {
                fleet.supervise();
                (fleet.deaths > deaths).then_some(())
            })
            .await;
        }
        fleet.says(SAFE_TAG, "until 2").await;
        fleet.says("knows", "1").await;
        assert_eq!(fleet.deaths, 3, "in safe mode nothing kills it");
    });
}
