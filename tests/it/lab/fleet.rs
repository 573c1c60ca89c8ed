//! A mesh over the hosts of the lab: our own package on each, a coordinator on this machine.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use super::host::Lab;
use crate::fleet::{program, wait_for};

/// Appends `<unix-nanoseconds> <phase>` to a log; a host that has one has run hooks.
const HOOK: &str = "#!/bin/sh\necho \"$(date +%s%N) $PATCHMESH_PHASE\" >>/var/log/patchmesh-hooks.log\n";
const POINTS: [&str; 4] = ["pre-install", "post-install", "post-reboot", "on-exit"];
const PORT: u16 = 7877;

pub(crate) struct Fleet {
    pub(crate) lab: Lab,
    pub(crate) dir: tempfile::TempDir,
    program: PathBuf,
    serve: Option<Child>,
}

impl Fleet {
    /// Boots `flavours`, installs our own package and enrols every host. `settings` go into the coordinator's file.
    pub(crate) fn start(flavours: &[&str], scenarios: &[&str], settings: &str) -> Option<Self> {
        let program = program()?;
        let lab = Lab::up(flavours, scenarios)?;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut fleet = Self { lab, dir, program, serve: None };
        let mesh = fleet.make_mesh(settings);
        let package = fleet.package(None);
        fleet.lab.push("all", &package, "/root/patchmesh.deb");
        for point in POINTS {
            let path = format!("/etc/patchmesh/hooks/{point}/10-log");
            fleet.lab.exec("all", &format!("mkdir -p /etc/patchmesh/hooks/{point}"));
            fleet.lab.write("all", &path, 0o755, HOOK);
        }
        fleet.lab.exec("all", "dpkg -i /root/patchmesh.deb");
        for host in fleet.lab.hosts.clone() {
            fleet.enrol(&host, &mesh.0, &mesh.1);
        }
        fleet.wait_for_hosts();
        Some(fleet)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, words: &[&str]) -> String {
        let output = self.cli(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs the CLI against the coordinator.
    pub(crate) fn cli(&self, words: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.args(words).env("PATCHMESH_SOCKET", self.path("c/api.sock")).stdin(Stdio::null());
        command.output().expect("the program starts")
    }

    pub(crate) fn cli_json(&self, words: &[&str]) -> Option<Value> {
        serde_json::from_slice(&self.cli(words).stdout).ok()
    }

    /// The mesh's id, and where the coordinator listens.
    fn make_mesh(&mut self, settings: &str) -> (String, String) {
        let mesh = self.path("mesh");
        self.run(&["mesh", "init", "--dir", mesh.to_str().unwrap()]);
        let id = fs::read_to_string(mesh.join("mesh.id")).unwrap().trim().to_owned();
        let home = self.path("c");
        fs::create_dir(&home).unwrap();
        let address = format!("/ip4/{}.0.1/tcp/{PORT}", std::env::var("LAB_NET").unwrap_or_else(|_| "10.77".into()));
        let file = format!("mesh = \"{id}\"\nlisten = [\"{address}\"]\n{settings}");
        fs::write(home.join("coordinator.toml"), file).unwrap();
        let output = self.cli(&["serve", "--dir", home.to_str().unwrap()]);
        self.sign("control", "coordinator", &String::from_utf8_lossy(&output.stderr), &home.join("membership.json"));
        self.serve();
        let peer = wait_for("the coordinator's address", || {
            let log = fs::read_to_string(self.path("serve.log")).ok()?;
            log.split("/p2p/")
                .nth(1)
                .map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>())
        });
        (id, format!("{address}/p2p/{peer}"))
    }

    /// Starts the coordinator; it goes on with its ledger.
    pub(crate) fn serve(&mut self) {
        let log = File::options().append(true).create(true).open(self.path("serve.log")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--dir").arg(self.path("c"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.serve = Some(command.spawn().expect("the program starts"));
    }

    /// Signs the key that `complaint` names.
    fn sign(&self, name: &str, role: &str, complaint: &str, out: &Path) {
        let hex = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let words = complaint.split(|c: char| !c.is_ascii_alphanumeric());
        let key = words.rev().find(hex).unwrap_or_else(|| panic!("no key in: {complaint}"));
        let (mesh, out) = (self.path("mesh"), out.to_str().unwrap());
        let mesh = mesh.to_str().unwrap();
        self.run(&["mesh", "sign", "--dir", mesh, "--name", name, "--role", role, "--key", key, "--out", out]);
    }

    /// A key that may stop, with its membership beside it.
    pub(crate) fn operator(&self, name: &str) -> PathBuf {
        let home = self.path(name);
        fs::create_dir(&home).unwrap();
        let key = home.join("key");
        let made = self.run(&["mesh", "key", "--out", key.to_str().unwrap()]);
        self.sign(name, "operator", &made, &home.join("membership.json"));
        key
    }

    fn enrol(&self, host: &str, mesh: &str, bootstrap: &str) {
        let file = format!(
            "mode = \"enforce\"\nstate = \"/var/lib/patchmesh\"\nmesh = \"{mesh}\"\n\
             membership = \"/etc/patchmesh/membership.json\"\nlisten = [\"/ip4/0.0.0.0/tcp/7878\"]\n\
             bootstrap = [\"{bootstrap}\"]\n"
        );
        self.lab.write(host, "/etc/patchmesh/patchmeshd.toml", 0o644, &file);
        let output = self.lab.try_run(&["exec", host, "patchmeshd --config /etc/patchmesh/patchmeshd.toml"]);
        let membership = self.path(&format!("{host}.json"));
        let said = [output.stdout, output.stderr].concat();
        self.sign(host, "node", &String::from_utf8_lossy(&said), &membership);
        self.lab.push(host, &membership, "/etc/patchmesh/membership.json");
        self.lab.exec(host, "systemctl restart --no-block patchmeshd");
    }

    /// Waits until the coordinator hears every host and each has scanned.
    pub(crate) fn wait_for_hosts(&self) {
        wait_for("every host to be live", || {
            let hosts = self.cli_json(&["get", "hosts", "-o", "json"])?;
            let hosts = hosts["hosts"].as_array()?.clone();
            let live = |host: &&Value| host["presence"] == "live" && !host["counters"].is_null();
            (hosts.iter().filter(live).count() == self.lab.hosts.len()).then_some(())
        });
    }

    /// Our own package; with another version than the workspace's if one is given.
    pub(crate) fn package(&self, version: Option<&str>) -> PathBuf {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let run = |command: &mut Command| {
            // Test builds are large, and nobody keeps these packages.
            command.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
            let output = command.output().expect("the command starts");
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let mut build = Command::new(top.join("node/dist/deb/build"));
        let package = PathBuf::from(run(build.arg(self.program.parent().unwrap()).arg(self.dir.path())));
        let Some(version) = version else { return package };
        let tree = self.path("tree");
        run(Command::new("dpkg-deb").arg("-R").arg(&package).arg(&tree));
        let control = fs::read_to_string(tree.join("DEBIAN/control")).unwrap();
        let line = control.lines().find(|line| line.starts_with("Version: ")).unwrap();
        fs::write(tree.join("DEBIAN/control"), control.replace(line, &format!("Version: {version}"))).unwrap();
        let newer = self.path(&format!("patchmesh_{version}_amd64.deb"));
        run(Command::new("dpkg-deb").arg("-b").arg(&tree).arg(&newer));
        fs::remove_dir_all(tree).unwrap();
        newer
    }

    /// Applies a rollout over `hosts` and does not wait for it; its id.
    pub(crate) fn begin(&self, name: &str, hosts: &[String], spec: &str) -> String {
        let file = self.path(&format!("{name}.yaml"));
        let hosts = hosts.join(", ");
        let manifest = format!(
            "apiVersion: patchmesh/v1\nkind: Rollout\nmetadata: {{name: {name}}}\nspec:\n  operation: Install\n  \
             targets: {{names: [{hosts}]}}\n{spec}"
        );
        fs::write(&file, manifest).unwrap();
        self.run(&["apply", "-f", file.to_str().unwrap(), "--detach"]).trim().to_owned()
    }

    /// The phase that `host` of a running rollout is in; `None` if it is not at work.
    pub(crate) fn phase(&self, rollout: &str, host: &str) -> Option<String> {
        let recap = self.cli_json(&["rollout", "status", rollout, "-o", "json"])?;
        let result = recap["results"].as_array()?.iter().find(|result| result["host"] == host)?;
        (result["outcome"] == "running").then(|| result["phase"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the rollout is over; its exit code and recap.
    pub(crate) fn watch(&self, rollout: &str) -> (i32, Value) {
        let output = self.cli(&["rollout", "watch", rollout, "-o", "json"]);
        let recap = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().expect("an exit code"), recap)
    }

    /// The hooks that ran on `host`, in order: when, in nanoseconds, and the phase.
    pub(crate) fn hooks(&self, host: &str) -> Vec<(u128, String)> {
        let log = self.lab.exec(host, "cat /var/log/patchmesh-hooks.log 2>/dev/null || true");
        let words = log.lines().map(|line| line.split_once(' ').expect("a time and a phase"));
        words.map(|(at, phase)| (at.parse().expect("nanoseconds"), phase.to_owned())).collect()
    }

    /// The phases of the hooks that ran on `host`, in order.
    pub(crate) fn phases(&self, host: &str) -> Vec<String> {
        self.hooks(host).into_iter().map(|(_, phase)| phase).collect()
    }

    /// Most hosts between their first and their last hook at once.
    pub(crate) fn overlap(&self) -> usize {
        let mut edges = Vec::new();
        for host in &self.lab.hosts {
            let hooks = self.hooks(host);
            if let (Some(first), Some(last)) = (hooks.first(), hooks.last()) {
                edges.extend([(first.0, 1i64), (last.0, -1)]);
            }
        }
        edges.sort_unstable();
        let mut now = 0;
        let counts = edges.iter().map(|(_, by)| {
            now += by;
            now
        });
        usize::try_from(counts.max().unwrap_or(0)).unwrap()
    }

    /// What must hold after any run: a clean database, and every change of `recap` configured exactly once.
    pub(crate) fn check_packages(&self, recap: &Value) -> usize {
        let mut configured = 0;
        for result in recap["results"].as_array().expect("a list") {
            let host = result["host"].as_str().unwrap();
            assert_eq!(self.lab.exec(host, "dpkg --audit"), "", "{host} has a clean database");
            let log = self.lab.exec(host, "cat /var/log/dpkg.log");
            for package in result["packages"].as_array().expect("a list") {
                let (name, to) = (package["name"].as_str().unwrap(), package["to"].as_str().unwrap());
                let arch = package["arch"].as_str().unwrap();
                // Not `status installed`: that is said again whenever another package's trigger has been processed.
                let begun = format!(" configure {name}:{arch} {to} ");
                assert_eq!(log.lines().filter(|line| line.contains(&begun)).count(), 1, "{host}:{begun}");
                configured += 1;
            }
        }
        configured
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(child) = &mut self.serve {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("serve.log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            eprintln!("the coordinator's last words, newest first:\n{}", tail.join("\n"));
        }
    }
}
