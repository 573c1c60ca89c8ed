//! The mesh over real sockets on 127.0.0.1.

mod outsider;
mod real;

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use actix::{Actor, Context, Handler};
use patchmesh_common::{
    gossip::{Presence, RecordBody, Settings},
    id::{CommandId, Epoch, NodeId},
    membership::{Credential, Role},
    run::{
        frame::FrameError,
        message::{Command, LeaseFrame, ToHost},
    },
    seal::{Ed25519, Sealed},
    time::WallTime,
};
use patchmesh_node::{
    clock,
    hand::Hand,
    identity::{Grant, Identity, sign},
    peer::{self, Deliver, Describe, Inbound, KnownHost, PeerHandle, Setup, StartError, Stop, Subscribe, View},
    store::cache::CacheError,
};

use self::outsider::{Ending, Outsider};

/// Nothing here takes a tenth of this, unless it never ends.
const PATIENCE: Duration = Duration::from_secs(120);
const FAST: Settings = Settings {
    heartbeat: Duration::from_secs(2),
    silent_after: Duration::from_secs(6),
    exchange_every: Duration::from_millis(500),
    min_interval: Duration::from_millis(100),
    links: 6,
};

/// What every daemon of this process logged.
static LOG: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = Log(log.clone());
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    log
});

#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(parts: &[&str]) -> bool {
    let log = String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned();
    log.lines().any(|line| parts.iter().all(|part| line.contains(part)))
}

/// Keeps the frames that a host was handed.
struct Sink(Arc<Mutex<Vec<Inbound>>>);

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<Inbound> for Sink {
    type Result = ();

    fn handle(&mut self, frame: Inbound, _: &mut Self::Context) {
        self.0.lock().unwrap().push(frame);
    }
}

struct Host {
    identity: Identity,
    credential: Credential,
    peer: PeerHandle,
    frames: Arc<Mutex<Vec<Inbound>>>,
}

impl Host {
    async fn view(&self) -> Vec<KnownHost> {
        self.peer.address.send(View).await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        self.view().await.into_iter().map(|host| host.membership.name).collect()
    }

    /// Where it listens, as its own record says.
    async fn address(&self) -> String {
        let own = until("own record", async || self.view().await.into_iter().find(|host| host.own)).await;
        own.record.body.addresses.first().cloned().unwrap()
    }
}

struct Mesh {
    owner: Identity,
    pace: Settings,
}

impl Mesh {
    fn new() -> Self {
        LazyLock::force(&LOG);
        Self { owner: Identity::generate().unwrap(), pace: FAST }
    }

    fn credential(&self, key: NodeId, name: &str, role: Role, life: i64) -> Credential {
        let expires = WallTime(clock::now().wall.0 + life * 1000);
        let grant = Grant { key, name: name.into(), role, serial: 1, expires, tags: BTreeMap::new() };
        sign(&self.owner, grant).unwrap()
    }

    fn start(&self, name: &str, role: Role, bootstrap: &[(NodeId, String)]) -> Host {
        let identity = Identity::generate().unwrap();
        let credential = self.credential(identity.node(), name, role, 3600);
        self.start_with(identity, credential, bootstrap, None).unwrap()
    }

    fn start_with(
        &self,
        identity: Identity,
        credential: Credential,
        bootstrap: &[(NodeId, String)],
        state: Option<PathBuf>,
    ) -> Result<Host, StartError> {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink(frames.clone()).start();
        let setup = Setup {
            identity: identity.clone(),
            mesh: self.owner.mesh(),
            credential: credential.clone(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
            bootstrap: bootstrap.iter().map(|(node, address)| (*node, vec![address.clone()])).collect(),
            state,
            pace: self.pace,
            hand: Arc::new(Hand::empty()),
            keys: &Ed25519,
        };
        let told = Subscribe { frames: Some(sink.recipient()), ..Subscribe::default() };
        Ok(Host { peer: peer::start(setup, told)?, identity, credential, frames })
    }

    /// `count` hosts that know only the first one's address, once all know all.
    async fn fleet(&self, count: usize) -> Vec<Host> {
        let first = self.start("host-0", Role::Node, &[]);
        let bootstrap = [(first.peer.node, first.address().await)];
        let mut hosts = vec![first];
        for n in 1..count {
            hosts.push(self.start(&format!("host-{n}"), Role::Node, &bootstrap));
        }
        for host in &hosts {
            until("every view is whole", async || (host.view().await.len() == count).then_some(())).await;
        }
        hosts
    }
}

/// Polls until there is something, and fails loudly if there never is.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn on_system(test: impl Future<Output = ()>) {
    actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
    .block_on(test);
}

fn command(by: &Identity, shown: &Credential, mesh: &Mesh, to: NodeId) -> LeaseFrame {
    let command = Command {
        id: CommandId([7; 16]),
        mesh: mesh.owner.mesh(),
        to,
        epoch: Epoch::default(),
        after: None,
        head: Default::default(),
        expires: clock::now().wall.plus(Duration::from_secs(60)),
        body: ToHost::Adopt,
    };
    LeaseFrame { credential: shown.clone(), sealed: Sealed::seal(by.signer(), &command) }
}

#[test]
fn views_converge_and_a_change_reaches_everybody() {
    on_system(async {
        let hosts = Mesh::new().fleet(5).await;
        assert_eq!(hosts[4].names().await, ["host-0", "host-1", "host-2", "host-3", "host-4"]);
        let tags = BTreeMap::from([("role".to_owned(), "db".to_owned())]);
        hosts[1].peer.address.try_send(Describe(RecordBody { tags: tags.clone(), ..RecordBody::default() })).unwrap();
        for host in &hosts {
            until("the new tags", async || {
                let view = host.view().await;
                let changed = view.iter().find(|known| known.node == hosts[1].peer.node)?;
                let whole = changed.record.body.tags == tags && !changed.record.body.addresses.is_empty();
                (whole && changed.presence == Presence::Alive).then_some(())
            })
            .await;
        }
    });
}

/// Three in a line, and no exchanges but the first: what the ends learn of each other later, the middle has passed on.
#[test]
fn a_change_is_announced_over_several_hops() {
    on_system(async {
        let never = Duration::from_secs(3600);
        let pace = Settings { links: 1, exchange_every: never, silent_after: never, ..FAST };
        let mesh = Mesh { pace, ..Mesh::new() };
        let mut line: Vec<Host> = Vec::new();
        for n in 0..3 {
            let bootstrap = match line.last() {
                Some(last) => vec![(last.peer.node, last.address().await)],
                None => Vec::new(),
            };
            line.push(mesh.start(&format!("host-{n}"), Role::Node, &bootstrap));
            let known = line.len();
            let newest = line.last().unwrap();
            until("the line so far", async || (newest.view().await.len() == known).then_some(())).await;
        }
        let body = RecordBody { reboot_required: true, ..RecordBody::default() };
        line[2].peer.address.try_send(Describe(body)).unwrap();
        until("the far end's news", async || {
            let view = line[0].view().await;
            view.iter().any(|known| known.node == line[2].peer.node && known.record.body.reboot_required).then_some(())
        })
        .await;
    });
}

#[test]
fn a_frame_finds_its_host_by_the_record_and_says_who_wrote_it() {
    on_system(async {
        let mesh = Mesh::new();
        let hosts = mesh.fleet(2).await;
        let bootstrap = [(hosts[0].peer.node, hosts[0].address().await)];
        let coordinator = mesh.start("coordinator", Role::Coordinator, &bootstrap);
        until("the coordinator knows all", async || (coordinator.view().await.len() == 3).then_some(())).await;
        let target = &hosts[1];
        let (node, now) = (target.peer.node, clock::now().wall);
        for author in [&coordinator, &hosts[0]] {
            let frame = command(&author.identity, &author.credential, &mesh, node);
            author.peer.address.try_send(Deliver { to: node, frame }).unwrap();
        }
        let frames = until("both frames", async || {
            let frames = target.frames.lock().unwrap().clone();
            (frames.len() == 2).then_some(frames)
        })
        .await;
        for frame in frames {
            let opened = frame.frame.command(node, mesh.owner.mesh(), now, &Ed25519);
            if frame.from == coordinator.peer.node {
                assert_eq!(opened.unwrap().1.body, ToHost::Adopt);
            } else {
                assert!(matches!(opened, Err(FrameError::Role { role: Role::Node, .. })), "a node's command is none");
            }
        }
        // To itself a frame comes back without the network.
        let own = command(&coordinator.identity, &coordinator.credential, &mesh, coordinator.peer.node);
        coordinator.peer.address.try_send(Deliver { to: coordinator.peer.node, frame: own }).unwrap();
        until("the frame to itself", async || (coordinator.frames.lock().unwrap().len() == 1).then_some(())).await;
    });
}

/// What an outsider shows: from the mesh, another mesh, its own key, and a host of the mesh.
type Shown = fn(&Mesh, &Mesh, NodeId, &Host) -> Option<Credential>;

#[test]
fn strangers_learn_nothing_and_are_not_obeyed() {
    on_system(async {
        let (mesh, elsewhere) = (Mesh::new(), Mesh::new());
        let hosts = mesh.fleet(2).await;
        let (target, address) = (&hosts[0], hosts[0].address().await);
        let outsiders: [(&str, Shown); 4] = [
            ("without a membership", |_, _, _, _| None),
            ("with an expired membership", |mesh, _, key, _| Some(mesh.credential(key, "late", Role::Coordinator, -1))),
            ("of another mesh", |_, other, key, _| Some(other.credential(key, "alien", Role::Coordinator, 3600))),
            ("with another's membership", |_, _, _, host| Some(host.credential.clone())),
        ];
        for (name, credential) in outsiders {
            let mut outsider = Outsider::new();
            let credential = credential(&mesh, &elsewhere, outsider.identity.node(), &hosts[1]);
            outsider.dial(target.peer.node, &address).await;
            let asked = outsider.ask_exchange().await;
            assert_eq!(asked, Ending::Unsupported, "{name}: an exchange before any hello");

            let frame = command(&outsider.identity, &hosts[1].credential, &mesh, target.peer.node);
            assert_eq!(outsider.send_frame(&frame).await, Ending::Unsupported, "{name}: a frame before any hello");
            if let Some(credential) = credential {
                assert_eq!(outsider.say_hello(credential).await, Ending::Closed, "{name}: no answer to its hello");
            }
            assert_eq!(outsider.subscriptions, 0, "{name}: it was told a topic");
            assert_eq!(outsider.identified, 0, "{name}: it was told who answers there");
        }
        assert_eq!(target.names().await, ["host-0", "host-1"]);
        assert!(target.frames.lock().unwrap().is_empty());
        assert!(logged(&["peer refused", "expired"]));
        assert!(logged(&["peer refused", "for mesh"]));
    });
}

#[test]
fn the_end_of_a_membership_closes_the_doors() {
    on_system(async {
        let mesh = Mesh::new();
        let hosts = mesh.fleet(2).await;
        let bootstrap = [(hosts[0].peer.node, hosts[0].address().await)];
        let identity = Identity::generate().unwrap();
        let node = identity.node();
        let brief =
            mesh.start_with(identity, mesh.credential(node, "brief", Role::Node, 20), &bootstrap, None).unwrap();
        let knows = async |host: &Host, name: &str| host.names().await.iter().any(|known| known == name);
        until("it is known", async || knows(&hosts[1], "brief").await.then_some(())).await;
        until("its record has ended", async || {
            let anybody = knows(&hosts[0], "brief").await || knows(&hosts[1], "brief").await;
            (!anybody).then_some(())
        })
        .await;
        until("its links have ended", async || {
            logged(&["membership expired: connections closed", &node.short()]).then_some(())
        })
        .await;
        // It goes on trying, and is told nothing more.
        until("it was refused", async || {
            logged(&["peer refused", &node.to_string(), "membership of brief expired"]).then_some(())
        })
        .await;
        // Each host closes its own links, within a second of the end.
        until("it hears nobody any more", async || {
            let view = brief.view().await;
            view.iter().all(|known| known.own || known.presence == Presence::Silent).then_some(())
        })
        .await;
        hosts[1]
            .peer
            .address
            .try_send(Describe(RecordBody { reboot_required: true, ..RecordBody::default() }))
            .unwrap();
        until("news for members", async || {
            hosts[0].view().await.iter().any(|known| known.record.body.reboot_required).then_some(())
        })
        .await;
        assert!(brief.view().await.iter().all(|known| !known.record.body.reboot_required));
    });
}

#[test]
fn whoever_sends_rubbish_is_blocked_and_the_others_are_not_disturbed() {
    on_system(async {
        let mesh = Mesh::new();
        let hosts = mesh.fleet(3).await;
        let (target, address) = (&hosts[0], hosts[0].address().await);
        let rubbish: [(&str, &[u8]); 3] = [
            ("a frame of 1 GiB", &[0x40, 0, 0, 0]),
            ("garbage", &[0, 0, 0, 3, 0xff, 0xff, 0xff]),
            ("bytes behind the frame", &[0, 0, 0, 1, 0, 0]),
        ];
        for (name, bytes) in rubbish {
            let mut outsider = Outsider::new();
            let key = outsider.identity.node();
            outsider.dial(target.peer.node, &address).await;
            assert_eq!(outsider.raw_hello(bytes).await, Ending::Closed, "{name} as a hello");
            assert!(logged(&[&key.to_string(), "peer blocked", "malformed hello"]), "{name}");
            // A member's membership does not help with rubbish either.
            let mut member = Outsider::new();
            let key = member.identity.node();
            let credential = mesh.credential(key, "broken", Role::Node, 3600);
            member.enrol(target.peer.node, &address, credential).await;
            assert_eq!(member.raw_frame(bytes).await, Ending::Closed, "{name} as a lease frame");
            assert!(logged(&[&key.to_string(), "peer blocked", "malformed lease frame"]), "{name}");
            assert!(member.is_refused(target.peer.node, &address).await, "{name}: it may not come back at once");
        }
        let thief = {
            let mut outsider = Outsider::new();
            outsider.dial(target.peer.node, &address).await;
            assert_eq!(outsider.say_hello(hosts[1].credential.clone()).await, Ending::Closed);
            outsider.identity.node().to_string()
        };
        assert!(logged(&[&thief, "peer blocked", "shows the membership of host-1"]));
        hosts[2]
            .peer
            .address
            .try_send(Describe(RecordBody { reboot_required: true, ..RecordBody::default() }))
            .unwrap();
        for host in &hosts {
            until("news travel on", async || {
                let view = host.view().await;
                view.iter().any(|known| known.record.body.reboot_required).then_some(())
            })
            .await;
            assert_eq!(host.names().await, ["host-0", "host-1", "host-2"]);
        }
    });
}

#[test]
fn a_restarted_host_remembers_whom_it_knew_and_is_believed_again() {
    on_system(async {
        let mesh = Mesh::new();
        let hosts = mesh.fleet(2).await;
        let bootstrap = [(hosts[0].peer.node, hosts[0].address().await)];
        let state = tempfile::tempdir().unwrap();
        let identity = Identity::generate().unwrap();
        let credential = mesh.credential(identity.node(), "late", Role::Node, 3600);
        let start = |bootstrap: &[_]| {
            mesh.start_with(identity.clone(), credential.clone(), bootstrap, Some(state.path().into()))
        };
        let first = start(&bootstrap).unwrap();
        until("all known", async || (first.view().await.len() == 3).then_some(())).await;
        let before = first.view().await.into_iter().find(|host| host.own).unwrap().record;
        let Host { peer, .. } = first;
        peer.address.try_send(Stop).unwrap();
        drop(peer);
        // Without bootstrap: only what it remembers leads it back. The store is free once the old life has ended.
        let again = until("a free store", async || match start(&[]) {
            Ok(host) => Some(host),
            Err(StartError::Cache(CacheError::InUse { .. })) => None,
            Err(error) => panic!("{error}"),
        })
        .await;
        assert_eq!(again.names().await.len(), 3, "known before anybody said anything");
        until("the new life is believed", async || {
            let view = hosts[1].view().await;
            let known = view.iter().find(|host| host.node == identity.node())?;
            (known.record.incarnation > before.incarnation).then_some(())
        })
        .await;
    });
}
