//! Pings over madsim's network: one task and one endpoint per node. Build it with `RUSTFLAGS="--cfg madsim"`; without, madsim is a
//! thin layer over the real network.

use std::{net::SocketAddr, time::Duration};

use madsim::{
    net::Endpoint,
    rand::Rng as _,
    runtime::{Handle, Runtime},
    time,
};
use patchmesh_simulation_peers::{Load, PING, load, report};

/// The tag of pings.
const TAG: u64 = 1;

fn main() {
    let load = load();
    report("madsim 0.2", load, || Runtime::with_seed_and_config(1, Default::default()).block_on(run(load)));
}

fn address(host: u64) -> SocketAddr {
    ([10, (host >> 16) as u8, (host >> 8) as u8, host as u8], 1).into()
}

async fn run(load: Load) -> u64 {
    let handle = Handle::current();
    let nodes = 1..=load.hosts;
    let tasks: Vec<_> =
        nodes.map(|host| handle.create_node().ip(address(host).ip()).build().spawn(node(host, load))).collect();
    let mut received = 0;
    for task in tasks {
        received += task.await.unwrap_or(0);
    }
    received
}

/// Pings until the end; how many came.
async fn node(host: u64, load: Load) -> u64 {
    let endpoint = Endpoint::bind(address(host)).await.expect("a simulated address is free");
    let end = time::Instant::now() + Duration::from_secs(load.seconds);
    let mut beat = time::interval(Duration::from_secs(1));
    let (mut received, mut buffer) = (0, [0; 2 * PING]);
    loop {
        tokio::select! {
            _ = beat.tick() => {
                if time::Instant::now() >= end {
                    return received;
                }
                let peer = madsim::rand::thread_rng().gen_range(1..=load.hosts);
                // A peer that has not bound its address yet hears nothing.
                let _ = endpoint.send_to(address(peer), TAG, &[0; PING]).await;
            }
            got = endpoint.recv_from(TAG, &mut buffer) => received += u64::from(got.is_ok()),
        }
    }
}
