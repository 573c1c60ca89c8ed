//! Keys and memberships as files.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use patchmesh_common::{
    id::{MeshId, NodeId, hex, unhex},
    membership::{Credential, CredentialError, Membership, Role},
    seal::{Ed25519, Ed25519Signer, SealError, Sealed, Signer as _},
    time::WallTime,
    wire,
};
use serde::{Deserialize, Serialize};

use crate::store::{durable, trust::distrust};

/// Most bytes of an encoded membership that is signed: an issuer's and a member's must fit into one hello.
const MAX_SIGNED: usize = 1536;
/// Most bytes of a key or credential file.
const MAX_FILE: u64 = 64 << 10;

/// An ed25519 key pair: a host's, a coordinator's or an owner's.
#[derive(Clone)]
pub struct Identity {
    secret: [u8; 32],
    signer: Ed25519Signer,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.node())
    }
}

/// Why a key or a membership could not be read or made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file system said no.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no randomness to give.
    #[error("no randomness for a new key: {0}")]
    Entropy(String),
    /// Others may read the secret.
    #[error("the key file {} may be read by others (mode {mode:o}); run `chmod 600` on it, or replace the key if it may have been read", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may replace the secret.
    #[error("the key file {} {why}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Who may.
        why: String,
    },
    /// Not a key file.
    #[error("{} is not a key file: it must hold 64 hex digits", .0.display())]
    NotAKey(PathBuf),
    /// Not a credential file.
    #[error("{} is not a credential file: {text}", path.display())]
    NotACredential {
        /// Which file.
        path: PathBuf,
        /// Why.
        text: String,
    },
    /// The host is not enrolled yet.
    #[error(
        "there is no membership in {}; this host's key is {node}: sign it with `patchmesh mesh sign --dir MESHDIR --name NAME --key {node}` and put the file there",
        path.display()
    )]
    NoMembership {
        /// Where it was looked for.
        path: PathBuf,
        /// The host's key.
        node: NodeId,
    },
    /// The membership does not hold.
    #[error("the membership in {} cannot be used", path.display())]
    Membership {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: CredentialError,
    },
    /// The membership is for another key.
    #[error("the membership in {} is for key {member}, and this host's key is {node}", path.display())]
    OtherKey {
        /// Which file.
        path: PathBuf,
        /// Whose membership it is.
        member: NodeId,
        /// Whose it should be.
        node: NodeId,
    },
    /// Too many tags, or too long ones.
    #[error("the membership of {name} takes {size} bytes, more than {MAX_SIGNED}: use fewer or shorter tags")]
    TooLarge {
        /// Whose.
        name: String,
        /// How large.
        size: usize,
    },
}

impl Identity {
    /// From 32 secret bytes.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self { signer: Ed25519Signer::from_secret(&secret), secret }
    }

    /// A new random key.
    ///
    /// # Errors
    /// [`IdentityError::Entropy`].
    pub fn generate() -> Result<Self, IdentityError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| IdentityError::Entropy(error.to_string()))?;
        Ok(Self::from_secret(secret))
    }

    /// Reads the key in `path`.
    ///
    /// # Errors
    /// [`IdentityError`]: unreadable, readable by others, or not a key.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::Io { what: "read", path: path.into(), source };
        let file = fs::File::open(path).map_err(failed)?;
        // Of the file that is read, not of whatever bears its name a moment before.
        let about = file.metadata().map_err(failed)?;
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed { path: path.into(), mode });
        }
        if let Some(why) = distrust(&about) {
            return Err(IdentityError::Foreign { path: path.into(), why });
        }
        let text = read_small(file).map_err(failed)?;
        let secret = NodeId::parse(text.trim()).ok_or_else(|| IdentityError::NotAKey(path.into()))?;
        Ok(Self::from_secret(secret.0))
    }

    /// Reads the key in `path`, or makes one there (mode 0600, in one step: a crash leaves no half of a key).
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        if path.exists() {
            return Self::load(path);
        }
        let identity = Self::generate()?;
        identity.save_new(path)?;
        // Somebody else may have been faster; what lies there is the key.
        Self::load(path)
    }

    /// Writes the key to `path`, which must not exist yet; if it does, it is left as it is.
    ///
    /// # Errors
    /// [`IdentityError::Io`].
    pub fn save_new(&self, path: &Path) -> Result<(), IdentityError> {
        let text = format!("{}\n", NodeId(self.secret));
        match durable::create_once(path, text.as_bytes()) {
            Ok(_) => Ok(()),
            Err(source) => Err(IdentityError::Io { what: "write", path: path.into(), source }),
        }
    }

    /// The public key.
    pub fn node(&self) -> NodeId {
        self.signer.id()
    }

    /// The public key, as the mesh that this key owns.
    pub fn mesh(&self) -> MeshId {
        MeshId(self.node().0)
    }

    /// Signs with this key.
    pub fn signer(&self) -> &Ed25519Signer {
        &self.signer
    }

    pub(crate) fn secret(&self) -> [u8; 32] {
        self.secret
    }
}

/// What a new membership says; mesh and signature come from the owner.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose.
    pub key: NodeId,
    /// Its name in the mesh.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Grows with every renewal.
    pub serial: u64,
    /// Not valid from this moment on.
    pub expires: WallTime,
    /// Tags that win over those of the host's own file.
    pub tags: BTreeMap<String, String>,
}

/// Signs a membership with the owner's key. A coordinator may issue memberships of role `node`.
///
/// # Errors
/// [`IdentityError::TooLarge`].
pub fn sign(owner: &Identity, grant: Grant) -> Result<Credential, IdentityError> {
    let membership = Membership {
        mesh: owner.mesh(),
        key: grant.key,
        name: grant.name,
        role: grant.role,
        serial: grant.serial,
        expires: grant.expires,
        may_issue: grant.role == Role::Coordinator,
        tags: grant.tags,
    };
    let size = wire::encode(&membership).len();
    if size > MAX_SIGNED {
        return Err(IdentityError::TooLarge { name: membership.name, size });
    }
    Ok(Credential { membership: Sealed::seal(owner.signer(), &membership), issuer: None })
}

/// A credential as a file: the sealed bytes, and beside them what they say, for people. Only the bytes count.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialFile {
    schema: String,
    mesh: String,
    key: String,
    name: String,
    role: Role,
    expires: String,
    sealed: String,
}

const CREDENTIAL_SCHEMA: &str = "patchmesh.credential/v1";

/// The text of a credential file.
///
/// # Errors
/// The membership's own signature or bytes are wrong.
pub fn credential_text(credential: &Credential) -> Result<String, SealError> {
    let said: Membership = credential.membership.open(&Ed25519)?;
    let file = CredentialFile {
        schema: CREDENTIAL_SCHEMA.into(),
        mesh: said.mesh.to_string(),
        key: said.key.to_string(),
        name: said.name,
        role: said.role,
        expires: said.expires.rfc3339(),
        sealed: hex(&wire::encode(credential)),
    };
    let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
    text.push('\n');
    Ok(text)
}

/// Writes a credential file, replacing what was there.
///
/// # Errors
/// [`IdentityError`].
pub fn save_credential(path: &Path, credential: &Credential) -> Result<(), IdentityError> {
    let text = credential_text(credential)
        .map_err(|error| IdentityError::NotACredential { path: path.into(), text: error.to_string() })?;
    durable::write_public(path, text.as_bytes()).map_err(|source| IdentityError::Io {
        what: "write",
        path: path.into(),
        source,
    })
}

/// Reads a credential file. Nothing in it is believed yet.
///
/// # Errors
/// [`IdentityError`].
pub fn load_credential(path: &Path) -> Result<Credential, IdentityError> {
    let text = fs::File::open(path).and_then(read_small).map_err(|source| IdentityError::Io {
        what: "read",
        path: path.into(),
        source,
    })?;
    let refuse = |text: String| IdentityError::NotACredential { path: path.into(), text };
    let file: CredentialFile = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    if file.schema != CREDENTIAL_SCHEMA {
        return Err(refuse(format!("its schema is `{}`, not `{CREDENTIAL_SCHEMA}`", file.schema)));
    }
    let bytes = unhex(&file.sealed).ok_or_else(|| refuse(String::from("`sealed` is not hex")))?;
    wire::decode(&bytes, 2 * MAX_SIGNED + 512).map_err(|error| refuse(error.to_string()))
}

/// Reads this host's membership and checks it as every other member will.
///
/// # Errors
/// [`IdentityError`]: none there (the text says how to get one), expired, of another mesh, for another key.
pub fn load_membership(
    path: &Path,
    identity: &Identity,
    mesh: MeshId,
    now: WallTime,
) -> Result<(Credential, Membership), IdentityError> {
    if !path.exists() {
        return Err(IdentityError::NoMembership { path: path.into(), node: identity.node() });
    }
    let credential = load_credential(path)?;
    let membership = credential
        .check(mesh, now, &Ed25519)
        .map_err(|source| IdentityError::Membership { path: path.into(), source })?;
    if membership.key != identity.node() {
        let (member, node) = (membership.key, identity.node());
        return Err(IdentityError::OtherKey { path: path.into(), member, node });
    }
    Ok((credential, membership))
}

fn read_small(file: fs::File) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, MAX_FILE), &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(key: NodeId, expires: i64) -> Grant {
        let (name, tags) = (String::from("db-01"), BTreeMap::new());
        Grant { key, name, role: Role::Node, serial: 1, expires: WallTime(expires), tags }
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = Identity::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::load_or_create(&path).unwrap().node(), made.node());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Identity::load_or_create(&path), Err(IdentityError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn half_a_key_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        durable::write(&path, b"abcd").unwrap();
        assert!(matches!(Identity::load(&path), Err(IdentityError::NotAKey(_))));
    }

    #[test]
    fn a_membership_comes_back_from_its_file_for_its_own_key_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("membership.json");
        let (owner, host) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let load = |identity, now| load_membership(&path, identity, owner.mesh(), WallTime(now));
        let missing = load(&host, 0).unwrap_err();
        assert!(missing.to_string().contains(&format!("--key {}", host.node())), "{missing}");
        save_credential(&path, &sign(&owner, grant(host.node(), 1000)).unwrap()).unwrap();
        assert_eq!(load(&host, 0).unwrap().1.name, "db-01");
        assert!(matches!(load(&host, 1000), Err(IdentityError::Membership { .. })));
        assert!(matches!(load(&owner, 0), Err(IdentityError::OtherKey { .. })));
    }

    #[test]
    fn a_membership_that_no_hello_could_carry_is_not_signed() {
        let owner = Identity::generate().unwrap();
        let mut grant = grant(owner.node(), 1000);
        grant.tags.insert("note".into(), "x".repeat(MAX_SIGNED));
        assert!(matches!(sign(&owner, grant), Err(IdentityError::TooLarge { .. })));
    }
}
