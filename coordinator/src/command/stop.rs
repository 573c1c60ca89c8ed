//! `stop` and `resume`: an order, signed here and handed to any member of the mesh.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{ArgGroup, Args};
use patchmesh_common::{
    id::{MeshId, RolloutId},
    membership::{Credential, Role},
    run::message::{SignedStop, StopOrder, StopScope},
    seal::Sealed,
};
use patchmesh_node::{
    api::orders,
    clock,
    identity::{self, Identity},
};

use crate::{
    api::{
        client::Client,
        document::{OrdersDocument, StopDocument},
    },
    cli::{Output, Socket},
    fault::{Exit, Fault},
    manifest::duration,
    output::{self, Format},
    render,
};

const UNCHANGED: &str = "nothing was ordered";
/// How often the member is asked who has confirmed.
const LOOK: Duration = Duration::from_millis(50);
/// How often an order is given again that another one has outranked meanwhile.
const TRIES: u32 = 5;
/// The membership beside a key.
const MEMBERSHIP: &str = "membership.json";

/// What, and by whom.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["all", "rollout"])))]
pub struct StopArgs {
    /// Every rollout of the mesh
    #[arg(long)]
    all: bool,
    /// One rollout: its id, or its name where a coordinator is asked
    #[arg(long, value_name = "ID")]
    rollout: Option<String>,
    /// Private key of an operator or a coordinator; it is used here and goes nowhere
    #[arg(long, env = "PATCHMESH_KEY", value_name = "FILE")]
    key: PathBuf,
    /// The key's membership; default membership.json beside the key
    #[arg(long, env = "PATCHMESH_MEMBERSHIP", value_name = "FILE")]
    membership: Option<PathBuf>,
    /// How long to wait until every host has confirmed
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = parse_wait)]
    wait: Duration,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| format!("{text:?} is not a duration such as 5s or 2m"))
}

/// Runs `stop`, or `resume`.
///
/// # Errors
/// What keeps the order from being given; exit 7 if no member answers.
pub async fn run(args: &StopArgs, stop: bool) -> Result<Exit, Fault> {
    let verb = if stop { "stop" } else { "resume" };
    let format = args.output.format.among(verb, &[Format::Table, Format::Json, Format::Yaml])?;
    let client = args.socket.client();
    let scope = scope(args, &client).await?;
    let ordered = give(args, &client, scope, stop).await?;
    let standing = confirmed(&client, scope, ordered, args.wait).await?;
    match format {
        Format::Table => output::print(&render::stop(&standing))?,
        _ => output::print_document(&standing, format)?,
    }
    Ok(if standing.is_complete() { Exit::Done } else { Exit::Lost })
}

async fn scope(args: &StopArgs, client: &Client) -> Result<StopScope, Fault> {
    let Some(name) = args.rollout.as_ref().filter(|_| !args.all) else { return Ok(StopScope::All) };
    if let Some(id) = RolloutId::parse(name) {
        return Ok(StopScope::Rollout(id));
    }
    let unknown = |fault: Fault| {
        let text =
            format!("{name:?} is no rollout id, and {} knows no rollout of that name", client.socket().display());
        Fault::new("not-found", text, UNCHANGED, "give the id, as patchmesh get rollouts or get hosts -o json shows it")
            .because(fault)
    };
    let found = client.rollout(name).await.map_err(unknown)?;
    RolloutId::parse(&found.id)
        .map(StopScope::Rollout)
        .ok_or_else(|| unknown(Fault::new("bad-answer", found.id, "", "")))
}

/// Signs the order with a sequence above all that the member knows, and hands it over.
async fn give(args: &StopArgs, client: &Client, scope: StopScope, stop: bool) -> Result<StopDocument, Fault> {
    let identity = Identity::load(&args.key).map_err(|error| refuse("the key cannot be used", error))?;
    for _ in 1..TRIES {
        match client.order(&orders::encode(&signed(args, &identity, &client.orders().await?, scope, stop)?)).await {
            Err(fault) if fault.document().code == "order-outranked" => {}
            given => return given,
        }
    }
    client.order(&orders::encode(&signed(args, &identity, &client.orders().await?, scope, stop)?)).await
}

fn signed(
    args: &StopArgs,
    identity: &Identity,
    known: &OrdersDocument,
    scope: StopScope,
    stop: bool,
) -> Result<SignedStop, Fault> {
    let mesh = MeshId::parse(&known.mesh).ok_or_else(|| {
        let text = format!("the member names the mesh {:?}", known.mesh);
        Fault::new("bad-answer", text, UNCHANGED, "use a patchmesh of the member's version")
    })?;
    let credential = credential(args, identity, mesh)?;
    let order = StopOrder { mesh, scope, sequence: known.next_sequence, stop };
    Ok(SignedStop { order: Sealed::seal(identity.signer(), &order), credential })
}

fn credential(args: &StopArgs, identity: &Identity, mesh: MeshId) -> Result<Credential, Fault> {
    let path = membership_path(&args.key, args.membership.as_deref());
    let (credential, membership) = identity::load_membership(&path, identity, mesh, clock::now().wall)
        .map_err(|error| refuse("the key has no right to stop", error))?;
    if membership.role == Role::Node {
        let text = format!("{} gives the role node, which stops nothing", path.display());
        return Err(Fault::new("not-an-operator", text, UNCHANGED, "sign the key with --role operator"));
    }
    Ok(credential)
}

/// Where the membership of `key` is, unless told otherwise.
pub(super) fn membership_path(key: &Path, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| key.parent().unwrap_or(Path::new("")).join(MEMBERSHIP), Path::to_owned)
}

fn refuse(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::new("cannot-order", what, UNCHANGED, "make a key with patchmesh mesh key, and sign it with --role operator")
        .because(error)
}

/// Looks until every host has confirmed, or `wait` is over.
async fn confirmed(
    client: &Client,
    scope: StopScope,
    first: StopDocument,
    wait: Duration,
) -> Result<StopDocument, Fault> {
    let path = match scope {
        StopScope::All => "all".to_owned(),
        StopScope::Rollout(id) => id.to_string(),
    };
    let (end, ordered) = (Instant::now() + wait, (first.order.sequence, first.order.stop));
    let mut standing = first;
    while !standing.is_complete() && Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        standing = client.standing(&path).await?;
        if standing.order.stop != ordered.1 {
            let text = format!(
                "order {} was outranked by order {} before it was confirmed",
                ordered.0, standing.order.sequence
            );
            return Err(Fault::new(
                "order-outranked",
                text,
                "the later order stands",
                "ask who gave it, then give yours again",
            ));
        }
    }
    Ok(standing)
}
