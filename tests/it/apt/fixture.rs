//! A package repository and a private root with two architectures, built from nothing.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use patchmesh_node::host::{
    apt::{Apt, Step},
    root::Root,
};
use tempfile::TempDir;

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Name of the folder, suite and further fields of every archive. A root's sources name the first two.
const SUITES: [(&str, &str, &str); 4] = [
    ("main", "stable", ""),
    ("sec", "stable-security", ""),
    ("back", "stable-backports", "NotAutomatic: yes\nButAutomaticUpgrades: yes\n"),
    ("exp", "experimental", "NotAutomatic: yes\n"),
];

/// One binary package in one suite.
#[derive(Default)]
pub(super) struct Deb {
    pub(super) suite: &'static str,
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) arch: String,
    pub(super) fields: &'static str,
    /// The archive file.
    pub(super) bytes: Vec<u8>,
    /// Its paragraph in an index.
    pub(super) stanza: String,
}

/// Both architectures and all packages, built once for all tests.
struct Stock {
    native: String,
    foreign: String,
    debs: Vec<Deb>,
}

pub(super) struct Fixture {
    pub(super) folder: TempDir,
    pub(super) native: &'static str,
    pub(super) foreign: &'static str,
    debs: &'static [Deb],
}

/// Whether the tools are there; says what is missing.
pub(super) fn possible() -> bool {
    let missing: Vec<_> = ["apt-get", "apt-mark", "dpkg", "dpkg-deb", "sha256sum"]
        .into_iter()
        .filter(|tool| !PATH.split(':').any(|folder| Path::new(folder).join(tool).exists()))
        .collect();
    if !missing.is_empty() {
        eprintln!("skipped: {} not on this machine", missing.join(", "));
    }
    missing.is_empty()
}

pub(super) fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{talk}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

impl Stock {
    fn build() -> Self {
        let native = text(&run(Command::new("dpkg").arg("--print-architecture"))).trim().to_owned();
        let foreign = if native == "i386" { "amd64" } else { "i386" }.to_owned();
        let mut stock = Self { native, foreign, debs: Vec::new() };
        stock.describe();
        let folder = tempfile::tempdir().unwrap();
        stock.debs.iter_mut().for_each(|deb| deb.build(folder.path()));
        stock
    }

    fn describe(&mut self) {
        let (native, foreign) = (self.native.clone(), self.foreign.clone());
        let mut add = |suite, name, version, arch: &str, fields| {
            let (bytes, stanza) = (Vec::new(), String::new());
            self.debs.push(Deb { suite, name, version, arch: arch.to_owned(), fields, bytes, stanza });
        };
        for arch in [&native, &foreign] {
            add("main", "lib", "1.0", arch, "Multi-Arch: same\n");
            add("sec", "lib", "2.0", arch, "Multi-Arch: same\n");
            add("main", "held", "1", arch, "Multi-Arch: same\n");
            add("main", "held", "2", arch, "Multi-Arch: same\n");
        }
        add("main", "app", "1:1.0~rc1", "all", "Depends: lib\n");
        add("main", "app", "1:1.0", "all", "Depends: lib, newdep\n");
        for (suite, name, version, fields) in [
            ("main", "newdep", "1", ""),
            ("main", "epo", "9.0", ""),
            ("main", "epo", "1:0.5", ""),
            ("main", "til", "1.0~beta2", ""),
            ("main", "til", "1.0~beta10", ""),
            ("sec", "til", "1.0", ""),
            ("main", "pinned", "1", ""),
            ("main", "pinned", "2", ""),
            ("main", "middle", "1", ""),
            ("main", "middle", "2", ""),
            ("main", "middle", "3", ""),
            ("main", "kept", "1", ""),
            ("main", "kept", "2", "Depends: nothere\n"),
            ("main", "phased", "1", ""),
            ("main", "phased", "2", ""),
            ("main", "mixed", "1", ""),
            ("sec", "mixed", "2", ""),
            ("main", "mixed", "3", ""),
            ("main", "stays", "1", ""),
        ] {
            add(suite, name, version, &native, fields);
        }
    }
}

impl Deb {
    /// Path below the repository.
    pub(super) fn file(&self) -> String {
        format!("{}/{}_{}_{}.deb", self.suite, self.name, self.version.replace(':', "%3a"), self.arch)
    }

    pub(super) fn build(&mut self, folder: &Path) {
        let tree = tempfile::tempdir_in(folder).unwrap();
        let control = tree.path().join("DEBIAN");
        fs::create_dir(&control).unwrap();
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let Self { name, version, arch, fields, .. } = self;
        let mut stanza = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: t <t@example.org>\nSection: misc\n\
             Priority: optional\n{fields}Description: test\n"
        );
        fs::write(control.join("control"), &stanza).unwrap();
        let script = if *name == "epo" && *version == "1:0.5" {
            "mkdir -p \"$DPKG_ROOT/run\"\n: > \"$DPKG_ROOT/run/reboot-required\"\n\
             echo epo >> \"$DPKG_ROOT/run/reboot-required.pkgs\"\n"
        } else if *name == "gated" && *version == "2" {
            ": > \"$DPKG_ROOT/tmp/reached\"\nwhile [ ! -e \"$DPKG_ROOT/tmp/gate\" ]; do sleep 0.02; done\n"
        } else {
            ""
        };
        let postinst = control.join("postinst");
        fs::write(&postinst, format!("#!/bin/sh\necho configuring {name} {version}\n{script}exit 0\n")).unwrap();
        fs::set_permissions(postinst, fs::Permissions::from_mode(0o755)).unwrap();
        let target = folder.join("built.deb");
        run(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "-b"]).arg(tree.path()).arg(&target));
        let (size, sum) = digest(&target);
        writeln!(stanza, "Filename: {}\nSize: {size}\nSHA256: {sum}", self.file()).unwrap();
        if self.name == "phased" && self.version == "2" {
            stanza += "Phased-Update-Percentage: 0\n";
        }
        (self.bytes, self.stanza) = (fs::read(target).unwrap(), stanza + "\n");
    }
}

impl Fixture {
    /// Old versions installed, everything that the tests judge in the repository.
    pub(super) fn new() -> Self {
        static STOCK: OnceLock<Stock> = OnceLock::new();
        let Stock { native, foreign, debs } = STOCK.get_or_init(Stock::build);
        let fixture = Self { folder: tempfile::tempdir().unwrap(), native, foreign, debs };
        fixture.make_root();
        for deb in debs {
            let path = fixture.repo().join(deb.file());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &deb.bytes).unwrap();
        }
        fixture.publish(|_| true);
        fixture.apt(&["update"]);
        let foreign = fixture.foreign;
        let old = [
            "app=1:1.0~rc1".into(),
            "epo=9.0".into(),
            "til=1.0~beta2".into(),
            "pinned=1".into(),
            "middle=1".into(),
            "kept=1".into(),
            "phased=1".into(),
            "mixed=1".into(),
            "stays=1".into(),
            "lib=1.0".into(),
            format!("lib:{foreign}=1.0"),
            "held=1".into(),
            format!("held:{foreign}=1"),
        ];
        fixture.apt(&[&["-y", "install"], &old.each_ref().map(|word: &String| word.as_str())[..]].concat());
        run(fixture.command("apt-mark").args(["auto", "lib", &format!("lib:{foreign}")]));
        run(fixture.command("apt-mark").args(["hold", &format!("held:{}", fixture.native)]));
        fixture
    }

    /// A root and a repository without packages.
    pub(super) fn bare() -> Self {
        let native = text(&run(Command::new("dpkg").arg("--print-architecture"))).trim().to_owned();
        let foreign = if native == "i386" { "amd64" } else { "i386" };
        let fixture = Self { folder: tempfile::tempdir().unwrap(), native: native.leak(), foreign, debs: &[] };
        fixture.make_root();
        fixture
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn repo(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    /// Writes the indexes with the packages that `keep` wants.
    pub(super) fn publish(&self, keep: impl Fn(&Deb) -> bool) {
        self.publish_indexes(|suite, arch| {
            let listed = self.debs.iter().filter(|deb| deb.suite == suite && keep(deb));
            listed.filter(|deb| deb.arch == arch || deb.arch == "all").map(|deb| deb.stanza.as_str()).collect()
        });
    }

    /// Writes the indexes that `index` gives for suite and architecture.
    pub(super) fn publish_indexes(&self, index: impl Fn(&str, &str) -> String) {
        for (suite, name, fields) in SUITES {
            let dist = self.repo().join("dists").join(suite);
            let mut release = format!(
                "Origin: Test\nLabel: Test\nSuite: {name}\nCodename: {suite}\n{fields}Date: Thu, 01 Jan 2026 \
                 00:00:00 UTC\n"
            );
            writeln!(release, "Architectures: {} {}\nComponents: main\nSHA256:", self.native, self.foreign).unwrap();
            for arch in [self.native, self.foreign] {
                let relative = format!("main/binary-{arch}/Packages");
                let path = dist.join(&relative);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, index(suite, arch)).unwrap();
                let (size, sum) = digest(&path);
                writeln!(release, " {sum} {size} {relative}").unwrap();
            }
            fs::write(dist.join("Release"), release).unwrap();
        }
    }

    /// Makes the root's sources name every archive.
    pub(super) fn with_all_archives(&self) {
        let repo = self.repo().display().to_string();
        let lines: Vec<_> =
            SUITES.iter().map(|(name, ..)| format!("deb [trusted=yes] file:{repo} {name} main\n")).collect();
        fs::write(self.root().join("etc/apt/sources.list"), lines.concat()).unwrap();
    }

    fn make_root(&self) {
        let root = self.root();
        for folder in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/lib/dpkg/triggers",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/log/apt",
            "tmp",
        ] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let write = |path: &str, text: &str| fs::write(root.join(path), text).unwrap();
        write("var/lib/dpkg/status", "");
        write("var/lib/dpkg/arch", &format!("{}\n{}\n", self.native, self.foreign));
        write("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
        write("etc/hostname", "private\n");
        // Without an identity of the machine apt lets every phased version in.
        write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        let repo = self.repo().display().to_string();
        write(
            "etc/apt/sources.list",
            &format!("deb [trusted=yes] file:{repo} main main\ndeb [trusted=yes] file:{repo} sec main\n"),
        );
        write(
            "etc/apt/preferences.d/pins",
            "Package: pinned\nPin: version 1\nPin-Priority: 900\n\nPackage: middle\nPin: version 2\nPin-Priority: 900\n",
        );
        // Written for the tests alone, so that what is tested is not its own measure.
        let r = root.display();
        let conf = format!(
            "Dir \"{r}\";\nDir::State::status \"{r}/var/lib/dpkg/status\";\nDir::Bin::methods \"/usr/lib/apt/methods\";\n\
             Dir::Bin::solvers:: \"/usr/lib/apt/solvers\";\nDir::Bin::planners:: \"/usr/lib/apt/planners\";\n\
             APT::Sandbox::User \"\";\nDPkg::Options {{ \"--root={r}\"; \"--force-not-root\"; \
             \"--force-script-chrootless\"; \"--log={r}/var/log/dpkg.log\"; }};\n"
        );
        fs::write(self.folder.path().join("test.conf"), conf).unwrap();
    }

    /// A command on the private root, not made by what is tested.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command.env("APT_CONFIG", self.folder.path().join("test.conf"));
        command
    }

    pub(super) fn apt(&self, args: &[&str]) -> String {
        text(&run(self.command("apt-get").args(args)))
    }

    /// The packages that apt takes for dependencies of others.
    pub(super) fn automatic(&self) -> Vec<String> {
        let marks = run(self.command("apt-mark").arg("showauto"));
        String::from_utf8(marks.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    pub(super) async fn open(&self) -> Apt {
        Apt::open(Root::open(&self.root()).unwrap(), &self.folder.path().join("state")).await.unwrap()
    }

    /// Runs what the runner would run, output to a file. Returns whether all steps succeeded, and the output.
    pub(super) fn perform(&self, steps: &[Step]) -> (bool, String) {
        let log = self.folder.path().join("output");
        let file = fs::File::create(&log).unwrap();
        let ok = steps.iter().all(|step| {
            Command::new(&step.argv[0])
                .args(&step.argv[1..])
                .env_clear()
                .envs(step.env.iter().cloned())
                .stdin(Stdio::null())
                .stdout(file.try_clone().unwrap())
                .stderr(file.try_clone().unwrap())
                .status()
                .unwrap()
                .success()
        });
        (ok, fs::read_to_string(log).unwrap())
    }
}

pub(super) fn digest(path: &Path) -> (u64, String) {
    let sum = text(&run(Command::new("sha256sum").arg(path)));
    (fs::metadata(path).unwrap().len(), sum.split(' ').next().unwrap().to_owned())
}

/// The `Inst NAME [OLD]` lines of a simulation as `name:arch`, sorted.
pub(super) fn upgrades(simulation: &str, native: &str) -> Vec<String> {
    let mut found: Vec<_> = simulation
        .lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .filter(|rest| rest.split(' ').nth(1).is_some_and(|word| word.starts_with('[')))
        .map(|rest| rest.split(' ').next().unwrap())
        .map(|name| if name.contains(':') { name.to_owned() } else { format!("{name}:{native}") })
        .collect();
    found.sort();
    found
}

/// Everything below a folder that a change would change: path, size, mode and time of change.
pub(super) fn snapshot(folder: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(path) = todo.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        found.push(format!(
            "{} {} {:o} {}.{}",
            path.display(),
            meta.size(),
            meta.mode(),
            meta.ctime(),
            meta.ctime_nsec()
        ));
        // What this user may not look into, this user cannot change either.
        if let (true, Ok(entries)) = (meta.is_dir(), fs::read_dir(&path)) {
            todo.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    found.sort();
    found
}
