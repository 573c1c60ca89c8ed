//! `patchmesh mesh`: the owner's key and the memberships that it signs.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use patchmesh_common::{
    id::{MeshId, NodeId},
    membership::{Credential, Role},
    seal::Ed25519,
};
use patchmesh_node::{
    clock,
    identity::{self, Grant, Identity, IdentityError},
    mesh,
};
use serde_json::json;

use crate::{
    fault::{Exit, Fault},
    output::Format,
};

const OWNER_KEY: &str = "owner.key";
const MESH_ID: &str = "mesh.id";
const UNCHANGED: &str = "nothing was changed";
/// Longest name of a member: a DNS label.
const MAX_NAME: usize = 63;
/// Longest life of a membership: what is signed for longer is signed for ever.
const MAX_DAYS: u32 = 3650;

/// Make a mesh, and sign who belongs to it.
#[derive(Debug, Args)]
pub struct MeshArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an owner key: a new mesh.
    #[command(after_help = "Example:\n  patchmesh mesh init --dir ~/mesh")]
    Init(InitArgs),
    /// Make a key for an operator, and print the half of it that is signed.
    #[command(after_help = "Example:\n  patchmesh mesh key --out ~/operator/key")]
    Key(KeyArgs),
    /// Sign a membership for a host's, a coordinator's or an operator's key.
    #[command(
        after_help = "Example:\n  patchmesh mesh sign --dir ~/mesh --name db-01 --key 3f…c2 --tag role=db --out db-01.json"
    )]
    Sign(SignArgs),
    /// Join a mesh with a token (not built yet).
    #[command(after_help = "Example:\n  patchmesh mesh sign --dir ~/mesh --name db-01 --key 3f…c2")]
    Join(Rest),
    /// Make a join token (not built yet).
    #[command(after_help = "Example:\n  patchmesh mesh sign --dir ~/mesh --name db-01 --key 3f…c2")]
    Token(Rest),
    /// Measure the mesh (not built yet).
    #[command(after_help = "Example:\n  patchmesh demo --hosts 50 --keep")]
    Bench(Rest),
}

#[derive(Debug, Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Where to keep the owner's key; created, or empty.
    #[arg(long)]
    dir: PathBuf,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
struct KeyArgs {
    /// Where to keep the key; must not exist yet.
    #[arg(long)]
    out: PathBuf,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
struct SignArgs {
    /// The folder that `mesh init` made.
    #[arg(long)]
    dir: PathBuf,
    /// The member's name, unique in the mesh.
    #[arg(long)]
    name: String,
    /// The member's public key: 64 hex digits, as its daemon prints them.
    #[arg(long)]
    key: String,
    /// What the member may do.
    #[arg(long, value_enum, default_value_t)]
    role: RoleName,
    /// When the membership ends.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
    expires_days: u32,
    /// A tag, `key=value`; may be repeated, and wins over the host's own file.
    #[arg(long = "tag", value_name = "K=V", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Where to write the membership; default `NAME.json` in `--dir`.
    #[arg(long)]
    out: Option<PathBuf>,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What `--role` takes.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum RoleName {
    /// A host: commands nothing.
    #[default]
    Node,
    /// May send leases.
    Coordinator,
    /// May sign STOPs, and approve or reject rings that wait for approvals.
    Operator,
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Node => Self::Node,
            RoleName::Coordinator => Self::Coordinator,
            RoleName::Operator => Self::Operator,
        }
    }
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

/// Runs `patchmesh mesh`.
///
/// # Errors
/// [`Fault`], with what was left unchanged.
pub async fn run(args: MeshArgs) -> Result<Exit, Fault> {
    let by_hand = "use `patchmesh mesh sign` with the key that the daemon prints at its first start";
    match args.verb {
        Verb::Init(args) => init(&args),
        Verb::Key(args) => make_key(&args),
        Verb::Sign(args) => sign(&args),
        Verb::Join(_) => Err(Fault::not_built("mesh join", by_hand)),
        Verb::Token(_) => Err(Fault::not_built("mesh token", by_hand)),
        Verb::Bench(_) => {
            Err(Fault::not_built("mesh bench", "use `patchmesh demo --hosts 50` and measure its processes"))
        }
    }
}

/// The formats of these verbs.
fn is_json(output: Format) -> Result<bool, Fault> {
    match output {
        Format::Table => Ok(false),
        Format::Json => Ok(true),
        other => {
            let name = other.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            Err(Fault::not_built(&format!("-o {name} of this command"), "use -o table or -o json"))
        }
    }
}

/// stdout is data; a reader that has gone wants no more of it.
fn print(text: &str) {
    let _ = io::Write::write_all(&mut io::stdout(), text.as_bytes());
}

fn init(args: &InitArgs) -> Result<Exit, Fault> {
    let json = is_json(args.output)?;
    let owner = create_mesh(&args.dir)?;
    let key = args.dir.join(OWNER_KEY);
    print(&if json {
        format!("{}\n", json!({"schema": "patchmesh.mesh/v1", "mesh": owner.mesh().to_string(), "ownerKey": key}))
    } else {
        format!("mesh       {}\nowner key  {} (keep it offline)\n", owner.mesh(), key.display())
    });
    Ok(Exit::Done)
}

fn make_key(args: &KeyArgs) -> Result<Exit, Fault> {
    let json = is_json(args.output)?;
    let identity = Identity::generate().map_err(identity_fault)?;
    identity.save_new(&args.out).map_err(identity_fault)?;
    let (key, file) = (identity.node().to_string(), &args.out);
    print(&if json {
        format!("{}\n", json!({"schema": "patchmesh.key/v1", "key": key, "file": file}))
    } else {
        format!("key   {key}\nfile  {} (keep it to yourself)\n", file.display())
    });
    Ok(Exit::Done)
}

fn sign(args: &SignArgs) -> Result<Exit, Fault> {
    let json = is_json(args.output)?;
    let key = NodeId::parse(&args.key).ok_or_else(|| {
        let message = format!("--key `{}` is not 64 hex digits", args.key);
        Fault::new("bad-key", message, UNCHANGED, "give the key as the member's daemon prints it").exit(Exit::Usage)
    })?;
    let out = args.out.clone().unwrap_or_else(|| args.dir.join(format!("{}.json", args.name)));
    let owner = open_mesh(&args.dir)?;
    let life = Duration::from_secs(u64::from(args.expires_days) * 86_400);
    let tags = args.tags.iter().cloned().collect();
    let credential = sign_member(&owner, key, &args.name, args.role.into(), life, tags)?;
    save_member(&out, &credential)?;
    let said = credential.check(owner.mesh(), clock::now().wall, &Ed25519).map_err(|error| {
        Fault::new("sign-failed", "the membership does not check", UNCHANGED, "report this").because(error)
    })?;
    let (mesh, expires) = (owner.mesh().to_string(), said.expires.rfc3339());
    // What others write to dial this member, but for its address, which the owner key does not know.
    let port = if said.role == Role::Coordinator { 7877 } else { 7878 };
    let bootstrap = mesh::bootstrap_address(&key, &format!("/ip4/ADDRESS/tcp/{port}"));
    print(&if json {
        let role = said.role;
        let file = json!({"schema": "patchmesh.membership/v1", "mesh": mesh, "name": said.name, "key": key.to_string(),
            "role": role, "serial": said.serial, "expires": expires, "tags": said.tags, "file": out,
            "bootstrap": bootstrap});
        format!("{file}\n")
    } else {
        let file = out.display();
        format!(
            "member     {}\nkey        {key}\nexpires    {expires}\nfile       {file}\nbootstrap  {bootstrap}\n",
            said.name
        )
    });
    Ok(Exit::Done)
}

/// Makes an owner key in `dir`, which is created or must be empty: a new mesh.
///
/// # Errors
/// [`Fault`]: `dir` holds something, or cannot be written.
pub fn create_mesh(dir: &Path) -> Result<Identity, Fault> {
    let failed = |error: io::Error| {
        let message = format!("cannot make a mesh in {}", dir.display());
        Fault::new("io", message, UNCHANGED, "choose a folder that you may write").because(error)
    };
    fs::create_dir_all(dir).map_err(failed)?;
    if fs::read_dir(dir).map_err(failed)?.next().is_some() {
        let message = format!("{} is not empty", dir.display());
        return Err(Fault::new("not-empty", message, UNCHANGED, "choose a new folder for the new mesh"));
    }
    let owner = Identity::generate().map_err(identity_fault)?;
    owner.save_new(&dir.join(OWNER_KEY)).map_err(identity_fault)?;
    fs::write(dir.join(MESH_ID), format!("{}\n", owner.mesh())).map_err(failed)?;
    Ok(owner)
}

/// The owner's key of the mesh in `dir`.
///
/// # Errors
/// [`Fault`]: there is none, or it is readable by others.
pub fn open_mesh(dir: &Path) -> Result<Identity, Fault> {
    let path = dir.join(OWNER_KEY);
    if !path.exists() {
        let message = format!("there is no {OWNER_KEY} in {}", dir.display());
        return Err(Fault::new("no-mesh", message, UNCHANGED, "give the folder that `patchmesh mesh init` made"));
    }
    Identity::load(&path).map_err(identity_fault)
}

/// Signs a membership that begins now and ends after `life`. Its serial is the signing time, so that a renewal is higher.
///
/// # Errors
/// [`Fault`]: the name is none, or the tags are too many.
pub fn sign_member(
    owner: &Identity,
    key: NodeId,
    name: &str,
    role: Role,
    life: Duration,
    tags: BTreeMap<String, String>,
) -> Result<Credential, Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) || name.starts_with(['-', '.']) {
        let message = format!("--name `{name}` is not a host name");
        let remedy = "use 1 to 63 letters, digits, `-`, `.` or `_`, and begin with a letter or digit";
        return Err(Fault::new("bad-name", message, UNCHANGED, remedy).exit(Exit::Usage));
    }
    let now = clock::now().wall;
    let serial = u64::try_from(now.0).unwrap_or(0);
    let grant = Grant { key, name: name.to_owned(), role, serial, expires: now.plus(life), tags };
    identity::sign(owner, grant).map_err(identity_fault)
}

/// Writes a membership to `path`, replacing what was there.
///
/// # Errors
/// [`Fault`].
pub fn save_member(path: &Path, credential: &Credential) -> Result<(), Fault> {
    identity::save_credential(path, credential).map_err(identity_fault)
}

/// The mesh that a folder of `mesh init` owns, without touching its secret.
///
/// # Errors
/// [`Fault`]: no such file, or something else in it.
pub fn mesh_id(dir: &Path) -> Result<MeshId, Fault> {
    let path = dir.join(MESH_ID);
    let text = fs::read_to_string(&path).map_err(|error| {
        let message = format!("cannot read {}", path.display());
        Fault::new("no-mesh", message, UNCHANGED, "give the folder that `patchmesh mesh init` made").because(error)
    })?;
    MeshId::parse(text.trim()).ok_or_else(|| {
        let message = format!("{} does not hold 64 hex digits", path.display());
        Fault::new("no-mesh", message, UNCHANGED, "give the folder that `patchmesh mesh init` made")
    })
}

fn identity_fault(error: IdentityError) -> Fault {
    let code = match &error {
        IdentityError::Exposed { .. } => "key-exposed",
        IdentityError::TooLarge { .. } => "membership-too-large",
        _ => "identity",
    };
    Fault::new(code, "the key or membership could not be used", UNCHANGED, "mend what is named, and run it again")
        .because(error)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        mesh: MeshArgs,
    }

    fn call(args: &[&str]) -> Result<Exit, Fault> {
        let cli = Cli::try_parse_from([&["mesh"], args].concat()).unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(cli.mesh))
    }

    #[test]
    fn a_mesh_is_made_once_and_signs_a_host_with_tags() {
        let dir = tempfile::tempdir().unwrap();
        let mesh = dir.path().join("mesh");
        let mesh_text = mesh.to_str().unwrap();
        assert_eq!(call(&["init", "--dir", mesh_text]).unwrap(), Exit::Done);
        assert_eq!(call(&["init", "--dir", mesh_text]).unwrap_err().code, "not-empty");
        let host = Identity::generate().unwrap();
        let key = host.node().to_string();
        let sign = ["sign", "--dir", mesh_text, "--name", "db-01", "--key", &key, "--tag", "role=db", "-o", "json"];
        assert_eq!(call(&sign).unwrap(), Exit::Done);
        let (_, said) =
            identity::load_membership(&mesh.join("db-01.json"), &host, mesh_id(&mesh).unwrap(), clock::now().wall)
                .unwrap();
        assert_eq!((said.name.as_str(), said.role, said.may_issue), ("db-01", Role::Node, false));
        assert_eq!(said.tags["role"], "db");
    }

    #[test]
    fn bad_input_changes_nothing_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mesh = dir.path().to_str().unwrap();
        let short = call(&["sign", "--dir", mesh, "--name", "a", "--key", "abc"]).unwrap_err();
        assert_eq!((short.code, short.exit), ("bad-key", Exit::Usage));
        let key = "00".repeat(32);
        assert_eq!(call(&["sign", "--dir", mesh, "--name", "a", "--key", &key]).unwrap_err().code, "no-mesh");
        let owner = Identity::generate().unwrap();
        let name = sign_member(&owner, owner.node(), "../x", Role::Node, Duration::from_secs(1), BTreeMap::new());
        assert_eq!(name.unwrap_err().code, "bad-name");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        for verb in ["join", "token", "bench"] {
            let fault = call(&[verb, "--anything"]).unwrap_err();
            assert_eq!(fault.exit, Exit::Usage);
            assert!(fault.message.contains("not built yet"));
        }
    }
}
