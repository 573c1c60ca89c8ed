//! One shape for every decision: an event in, effects out.
//!
//! The contract between a machine and its shell:
//!
//! 1. Effects after a `Save` are released when it is durable. A failed or uncertain save is not an event: the shell throws
//!    the machine away and rebuilds it from the store, or exits.
//! 2. Sends may be lost and never fail. Acts (hook, transaction, reboot) are *started* and end as an event with their id; no
//!    step waits for one, so a STOP is never queued behind an install.
//! 3. Events may be folded while a save is in flight; a batch equals its sequence.
//! 4. A machine rebuilt from what it saved, and shown the present, continues to a correct end.
//! 5. Machines do not log, sleep, spawn or read a clock.

use rand::Rng;

use crate::{
    seal::Verifier,
    time::{BootTime, Now},
};

/// A pure decision maker. State derives `Clone`, `Eq` and `Hash`, so that it can be compared, replayed and model-checked.
pub trait Machine {
    /// What the world tells the machine.
    type Event;
    /// What the machine asks the world to do.
    type Effect;

    /// Takes one event and emits effects into `cx`, in the order in which the shell must perform them.
    fn step(&mut self, cx: &mut Cx<'_, Self::Effect>, event: Self::Event);

    /// When this machine next wants a tick. A timer is state, never an effect: after a rebuild it is simply there.
    fn deadline(&self) -> Option<BootTime>;
}

/// What a step may use beside its own state: the time, a generator, signature checks, and the list of effects.
pub struct Cx<'a, E> {
    /// The time at which the event happened.
    pub now: Now,
    /// The machine's own generator.
    pub rng: &'a mut dyn Rng,
    /// Checks signatures; a port, so that simulations may use a keyed hash.
    pub keys: &'a dyn Verifier,
    effects: &'a mut Vec<E>,
}

impl<'a, E> Cx<'a, E> {
    /// A context that appends to `effects`.
    pub fn new(now: Now, rng: &'a mut dyn Rng, keys: &'a dyn Verifier, effects: &'a mut Vec<E>) -> Self {
        Self { now, rng, keys, effects }
    }

    /// Asks the shell for `effect`, after everything emitted before it.
    pub fn emit(&mut self, effect: E) {
        self.effects.push(effect);
    }

    /// 128 random bits.
    pub fn draw_u128(&mut self) -> u128 {
        u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64())
    }
}
