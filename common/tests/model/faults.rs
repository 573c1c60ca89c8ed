//! How much may go wrong on one path.

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message is lost.
    Loss,
    /// A message arrives a second time, at any later moment.
    Doubling,
    /// A message is held back until any later moment, while others overtake it.
    Reordering,
    /// A host's daemon is killed, or the host loses power; it is started again.
    HostCrash,
    /// The coordinator is killed; it is started again.
    ControlCrash,
    /// Somebody's wall clock is set, by 5 s forth or back.
    Step,
    /// [`LATE`] passes while messages travel or work goes on.
    Delay,
}

/// Milliseconds: more than a `Go` may take.
pub(crate) const LATE: u64 = 11_000;

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Loss, Self::Doubling, Self::Reordering, Self::HostCrash, Self::ControlCrash, Self::Step, Self::Delay];
}

/// How many faults of each kind may still happen, and of all kinds together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    each: [u8; Kind::ALL.len()],
    all: u8,
}

impl Faults {
    /// Nothing goes wrong.
    pub(crate) const NONE: Self = Self { each: [0; Kind::ALL.len()], all: 0 };

    /// At most `most` of each of `kinds`, and at most `all` together.
    pub(crate) const fn of(kinds: &[Kind], most: u8, all: u8) -> Self {
        let mut faults = Self { all, ..Self::NONE };
        let mut at = 0;
        while at < kinds.len() {
            faults.each[kinds[at] as usize] = most;
            at += 1;
        }
        faults
    }

    /// Whether one more of `kind` may happen.
    pub(crate) fn allow(&self, kind: Kind) -> bool {
        self.each[kind as usize] > 0 && self.all > 0
    }

    /// One less of `kind`; `None` if there is none left.
    pub(crate) fn spend(mut self, kind: Kind) -> Option<Self> {
        self.all = self.all.checked_sub(1)?;
        self.each[kind as usize] = self.each[kind as usize].checked_sub(1)?;
        // What the sum forbids is not left: states do not differ by it.
        self.each.iter_mut().for_each(|each| *each = (*each).min(self.all));
        Some(self)
    }

    /// For fingerprints.
    pub(crate) fn print(&self) -> u64 {
        let each = self.each.iter().fold(0, |print, each| print << 8 | u64::from(*each));
        each << 8 | u64::from(self.all)
    }
}
