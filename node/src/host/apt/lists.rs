//! What the repositories offer, by the package indexes that apt has downloaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use patchmesh_common::{
    inventory::document::MAX_OFFERS,
    patch::{Automatic, Candidate, candidate::is_security},
    time::WallTime,
};

use super::{
    frames::Frames,
    space::kibibytes,
    stanza::{Capped, StanzaError, Stanzas},
};

/// Largest unpacked index that is read: Debian's main has 60 MB, Ubuntu's universe 80 MB.
const MAX_LIST: u64 = 1 << 30;
/// How much of a Release file is looked at: what is wanted stands before its first list of checksums.
const MAX_RELEASE_HEAD: u64 = 64 << 10;
/// Buffer of a reader: large enough that unpacking, not reading, takes the time.
const BUFFER: usize = 64 << 10;

/// How a Release with its signature in it begins.
const INLINE_SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----";

const FIELDS: &[&str] = &[
    "Package",
    "Version",
    "Architecture",
    "Section",
    "Priority",
    "SHA256",
    "Size",
    "Installed-Size",
    "Phased-Update-Percentage",
];

/// One package index on disk and the archive that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The index.
    pub file: PathBuf,
    /// Part of the index' name that follows the archive's part, e.g. `main/binary-amd64/Packages`.
    pub meta_key: String,
    /// `scheme://host/path` of the repository.
    pub site: Option<String>,
    /// `Suite` of the Release.
    pub suite: Option<String>,
    /// `Codename` of the Release.
    pub codename: Option<String>,
    /// `Origin` of the Release.
    pub origin: Option<String>,
    /// `Label` of the Release.
    pub label: Option<String>,
    /// Component, `None` for flat repositories.
    pub component: Option<String>,
    /// `Date` of the Release, if it is signed.
    pub dated: Option<WallTime>,
}

/// The arguments that make apt list its package indexes, one per line, as [`parse_targets`] reads them.
pub fn target_args() -> Vec<String> {
    let fields = ["FILENAME", "METAKEY", "SITE", "SUITE", "CODENAME", "ORIGIN", "LABEL", "COMPONENT"];
    let format = fields.map(|field| format!("$({field})")).join("\t");
    super::command::argv(&["apt-get", "indextargets", "--format", &format, "Created-By: Packages"])
}

/// As [`target_args`], of the sources alone: every index that they name, whether it is there or not, and nothing of its Release.
/// `nowhere` is an empty folder: with nothing to look into, apt does not spend its time on a cache.
pub(super) fn named_args(nowhere: &str) -> Vec<String> {
    let mut args = target_args();
    let lists = format!("Dir::State::lists={nowhere}");
    for option in [lists.as_str(), "Dir::State::status=/dev/null", "Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache="]
    {
        args.extend(["-o".to_owned(), option.to_owned()]);
    }
    args.push("--no-release-info".to_owned());
    args
}

/// Reads the answer to [`target_args`]. A field that an archive does not have comes back as its own name.
///
/// # Errors
/// The offending line and what is wrong with it.
pub fn parse_targets(text: &str) -> Result<Vec<Target>, String> {
    let parse = |line: &str| {
        let fields: Vec<_> = line.split('\t').collect();
        let [file, meta_key, site, suite, codename, origin, label, component] = fields[..] else {
            return Err(format!("apt-get indextargets printed {line:?}: 8 fields were asked for"));
        };
        let known = |text: &str| (!text.is_empty() && !text.starts_with("$(")).then(|| text.to_owned());
        Ok(Target {
            file: PathBuf::from(file),
            meta_key: meta_key.to_owned(),
            site: known(site),
            suite: known(suite),
            codename: known(codename),
            origin: known(origin),
            label: known(label),
            component: known(component),
            dated: None,
        })
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}

impl Target {
    /// Whether the archive is a security pocket.
    pub fn is_security(&self) -> bool {
        is_security(self.suite.as_deref(), self.codename.as_deref(), self.label.as_deref(), self.site.as_deref())
    }

    /// Where the Release of the archive may be.
    fn releases(&self) -> Vec<PathBuf> {
        let name = self.file.to_string_lossy();
        let key = self.meta_key.replace('/', "_");
        let prefix = name.rfind(&key).map(|at| &name[..at]).unwrap_or_default();
        ["InRelease", "Release"].iter().map(|end| PathBuf::from(format!("{prefix}{end}"))).collect()
    }

    /// The head of the archive's Release; empty if it has none.
    fn release(&self) -> String {
        for path in self.releases() {
            let Ok(file) = fs::File::open(path) else { continue };
            let mut head = Vec::new();
            if file.take(MAX_RELEASE_HEAD).read_to_end(&mut head).is_ok() {
                return String::from_utf8_lossy(&head).into_owned();
            }
        }
        String::new()
    }

    /// Whether the archive wants to be chosen.
    pub(super) fn automatic(&self) -> Automatic {
        automatic(&self.release())
    }

    /// Takes from the Release what [`target_args`] would make apt say of it.
    pub(super) fn describe(&mut self) {
        let release = self.release();
        let field = |name| before_sums(&release, name).filter(|value| !value.is_empty()).map(str::to_owned);
        self.suite = field("Suite:");
        self.codename = field("Codename:");
        self.origin = field("Origin:");
        self.label = field("Label:");
        self.date();
    }

    /// Takes the date from the Release. apt has judged the signature when it fetched it, unless its source is called trusted.
    pub(super) fn date(&mut self) {
        let release = self.release();
        let is_signed = release.starts_with(INLINE_SIGNED)
            || self.releases().iter().any(|path| path.with_file_name(signature(path)).is_file());
        self.dated = before_sums(&release, "Date:").filter(|_| is_signed).and_then(date);
    }
}

/// The file of the detached signature of a Release.
fn signature(release: &Path) -> OsString {
    let mut name = release.file_name().unwrap_or_default().to_owned();
    name.push(".gpg");
    name
}

/// A date of a Release, e.g. `Thu, 01 Jan 2026 00:00:00 UTC`.
fn date(text: &str) -> Option<WallTime> {
    let text = text.strip_suffix("UTC").map_or_else(|| text.to_owned(), |rest| format!("{rest}+0000"));
    let parsed = jiff::fmt::rfc2822::parse(&text).ok()?;
    Some(WallTime(parsed.timestamp().as_millisecond()))
}

/// The value of a field that stands before the first list of checksums.
fn before_sums<'a>(release: &'a str, field: &str) -> Option<&'a str> {
    let mut before = release.lines().take_while(|line| !line.starts_with("MD5Sum:") && !line.starts_with("SHA256:"));
    before.find_map(|line| line.strip_prefix(field)).map(str::trim)
}

/// Whether an archive wants to be chosen, by the head of its Release, signed inline or not.
pub fn automatic(release: &str) -> Automatic {
    let says = |field: &str| before_sums(release, field).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
    match (says("NotAutomatic:"), says("ButAutomaticUpgrades:")) {
        (false, _) => Automatic::Yes,
        (true, true) => Automatic::Upgrades,
        (true, false) => Automatic::No,
    }
}

/// What repositories offer, by (name, architecture), in the order of the host's sources. An `all` package counts as native.
pub type Offers = BTreeMap<(String, String), Vec<Candidate>>;

/// Reads the packages of `wanted` names from all `targets`.
///
/// # Errors
/// [`StanzaError`] with file and line of the first index that cannot be read.
pub fn read(targets: &[Target], wanted: &BTreeSet<String>, native: &str, config: &Path) -> Result<Offers, StanzaError> {
    let mut offers = Offers::new();
    for target in targets {
        let place = target.file.display().to_string();
        let reader =
            unpack(&target.file, config).map_err(|source| StanzaError::Io { place: place.clone(), line: 0, source })?;
        collect(reader, target, target.automatic(), wanted, native, &mut offers)?;
    }
    Ok(offers)
}

/// Adds what one index offers of the `wanted` names.
///
/// # Errors
/// [`StanzaError`] with file and line.
pub fn collect(
    reader: impl BufRead,
    target: &Target,
    automatic: Automatic,
    wanted: &BTreeSet<String>,
    native: &str,
    offers: &mut Offers,
) -> Result<(), StanzaError> {
    let mut stanzas = Stanzas::new(reader, target.file.display().to_string(), FIELDS);
    while let Some(stanza) = stanzas.read_next()? {
        let Some(name) = stanza.get("Package").filter(|name| wanted.contains(*name)) else { continue };
        let (Some(version), Some(arch)) = (stanza.get("Version"), stanza.get("Architecture")) else {
            let why = format!("{name} has no Version or no Architecture");
            return Err(stanzas.malformed(why));
        };
        let field = |name: &str| stanza.get(name).map(str::to_owned);
        let candidate = Candidate {
            version: version.to_owned(),
            archive: target.suite.clone(),
            origin: target.origin.clone(),
            label: target.label.clone(),
            component: target.component.clone(),
            section: field("Section"),
            priority: field("Priority"),
            sha256: field("SHA256").map(|sum| sum.to_ascii_lowercase()),
            download: stanza.get("Size").and_then(|text| text.parse().ok()),
            unpacked: stanza.get("Installed-Size").and_then(kibibytes),
            security: target.is_security(),
            automatic,
            phased: stanza.get("Phased-Update-Percentage").and_then(|text| text.parse().ok()),
            dated: target.dated,
        };
        let key = (name.to_owned(), if arch == "all" { native } else { arch }.to_owned());
        let known = offers.entry(key).or_default();
        if known.len() == MAX_OFFERS {
            let why = format!("{name} is offered in more than {MAX_OFFERS} versions");
            return Err(stanzas.malformed(why));
        }
        // One archive may offer a package in several indexes: `binary-all` beside `binary-amd64`.
        if !known.contains(&candidate) {
            known.push(candidate);
        }
    }
    Ok(())
}

/// A reader of the plain text of an index, by the ending of its name.
pub(super) fn unpack(path: &Path, config: &Path) -> io::Result<Box<dyn BufRead>> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let open = || fs::File::open(path).map(|file| BufReader::with_capacity(BUFFER, file));
    let buffered = |reader: Box<dyn Read>| Box::new(BufReader::with_capacity(BUFFER, Capped::new(reader, MAX_LIST)));
    Ok(match ending {
        "lz4" => buffered(Box::new(Frames::new(open()?))),
        "gz" => buffered(Box::new(flate2::bufread::MultiGzDecoder::new(open()?))),
        // What apt can unpack and we cannot, apt shall unpack.
        "xz" | "zst" | "bz2" | "lzma" => buffered(Box::new(Helper::start(path, config)?)),
        _ => buffered(Box::new(open()?)),
    })
}

/// apt's own unpacker: the end of its output is an end only if it says so.
struct Helper {
    child: std::process::Child,
    done: bool,
}

impl Helper {
    fn start(path: &Path, config: &Path) -> io::Result<Self> {
        let child = Command::new("/usr/lib/apt/apt-helper")
            .arg("cat-file")
            .arg(path)
            .env_clear()
            .envs(super::command::environment(config))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, done: false })
    }
}

impl Read for Helper {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.child.stdout {
            Some(stdout) => stdout.read(buffer)?,
            None => 0,
        };
        if read == 0 && !buffer.is_empty() && !self.done {
            let status = self.child.wait()?;
            self.done = true;
            if !status.success() {
                return Err(io::Error::other(format!("apt-helper cat-file: {status}")));
            }
        }
        Ok(read)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if !self.done {
            // It only reads; both fail only if it has ended already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn targets_are_read_and_what_an_archive_lacks_is_unknown() {
        let text = "/l/h_dists_sec_main_binary-amd64_Packages.lz4\tmain/binary-amd64/Packages\thttp://h\tstable-security\tsec\tD\tDebian-Security\tmain\n\
                    /l/flat_Packages\tPackages\tfile:/flat\t$(SUITE)\t\t$(ORIGIN)\t$(LABEL)\t$(COMPONENT)\n";
        let targets = parse_targets(text).unwrap();
        assert!(targets[0].is_security() && !targets[1].is_security());
        assert_eq!(targets[0].releases()[0], Path::new("/l/h_dists_sec_InRelease"));
        assert_eq!(targets[1].releases()[1], Path::new("/l/flat_Release"));
        assert_eq!((&targets[1].suite, &targets[1].codename, &targets[1].component), (&None, &None, &None));
        assert!(parse_targets("a\tb\n").unwrap_err().contains("8 fields"));
    }

    #[test]
    fn only_the_date_of_a_signed_release_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(format!("h_dists_sec_{name}"));
        let dated = || {
            let mut target = Target {
                file: file("main_binary-amd64_Packages"),
                meta_key: "main/binary-amd64/Packages".into(),
                ..Target::default()
            };
            target.date();
            target.dated.map(WallTime::rfc3339)
        };
        assert_eq!(dated(), None);
        let text = "Suite: s\nDate: Thu, 01 Jan 2026 10:00:00 UTC\nSHA256:\n";
        fs::write(file("Release"), text).unwrap();
        assert_eq!(dated(), None);
        fs::write(file("Release.gpg"), "").unwrap();
        assert_eq!(dated().as_deref(), Some("2026-01-01T10:00:00Z"));
        fs::write(file("InRelease"), format!("{INLINE_SIGNED}\nHash: SHA256\n\n{}", text.replace("10:", "11:")))
            .unwrap();
        assert_eq!(dated().as_deref(), Some("2026-01-01T11:00:00Z"));
        for wrong in ["soon", "", "Sat, 31 Feb 2026 10:00:00 UTC", "Thu, 01 Jan 2026 25:00:00 UTC", "Thu, 01 Jan 99999"]
        {
            assert_eq!(date(wrong), None, "{wrong}");
        }
        assert_eq!(
            date("Thu, 01 Jan 2026 10:00:00 +0200").map(WallTime::rfc3339).as_deref(),
            Some("2026-01-01T08:00:00Z")
        );
    }

    #[test]
    fn a_release_says_whether_it_wants_to_be_chosen() {
        let signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: b\nNotAutomatic: yes\n";
        assert_eq!(automatic(signed), Automatic::No);
        assert_eq!(automatic(&format!("{signed}ButAutomaticUpgrades: yes\n")), Automatic::Upgrades);
        assert_eq!(automatic("Suite: b\nSHA256:\nNotAutomatic: yes\n"), Automatic::Yes);
    }

    const INDEX: &str = "\
Package: lib
Version: 2.0
Architecture: amd64
Section: libs
Priority: optional
Phased-Update-Percentage: 20
SHA256: ABCD

Package: doc
Version: 3
Architecture: all

Package: other
Version: 1
Architecture: amd64
";

    fn wanted() -> BTreeSet<String> {
        ["lib", "doc"].map(str::to_owned).into()
    }

    #[test]
    fn only_wanted_names_are_kept_and_all_counts_as_native() {
        let mut offers = Offers::new();
        let target = Target { suite: Some("stable".into()), ..Target::default() };
        for _ in 0..2 {
            collect(INDEX.as_bytes(), &target, Automatic::Yes, &wanted(), "amd64", &mut offers).unwrap();
        }
        let keys: Vec<_> = offers.keys().map(|(name, arch)| format!("{name}:{arch}")).collect();
        assert_eq!(keys, ["doc:amd64", "lib:amd64"]);
        let [lib] = &offers[&("lib".to_owned(), "amd64".to_owned())][..] else { panic!("one candidate") };
        assert_eq!((lib.sha256.as_deref(), lib.phased, lib.section.as_deref()), (Some("abcd"), Some(20), Some("libs")));
        let error =
            collect(&b"Package: lib\n"[..], &target, Automatic::Yes, &wanted(), "amd64", &mut offers).unwrap_err();
        assert!(error.to_string().contains("lib has no Version"), "{error}");
    }

    #[test]
    fn packed_indexes_read_like_plain_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a_Packages"), INDEX).unwrap();
        let mut gz =
            flate2::write::GzEncoder::new(fs::File::create(path("a_Packages.gz")).unwrap(), Default::default());
        gz.write_all(INDEX.as_bytes()).unwrap();
        gz.finish().unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(fs::File::create(path("a_Packages.lz4")).unwrap());
        lz4.write_all(INDEX.as_bytes()).unwrap();
        lz4.finish().unwrap();
        let read_one = |name: &str| {
            let target = Target { file: path(name), ..Target::default() };
            read(&[target], &wanted(), "amd64", Path::new("/dev/null"))
        };
        let plain = read_one("a_Packages").unwrap();
        assert_eq!(plain.len(), 2);
        assert_eq!(read_one("a_Packages.gz").unwrap(), plain);
        assert_eq!(read_one("a_Packages.lz4").unwrap(), plain);
        fs::write(path("b.lz4"), "rubbish").unwrap();
        assert!(read_one("b.lz4").unwrap_err().to_string().contains("b.lz4: cannot be read"));
        if Path::new("/usr/lib/apt/apt-helper").exists() {
            fs::write(path("c.xz"), "rubbish").unwrap();
            assert!(read_one("c.xz").is_err());
        }
    }

    #[test]
    fn a_packed_index_that_ends_early_is_an_error_and_no_shorter_index() {
        let folder = tempfile::tempdir().unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        gz.write_all(INDEX.as_bytes()).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(INDEX.as_bytes()).unwrap();
        for (name, whole) in [("cut_Packages.gz", gz.finish().unwrap()), ("cut_Packages.lz4", lz4.finish().unwrap())] {
            let file = folder.path().join(name);
            for end in 0..whole.len() {
                fs::write(&file, &whole[..end]).unwrap();
                let target = Target { file: file.clone(), ..Target::default() };
                let read = read(&[target], &wanted(), "amd64", Path::new("/dev/null"));
                assert!(read.is_err_and(|error| error.to_string().contains(name)), "{name} of {end} bytes");
            }
        }
    }

    #[test]
    fn an_index_in_another_encoding_is_refused_where_it_counts() {
        let read = |index: &[u8]| {
            let (target, mut offers) = (Target { file: "odd_Packages".into(), ..Target::default() }, Offers::new());
            let read = collect(index, &target, Automatic::Yes, &wanted(), "amd64", &mut offers);
            read.map(|()| offers.len()).map_err(|error| error.to_string())
        };
        // Letters of Latin-1 where nobody looks, and where a name may come from.
        let latin = |field: &str| INDEX.replacen("Section: libs", &format!("{field}: caf\u{1}"), 1).into_bytes();
        let latin =
            |field| latin(field).into_iter().map(|byte| if byte == 1 { 0xe9 } else { byte }).collect::<Vec<_>>();
        assert_eq!(read(&latin("Description")), Ok(2));
        assert_eq!(read(&latin("Section")), Err("odd_Packages:4: the value is not UTF-8".into()));
        let wide: Vec<u8> = INDEX.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(read(&wide).is_err() || read(&wide) == Ok(0));
        assert!(read(&[b"\xef\xbb\xbf", INDEX.as_bytes()].concat()).is_ok_and(|count| count < 2));
    }
}
