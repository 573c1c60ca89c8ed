//! Daemons without patching: the production mesh task and the production `Gossip` machine. Between them stands, instead of the
//! daemon's actor, a shell that gives others its door's address and keeps books of what comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use patchmesh_common::{
    gossip::{Effect, Event, Gossip, Item, RecordBody, Settings, Start},
    id::NodeId,
    machine::{Cx, Machine as _},
    membership::Role,
    seal::{Ed25519, Sealed},
    time::WallTime,
};
use patchmesh_node::{
    clock,
    identity::{Grant, Identity, sign},
    mesh::{self, Announcement, Command, Reply},
};
use patchmesh_simulations::{
    chance::{Chance, Seeds},
    spread::Spread,
};
use tokio::sync::mpsc;

use super::link::Line;

/// Of the links, in milliseconds: so slow that the time a busy machine takes for a message does not count.
pub(crate) const LATENCY: [u64; 2] = [100, 200];
/// So many know no more than those that came before them; the others know these.
const FIRST: usize = 3;
/// Between two starts: simulated hosts do not start at one moment either.
const STAGGER: Duration = Duration::from_millis(60);
/// Nothing is said without being told to.
const NEVER: Duration = Duration::from_secs(3600);
const PACE: Settings = Settings {
    heartbeat: NEVER,
    silent_after: NEVER,
    exchange_every: Duration::from_millis(500),
    min_interval: Duration::from_millis(100),
    links: 6,
};

struct Shared {
    owner: Identity,
    line: Arc<Line>,
    begun: Instant,
    /// From now on nothing is exchanged: news come by announcing or not at all.
    measuring: AtomicBool,
    numbers: Mutex<BTreeMap<NodeId, u32>>,
    spread: Mutex<Spread>,
    /// Of each host: members in its view, links.
    known: Vec<[AtomicUsize; 2]>,
}

impl Shared {
    fn millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }
}

/// A fleet.
pub(crate) struct Mesh {
    shared: Arc<Shared>,
    hosts: Vec<mpsc::Sender<()>>,
}

impl Mesh {
    /// Starts `count` daemons.
    pub(crate) async fn start(count: usize) -> Self {
        let shared = Arc::new(Shared {
            owner: Identity::generate().unwrap(),
            line: Line::new(LATENCY),
            begun: Instant::now(),
            measuring: AtomicBool::new(false),
            numbers: Mutex::default(),
            spread: Mutex::new(Spread::new(0, 0)),
            known: (0..count).map(|_| Default::default()).collect(),
        });
        let (mut hosts, mut first) = (Vec::new(), BTreeMap::new());
        for number in 0..count {
            let (node, door, host) = Shell::start(&shared, number, first.clone()).await;
            if number < FIRST {
                first.insert(node, vec![door]);
            }
            hosts.push(host);
            tokio::time::sleep(STAGGER).await;
        }
        Self { shared, hosts }
    }

    /// Whether everybody knows everybody and has its links.
    pub(crate) fn is_whole(&self) -> bool {
        let all = self.hosts.len();
        let whole = |[members, links]: &[AtomicUsize; 2]| {
            members.load(Ordering::Relaxed) == all && links.load(Ordering::Relaxed) >= PACE.links
        };
        self.shared.known.iter().all(whole)
    }

    /// Links of one host, on average.
    pub(crate) fn links(&self) -> f64 {
        let links: usize = self.shared.known.iter().map(|[_, links]| links.load(Ordering::Relaxed)).sum();
        links as f64 / self.hosts.len() as f64
    }

    /// Slows the links down, ends exchanges, and opens the books.
    pub(crate) fn measure(&self) {
        self.shared.line.slow_down();
        self.shared.measuring.store(true, Ordering::Relaxed);
        *self.shared.spread.lock().unwrap() = Spread::new(0, u64::MAX);
    }

    /// Gives a host something to announce.
    pub(crate) fn speak(&self, host: usize) {
        self.hosts[host].try_send(()).unwrap();
    }

    /// The books as they are.
    pub(crate) fn spread(&self) -> Spread {
        self.shared.spread.lock().unwrap().clone()
    }
}

struct Shell {
    shared: Arc<Shared>,
    number: usize,
    identity: Identity,
    machine: Gossip,
    settings: mesh::Settings,
    chance: Chance,
    commands: mpsc::Sender<Command>,
    links: BTreeSet<NodeId>,
    message: Option<Announcement>,
    reply: Option<Reply>,
}

fn key(item: &Item) -> u64 {
    let mut hasher = DefaultHasher::new();
    item.record.hash(&mut hasher);
    hasher.finish()
}

fn socket(address: &str) -> SocketAddr {
    let parts: Vec<&str> = address.split('/').collect();
    format!("{}:{}", parts[2], parts[4]).parse().unwrap()
}

impl Shell {
    async fn start(
        shared: &Arc<Shared>,
        number: usize,
        bootstrap: BTreeMap<NodeId, Vec<String>>,
    ) -> (NodeId, String, mpsc::Sender<()>) {
        let identity = Identity::generate().unwrap();
        let (node, mesh) = (identity.node(), shared.owner.mesh());
        shared.numbers.lock().unwrap().insert(node, u32::try_from(number).unwrap());
        let expires = WallTime(clock::now().wall.0 + 3_600_000);
        let name = format!("host-{number}");
        let grant = Grant { key: node, name, role: Role::Node, serial: 1, expires, tags: BTreeMap::new() };
        let credential = sign(&shared.owner, grant).unwrap();
        let listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
        let hand = std::sync::Arc::new(patchmesh_node::hand::Hand::empty());
        let settings =
            || mesh::Settings { mesh, credential: credential.clone(), listen: listen.clone(), hand: hand.clone() };
        let (commands, mut events) = mesh::start(settings(), &identity).unwrap();
        let addresses = loop {
            if let mesh::Event::Listening(addresses) = events.recv().await.unwrap() {
                break addresses;
            }
        };
        let door = shared.line.door(socket(&addresses[0])).await;
        let door = format!("/ip4/{}/tcp/{}", door.ip(), door.port());
        let start = Start { me: node, mesh, settings: PACE, bootstrap, saved: Vec::new(), orders: Vec::new() };
        let shell = Self {
            shared: Arc::clone(shared),
            number,
            machine: Gossip::new(start, clock::now(), &Ed25519),
            settings: settings(),
            chance: Seeds::new(1, false).chance(&format!("mesh {number}")),
            identity,
            commands,
            links: BTreeSet::new(),
            message: None,
            reply: None,
        };
        let (orders, inbox) = mpsc::channel(4);
        tokio::spawn(shell.run(door.clone(), events, inbox));
        (node, door, orders)
    }

    async fn run(mut self, door: String, mut events: mpsc::Receiver<mesh::Event>, mut orders: mpsc::Receiver<()>) {
        let mut spoken = 0u32;
        self.step(Event::Listening(vec![door])).await;
        loop {
            let due =
                self.machine.deadline().map_or(NEVER, |at| at.since(clock::now().boot) + Duration::from_millis(1));
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.hear(event).await,
                    None => return,
                },
                order = orders.recv() => {
                    if order.is_none() {
                        return;
                    }
                    spoken += 1;
                    let tags = BTreeMap::from([("spoken".to_owned(), spoken.to_string())]);
                    self.step(Event::Describe(RecordBody { tags, ..RecordBody::default() })).await;
                }
                () = tokio::time::sleep(due) => self.step(Event::Tick).await,
            }
        }
    }

    async fn hear(&mut self, event: mesh::Event) {
        let event = match event {
            mesh::Event::LinkUp { peer, wall } => {
                self.links.insert(peer);
                Event::LinkUp { peer, wall }
            }
            mesh::Event::LinkDown(peer) => {
                self.links.remove(&peer);
                Event::LinkDown(peer)
            }
            mesh::Event::Announced { message, item } => {
                self.heard(&message, &item);
                self.message = Some(message);
                Event::Announced { token: 0, item: *item }
            }
            mesh::Event::Asked { from, request, reply } => {
                self.reply = Some(reply);
                Event::Asked { from, token: 0, request }
            }
            mesh::Event::Answered { from, answer } => Event::Answered { from, answer },
            // The door's address was told already, and there are no leases here.
            mesh::Event::Listening(_) | mesh::Event::Frame { .. } => return,
        };
        self.step(event).await;
    }

    fn heard(&self, message: &Announcement, item: &Item) {
        let from = message.neighbour().and_then(|node| self.shared.numbers.lock().unwrap().get(&node).copied());
        let (to, at) = (u32::try_from(self.number).unwrap(), self.shared.millis());
        self.shared.spread.lock().unwrap().comes(key(item), to, from.unwrap(), at);
    }

    async fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut effects = Vec::new();
            self.machine.step(&mut Cx::new(clock::now(), &mut self.chance, &Ed25519, &mut effects), event);
            for effect in effects {
                events.extend(self.perform(effect).await);
            }
        }
        (self.message, self.reply) = (None, None);
        let [members, links] = &self.shared.known[self.number];
        members.store(self.machine.view().members().count(), Ordering::Relaxed);
        links.store(self.links.len(), Ordering::Relaxed);
    }

    async fn perform(&mut self, effect: Effect) -> Option<Event> {
        let command = match effect {
            Effect::Seal(record) => {
                let record = Sealed::seal(self.identity.signer(), &record);
                return Some(Event::Sealed(Item { credential: self.settings.credential.clone(), record }));
            }
            Effect::Announce(item) => {
                let (author, at) = (u32::try_from(self.number).unwrap(), self.shared.millis());
                self.shared.spread.lock().unwrap().begins(key(&item), author, at);
                Command::Announce(Box::new(item))
            }
            Effect::Judge { verdict, .. } => Command::Judge { message: self.message.take()?, verdict },
            Effect::Exchange { .. } if self.shared.measuring.load(Ordering::Relaxed) => return None,
            Effect::Exchange { to, request } => Command::Exchange { to, request },
            Effect::Answer { answer, .. } => Command::Answer { reply: self.reply.take()?, answer },
            Effect::Dial { node, addresses } => Command::Dial { node, addresses },
            Effect::Admit { node, until } => Command::Admit { node, until },
            Effect::Block { node, why } => Command::Block { node, why },
            Effect::Remember(_)
            | Effect::Forget(_)
            | Effect::Ordered(_)
            | Effect::RememberOrders(_)
            | Effect::Changed => return None,
        };
        self.commands.send(command).await.unwrap();
        None
    }
}
