//! Baselines that send a private root to other repositories, which are signed.

use std::{
    fmt::Write as _,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use patchmesh_common::{
    patch::{
        baseline::{Source, Spec, sources::Allowed},
        sighting::FirstSeen,
        snapshot::By,
    },
    run::message::{Refusal, RefusalCode},
    time::WallTime,
};
use patchmesh_node::{
    host::apt::Apt,
    patcher::{Backend, Mend, Question},
};

use super::{
    fixture::{Deb, Fixture, digest, possible, run, snapshot},
    judged::everything,
    planned,
};
use crate::fleet::wait_for;

/// A repository with a key of its own, outside of the root's sources.
struct Repository {
    folder: PathBuf,
    home: PathBuf,
}

impl Repository {
    fn new(fixture: &Fixture) -> Self {
        let folder = fixture.folder.path().join("alternative");
        let repository = Self { home: folder.join("gpg"), folder };
        fs::create_dir_all(&repository.home).unwrap();
        fs::set_permissions(&repository.home, fs::Permissions::from_mode(0o700)).unwrap();
        repository.key("ours");
        repository.key("another");
        repository
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--quiet", "--yes", "--passphrase", ""]).arg("--homedir").arg(&self.home);
        command
    }

    fn key(&self, name: &str) {
        run(self.gpg().args(["--quick-generate-key", name, "ed25519", "sign", "never"]));
        run(self.gpg().arg("--output").arg(self.keyring(name)).args(["--export", name]));
    }

    fn keyring(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.gpg"))
    }

    fn uri(&self) -> String {
        format!("file:{}", self.folder.display())
    }

    /// Builds packages (name, version, further fields) and writes the index of them, without a signature.
    fn publish(&self, fixture: &Fixture, debs: &[(&'static str, &'static str, &'static str)]) {
        let dist = self.folder.join("dists/s");
        let mut index = String::new();
        for (name, version, fields) in debs {
            let arch = fixture.native.to_owned();
            let mut deb = Deb { suite: "pool", name, version, arch, fields, ..Deb::default() };
            deb.build(&self.folder);
            let path = self.folder.join(deb.file());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &deb.bytes).unwrap();
            index += &deb.stanza;
        }
        let mut release = format!(
            "Origin: Other\nLabel: Other\nSuite: s\nCodename: s\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nArchitectures: {} \
             {}\nComponents: main\nSHA256:\n",
            fixture.native, fixture.foreign
        );
        for (arch, text) in [(fixture.native, index.as_str()), (fixture.foreign, "")] {
            let relative = format!("main/binary-{arch}/Packages");
            let path = dist.join(&relative);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let (size, sum) = digest(&path);
            writeln!(release, " {sum} {size} {relative}").unwrap();
        }
        fs::write(dist.join("Release"), release).unwrap();
    }

    fn sign(&self, key: &str) {
        let dist = self.folder.join("dists/s");
        let mut sign = self.gpg();
        sign.args(["--local-user", key, "--clearsign", "--output"]).arg(dist.join("InRelease"));
        run(sign.arg(dist.join("Release")));
    }

    /// What the host's own file says.
    fn allowed(&self) -> Allowed {
        Allowed { uri: self.uri() + "/", keyring: self.keyring("ours").display().to_string() }
    }

    fn source(&self) -> Source {
        source(&format!("deb {} s main", self.uri()))
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        // Its agent would stay a while.
        let _ = Command::new("gpgconf").arg("--homedir").arg(&self.home).args(["--kill", "all"]).status();
    }
}

fn source(configuration: &str) -> Source {
    Source { name: "extra".into(), products: vec!["Debian12".into()], configuration: configuration.into() }
}

fn question(sources: &[Source]) -> Question {
    let baseline = everything(Spec { sources: Some(sources.to_vec()), ..Spec::default() });
    let sources = baseline.sources_for("Debian12").unwrap();
    let by = By::Baseline(Box::new(baseline), None);
    Question { by, at: WallTime(0), first_seen: FirstSeen::default(), pinned: None, sources }
}

async fn refused(apt: &Apt, source: &Source) -> Refusal {
    Backend::resolve_by(apt, &question(std::slice::from_ref(source))).await.unwrap_err()
}

/// What a root tells apt, and what apt has fetched for it.
fn own(fixture: &Fixture) -> Vec<String> {
    let places = ["etc/apt", "var/lib/apt/lists"].map(|place| snapshot(&fixture.root().join(place)));
    places.concat()
}

fn has_gpg() -> bool {
    let found = Path::new("/usr/bin/gpg").exists();
    if !found {
        eprintln!("skipped: gpg is not on this machine");
    }
    found && possible()
}

#[tokio::test]
async fn what_only_an_alternative_source_offers_is_resolved_and_installed_from_it_alone() {
    if !has_gpg() {
        return;
    }
    let fixture = Fixture::new();
    let repository = Repository::new(&fixture);
    repository.publish(&fixture, &[("stays", "2", "Depends: brought\n"), ("brought", "1", "")]);
    repository.sign("ours");
    let apt = fixture.open().await.allowing(vec![repository.allowed()]);
    let before = own(&fixture);

    let asked = question(&[repository.source()]);
    let transaction = Backend::resolve_by(&apt, &asked).await.unwrap().transaction;
    let native = fixture.native;
    // The root's own repositories have newer versions of ten others.
    assert_eq!(planned(&transaction), [format!("brought:{native} - 1"), format!("stays:{native} 1 2")]);
    Backend::check(&apt, &transaction, &asked.sources).await.unwrap();
    let gone = Backend::check(&apt, &transaction, &[]).await.unwrap_err();
    assert_eq!(gone.code, RefusalCode::VersionGone);
    let found = Backend::look(&apt, &asked).await.unwrap();
    let row = found.evaluation.rows.iter().find(|row| row.name == "stays").unwrap();
    assert_eq!((row.state.as_str(), row.available.as_deref()), ("Missing", Some("2")));

    // Another daemon on the same root: what the plan needs is found again.
    drop(apt);
    let apt = fixture.open().await.allowing(vec![repository.allowed()]);
    let (ok, output) = fixture.perform(&Backend::install_plan(&apt, &transaction, &asked.sources).unwrap());
    assert!(ok && output.contains("configuring stays 2"), "{output}");
    let installed = Backend::installed(&apt).await.unwrap();
    assert_eq!(installed[&("stays".to_owned(), native.to_owned())], "2");
    assert!(fixture.automatic().contains(&"brought".to_owned()));
    let found = Backend::look(&apt, &asked).await.unwrap();
    assert!(found.evaluation.rows.iter().all(|row| row.available.is_none()), "{:?}", found.evaluation.rows);
    // `check` with the root's own sources has refreshed those.
    assert_eq!(etc(&own(&fixture)), etc(&before));
}

fn etc(places: &[String]) -> Vec<&String> {
    places.iter().filter(|place| place.contains("/etc/apt")).collect()
}

#[tokio::test]
async fn what_the_hosts_own_file_does_not_allow_is_refused_by_name_and_changes_nothing() {
    if !has_gpg() {
        return;
    }
    let fixture = Fixture::new();
    let repository = Repository::new(&fixture);
    repository.publish(&fixture, &[("stays", "2", "")]);
    repository.sign("ours");
    let apt = fixture.open().await;
    let before = snapshot(&fixture.root());
    let code = RefusalCode::SourceNotAllowed;

    let refusal = refused(&apt, &repository.source()).await;
    assert_eq!(refusal.code, code);
    assert_eq!(refusal.text, format!("source extra: this host's own file does not allow {}", repository.uri()));
    let apt = apt.allowing(vec![repository.allowed()]);
    let text = format!("deb [trusted=yes] {} s main", repository.uri());
    let refusal = refused(&apt, &source(&text)).await;
    assert_eq!((refusal.code, refusal.text.contains("\"trusted=yes\"")), (code, true), "{}", refusal.text);
    let other = repository.keyring("another");
    let text = format!("deb [signed-by={}] {} s main", other.display(), repository.uri());
    let refusal = refused(&apt, &source(&text)).await;
    assert_eq!((refusal.code, refusal.text.contains("another.gpg")), (code, true), "{}", refusal.text);

    let keyring = repository.keyring("ours");
    fs::set_permissions(&keyring, fs::Permissions::from_mode(0o666)).unwrap();
    let refusal = refused(&apt, &repository.source()).await;
    assert_eq!(refusal.code, code);
    let told = format!("the keyring {} is writable by others (mode 0666); chmod go-w it", keyring.display());
    assert_eq!(refusal.text, told);
    fs::remove_file(&keyring).unwrap();
    assert!(refused(&apt, &repository.source()).await.text.contains("ours.gpg cannot be read"));
    for sources in [&[repository.source()][..], &[source("deb https://elsewhere.example s main")]] {
        assert!(Backend::install_plan(&apt, &Default::default(), sources).is_err());
        assert!(Backend::refresh(&apt, sources).await.is_err());
        assert_eq!(Backend::check(&apt, &Default::default(), sources).await.unwrap_err().code, code);
    }
    assert_eq!(snapshot(&fixture.root()), before);
}

#[tokio::test]
async fn only_what_the_named_keyring_has_signed_is_taken_however_lenient_the_host_is() {
    if !has_gpg() {
        return;
    }
    let fixture = Fixture::new();
    let repository = Repository::new(&fixture);
    repository.publish(&fixture, &[("stays", "2", "")]);
    let part = fixture.root().join("etc/apt/apt.conf.d/lenient");
    let lenient = "Acquire::AllowInsecureRepositories \"true\";\nAcquire::AllowWeakRepositories \"true\";\n\
                   Acquire::AllowDowngradeToInsecureRepositories \"true\";\n\
                   APT::Get::AllowUnauthenticated \"true\";\n";
    fs::write(&part, lenient).unwrap();
    let apt = fixture.open().await.allowing(vec![repository.allowed()]);
    let before = own(&fixture);
    let unsigned = refused(&apt, &repository.source()).await;
    assert!(unsigned.text.contains(&repository.uri()), "{unsigned:?}");
    repository.sign("another");
    let foreign = refused(&apt, &repository.source()).await;
    assert_eq!(foreign.code, RefusalCode::RepositoryUnreachable);
    assert!(foreign.text.contains(&repository.uri()), "{foreign:?}");
    assert_eq!(own(&fixture), before);

    repository.sign("ours");
    let asked = question(&[repository.source()]);
    assert_eq!(Backend::resolve_by(&apt, &asked).await.unwrap().transaction.changes.len(), 1);
    // apt reads the host's own configuration after ours.
    fs::write(&part, "Dir::Etc::SourceList \"/somewhere\";\n").unwrap();
    let moved = refused(&apt, &repository.source()).await;
    assert_eq!(moved.code, RefusalCode::SourceNotAllowed);
    assert!(moved.text.contains("dir::etc::sourcelist"), "{}", moved.text);
}

#[tokio::test]
async fn a_kill_in_between_leaves_nothing_to_restore() {
    if !has_gpg() {
        return;
    }
    let fixture = Fixture::new();
    let repository = Repository::new(&fixture);
    repository.publish(&fixture, &[("gated", "1", ""), ("gated", "2", "")]);
    repository.sign("ours");
    let old = repository.folder.join(format!("pool/gated_1_{}.deb", fixture.native));
    fixture.apt(&["-y", "install", old.to_str().unwrap()]);
    let before = own(&fixture);
    let apt = fixture.open().await.allowing(vec![repository.allowed()]);
    let asked = question(&[repository.source()]);
    let transaction = Backend::resolve_by(&apt, &asked).await.unwrap().transaction;
    let steps = Backend::install_plan(&apt, &transaction, &asked.sources).unwrap();
    let mut apt_get = Command::new(&steps[0].argv[0]);
    apt_get.args(&steps[0].argv[1..]).env_clear().envs(steps[0].env.iter().cloned()).process_group(0);
    let mut child = apt_get.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let reached = fixture.root().join("tmp/reached");
    wait_for("the new version's script", || reached.exists().then_some(()));
    let group = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    child.wait().unwrap();
    assert_eq!(own(&fixture), before);

    // The next life mends it with the same sources, and the root's own are what they were.
    fs::write(fixture.root().join("tmp/gate"), "").unwrap();
    drop(apt);
    let apt = fixture.open().await.allowing(vec![repository.allowed()]);
    assert!(Backend::audit(&apt).await.unwrap().is_some_and(|dirty| dirty.contains("gated")));
    for mend in [Mend::Configure, Mend::Complete] {
        let steps = Backend::repair_plan(&apt, mend, &transaction, &asked.sources).await.unwrap();
        let (ok, output) = fixture.perform(&steps);
        assert!(ok, "{output}");
    }
    assert_eq!(Backend::audit(&apt).await.unwrap(), None);
    let installed = Backend::installed(&apt).await.unwrap();
    assert_eq!(installed[&("gated".to_owned(), fixture.native.to_owned())], "2");
    assert_eq!(own(&fixture), before);
    assert!(Backend::repair_plan(&apt, Mend::Complete, &transaction, &[source("deb x: s main")]).await.is_err());
}
