//! Slow links: a door before each daemon, through which every connection's bytes come late.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::Instant,
};

/// Pieces of one direction on their way at once: beyond it the sender waits, as on a full line.
const PIECES: usize = 1024;
/// Spreads connections over the latencies evenly, whatever their number.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What all doors of one mesh share.
pub(crate) struct Line {
    latency: [u64; 2],
    slow: AtomicBool,
    connections: AtomicU64,
}

impl Line {
    /// Connections that take from the least to the most milliseconds, each its own, once they are slowed down.
    pub(crate) fn new(latency: [u64; 2]) -> Arc<Self> {
        Arc::new(Self { latency, slow: AtomicBool::new(false), connections: AtomicU64::new(0) })
    }

    /// From now on bytes come late.
    pub(crate) fn slow_down(&self) {
        self.slow.store(true, Ordering::Relaxed);
    }

    fn draw(&self) -> Duration {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let [least, most] = self.latency;
        Duration::from_millis(least + (number.wrapping_mul(GOLDEN) >> 32) % (most - least + 1))
    }

    /// Opens a door before `behind`; where it is.
    pub(crate) async fn door(self: &Arc<Self>, behind: SocketAddr) -> SocketAddr {
        let door = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = door.local_addr().unwrap();
        let line = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((caller, _)) = door.accept().await {
                let Ok(callee) = TcpStream::connect(behind).await else { continue };
                let latency = line.draw();
                for stream in [&caller, &callee] {
                    stream.set_nodelay(true).unwrap();
                }
                let ((from_caller, to_caller), (from_callee, to_callee)) = (caller.into_split(), callee.into_split());
                tokio::spawn(carry(Arc::clone(&line), latency, from_caller, to_callee));
                tokio::spawn(carry(Arc::clone(&line), latency, from_callee, to_caller));
            }
        });
        address
    }
}

async fn carry(line: Arc<Line>, latency: Duration, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (pieces, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reads = async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let wait = if line.slow.load(Ordering::Relaxed) { latency } else { Duration::ZERO };
            if pieces.send((Instant::now() + wait, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writes = async move {
        while let Some((due, bytes)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reads, writes);
}
