//! The two clocks of this host.

use std::time::{SystemTime, UNIX_EPOCH};

use patchmesh_common::time::{BootTime, Now, WallTime};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Wall time and time since boot, suspend included, read together.
pub fn now() -> Now {
    // The C library's: a system call of our own would go past whoever gives a service another clock to see what it does.
    let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    let boot = u64::try_from(millis(clock_gettime(ClockId::Boottime))).unwrap_or(0);
    Now { wall: WallTime(wall), boot: BootTime(boot) }
}

fn millis(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_go_forward() {
        let (first, second) = (now(), now());
        assert!(second.boot >= first.boot && first.boot > BootTime(0));
        assert!(first.wall > WallTime(1_577_836_800_000), "this machine's clock is before 2020");
    }
}
