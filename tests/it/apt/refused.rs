//! Repositories that are not believed or not there: each is named alone, and what the others offer is fresh.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use patchmesh_common::{patch::Baseline, run::message::RefusalCode};
use patchmesh_node::host::apt::Apt;

use super::fixture::{Fixture, digest, possible, run};

/// Suites, each with one package of its name.
const SUITES: [&str; 4] = ["sound", "unknown", "expired", "gone"];
const YESTERDAY: &str = "Date: Thu, 01 Jan 2026 00:00:00 UTC\n";
const EXPIRED: &str = "Date: Thu, 01 Jan 2026 01:00:00 UTC\nValid-Until: Fri, 02 Jan 2026 00:00:00 UTC\n";

/// Signed repositories, and a root that believes one key and has version 1 of every package.
struct Signed {
    fixture: Fixture,
    apt: Apt,
}

/// Whether GnuPG is there too; says so if it is not.
fn can_sign() -> bool {
    let there = Command::new("gpg").arg("--version").output().is_ok() && Path::new("/usr/bin/gpgv").exists();
    if !there {
        eprintln!("skipped: gpg or gpgv not on this machine");
    }
    possible() && there
}

impl Signed {
    async fn new() -> Self {
        let fixture = Fixture::bare();
        let folder = fixture.folder.path().to_owned();
        fs::create_dir(folder.join("keys")).unwrap();
        for key in ["believed", "unknown"] {
            let id = format!("{key}@example.org");
            run(gpg(&folder).args(["--passphrase", "", "--quick-gen-key", &id, "ed25519", "sign", "never"]));
            run(gpg(&folder).arg("-o").arg(folder.join(format!("{key}.gpg"))).args(["--export", &id]));
        }
        // Copied, as over a network: of a plain folder apt would only keep links.
        let (key, repo) = (folder.join("believed.gpg"), folder.join("repo"));
        let source = |suite| format!("deb [signed-by={}] copy:{} {suite} main\n", key.display(), repo.display());
        fs::write(fixture.root().join("etc/apt/sources.list"), SUITES.map(source).concat()).unwrap();
        let status = SUITES.map(|name| paragraph(name, 1, fixture.native, "Status: install ok installed\n"));
        fs::write(fixture.root().join("var/lib/dpkg/status"), status.concat()).unwrap();
        let signed = Self { apt: fixture.open().await, fixture };
        for suite in SUITES {
            signed.publish(suite, "believed", YESTERDAY, 2);
        }
        signed.apt.refresh().await.unwrap();
        assert_eq!(signed.missing().await, SUITES.map(|suite| format!("{suite} 2")));
        signed
    }

    fn suite(&self, suite: &str) -> PathBuf {
        self.fixture.folder.path().join("repo/dists").join(suite)
    }

    /// Writes `suite` anew with its package in `version`.
    fn publish(&self, suite: &str, key: &str, dates: &str, version: u32) {
        let (dist, native, foreign) = (self.suite(suite), self.fixture.native, self.fixture.foreign);
        let mut sums = String::new();
        for arch in [native, foreign] {
            let relative = format!("main/binary-{arch}/Packages");
            let path = dist.join(&relative);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let fields = format!("Filename: {suite}.deb\nSize: 10\nSHA256: {}\n", "ab".repeat(32));
            let text = if arch == native { paragraph(suite, version, arch, &fields) } else { String::new() };
            fs::write(&path, text).unwrap();
            let (size, sum) = digest(&path);
            sums += &format!(" {sum} {size} {relative}\n");
        }
        let release = format!(
            "Origin: Test\nSuite: {suite}\nCodename: {suite}\n{dates}Architectures: {native} {foreign}\nComponents: \
             main\nSHA256:\n{sums}"
        );
        fs::write(dist.join("Release"), release).unwrap();
        let _ = fs::remove_file(dist.join("InRelease"));
        let id = format!("{key}@example.org");
        let mut sign = gpg(self.fixture.folder.path());
        run(sign.args(["-u", &id, "--clearsign", "-o"]).arg(dist.join("InRelease")).arg(dist.join("Release")));
    }

    /// Name and newest version of everything that is missing.
    async fn missing(&self) -> Vec<String> {
        let rows = self.apt.scan(Baseline::All).await.unwrap().rows;
        let mut found: Vec<_> =
            rows.into_iter().filter_map(|row| Some(format!("{} {}", row.name, row.available?))).collect();
        found.sort_by_key(|row| SUITES.iter().position(|suite| row.starts_with(suite)));
        found
    }

    /// The text of the refusal, without the folder of this test.
    async fn refusal(&self) -> String {
        let refusal = self.apt.refresh().await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::RepositoryUnreachable, "{}", refusal.text);
        assert!(refusal.remedy.starts_with("the indexes of these repositories are as old as before"));
        refusal.text.replace(&*self.fixture.folder.path().to_string_lossy(), "")
    }
}

impl Drop for Signed {
    fn drop(&mut self) {
        // It ends by itself once its folder is gone; if this fails, it takes a little longer.
        let keys = self.fixture.folder.path().join("keys");
        let _ = Command::new("gpgconf").arg("--homedir").arg(keys).args(["--kill", "all"]).output();
    }
}

fn gpg(folder: &Path) -> Command {
    use std::os::unix::fs::PermissionsExt;
    let keys = folder.join("keys");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new("gpg");
    command.args(["--batch", "--quiet", "--homedir"]).arg(keys);
    command
}

fn paragraph(name: &str, version: u32, arch: &str, fields: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: t <t@example.org>\n{fields}Description: \
         test\n\n"
    )
}

#[tokio::test]
async fn a_repository_signed_by_an_unknown_key_is_judged_alone() {
    if !can_sign() {
        return;
    }
    let signed = Signed::new().await;
    signed.publish("sound", "believed", YESTERDAY, 3);
    signed.publish("unknown", "unknown", YESTERDAY, 3);
    let told = signed.refusal().await;
    assert!(told.starts_with("cannot refresh copy:/repo unknown (") && told.contains("NO_PUBKEY"), "{told}");
    assert!(SUITES.iter().all(|suite| *suite == "unknown" || !told.contains(&format!("repo {suite}"))), "{told}");
    assert_eq!(signed.missing().await, ["sound 3", "unknown 2", "expired 2", "gone 2"]);
}

#[tokio::test]
async fn an_expired_repository_is_judged_alone() {
    if !can_sign() {
        return;
    }
    let signed = Signed::new().await;
    signed.publish("sound", "believed", YESTERDAY, 3);
    signed.publish("expired", "believed", EXPIRED, 3);
    let told = signed.refusal().await;
    let expected = "cannot refresh copy:/repo expired (Release file is expired (invalid since ";
    assert!(told.starts_with(expected) && !told.contains("; "), "{told}");
    assert_eq!(signed.missing().await, ["sound 3", "unknown 2", "expired 2", "gone 2"]);
}

#[tokio::test]
async fn a_repository_that_calls_itself_something_else_is_judged_alone() {
    if !can_sign() {
        return;
    }
    let signed = Signed::new().await;
    signed.publish("sound", "believed", YESTERDAY, 3);
    signed.publish("gone", "believed", &format!("Label: Somebody else\n{YESTERDAY}"), 3);
    let told = signed.refusal().await;
    assert!(told.starts_with("cannot refresh copy:/repo gone (changed its 'Label' value from "), "{told}");
    assert_eq!(signed.missing().await, ["sound 3", "unknown 2", "expired 2", "gone 2"]);
}

#[tokio::test]
async fn all_that_fail_are_named_and_the_sound_one_is_fresh() {
    if !can_sign() {
        return;
    }
    let signed = Signed::new().await;
    signed.publish("sound", "believed", YESTERDAY, 3);
    signed.publish("unknown", "unknown", YESTERDAY, 3);
    signed.publish("expired", "believed", EXPIRED, 3);
    fs::rename(signed.suite("gone"), signed.suite("elsewhere")).unwrap();
    let told = signed.refusal().await;
    let named: Vec<_> = told.split("copy:/repo ").skip(1).filter_map(|rest| rest.split_once(" (")).collect();
    let names: Vec<_> = named.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["expired", "gone", "unknown"], "{told}");
    assert_eq!(signed.missing().await[..3], ["sound 3", "unknown 2", "expired 2"]);
}
