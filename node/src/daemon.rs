//! Starts and ends the daemon.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use actix::{Actor, Addr, AsyncContext as _, Context, Handler};
use patchmesh_common::{gossip::RecordBody, inventory::HostFacts, membership::Credential, seal::Ed25519};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{
    api, chain, clock, config,
    hand::{self, Hand},
    host::{apt::Apt, boot::Boot, root::Root},
    identity::{self, Identity},
    patcher::{PatchActor, PatcherSettings, Ports},
    peer::{self, PeerActor, PeerHandle, Setup, Stop, Subscribe},
    portrait::Portrait,
    service_manager,
    store::trust::private_folder,
};

/// One: the actors' thread does the deciding, so the worker only carries bytes, and several would wake each other for them.
const WORKERS: usize = 1;

/// What ends the daemon before or after it ran.
type Fatal = Box<dyn Error>;

/// Runs the daemon of the configuration file `config` until SIGTERM or SIGINT: exit code 0 then, 1 if it could not run.
///
/// The caller's `main` has called [`abort_on_panic`]: a panic ends the process, and the journal resumes.
pub fn run(config: &Path) -> ExitCode {
    log_to_stderr();
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

/// Makes any panic end the process, in every profile: an actor that died silently inside a live daemon is the worst failure.
/// The first call of every `main`, also of the runner's.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        hand::note_panic();
        std::process::abort();
    }));
}

/// Logs to stderr; `PATCHMESH_LOG` filters as in `debug` or `patchmesh_node=debug,info`.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("PATCHMESH_LOG").unwrap_or_else(|_| {
        // A flood of streams is answered by closing doors, not by filling the log.
        EnvFilter::new("info,libp2p_request_response=error,libp2p_gossipsub=error,libp2p_swarm=warn")
    });
    // Fails only if the process has a subscriber already, and then that one is right.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

fn serve(path: &Path) -> Result<(), Fatal> {
    let settings = config::load(path)?;
    private_folder(&settings.state)
        .map_err(|error| format!("the folder `state` {} cannot be used: {error}", settings.state.display()))?;
    let identity = Identity::load_or_create(&settings.state.join("key"))?;
    let (credential, membership) =
        identity::load_membership(&settings.membership, &identity, settings.mesh, clock::now().wall)?;
    let hand = Arc::new(Hand::open(&settings.state, clock::now())?);
    hand.watch_panics();
    let mut chance = [0; 8];
    getrandom::fill(&mut chance).map_err(|error| format!("no randomness: {error}"))?;
    let pause = hand.pause(u64::from_ne_bytes(chance));
    let system = actix::System::with_tokio_rt(runtime);
    system.block_on(async move {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        if !pause.is_zero() {
            tracing::info!(
                milliseconds = pause.as_millis(),
                "waiting after the abort, so that a fleet does not start as one"
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = terminated.recv() => return Ok(()),
                _ = interrupted.recv() => return Ok(()),
            }
        }
        let setup = Setup {
            identity: identity.clone(),
            mesh: settings.mesh,
            credential: credential.clone(),
            listen: settings.listen.clone(),
            bootstrap: settings.bootstrap.clone(),
            state: Some(settings.state.clone()),
            pace: patchmesh_common::gossip::Settings::default(),
            hand: Arc::clone(&hand),
            keys: &Ed25519,
        };
        let peer = peer::start(setup, Subscribe::default())?;
        let tags = settings.tags.clone().into_iter().chain(membership.tags.clone()).collect();
        let host = start_host(&settings, &identity, credential, tags, &peer, hand).await;
        if let Ok(host) = &host {
            tracing::info!(name = membership.name, node = %peer.node, mode = ?settings.mode, "running");
            service_manager::ready(&format!("member {}", membership.name));
            tokio::select! {
                () = answer(settings.state.join(api::SOCKET), peer.address.clone()) => {}
                _ = terminated.recv() => tracing::info!("SIGTERM: ending"),
                _ = interrupted.recv() => tracing::info!("SIGINT: ending"),
            }
            service_manager::stopping();
            // First whoever may begin something.
            end(&host.patcher).await;
            end(&host.portrait).await;
        }
        end(&peer.address).await;
        host.map(drop)
    })
}

/// Answers on the daemon's socket, for ever. A host without one obeys leases and STOPs all the same; only nobody can ask it.
async fn answer(socket: PathBuf, peer: Addr<PeerActor>) {
    let ended: Result<(), Fatal> = match api::socket::open(&socket) {
        Ok(listener) => api::serve(listener, peer).await.map_err(Into::into),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = ended {
        tracing::error!(socket = %socket.display(), error = chain(&*error), "nobody can ask this daemon, nor stop anything from this host; the rest goes on");
    }
    std::future::pending().await
}

/// Ends an actor. One that still lives when the runtime is dropped would be run once more, without the runtime that it needs.
async fn end<A>(actor: &Addr<A>)
where
    A: Actor<Context = Context<A>> + Handler<Stop>,
{
    // Whoever stopped answering before us has nothing left to save.
    let _ = actor.send(Stop).await;
}

/// What acts on this host beside the mesh peer.
struct Host {
    patcher: Addr<PatchActor>,
    portrait: Addr<Portrait>,
}

/// Starts the patcher, and what the host says of itself. `tags` are those that count: the membership's over the host's own. After
/// an error neither runs.
async fn start_host(
    settings: &config::Settings,
    identity: &Identity,
    credential: Credential,
    tags: BTreeMap<String, String>,
    peer: &PeerHandle,
    hand: Arc<Hand>,
) -> Result<Host, Fatal> {
    let root = Root::open(&settings.root)?;
    // Whatever it was called in the file: whether it is the machine's own decides what a reboot is.
    let path = root.path().to_owned();
    let apt = Apt::open(root, &settings.state.join("apt")).await.map_err(|no| format!("{}; {}", no.text, no.remedy))?;
    let apt = Arc::new(apt.noting(settings.state.join("sightings")).allowing(settings.sources.clone()));
    let facts = HostFacts {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..apt.facts().map_err(|no| format!("{}; {}", no.text, no.remedy))?
    };
    let body = RecordBody { facts, tags: settings.tags.clone(), mode: settings.mode, ..RecordBody::default() };
    let os = (body.facts.os.clone(), body.facts.os_version.clone());
    let portrait =
        Portrait::new(body, Arc::clone(&apt), &settings.state, peer.address.clone().recipient(), Arc::clone(&hand));
    let context = Context::new();
    let address: Addr<Portrait> = context.address();
    let boot = Boot::of(&path, &settings.state);
    let boot_id = boot.id().map_err(|error| format!("the boot id cannot be read: {error}"))?;
    let program = std::env::current_exe().map_err(|error| format!("this program's own file is unknown: {error}"))?;
    let program = program.into_os_string().into_string().map_err(|_| "this program's path is not UTF-8")?;
    let patcher = PatchActor::open(
        PatcherSettings {
            mesh: settings.mesh,
            mode: settings.mode,
            boot_id,
            root: path,
            os,
            tags,
            hooks: settings.hooks.clone(),
            state: settings.state.clone(),
            runner: vec![program, "runner".to_owned()],
        },
        Ports {
            backend: apt,
            reboot: Arc::new(move || boot.reboot()),
            signer: Arc::new(identity.signer().clone()),
            credential,
            deliver: peer.address.clone().recipient(),
            held: address.clone().recipient(),
            hand,
            orders: address.clone().recipient(),
        },
    )?
    .start();
    let host = Host { patcher, portrait: context.run(portrait) };
    let (frames, skew) = (host.patcher.clone().recipient(), host.patcher.clone().recipient());
    let orders = host.patcher.clone().recipient();
    let told = Subscribe { frames: Some(frames), skew: Some(skew), view: None, orders: Some(orders) };
    if peer.address.send(told).await.is_err() {
        end(&host.patcher).await;
        end(&host.portrait).await;
        return Err("the mesh peer has ended".into());
    }
    Ok(host)
}

/// The runtime of a process: actors on the system thread, the mesh on workers.
pub fn runtime() -> tokio::runtime::Runtime {
    #[expect(
        clippy::expect_used,
        reason = "without threads nothing can run, and nothing has begun that could be left half done"
    )]
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .expect("the system refuses to start threads")
}

/// The chain of causes, once.
fn complain(error: &dyn Error) {
    let text = format!("patchmeshd: {}; nothing was changed on this host\n", chain(error));
    // With a closed stderr there is nobody to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
