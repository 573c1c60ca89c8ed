//! The mesh as the [`Gossip`] machine sees it: links, exchanges, and announcing: eager push hop by hop, every message once, to
//! the neighbours that [`super::push`] keeps.

use std::rc::Rc;

use patchmesh_common::{
    gossip::{
        Effect, Event, ExchangeAnswer, ExchangeRequest, Gossip, Item, MAX_EXCHANGE, MAX_ITEM, NodeRecord, Settings,
        Start, Verdict,
    },
    id::NodeId,
    machine::{Cx, Machine},
    run::message::SignedStop,
    seal::Sealed,
    wire,
};

use super::{Happening, World};
use crate::{
    keys::{self, Key, MESH},
    truth::{Spot, Truth},
};

/// A blocked member is let in again after this.
const BLOCK: u64 = 60_000;
/// How long a broken path takes to be noticed, in milliseconds, at least and at most.
const NOTICE: (u64, u64) = (10_000, 30_000);
/// How many published versions are remembered to judge convergence.
const PUBLISHED: usize = 64;
/// A clock that moved less against the others is not told again, as in the daemon.
const SKEW_STEP: i64 = 250;
/// A copy of news that is longer on its way, in milliseconds, comes by itself even if another one was sent before it: that one
/// may die with the daemon, which is back after [`super::life`]'s shortest pause.
const SETTLED: u64 = 400;
/// How many announcements of one author are known again: two machines with one identity announce in turns.
const SEEN: usize = 4;
/// The view is told to the coordinator at most this often.
const COALESCE: u64 = 250;

/// An announced record on its way. Encoded and decoded once: decoding is a pure function of the bytes.
pub(super) struct News {
    pub(super) id: u64,
    size: usize,
    /// Its author's place in [`Heard`].
    place: usize,
    pub(super) item: Option<Item>,
}

impl News {
    pub(super) fn new(item: &Item) -> Self {
        let bytes = wire::encode(item);
        Self {
            id: keys::digest(&bytes),
            size: bytes.len(),
            place: keys::place(&item.record.author),
            item: wire::decode(&bytes, MAX_ITEM).ok(),
        }
    }
}

/// What a daemon has seen of announcements, by their authors' places. As gossipsub, it knows the last few again.
#[derive(Default)]
pub(super) struct Heard(Vec<[Seen; SEEN]>);

/// One announcement.
#[derive(Clone, Copy, Default)]
struct Seen {
    id: u64,
    /// When its first copy comes, or came.
    at: u64,
    heard: bool,
}

impl Heard {
    /// What is known of `news`, which is noted in the place of the oldest if it is new; and whether it is.
    fn of(&mut self, news: &News, at: u64) -> (&mut Seen, bool) {
        if self.0.len() <= news.place {
            self.0.resize(news.place + 1, Default::default());
        }
        let seen = &mut self.0[news.place];
        let (mut oldest, mut known) = (0, None);
        for (number, one) in seen.iter().enumerate() {
            if one.id == news.id {
                known = Some(number);
            }
            if one.at < seen[oldest].at {
                oldest = number;
            }
        }
        if known.is_none() {
            seen[oldest] = Seen { id: news.id, at, heard: false };
        }
        (&mut seen[known.unwrap_or(oldest)], known.is_none())
    }

    /// Whether `news` is heard for the first time.
    fn hear(&mut self, news: &News, now: u64) -> bool {
        !std::mem::replace(&mut self.of(news, now).0.heard, true)
    }

    /// Whether a copy that comes at `at` is the first. Another one would be known already when it comes, and change nothing.
    fn expect(&mut self, news: &News, at: u64) -> bool {
        let (seen, new) = self.of(news, at);
        let first = new || (!seen.heard && at < seen.at);
        seen.at = seen.at.min(at);
        first
    }
}

/// An exchange on its way.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) size: usize,
    pub(super) request: ExchangeRequest,
}

/// Its answer.
#[derive(Clone)]
pub(super) struct Reply {
    pub(super) size: usize,
    pub(super) answer: ExchangeAnswer,
}

/// What a step is about, beside its event.
#[derive(Clone)]
pub(super) enum About {
    Nothing,
    News(Spot, Rc<News>),
    Question(Spot),
}

fn address(spot: Spot) -> String {
    format!("/sim/{spot}")
}

fn spot_of(address: &str) -> Option<Spot> {
    address.strip_prefix("/sim/")?.parse().ok()
}

impl World {
    pub(super) fn start_mesh(&mut self, spot: Spot) {
        let now = self.now;
        let pace = self.scenario.pace;
        let bootstrap = [keys::COORDINATOR, 0, 1]
            .into_iter()
            .filter_map(|number| self.seats.iter().find(|seat| seat.number == number))
            .filter(|seat| seat.node != self.seats[spot as usize].node)
            .map(|seat| (seat.node, vec![address(seat.spot)]))
            .collect();
        let millis = core::time::Duration::from_millis;
        let settings = Settings {
            heartbeat: millis(pace.heartbeat),
            silent_after: millis(3 * pace.heartbeat),
            exchange_every: millis(pace.exchange),
            ..Settings::default()
        };
        let seat = &mut self.seats[spot as usize];
        let (mut saved, mut orders) = (std::mem::take(&mut seat.kept), seat.kept_orders.clone());
        if seat.hand.drops_memory() {
            saved.clear();
            orders.clear();
        }
        let start = Start { me: seat.node, mesh: MESH, settings, bootstrap, saved, orders };
        (seat.mesh_wake, seat.rested, seat.skew) = (0, 0, None);
        seat.gossip = Some(Box::new(Gossip::new(start, seat.mesh_now(now), &self.readers)));
        seat.links.clear();
        seat.push.restart(now);
        seat.heard = Heard::default();
        let body = seat.body.clone();
        self.tell(spot, Truth::ViewStarted);
        self.mesh_step(spot, Event::Describe(body), About::Nothing);
        self.mesh_step(spot, Event::Listening(vec![address(spot)]), About::Nothing);
    }

    pub(super) fn wake_mesh(&mut self, spot: Spot) {
        self.push_upkeep(spot);
        self.mesh_step(spot, Event::Tick, About::Nothing);
    }

    /// The host's own words have changed.
    pub(super) fn describe(&mut self, spot: Spot) {
        let body = self.seats[spot as usize].body.clone();
        self.mesh_step(spot, Event::Describe(body), About::Nothing);
    }

    /// Some host says something new of itself.
    pub(super) fn change(&mut self, every: u64) {
        let spot = self.net.chance.below(self.seats.len() as u64) as Spot;
        let now = self.now.to_string();
        self.seats[spot as usize].body.tags.insert("changed".into(), now);
        self.describe(spot);
        self.after(every, Happening::Change { every });
    }

    /// Somebody gives an order at this member.
    pub(super) fn order(&mut self, spot: Spot, signed: Box<SignedStop>) {
        self.mesh_step(spot, Event::Order(signed), About::Nothing);
    }

    pub(super) fn mesh_step(&mut self, spot: Spot, event: Event, about: About) {
        // Nothing else moves what is known of the neighbours' clocks.
        let clocks =
            matches!(event, Event::LinkUp { .. } | Event::LinkDown(_) | Event::Asked { .. } | Event::Answered { .. });
        let mut effects = std::mem::take(&mut self.effects);
        let mut next = Some(event);
        while let Some(mut event) = next.take() {
            if let Some(sabotage) = &mut self.sabotage {
                sabotage.mesh_event(&mut event);
            }
            let seat = &mut self.seats[spot as usize];
            let now = seat.mesh_now(self.now);
            let Some(gossip) = &mut seat.gossip else { break };
            gossip.step(&mut Cx::new(now, &mut seat.mesh_chance, &self.readers, &mut effects), event);
            for effect in effects.drain(..) {
                next = self.mesh_effect(spot, effect, &about).or(next);
            }
        }
        self.effects = effects;
        if clocks {
            self.tell_skew(spot);
        }
        self.arm_mesh(spot);
    }

    fn arm_mesh(&mut self, spot: Spot) {
        let now = self.now;
        let seat = &mut self.seats[spot as usize];
        let Some(deadline) = seat.gossip.as_ref().and_then(|gossip| gossip.deadline()) else { return };
        let at = (seat.clock.when(deadline) + seat.rested).max(now + 1);
        if seat.mesh_wake <= now || at < seat.mesh_wake {
            seat.mesh_wake = at;
            let life = seat.life;
            self.at(at, Happening::WakeMesh { spot, life });
        }
    }

    fn tell_skew(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        let skew = seat.gossip.as_ref().and_then(|gossip| gossip.skew());
        let moved = match (seat.skew, skew) {
            (None, None) => false,
            (Some(told), Some(skew)) => (told - skew).abs() >= SKEW_STEP,
            _ => true,
        };
        if moved {
            seat.skew = skew;
            self.tell_part_skew(spot, skew);
        }
    }

    fn mesh_effect(&mut self, spot: Spot, effect: Effect, about: &About) -> Option<Event> {
        match effect {
            Effect::Seal(record) => return Some(Event::Sealed(self.seal(spot, &record))),
            Effect::Remember(item) => self.believed(spot, &item),
            Effect::Announce(item) => {
                let news = Rc::new(News::new(&item));
                if let Some(spread) = &mut self.spread {
                    spread.begins(news.id, spot, self.now);
                }
                let peers = self.push_first(spot);
                self.push(spot, &peers, &news);
            }
            Effect::Judge { verdict, .. } => {
                if let About::News(from, news) = about {
                    match verdict {
                        Verdict::Accept => {
                            let mut peers = self.push_on(spot);
                            peers.retain(|peer| peer != from);
                            self.push(spot, &peers, news);
                        }
                        Verdict::Reject(_) => self.chaos.effective("forge"),
                        Verdict::Ignore => {}
                    }
                }
            }
            Effect::Exchange { to, request } => {
                let size = wire::size(&request);
                if let Some(other) = self.linked(spot, &to).filter(|_| size <= MAX_EXCHANGE) {
                    let question = Rc::new(Question { size, request });
                    for delay in self.transit(spot, other).into_iter().flatten() {
                        let question = Rc::clone(&question);
                        self.bytes += size as u64;
                        self.after(delay, Happening::Ask { spot: other, from: spot, question });
                    }
                }
            }
            Effect::Answer { answer, .. } => {
                if let About::Question(from) = about {
                    let reply = Rc::new(Reply { size: wire::size(&answer), answer });
                    for delay in self.transit(spot, *from).into_iter().flatten() {
                        let reply = Rc::clone(&reply);
                        self.bytes += reply.size as u64;
                        self.after(delay, Happening::Reply { spot: *from, from: spot, reply });
                    }
                }
            }
            Effect::Dial { node, addresses } => self.dial(spot, &node, &addresses),
            Effect::Block { node, .. } => {
                self.seats[spot as usize].blocked.insert(node, self.now + BLOCK);
                if let Some(other) = self.linked(spot, &node) {
                    self.sever(spot, other, 0);
                }
            }
            Effect::Ordered(signed) => {
                let life = self.seats[spot as usize].life;
                self.after(0, Happening::Ordered { spot, life, signed });
            }
            Effect::RememberOrders(orders) => self.seats[spot as usize].kept_orders = orders,
            Effect::Changed => self.view_changed(spot),
            Effect::Forget(_) | Effect::Admit { .. } => {}
        }
        None
    }

    fn view_changed(&mut self, spot: Spot) {
        let life = self.seats[spot as usize].life;
        if let Some(desk) = self.seats[spot as usize].desk_mut()
            && !desk.view_due
        {
            desk.view_due = true;
            self.after(COALESCE, Happening::View { spot, life });
        }
    }

    fn seal(&mut self, spot: Spot, record: &NodeRecord) -> Item {
        let seat = &mut self.seats[spot as usize];
        let item = Item { credential: seat.credential.clone(), record: Sealed::seal(&Key(seat.node), record) };
        let rank = (record.incarnation, record.version);
        if seat.published.len() == PUBLISHED {
            seat.published.pop_front();
        }
        seat.published.push_back((self.now, rank));
        let (author, digest) = (seat.node, keys::digest(&item.record.body));
        self.tell(spot, Truth::Sealed { author, rank, digest });
        item
    }

    fn believed(&mut self, spot: Spot, item: &Item) {
        let author = item.record.author;
        let view = self.seats[spot as usize].gossip.as_ref().map(|gossip| gossip.view());
        let Some(member) = view.and_then(|view| view.get(&author)) else { return };
        let rank = member.stamp().rank();
        let digest = keys::digest(&item.record.body);
        let wall = self.seats[spot as usize].clock.now(self.now).wall;
        self.tell(spot, Truth::Believed { author, rank, digest, wall });
    }

    /// A neighbour with this key.
    fn linked(&self, spot: Spot, node: &NodeId) -> Option<Spot> {
        self.seats[spot as usize].links.iter().copied().find(|other| self.seats[*other as usize].node == *node)
    }

    fn push(&mut self, spot: Spot, peers: &[Spot], news: &Rc<News>) {
        for other in peers.iter().copied() {
            for delay in self.transit(spot, other).into_iter().flatten() {
                self.bytes += news.size as u64;
                let heard = &mut self.seats[other as usize].heard;
                if heard.expect(news, self.now + delay) || delay > SETTLED {
                    self.after(delay, Happening::News { spot: other, from: spot, news: Rc::clone(news) });
                } else {
                    self.redundant += 1;
                    if let Some(spread) = &mut self.spread {
                        spread.doubles(news.id);
                    }
                }
            }
        }
    }

    pub(super) fn news_arrives(&mut self, spot: Spot, from: Spot, news: &Rc<News>) {
        let Some(item) = &news.item else { return };
        if let Some(spread) = &mut self.spread {
            spread.comes(news.id, spot, from, self.now);
        }
        let seat = &mut self.seats[spot as usize];
        if !seat.up || !seat.heard.hear(news, self.now) {
            return;
        }
        self.announced(spot, item.clone(), from, news);
    }

    fn dial(&mut self, spot: Spot, wanted: &NodeId, addresses: &[String]) {
        let reachable = |other: &Spot| {
            let (one, two) = (&self.seats[spot as usize], self.seats.get(*other as usize));
            two.is_some_and(|two| two.node == *wanted && two.up && two.paused_until <= self.now)
                && !one.links.contains(other)
                && *other != spot
                && !self.net.is_cut(self.now, spot, *other)
                && !self.net.is_cut(self.now, *other, spot)
        };
        let Some(other) = addresses.iter().filter_map(|address| spot_of(address)).find(reachable) else { return };
        let refuses = |one: Spot, by: Spot| {
            let blocked = &self.seats[by as usize].blocked;
            blocked.get(&self.seats[one as usize].node).is_some_and(|until| *until > self.now)
        };
        if refuses(spot, other) || refuses(other, spot) {
            return;
        }
        let lives = (self.seats[spot as usize].life, self.seats[other as usize].life);
        // Connect, encrypt, greet: three times there and back.
        let delay: u64 = (0..3).filter_map(|_| self.transit(spot, other)[0]).sum::<u64>() * 2;
        self.after(delay, Happening::LinkUp { one: spot, other, lives });
    }

    pub(super) fn link_up(&mut self, one: Spot, other: Spot, lives: (u32, u32)) {
        if !self.lives(one, lives.0) || !self.lives(other, lives.1) || self.seats[one as usize].links.contains(&other) {
            return;
        }
        let now = self.now;
        self.seats[one as usize].links.insert(other);
        self.seats[other as usize].links.insert(one);
        self.push_link_up(one, other);
        for (spot, peer) in [(one, other), (other, one)] {
            let peer = &self.seats[peer as usize];
            let event = Event::LinkUp { peer: peer.node, wall: peer.clock.now(now).wall };
            self.mesh_step(spot, event, About::Nothing);
        }
    }

    /// Ends a link. The ends notice after `delay`.
    pub(super) fn sever(&mut self, one: Spot, other: Spot, delay: u64) {
        for (spot, peer) in [(one, other), (other, one)] {
            if self.seats[spot as usize].links.remove(&peer) {
                self.seats[spot as usize].push.link_down(peer);
                self.after(delay, Happening::LinkDown { spot, other: peer });
            }
        }
    }

    pub(super) fn link_down(&mut self, spot: Spot, other: Spot) {
        let node = self.seats[other as usize].node;
        if self.seats[spot as usize].up && self.linked(spot, &node).is_none() {
            self.mesh_step(spot, Event::LinkDown(node), About::Nothing);
        }
    }

    /// Links across a cut end when the silence is noticed.
    pub(super) fn strain_links(&mut self) {
        for one in 0..self.seats.len() as Spot {
            for other in self.seats[one as usize].links.clone().range(one..) {
                let cut = self.net.cuts.last().is_some_and(|cut| {
                    let side = |spot: Spot| cut.side.get(spot as usize).copied().unwrap_or(false);
                    side(one) != side(*other)
                });
                if cut {
                    let delay = self.net.chance.between(NOTICE.0, NOTICE.1);
                    self.after(delay, Happening::Sever { one, other: *other });
                }
            }
        }
    }

    /// Who is linked to a paused machine notices that it answers no ping.
    pub(super) fn strain_paused(&mut self, spot: Spot) {
        for other in self.seats[spot as usize].links.clone() {
            let delay = self.net.chance.between(NOTICE.0, NOTICE.1);
            self.after(delay, Happening::Sever { one: spot, other });
        }
    }

    pub(super) fn sever_if_cut(&mut self, one: Spot, other: Spot) {
        let paused = |spot: Spot| self.seats[spot as usize].paused_until > self.now;
        let cut = self.net.is_cut(self.now, one, other) || self.net.is_cut(self.now, other, one);
        if cut || paused(one) || paused(other) {
            self.sever(one, other, 0);
        }
    }

    /// Every link of a machine breaks.
    pub(super) fn drop_links(&mut self, spot: Spot, power: bool) {
        for other in std::mem::take(&mut self.seats[spot as usize].links) {
            self.seats[other as usize].links.remove(&spot);
            self.seats[other as usize].push.link_down(spot);
            self.seats[spot as usize].push.link_down(other);
            let delay = if power { self.net.chance.between(NOTICE.0, NOTICE.1) } else { 200 };
            self.after(delay, Happening::LinkDown { spot: other, other: spot });
        }
    }

    /// Machines whose process runs with the identity `wanted`.
    pub(super) fn spots_of(&self, wanted: &NodeId) -> Vec<Spot> {
        self.seats.iter().filter(|seat| seat.node == *wanted && seat.up).map(|seat| seat.spot).collect()
    }

    /// Puts a forged or old announcement into the mesh.
    pub(super) fn inject_news(&mut self, from: Spot, to: Spot, item: &Item) {
        let news = Rc::new(News::new(item));
        self.after(5, Happening::News { spot: to, from, news });
    }
}
