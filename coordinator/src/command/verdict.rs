//! `approve` and `reject`: an operator's word on a ring, signed here and handed to the coordinator.

use std::path::PathBuf;

use clap::Args;
use patchmesh_common::{
    id::{MeshId, RolloutId},
    membership::Role,
    rollout::approval::{MAX_BECAUSE, SignedVerdict, Verdict},
    seal::Sealed,
};
use patchmesh_node::{
    clock,
    identity::{self, Identity},
};

use super::{block_on, stop::membership_path};
use crate::{
    api::{document::RolloutDocument, verdicts},
    cli::{Output, Socket},
    fault::{Exit, Fault},
    output::{self, Format},
};

const UNCHANGED: &str = "nothing was approved or rejected";

/// Which ring, and by whom.
#[derive(Debug, Args)]
pub struct VerdictArgs {
    /// Its id, or its name (the newest of that name)
    rollout: String,
    /// Which of its rings
    #[arg(long, value_name = "NAME")]
    ring: String,
    /// Private key of an operator; it is used here and goes nowhere
    #[arg(long, env = "PATCHMESH_KEY", value_name = "FILE")]
    key: PathBuf,
    /// The key's membership; default membership.json beside the key
    #[arg(long, env = "PATCHMESH_MEMBERSHIP", value_name = "FILE")]
    membership: Option<PathBuf>,
    /// Why; kept in the ledger
    #[arg(long, value_name = "TEXT")]
    because: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Runs `approve`, or `reject`.
///
/// # Errors
/// What keeps the verdict from being taken; exit 7 if no coordinator answers.
pub fn run(args: &VerdictArgs, approve: bool) -> Result<Exit, Fault> {
    let verb = if approve { "approve" } else { "reject" };
    let format = args.output.format.among(verb, &[Format::Table, Format::Json, Format::Yaml])?;
    let because = args.because.clone().unwrap_or_default();
    if because.len() > MAX_BECAUSE || (!approve && because.trim().is_empty()) {
        let text = format!("reject needs --because with 1 to {MAX_BECAUSE} bytes");
        return Err(Fault::new("usage", text, UNCHANGED, "say why: it is kept in the ledger").exit(Exit::Usage));
    }
    let rollout = block_on(give(args, approve, because))?;
    match format {
        Format::Table => output::print(&text(&rollout, &args.ring, verb))?,
        _ => output::print_document(&rollout, format)?,
    }
    Ok(Exit::Done)
}

async fn give(args: &VerdictArgs, approve: bool, because: String) -> Result<RolloutDocument, Fault> {
    let client = args.socket.client();
    let rollout = client.rollout(&args.rollout).await?;
    let strange = |what: &str| {
        let text = format!("the coordinator names the {what} in a form of another version");
        Fault::new("bad-answer", text, UNCHANGED, "use a patchmesh of the coordinator's version")
    };
    let id = RolloutId::parse(&rollout.id).ok_or_else(|| strange("rollout"))?;
    let ring = rollout.rings.iter().position(|ring| ring.name == args.ring);
    let ring = ring.and_then(|ring| u16::try_from(ring).ok()).ok_or_else(|| {
        let names: Vec<_> = rollout.rings.iter().map(|ring| ring.name.as_str()).collect();
        let text = format!("rollout {} has no ring {:?}", rollout.name, args.ring);
        Fault::new("not-found", text, UNCHANGED, format!("its rings are {}", names.join(", ")))
    })?;
    let mesh = MeshId::parse(&client.orders().await?.mesh).ok_or_else(|| strange("mesh"))?;
    let unusable = |what: &str| {
        let remedy = "make a key with patchmesh mesh key, and sign it with --role operator";
        Fault::new("cannot-judge", what, UNCHANGED, remedy)
    };
    let identity = Identity::load(&args.key).map_err(|error| unusable("the key cannot be used").because(error))?;
    let path = membership_path(&args.key, args.membership.as_deref());
    let (credential, membership) = identity::load_membership(&path, &identity, mesh, clock::now().wall)
        .map_err(|error| unusable("the key has no right to approve").because(error))?;
    if membership.role != Role::Operator {
        let text = format!("{} does not give the role operator: only operators judge rings", path.display());
        return Err(Fault::new("not-an-operator", text, UNCHANGED, "sign a key with --role operator"));
    }
    let verdict = Verdict { mesh, rollout: id, ring, approve, because };
    let signed = SignedVerdict { verdict: Sealed::seal(identity.signer(), &verdict), credential };
    client.verdict(&rollout.id, &verdicts::encode(&signed)).await
}

fn text(rollout: &RolloutDocument, name: &str, verb: &str) -> String {
    let ring = rollout.rings.iter().find(|ring| ring.name == name);
    let approvals = ring.map_or_else(String::new, |ring| match verb {
        "approve" => format!(", {} of {} approvals", ring.approved_by.len(), ring.approvals),
        _ => String::new(),
    });
    let reason = rollout.reason.as_ref().map_or("-", |reason| reason.text.as_str());
    let done = if verb == "approve" { "approved" } else { "rejected" };
    format!(
        "ring {name} of {} ({}) was {done}{approvals}; the rollout is {}: {reason}\n",
        rollout.name,
        rollout.id,
        rollout.state.as_str()
    )
}
