//! One host's clocks. True time is virtual time; the wall clock may be wrong, drift and jump; boot time starts with each boot.

use patchmesh_common::time::{BootTime, Now, WallTime};

/// The wall clock of a host that is right, at virtual time zero: 2027-01-15T08:00:00Z.
pub(crate) const EPOCH: i64 = 1_800_000_000_000;

/// Wall and boot clock of one host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// When it was switched on, in true time. Negative for a host that was on before the simulation began.
    pub(crate) booted: i64,
    /// How far the wall clock is ahead of true time, in milliseconds.
    pub(crate) offset: i64,
    /// Milliseconds that the wall clock gains in 1,000,000.
    pub(crate) drift: i64,
    /// Since when it drifts, in true time.
    pub(crate) since: u64,
}

impl Clock {
    /// A right clock of a host that was switched on at `booted`.
    pub(crate) fn right(booted: i64) -> Self {
        Self { booted, offset: 0, drift: 0, since: 0 }
    }

    /// How far the wall clock is ahead at true time `at`, in milliseconds.
    pub(crate) fn error(&self, at: u64) -> i64 {
        self.offset + self.drift * (at.saturating_sub(self.since) as i64) / 1_000_000
    }

    /// Both clocks at true time `at`.
    pub(crate) fn now(&self, at: u64) -> Now {
        let boot = (at as i64).saturating_sub(self.booted).max(0);
        Now { wall: WallTime(EPOCH + at as i64 + self.error(at)), boot: BootTime(boot as u64) }
    }

    /// When, in true time, the boot clock shows `boot`.
    pub(crate) fn when(&self, boot: BootTime) -> u64 {
        let at = i64::try_from(boot.0).unwrap_or(i64::MAX).saturating_add(self.booted);
        u64::try_from(at).unwrap_or(0)
    }

    /// Sets the wall clock right.
    pub(crate) fn heal(&mut self) {
        (self.offset, self.drift) = (0, 0);
    }
}

/// What a right wall clock shows at true time `at`.
pub(crate) fn true_wall(at: u64) -> WallTime {
    WallTime(EPOCH + at as i64)
}
