//! The host's own file: fragments → inputs → settings.
//!
//! A fragment is one TOML file. The main file comes first, then `FILE.d/*.toml` in name order; a later one replaces what an
//! earlier one said, and adds to its tags and sources. Unknown keys are errors that name file, line and key.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use patchmesh_common::{
    gossip::Mode,
    id::{MeshId, NodeId},
    patch::baseline::sources::{Allowed, is_keyring, is_uri},
    poison::OWN_TAGS,
};
use rustix::process::geteuid;
use serde::Deserialize;

use crate::{mesh, store::trust::distrust};

/// Where a daemon listens if its file does not say.
const LISTEN: &str = "/ip4/0.0.0.0/tcp/7878";
/// Where hooks are if its file does not say.
const HOOKS: &str = "/etc/patchmesh/hooks";
/// Most bytes of one configuration file.
const MAX_FILE: u64 = 256 << 10;
/// Most bytes of all tags together: they travel in every record of this host.
const MAX_TAGS: usize = 2048;
/// Most repositories to which baselines may send the host.
const MAX_SOURCES: usize = 256;

/// What one file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    mode: Option<Mode>,
    state: Option<PathBuf>,
    listen: Option<Vec<String>>,
    bootstrap: Option<Vec<String>>,
    mesh: Option<String>,
    membership: Option<PathBuf>,
    hooks: Option<PathBuf>,
    root: Option<PathBuf>,
    #[serde(default)]
    sources: Vec<SourceText>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// A repository to which baselines may send this host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceText {
    uri: String,
    keyring: String,
}

/// What the daemon runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Observe or enforce.
    pub mode: Mode,
    /// Folder for keys, journals and the cache.
    pub state: PathBuf,
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Members to begin with, and where they are.
    pub bootstrap: BTreeMap<NodeId, Vec<String>>,
    /// The mesh: its owner's public key.
    pub mesh: MeshId,
    /// The credential file.
    pub membership: PathBuf,
    /// Folder with the hook folders.
    pub hooks: PathBuf,
    /// The root of the system that is patched.
    pub root: PathBuf,
    /// The repositories to which baselines may send this host.
    pub sources: Vec<Allowed>,
    /// The host's own tags.
    pub tags: BTreeMap<String, String>,
}

/// Why a configuration cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Unreadable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Root would obey somebody else.
    #[error("root does not obey {}: it {why}", path.display())]
    Distrusted {
        /// Which file.
        path: PathBuf,
        /// Who may write to it.
        why: String,
    },
    /// Not TOML, or not ours: the text names line and key.
    #[error("{} cannot be used: {text}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Line, column, and what is wrong.
        text: String,
    },
    /// A required key is in no file.
    #[error("`{key}` is not set in {} or {}.d: set it to {example}", path.display(), path.display())]
    Missing {
        /// Which key.
        key: &'static str,
        /// The main file.
        path: PathBuf,
        /// What it looks like.
        example: &'static str,
    },
    /// A key has a value that it cannot have.
    #[error("`{key}` in {} or {}.d: {text}", path.display(), path.display())]
    Value {
        /// Which key.
        key: &'static str,
        /// The main file.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
}

/// Reads `path` and its drop-ins.
///
/// # Errors
/// [`ConfigError`] names file and key.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let mut input = Fragment::default();
    for file in [path.to_path_buf()].into_iter().chain(drop_ins(path)?) {
        input = merge(input, fragment(&file)?);
    }
    settings(path, input)
}

fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let mut dir = path.as_os_str().to_owned();
    dir.push(".d");
    let dir = PathBuf::from(dir);
    let failed = |source| ConfigError::Read { path: dir.clone(), source };
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    Ok(files)
}

fn fragment(path: &Path) -> Result<Fragment, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.into(), source };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    if geteuid().is_root()
        && let Some(why) = distrust(&file.metadata().map_err(failed)?)
    {
        return Err(ConfigError::Distrusted { path: path.into(), why });
    }
    io::Read::read_to_string(&mut io::Read::take(file, MAX_FILE + 1), &mut text).map_err(failed)?;
    let refuse = |text| ConfigError::Parse { path: path.into(), text };
    if text.len() as u64 > MAX_FILE {
        return Err(refuse(format!("it is larger than {MAX_FILE} bytes")));
    }
    toml::from_str(&text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))
}

fn merge(earlier: Fragment, later: Fragment) -> Fragment {
    let (mut tags, mut sources) = (earlier.tags, earlier.sources);
    tags.extend(later.tags);
    sources.extend(later.sources);
    Fragment {
        mode: later.mode.or(earlier.mode),
        state: later.state.or(earlier.state),
        listen: later.listen.or(earlier.listen),
        bootstrap: later.bootstrap.or(earlier.bootstrap),
        mesh: later.mesh.or(earlier.mesh),
        membership: later.membership.or(earlier.membership),
        hooks: later.hooks.or(earlier.hooks),
        root: later.root.or(earlier.root),
        sources,
        tags,
    }
}

fn settings(path: &Path, input: Fragment) -> Result<Settings, ConfigError> {
    let missing = |key, example| ConfigError::Missing { key, path: path.into(), example };
    let wrong = |key, text| ConfigError::Value { key, path: path.into(), text };
    let mesh = input.mesh.ok_or_else(|| missing("mesh", "the 64 hex digits that `patchmesh mesh init` printed"))?;
    let mesh = MeshId::parse(&mesh).ok_or_else(|| wrong("mesh", format!("`{mesh}` is not 64 hex digits")))?;
    let listen = input.listen.unwrap_or_else(|| vec![LISTEN.to_owned()]);
    if let Some(bad) = listen.iter().find(|address| !mesh::is_address(address)) {
        return Err(wrong("listen", format!("`{bad}` is not a multiaddress such as {LISTEN}")));
    }
    let mut bootstrap: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
    for text in input.bootstrap.unwrap_or_default() {
        let (node, address) = mesh::parse_bootstrap(&text).map_err(|text| wrong("bootstrap", text))?;
        bootstrap.entry(node).or_default().push(address);
    }
    let size: usize = input.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_TAGS {
        return Err(wrong("tags", format!("they take {size} bytes, more than {MAX_TAGS}")));
    }
    if let Some(own) = input.tags.keys().find(|key| key.starts_with(OWN_TAGS)) {
        return Err(wrong(
            "tags",
            format!("`{own}` is for the daemon to say: leave out tags that begin with `{OWN_TAGS}`"),
        ));
    }
    let sources = allowed(input.sources).map_err(|text| wrong("sources", text))?;
    let state = input.state.ok_or_else(|| missing("state", "\"/var/lib/patchmesh\""))?;
    let settings = Settings {
        mode: input.mode.unwrap_or_default(),
        membership: input.membership.unwrap_or_else(|| state.join("membership.json")),
        state,
        listen,
        bootstrap,
        mesh,
        hooks: input.hooks.unwrap_or_else(|| HOOKS.into()),
        root: input.root.unwrap_or_else(|| "/".into()),
        sources,
        tags: input.tags,
    };
    let paths = [
        ("state", &settings.state),
        ("membership", &settings.membership),
        ("hooks", &settings.hooks),
        ("root", &settings.root),
    ];
    // A hook, a runner and a reboot each have a working directory of their own.
    if let Some((key, path)) = paths.into_iter().find(|(_, path)| !path.is_absolute()) {
        return Err(wrong(key, format!("`{}` is not an absolute path", path.display())));
    }
    Ok(settings)
}

fn allowed(given: Vec<SourceText>) -> Result<Vec<Allowed>, String> {
    if given.len() > MAX_SOURCES {
        return Err(format!("{} repositories, and at most {MAX_SOURCES} are allowed", given.len()));
    }
    let one = |SourceText { uri, keyring }| {
        if !is_uri(&uri) {
            return Err(format!("`{uri}` is not a plain URI such as https://deb.example.org/debian"));
        }
        if !is_keyring(&keyring) {
            return Err(format!("`{keyring}` is not a plain absolute path such as /etc/apt/keyrings/example.gpg"));
        }
        Ok(Allowed { uri, keyring })
    };
    given.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../dist/patchmeshd.toml");

    fn written(text: &str, drop_ins: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.toml");
        fs::write(&path, text).unwrap();
        fs::create_dir(dir.path().join("host.toml.d")).unwrap();
        for (name, text) in drop_ins {
            fs::write(dir.path().join("host.toml.d").join(name), text).unwrap();
        }
        (dir, path)
    }

    fn minimal() -> String {
        format!("state = \"/s\"\nmesh = \"{}\"\n", "ab".repeat(32))
    }

    fn error(text: &str) -> String {
        let (_dir, path) = written(text, &[]);
        load(&path).unwrap_err().to_string()
    }

    #[test]
    fn the_sample_that_we_ship_is_read() {
        let (_dir, path) = written(SAMPLE, &[]);
        let settings = load(&path).unwrap();
        assert_eq!(settings.mode, Mode::Observe);
        assert_eq!(settings.listen, [LISTEN]);
        assert_eq!(settings.hooks, Path::new(HOOKS));
    }

    #[test]
    fn a_host_observes_unless_its_file_says_otherwise() {
        let (_dir, path) = written(&minimal(), &[]);
        let settings = load(&path).unwrap();
        assert_eq!((settings.mode, settings.root.as_path()), (Mode::Observe, Path::new("/")));
        assert_eq!(settings.membership, Path::new("/s/membership.json"));
    }

    #[test]
    fn drop_ins_win_in_name_order_and_add_tags() {
        let main = format!("{}[tags]\nrole = \"db\"\nzone = \"a\"\n", minimal());
        let drop_ins = [
            ("20-b.toml", "mode = \"enforce\"\n"),
            ("10-a.toml", "mode = \"observe\"\n[tags]\nzone = \"b\"\n"),
            ("README", "not read"),
        ];
        let (_dir, path) = written(&main, &drop_ins);
        let settings = load(&path).unwrap();
        assert_eq!(settings.mode, Mode::Enforce);
        assert_eq!(settings.tags, BTreeMap::from([("role", "db"), ("zone", "b")].map(|(k, v)| (k.into(), v.into()))));
    }

    #[test]
    fn sources_are_allowed_one_by_one_and_drop_ins_add_to_them() {
        let one = |uri: &str, keyring: &str| format!("[[sources]]\nuri = \"{uri}\"\nkeyring = \"{keyring}\"\n");
        let main = format!("{}{}", minimal(), one("https://a.example/x", "/k/a.gpg"));
        let (_dir, path) = written(&main, &[("10-b.toml", &one("https://b.example", "/k/b.gpg"))]);
        let sources = load(&path).unwrap().sources;
        assert_eq!(
            sources.iter().map(|one| (one.uri.as_str(), one.keyring.as_str())).collect::<Vec<_>>(),
            [("https://a.example/x", "/k/a.gpg"), ("https://b.example", "/k/b.gpg")]
        );
        for (text, named) in [
            (one("https://a b", "/k"), "`https://a b` is not a plain URI"),
            (one("https://a", "k.gpg"), "`k.gpg` is not a plain absolute path"),
            (one("https://a", "/k") + "trusted = true\n", "trusted"),
            ("[[sources]]\nuri = \"https://a\"\n".to_owned(), "keyring"),
            (one("https://a", "/k").repeat(MAX_SOURCES + 1), "257 repositories"),
        ] {
            let told = error(&format!("{}{text}", minimal()));
            assert!(told.contains(named), "{told}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_file_and_line() {
        let text = error(&format!("{}moed = \"enforce\"\n", minimal()));
        for part in ["host.toml", "line 3", "moed"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        let (_dir, path) = written(&minimal(), &[("10-a.toml", "\ncolour = 1\n")]);
        let text = load(&path).unwrap_err().to_string();
        assert!(text.contains("10-a.toml") && text.contains("line 2") && text.contains("colour"), "{text}");
    }

    #[test]
    fn root_obeys_no_file_that_others_write_to() {
        let (_dir, path) = written(&minimal(), &[("10-a.toml", "mode = \"enforce\"\n")]);
        let drop_in = path.with_file_name("host.toml.d").join("10-a.toml");
        fs::set_permissions(&drop_in, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        let loaded = load(&path);
        if !geteuid().is_root() {
            return eprintln!("skipped: only root is so careful");
        }
        let text = loaded.unwrap_err().to_string();
        assert!(text.contains("10-a.toml") && text.ends_with("(mode 0666); chmod go-w it"), "{text}");
    }

    #[test]
    fn wrong_values_name_their_key() {
        assert!(error("state = \"/s\"\n").contains("`mesh` is not set"));
        assert!(error("state = \"/s\"\nmesh = \"abc\"\n").contains("64 hex digits"));
        assert!(error(&format!("{}listen = [\"7878\"]\n", minimal())).contains("`listen`"));
        assert!(error(&format!("{}bootstrap = [\"/ip4/10.0.0.1/tcp/1\"]\n", minimal())).contains("/p2p/"));
        assert!(error(&format!("{}mode = \"yolo\"\n", minimal())).contains("line 3"));
        assert!(error(&format!("{}hooks = \"hooks\"\n", minimal())).contains("`hooks` is not an absolute path"));
        assert!(error(&format!("{}[tags]\na = \"{}\"\n", minimal(), "x".repeat(MAX_TAGS))).contains("`tags`"));
        assert!(
            error(&format!("{}[tags]\n\"patchmesh/safe-mode\" = \"no\"\n", minimal()))
                .contains("for the daemon to say")
        );
    }
}
