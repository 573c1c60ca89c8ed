//! Pings over turmoil's network: one client and one UDP socket per node, in ticks of 1 ms, its default.

use std::{cell::Cell, rc::Rc, time::Duration};

use patchmesh_simulation_peers::{PING, load, report};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use turmoil::net::UdpSocket;

/// Where everybody listens.
const PORT: u16 = 1;

fn main() {
    let load = load();
    let mut simulation = turmoil::Builder::new()
        .tick_duration(Duration::from_millis(1))
        .simulation_duration(Duration::from_secs(load.seconds + 1))
        .rng_seed(1)
        .build();
    let received = Rc::new(Cell::new(0u64));
    for host in 0..load.hosts {
        let received = Rc::clone(&received);
        simulation.client(format!("host-{host}"), async move {
            let socket = UdpSocket::bind(("0.0.0.0", PORT)).await?;
            let mut rng = SmallRng::seed_from_u64(host);
            let mut beat = tokio::time::interval(Duration::from_secs(1));
            let (mut beats, mut buffer) = (0, [0; 2 * PING]);
            loop {
                tokio::select! {
                    _ = beat.tick() => {
                        beats += 1;
                        if beats > load.seconds {
                            return Ok(());
                        }
                        let peer = rng.gen_range(0..load.hosts);
                        // A peer that has ended hears nothing.
                        let _ = socket.send_to(&[0; PING], (format!("host-{peer}"), PORT)).await;
                    }
                    got = socket.recv_from(&mut buffer) => {
                        got?;
                        received.set(received.get() + 1);
                    }
                }
            }
        });
    }
    report("turmoil 0.7", load, || {
        simulation.run().expect("no client fails");
        received.get()
    });
}
