//! `patchmesh serve`: a mesh peer, the coordinator actor with its ledger, and the API on a unix socket, in one process.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix::Actor;
use patchmesh_common::{
    id::{MeshId, NodeId},
    membership::Role,
    rollout::{
        controller::{Controller, Settings},
        limit::Limit,
    },
    seal::Ed25519,
};
use patchmesh_node::{
    clock, daemon,
    hand::Hand,
    host::gates::Gates,
    identity::{self, Identity},
    mesh,
    peer::{self, Setup, Stop, Subscribe},
    service_manager,
};
use rand::{SeedableRng, rngs::ChaCha12Rng};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    actor::{CoordinatorActor, Parts},
    api,
    fault::{Exit, Fault},
    ledger::LedgerFile,
    manifest::duration,
    service::Coordinator,
    snapshots::Snapshots,
    store::Store,
};

/// Where the coordinator listens for members if its file does not say.
const LISTEN: &str = "/ip4/0.0.0.0/tcp/7877";
/// Silence after which a host with a slot counts as lost: longer than a slow server needs to reboot.
const LOST_AFTER: Duration = Duration::from_secs(15 * 60);
/// How long a host may refuse for a passing reason, such as a lock, before it is refused for good.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Most bytes of the configuration file.
const MAX_FILE: u64 = 256 << 10;

/// What `DIR/coordinator.toml` says. Everything has a default but the mesh.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    mesh: String,
    listen: Option<Vec<String>>,
    #[serde(default)]
    bootstrap: Vec<String>,
    membership: Option<PathBuf>,
    lost_after: Option<String>,
    refusal_patience: Option<String>,
    #[serde(default)]
    limits: Limits,
}

/// What bounds all rollouts together.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    fleet: Option<Limit>,
}

struct Config {
    mesh: MeshId,
    listen: Vec<String>,
    bootstrap: BTreeMap<NodeId, Vec<String>>,
    membership: PathBuf,
    lost_after: Duration,
    patience: Duration,
    fleet: Option<u32>,
}

/// Runs the coordinator in `dir` until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting; nothing was granted then.
pub fn serve(dir: &Path, config: Option<&Path>, socket: &Path) -> Result<Exit, Fault> {
    daemon::log_to_stderr();
    let own = dir.join("coordinator.toml");
    let config = read(config.unwrap_or(&own), dir)?;
    let identity =
        Identity::load_or_create(&dir.join("key")).map_err(|error| refuse("the key cannot be used", error))?;
    let (credential, membership) =
        identity::load_membership(&config.membership, &identity, config.mesh, clock::now().wall).map_err(|error| {
            let text = "this coordinator does not belong to the mesh";
            Fault::new("cannot-serve", text, UNTOUCHED, "sign its key with --role coordinator, then start it again")
                .because(error)
        })?;
    if membership.role != Role::Coordinator {
        let text = format!("{} gives the role {:?}, not coordinator", config.membership.display(), membership.role);
        return Err(Fault::new("not-a-coordinator", text, UNTOUCHED, "sign the key with --role coordinator"));
    }
    let opened = LedgerFile::open(dir, identity.node(), &Ed25519)
        .map_err(|error| refuse("the ledger cannot be continued", error))?;
    if opened.torn_bytes > 0 {
        tracing::warn!(bytes = opened.torn_bytes, "the last entry of the ledger was torn and is cut off");
    }
    let store = Arc::new(Store::new(dir));
    if let Err(fault) = store.read() {
        // Rollouts that are on their way need none of it: whatever does is refused until it is mended.
        tracing::error!(remedy = fault.remedy, "{}", fault.chain());
    }
    let hand = Hand::open(dir, clock::now()).map_err(|error| refuse("the last life cannot be looked at", error))?;
    hand.watch_panics();
    let settings = Settings {
        mesh: config.mesh,
        me: identity.node(),
        serial: membership.serial,
        lost_after: config.lost_after,
        patience: config.patience,
        poison: hand.poison().clone(),
    };
    let hand = Arc::new(hand);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Fault::new("no-entropy", error.to_string(), UNTOUCHED, "try again"))?;
    let system = actix::System::with_tokio_rt(daemon::runtime);
    system.block_on(async move {
        let fail = |error: io::Error| -> Fault { refuse("signals cannot be awaited", error) };
        let mut terminated = signal(SignalKind::terminate()).map_err(fail)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(fail)?;
        let listens = config.listen.clone();
        let setup = Setup {
            identity: identity.clone(),
            mesh: config.mesh,
            credential: credential.clone(),
            listen: config.listen,
            bootstrap: config.bootstrap,
            state: Some(dir.to_owned()),
            pace: patchmesh_common::gossip::Settings::default(),
            hand,
            keys: &Ed25519,
        };
        let peer =
            peer::start(setup, Subscribe::default()).map_err(|error| refuse("the mesh cannot be joined", error))?;
        let actor = CoordinatorActor::new(Parts {
            controller: Controller::rebuild(settings.clone(), opened.ledger),
            settings,
            ledger: opened.file,
            continues: opened.continues,
            fleet: config.fleet,
            signer: identity.signer().clone(),
            credential,
            mesh: peer.address.clone().recipient(),
            orders: peer.address.clone().recipient(),
            record: peer.address.clone().recipient(),
            gates: Gates::of_rings(dir),
            rng: ChaCha12Rng::from_seed(seed),
        })
        .start();
        let told = Subscribe {
            frames: Some(actor.clone().recipient()),
            view: Some(actor.clone().recipient()),
            skew: Some(actor.clone().recipient()),
            orders: Some(actor.clone().recipient()),
        };
        let listening = match peer.address.send(told).await {
            Ok(()) => api::server::open(socket),
            Err(error) => Err(refuse("the mesh peer ended", error)),
        };
        let ended = match listening {
            Err(fault) => Err(fault),
            Ok(listener) => {
                for address in &listens {
                    tracing::info!(
                        bootstrap = mesh::bootstrap_address(&peer.node, address),
                        "members write this in `bootstrap`, with an address that reaches this machine"
                    );
                }
                tracing::info!(node = %peer.node, socket = %socket.display(), continues = opened.continues, "coordinating");
                let service = Arc::new(Coordinator::new(actor.clone(), peer.address.clone(), store, Snapshots::new(dir)));
                tokio::spawn(Coordinator::clone(&service).follow_due());
                tokio::spawn(Coordinator::clone(&service).follow_replans());
                tokio::spawn(Coordinator::clone(&service).follow_logs());
                tokio::spawn(Coordinator::clone(&service).follow_snapshots());
                service_manager::ready(&format!("API on {}", socket.display()));
                let ended = tokio::select! {
                    ended = api::server::serve(listener, service, std::future::pending()) => {
                        ended.map(|()| Exit::Done).map_err(|error| refuse("the API ended", error))
                    }
                    _ = terminated.recv() => Ok(Exit::Done),
                    _ = interrupted.recv() => Ok(Exit::Done),
                };
                service_manager::stopping();
                ended
            }
        };
        // First whoever may grant something. Whoever stopped answering before us has nothing left to save.
        let _ = actor.send(Stop).await;
        let _ = peer.address.send(Stop).await;
        ended
    })
}

const UNTOUCHED: &str = "nothing was granted";

fn refuse(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::new("cannot-serve", what, UNTOUCHED, "mend this and start the coordinator again").because(error)
}

fn read(path: &Path, dir: &Path) -> Result<Config, Fault> {
    let wrong = |text: String| {
        Fault::new("bad-config", format!("{}: {text}", path.display()), UNTOUCHED, "see \"A real mesh\" in the README")
    };
    let mut text = String::new();
    let read =
        fs::File::open(path).and_then(|file| io::Read::read_to_string(&mut io::Read::take(file, MAX_FILE), &mut text));
    read.map_err(|error| wrong("it cannot be read".to_owned()).because(error))?;
    let file: File = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
    let time = |key: &str, text: Option<String>, default| match text {
        Some(text) => duration::parse(&text)
            .ok_or_else(|| wrong(format!("`{key}`: {text:?} is not a duration such as 90s, 15m or 4h"))),
        None => Ok(default),
    };
    let listen = file.listen.unwrap_or_else(|| vec![LISTEN.to_owned()]);
    if let Some(bad) = listen.iter().find(|address| !mesh::is_address(address)) {
        return Err(wrong(format!("`listen`: {bad:?} is not a multiaddress such as {LISTEN}")));
    }
    let mut bootstrap: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
    for text in &file.bootstrap {
        let (node, address) = mesh::parse_bootstrap(text).map_err(|text| wrong(format!("`bootstrap`: {text}")))?;
        bootstrap.entry(node).or_default().push(address);
    }
    Ok(Config {
        mesh: MeshId::parse(&file.mesh)
            .ok_or_else(|| wrong(format!("`mesh`: {:?} is not 64 hex digits", file.mesh)))?,
        listen,
        bootstrap,
        membership: file.membership.unwrap_or_else(|| dir.join("membership.json")),
        lost_after: time("lost_after", file.lost_after, LOST_AFTER)?,
        patience: time("refusal_patience", file.refusal_patience, PATIENCE)?,
        fleet: file.limits.fleet.map(|limit| fleet(path, limit)).transpose()?,
    })
}

/// A count of at least 1. A share would need to say of what: of a fleet that comes and goes.
fn fleet(path: &Path, limit: Limit) -> Result<u32, Fault> {
    if limit.given().ends_with('%') {
        let what = format!("{}: limits.fleet as a share ({limit})", path.display());
        return Err(Fault::not_built(&what, "write a count of hosts").exit(Exit::Usage));
    }
    let limit = limit.for_concurrency().map_err(|error| {
        let remedy = "write a count of hosts, or leave limits.fleet out";
        Fault::new("bad-config", format!("{}: limits.fleet", path.display()), UNTOUCHED, remedy).because(error)
    })?;
    Ok(limit.resolve_errors(0))
}
