//! What both harnesses share: their arguments, the clock and the line that they print.
//!
//! The workload: every node pings a random peer once a second; a ping is delivered after a random delay, and nothing else happens.
//! `patchmesh-sim bench --peers` builds and runs them.

use rustix::time::{ClockId, clock_gettime};

/// Bytes of one ping.
pub const PING: usize = 64;

/// How many nodes, for how many seconds.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Nodes.
    pub hosts: u64,
    /// Virtual seconds.
    pub seconds: u64,
}

/// Reads `HOSTS SECONDS` from the command line; ends the process with 64 if they are not there.
pub fn load() -> Load {
    let words: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    match words[..] {
        [hosts @ 2..=100_000, seconds @ 1..=864_000] => Load { hosts, seconds },
        _ => {
            eprintln!("error: usage: HOSTS SECONDS, from 2 to 100000 and from 1 to 864000; nothing was simulated");
            std::process::exit(64);
        }
    }
}

/// Seconds that this thread has spent on a core. Asked of the kernel directly: madsim answers for the C library's clocks.
pub fn spent() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Runs `simulate`, which gives the pings that arrived, and prints one JSON line.
pub fn report(engine: &str, load: Load, simulate: impl FnOnce() -> u64) {
    let begun = spent();
    let messages = simulate();
    let cpu = spent() - begun;
    let host_seconds = (load.hosts * load.seconds) as f64;
    println!(
        "{{\"engine\":\"{engine}\",\"hosts\":{},\"virtualSeconds\":{},\"cpuSeconds\":{cpu:.3},\
         \"messagesPerHostSecond\":{:.3},\"hostSecondsPerSecond\":{:.1}}}",
        load.hosts,
        load.seconds,
        messages as f64 / host_seconds,
        host_seconds / cpu
    );
}
