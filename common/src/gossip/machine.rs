//! The [`Gossip`] machine: one host's part in keeping every view alike.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{
    ExchangeAnswer, ExchangeRequest, Item, KnownHost, NodeRecord, Presence, RecordBody, Stamp,
    event::{Effect, Event, Settings, Start, Verdict},
    orders::{Orders, latest},
    overlay::{Overlay, pick},
    view::{Merged, View},
    wire::MAX_DELTA,
};
use crate::{
    id::{Incarnation, MeshId, NodeId},
    machine::{Cx, Machine},
    seal::Verifier,
    time::{BootTime, Now, WallTime},
};

mod orders;
mod presence;

/// How often links are counted and expiry and silence are judged.
const SWEEP: Duration = Duration::from_secs(1);
/// How often a silent or bootstrap member is dialled although there are links enough: two halves of a split mesh that each
/// have links enough would otherwise never meet again.
const HEAL: Duration = Duration::from_secs(20);
/// The pause after an exchange that brought news, or a new link; it doubles up to [`Settings::exchange_every`], so that a
/// mesh that is being started is whole in seconds and one at rest says little.
const QUICK: Duration = Duration::from_millis(500);
/// Most addresses in one record: a host with more interfaces is reachable by the first ones.
const MAX_ADDRESSES: usize = 8;
/// Two jumps in less are those of two machines with one key. Each of them would answer the other at once, for ever.
const JUMPS: Duration = Duration::from_secs(60);

/// What an item was to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// Known already.
    None,
    /// A newer record, or a renewed membership, with the same content.
    Sign,
    /// A new member, or something else than before.
    Change,
}

/// One host's part in the mesh's memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gossip {
    me: NodeId,
    mesh: MeshId,
    settings: Settings,
    bootstrap: BTreeMap<NodeId, Vec<String>>,
    incarnation: Incarnation,
    version: u64,
    body: RecordBody,
    listening: bool,
    dirty: bool,
    urgent: bool,
    sealing: bool,
    published_at: Option<BootTime>,
    jumped_at: Option<BootTime>,
    view: View,
    orders: Orders,
    heard: BTreeMap<NodeId, BootTime>,
    presence: BTreeMap<NodeId, Presence>,
    /// Nobody falls silent before this.
    quiet_at: BootTime,
    /// Whether a link to somebody who is no member came or went: what is noted of strangers does not stay.
    strangers: bool,
    overlay: Overlay,
    exchange_at: BootTime,
    pause: Duration,
    sweep_at: BootTime,
    heal_at: BootTime,
    fresh: bool,
}

impl Gossip {
    /// Builds the machine from what was saved. The first step emits [`Effect::Admit`] for every member that still is one.
    pub fn new(start: Start, now: Now, keys: &dyn Verifier) -> Self {
        let mut view = View::new(start.mesh);
        for item in start.saved {
            // What does not hold any more is not news to anybody.
            let _ = view.merge(item, now.wall, keys);
        }
        let mut orders = Orders::new(start.mesh);
        for signed in start.orders {
            // The same holds for an order.
            let _ = orders.take(signed, now.wall, keys);
        }
        let last = view.get(&start.me).map_or(0, |own| own.record.incarnation.0.saturating_add(1));
        let heard = view.members().map(|(node, _)| (*node, now.boot)).collect();
        Self {
            me: start.me,
            mesh: start.mesh,
            settings: start.settings,
            bootstrap: start.bootstrap,
            incarnation: Incarnation(last.max(u64::try_from(now.wall.0).unwrap_or(0))),
            version: 0,
            body: RecordBody::default(),
            listening: false,
            dirty: true,
            urgent: false,
            sealing: false,
            published_at: None,
            jumped_at: None,
            view,
            orders,
            heard,
            presence: BTreeMap::new(),
            quiet_at: now.boot,
            strangers: false,
            overlay: Overlay::default(),
            exchange_at: now.boot,
            pause: QUICK,
            sweep_at: now.boot,
            heal_at: now.boot.plus(HEAL),
            fresh: true,
        }
    }

    /// What is believed.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The orders that are known, and still believed by others.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Every known member, by name.
    pub fn hosts(&self) -> Vec<KnownHost> {
        let mut hosts: Vec<_> = self
            .view
            .members()
            .map(|(node, member)| KnownHost {
                node: *node,
                membership: member.membership.clone(),
                record: member.record.clone(),
                presence: self.presence(node),
                own: *node == self.me,
            })
            .collect();
        hosts.sort_by(|a, b| (&a.membership.name, a.node).cmp(&(&b.membership.name, b.node)));
        hosts
    }

    /// Whether a member was heard of lately.
    pub fn presence(&self, node: &NodeId) -> Presence {
        self.presence.get(node).copied().unwrap_or(Presence::Alive)
    }

    /// Where a member can be reached, as its record or the configuration says.
    pub fn addresses(&self, node: &NodeId) -> Vec<String> {
        let said = self.view.get(node).map(|member| member.record.body.addresses.as_slice()).unwrap_or_default();
        let configured = self.bootstrap.get(node).map(Vec::as_slice).unwrap_or_default();
        let mut all: Vec<_> = said.iter().chain(configured).cloned().collect();
        all.sort();
        all.dedup();
        all.truncate(MAX_ADDRESSES);
        all
    }

    /// How far the median clock of the direct neighbours, this host's included, is ahead of this host's, in milliseconds.
    /// `None` without neighbours.
    pub fn skew(&self) -> Option<i64> {
        self.overlay.skew()
    }

    fn own_stamp(&self) -> Stamp {
        Stamp { author: self.me, incarnation: self.incarnation, version: self.version }
    }

    /// Takes one item from anybody.
    fn believe(&mut self, cx: &mut Cx<'_, Effect>, item: Item) -> Result<News, Verdict> {
        let author = item.record.author;
        let (merged, same) = match self.view.take(item, cx.now.wall, cx.keys) {
            Ok((Merged::Old, _)) => return Ok(News::None),
            Ok(merged) => merged,
            Err(error) if error.blames_the_sender() => return Err(Verdict::Reject(error.to_string())),
            Err(_) => return Err(Verdict::Ignore),
        };
        let Some(member) = self.view.get(&author) else { return Ok(News::None) };
        let (stamp, until, item) = (member.stamp(), member.until, member.item.clone());
        let news = if same { News::Sign } else { News::Change };
        if author == self.me {
            self.jump_above(stamp, cx.now.boot);
        } else {
            cx.emit(Effect::Admit { node: author, until });
        }
        if merged == Merged::Newer {
            self.hear_of(author, cx.now.boot);
        }
        cx.emit(Effect::Remember(item));
        self.judge_presence(&author, cx.now.boot);
        cx.emit(Effect::Changed);
        Ok(news)
    }

    /// A host that meets its own newer record (its store or its clock went back) publishes above it: at once, or with its
    /// next heartbeat if it has jumped already.
    fn jump_above(&mut self, met: Stamp, now: BootTime) {
        if met.rank() <= self.own_stamp().rank() {
            return;
        }
        self.incarnation = Incarnation(met.incarnation.0.saturating_add(1));
        self.version = 0;
        let first = self.jumped_at.is_none_or(|at| now.since(at) > JUMPS);
        self.jumped_at = Some(now);
        self.dirty |= first;
        self.urgent |= first;
    }

    fn believe_all(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, items: Vec<Item>) {
        if items.len() > MAX_DELTA {
            cx.emit(Effect::Block {
                node: from,
                why: format!("a delta of {} items, more than {MAX_DELTA}", items.len()),
            });
            return;
        }
        for item in items {
            let by_author = (item.record.author == from).then(|| item.clone());
            match (self.believe(cx, item), by_author) {
                (Ok(news @ (News::Sign | News::Change)), by_author) => {
                    // A mere sign of life may have been on its way; a change that was not announced has missed us.
                    if news == News::Change {
                        self.hurry(cx.now.boot);
                    }
                    // An author without neighbours could not announce it; its first neighbour does.
                    if let Some(item) = by_author {
                        cx.emit(Effect::Announce(item));
                    }
                }
                (Err(Verdict::Reject(why)), _) => {
                    cx.emit(Effect::Block { node: from, why });
                    return;
                }
                _ => {}
            }
        }
    }

    /// Where there are news, there are more.
    fn hurry(&mut self, now: BootTime) {
        self.pause = QUICK.min(self.settings.exchange_every);
        self.exchange_at = self.exchange_at.min(now.plus(self.pause));
    }

    fn hear(&mut self, now: Now, from: &NodeId, wall: WallTime) {
        self.overlay.heard(from, wall.0.saturating_sub(now.wall.0));
    }

    fn pull(&self, now: Now) -> ExchangeRequest {
        ExchangeRequest::Pull { wall: now.wall, digest: self.view.digest() }
    }

    fn answer(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, request: ExchangeRequest) -> ExchangeAnswer {
        let wall = cx.now.wall;
        match request {
            ExchangeRequest::Pull { digest, .. } => {
                ExchangeAnswer::Delta { wall, items: self.view.delta(&digest), want: self.view.lacks(&digest) }
            }
            ExchangeRequest::Push { items, .. } => {
                self.believe_all(cx, from, items);
                ExchangeAnswer::Taken { wall }
            }
            ExchangeRequest::Orders { orders, .. } => {
                self.take_orders(cx, Some(from), orders);
                ExchangeAnswer::Taken { wall }
            }
        }
    }

    fn answered(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, answer: ExchangeAnswer) {
        let ExchangeAnswer::Delta { items, want, .. } = answer else { return };
        // A full delta has more behind it.
        if items.len() == MAX_DELTA || want.len() == MAX_DELTA {
            self.exchange_at = cx.now.boot;
        }
        self.believe_all(cx, from, items);
        let items = self.view.items(&want);
        if !items.is_empty() {
            cx.emit(Effect::Exchange { to: from, request: ExchangeRequest::Push { wall: cx.now.wall, items } });
        }
    }

    fn publish_at(&self) -> Option<BootTime> {
        if !self.listening || self.sealing {
            return None;
        }
        let Some(last) = self.published_at else { return Some(BootTime(0)) };
        Some(match (self.dirty, self.urgent) {
            (true, true) => last,
            (true, false) => last.plus(self.settings.min_interval),
            (false, _) => last.plus(self.settings.heartbeat),
        })
    }

    fn publish(&mut self, cx: &mut Cx<'_, Effect>) {
        self.version = self.version.saturating_add(1);
        (self.dirty, self.urgent, self.sealing) = (false, false, true);
        self.published_at = Some(cx.now.boot);
        cx.emit(Effect::Seal(NodeRecord {
            mesh: self.mesh,
            incarnation: self.incarnation,
            version: self.version,
            sealed_at: cx.now.wall,
            body: RecordBody { orders: latest(self.body.orders.clone()), ..self.body.clone() },
        }));
    }

    fn sweep(&mut self, cx: &mut Cx<'_, Effect>) {
        self.sweep_at = cx.now.boot.plus(SWEEP);
        let mut changed = false;
        for node in self.view.expire(cx.now.wall) {
            cx.emit(Effect::Forget(node));
            changed = true;
        }
        if core::mem::take(&mut self.strangers) || changed {
            let (view, overlay) = (&self.view, &self.overlay);
            self.heard.retain(|node, _| view.get(node).is_some() || overlay.is_up(node));
            self.presence.retain(|node, _| view.get(node).is_some());
        }
        if cx.now.boot >= self.quiet_at {
            changed |= self.judge_all(cx.now.boot);
        }
        self.tend_orders(cx);
        if changed {
            cx.emit(Effect::Changed);
        }
        self.dial_some(cx);
    }

    fn dial_some(&mut self, cx: &mut Cx<'_, Effect>) {
        let (view, bootstrap) = (&self.view, &self.bootstrap);
        self.overlay.retain(|node| view.get(node).is_some() || bootstrap.contains_key(node));
        // At rest, which is nearly always, there is nobody to be chosen.
        if cx.now.boot < self.heal_at && self.overlay.count() >= self.settings.links {
            return;
        }
        let heal = cx.now.boot >= self.heal_at;
        let enough = self.overlay.count() >= self.settings.links;
        let silent = |node: &NodeId| self.presence.get(node) == Some(&Presence::Silent);
        let far = |node: &NodeId| self.bootstrap.contains_key(node) || silent(node);
        let mut candidates: Vec<NodeId> = self
            .view
            .members()
            .map(|(node, _)| *node)
            .filter(|node| !enough || far(node))
            .chain(self.bootstrap.keys().copied().filter(|node| self.view.get(node).is_none()))
            .filter(|node| *node != self.me && self.overlay.may_dial(node, cx.now.boot))
            .collect();
        if heal {
            self.heal_at = cx.now.boot.plus(HEAL);
            let far: Vec<NodeId> = candidates.iter().copied().filter(far).collect();
            if let Some(n) = pick(cx.rng, far.len()) {
                self.dial(cx, far[n]);
                candidates.retain(|node| *node != far[n]);
            }
        }
        for _ in self.overlay.count()..self.settings.links {
            let Some(n) = pick(cx.rng, candidates.len()) else { return };
            let node = candidates.swap_remove(n);
            self.dial(cx, node);
        }
    }

    fn dial(&mut self, cx: &mut Cx<'_, Effect>, node: NodeId) {
        self.overlay.dialled(node, cx.now.boot);
        let addresses = self.addresses(&node);
        if !addresses.is_empty() {
            cx.emit(Effect::Dial { node, addresses });
        }
    }

    fn take(&mut self, cx: &mut Cx<'_, Effect>, event: Event) {
        match event {
            Event::Tick => {}
            Event::Listening(mut addresses) => {
                addresses.sort();
                addresses.dedup();
                addresses.truncate(MAX_ADDRESSES);
                self.dirty |= addresses != self.body.addresses;
                self.body.addresses = addresses;
                self.listening = true;
            }
            Event::Describe(mut body) => {
                body.addresses.clone_from(&self.body.addresses);
                self.urgent |=
                    body.held != self.body.held || body.mode != self.body.mode || body.orders != self.body.orders;
                self.dirty |= body != self.body;
                self.body = body;
            }
            Event::Sealed(item) => {
                self.sealing = false;
                // A record that does not even convince its author is told to nobody; the shell has checked its size.
                if self.believe(cx, item.clone()).is_ok_and(|news| news != News::None) {
                    cx.emit(Effect::Announce(item));
                }
            }
            Event::Order(signed) => self.take_orders(cx, None, vec![*signed]),
            Event::LinkUp { peer, wall } => {
                self.overlay.up(peer, wall.0.saturating_sub(cx.now.wall.0));
                self.hear_of(peer, cx.now.boot);
                self.strangers |= self.view.get(&peer).is_none();
                if self.judge_presence(&peer, cx.now.boot) {
                    cx.emit(Effect::Changed);
                }
                cx.emit(Effect::Exchange { to: peer, request: self.pull(cx.now) });
                // Whatever its record names: it may have lost what it had saved.
                self.send_orders(cx, peer, &[]);
                self.hurry(cx.now.boot);
            }
            Event::LinkDown(peer) => {
                if self.overlay.down(&peer) {
                    self.hear_of(peer, cx.now.boot);
                    self.strangers |= self.view.get(&peer).is_none();
                }
            }
            Event::Announced { token, item } => {
                let verdict = match self.believe(cx, item) {
                    Ok(News::Sign | News::Change) => Verdict::Accept,
                    Ok(News::None) => Verdict::Ignore,
                    Err(verdict) => verdict,
                };
                cx.emit(Effect::Judge { token, verdict });
            }
            Event::Asked { from, token, request } => {
                self.hear(cx.now, &from, request.wall());
                let answer = self.answer(cx, from, request);
                cx.emit(Effect::Answer { token, answer });
            }
            Event::Answered { from, answer } => {
                self.hear(cx.now, &from, answer.wall());
                self.answered(cx, from, answer);
            }
        }
    }
}

impl Machine for Gossip {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, event: Event) {
        if self.fresh {
            self.fresh = false;
            for (node, member) in self.view.members().filter(|(node, _)| **node != self.me) {
                cx.emit(Effect::Admit { node: *node, until: member.until });
            }
        }
        self.take(cx, event);
        let now = cx.now.boot;
        if self.publish_at().is_some_and(|at| now >= at) {
            self.publish(cx);
        }
        if now >= self.exchange_at {
            self.exchange_at = now.plus(self.pause);
            self.pause = self.pause.saturating_mul(2).min(self.settings.exchange_every);
            if let Some(to) = self.overlay.any(cx.rng) {
                cx.emit(Effect::Exchange { to, request: self.pull(cx.now) });
                self.offer_orders(cx, to);
            }
        }
        if now >= self.sweep_at {
            self.sweep(cx);
        }
    }

    fn deadline(&self) -> Option<BootTime> {
        [Some(self.exchange_at), Some(self.sweep_at), self.publish_at()].into_iter().flatten().min()
    }
}
