//! A real daemon, and members and strangers that want to command it.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use patchmesh_common::{
    id::{Epoch, Incarnation, LeaseId, NodeId, RolloutId},
    membership::{Credential, Role},
    patch::Approval,
    rollout::{Operation, RebootOption},
    run::message::{self, LatestStart, Lease, LeaseFrame, ToHost},
    schedule::Opening,
    seal::Sealed,
    time::WallTime,
};
use patchmesh_node::{
    clock,
    identity::{Identity, save_credential},
};

use super::{
    Mesh, on_system,
    outsider::{Ending, Outsider},
    until,
};
use crate::fleet;

/// A daemon that obeys leases, on a private root.
struct Daemon {
    dir: tempfile::TempDir,
    child: Child,
    node: NodeId,
}

impl Daemon {
    fn start(mesh: &Mesh, program: &PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("root/var/lib/dpkg")).unwrap();
        fs::write(path("root/var/lib/dpkg/status"), "").unwrap();
        fs::create_dir(path("state")).unwrap();
        let identity = Identity::load_or_create(&path("state/key")).unwrap();
        let credential = mesh.credential(identity.node(), "real", Role::Node, 3600);
        save_credential(&path("state/membership.json"), &credential).unwrap();
        let config = format!(
            "mode = \"enforce\"\nmesh = \"{}\"\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nstate = {:?}\nroot = {:?}\nhooks = {:?}\n",
            mesh.owner.mesh(),
            path("state"),
            path("root"),
            path("hooks")
        );
        fs::write(path("host.toml"), config).unwrap();
        let child = Command::new(program)
            .args(["daemon", "--config"])
            .arg(path("host.toml"))
            .stdin(Stdio::null())
            .stderr(File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        Self { dir, child, node: identity.node() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn journal(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("state/run.log")).unwrap()
    }

    /// Where it listens, once it runs.
    async fn address(&self) -> String {
        until("a daemon that runs", async || {
            let log = self.log();
            let address = log.lines().find_map(|line| line.split_once("listening address=")?.1.split(' ').next());
            let address = address.map(str::to_owned);
            address.filter(|_| log.contains(" running "))
        })
        .await
    }

    async fn says(&self, parts: &[&str]) {
        until(&format!("{parts:?} in the log"), async || {
            let log = self.log();
            log.lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
        })
        .await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_panic_ends_the_program_too() {
    let Some(program) = fleet::program() else { return };
    let mesh = Mesh::new();
    let daemon = Daemon::start(&mesh, &program);
    // Without a free file descriptor there is no runtime, which is the one panic that can be had from outside. Whoever runs the
    // tests may have left one open.
    let output = Command::new("/bin/sh")
        .args(["-c", "exec 3>&-; ulimit -n 4; exec \"$@\"", "sh"])
        .arg(&program)
        .args(["daemon", "--config"])
        .arg(daemon.dir.path().join("host.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "{said}");
    assert!(said.contains("panicked at"), "{said}");
}

/// A lease for `to` that nobody but a coordinator may offer.
fn lease_frame(by: &Identity, shown: &Credential, mesh: &Mesh, to: NodeId) -> LeaseFrame {
    let lease = Lease {
        id: LeaseId([7; 16]),
        rollout: RolloutId([8; 8]),
        host: to,
        attempt: 1,
        operation: Operation::Scan,
        baseline: Approval::All,
        transaction: Default::default(),
        reboot: RebootOption::Never,
        hook_timeout: 60,
        opening: Opening::endless(WallTime(0)),
        latest_start: LatestStart { pre_install: 600, transaction: 600, post_install: 600, reboot: 600 },
        gates: Vec::new(),
    };
    let command = message::Command {
        id: patchmesh_common::id::CommandId([7; 16]),
        mesh: mesh.owner.mesh(),
        to,
        epoch: Epoch { serial: 1, counter: 1, incarnation: Incarnation(1) },
        after: None,
        head: Default::default(),
        expires: WallTime(clock::now().wall.0 + 60_000),
        body: ToHost::Offer(Box::new(lease)),
    };
    LeaseFrame { credential: shown.clone(), sealed: Sealed::seal(by.signer(), &command) }
}

#[test]
fn a_real_daemon_obeys_coordinators_and_nobody_else() {
    let Some(program) = fleet::program() else { return };
    on_system(async {
        let mesh = Mesh::new();
        let daemon = Daemon::start(&mesh, &program);
        let address = daemon.address().await;
        let untouched = daemon.journal();

        // Without a membership, and with an expired one: every door stays closed.
        for life in [None, Some(-1)] {
            let mut stranger = Outsider::new();
            let own = mesh.credential(stranger.identity.node(), "late", Role::Coordinator, life.unwrap_or(3600));
            let frame = lease_frame(&stranger.identity, &own, &mesh, daemon.node);
            stranger.dial(daemon.node, &address).await;
            assert_eq!(stranger.send_frame(&frame).await, Ending::Unsupported, "{life:?}");
            assert_eq!(stranger.ask_exchange().await, Ending::Unsupported, "{life:?}");
            if life.is_some() {
                assert_eq!(stranger.say_hello(own).await, Ending::Closed);
                assert!(!matches!(stranger.send_frame(&frame).await, Ending::Answered(_)), "after its hello");
            }
            assert_eq!((stranger.subscriptions, stranger.identified), (0, 0), "{life:?}: it was told something");
        }

        // A node is let in, and carries frames: its own, one under an expired coordinator's membership, and one under a
        // coordinator's membership that it has overheard.
        let mut member = Outsider::new();
        let own = mesh.credential(member.identity.node(), "curious", Role::Node, 3600);
        member.enrol(daemon.node, &address, own.clone()).await;
        let frame = lease_frame(&member.identity, &own, &mesh, daemon.node);
        assert!(matches!(member.send_frame(&frame).await, Ending::Answered(_) | Ending::Closed));
        daemon.says(&["a lease frame was not obeyed", "the role Node of curious"]).await;

        let retired = Identity::generate().unwrap();
        let expired = mesh.credential(retired.node(), "retired", Role::Coordinator, -1);
        member.send_frame(&lease_frame(&retired, &expired, &mesh, daemon.node)).await;
        daemon.says(&["lease frame dropped", "the membership of retired expired"]).await;

        let coordinator = Identity::generate().unwrap();
        let right = mesh.credential(coordinator.node(), "coordinator", Role::Coordinator, 3600);
        member.send_frame(&lease_frame(&member.identity, &right, &mesh, daemon.node)).await;
        daemon.says(&["lease frame dropped", "shows the membership of"]).await;
        assert_eq!(daemon.journal(), untouched, "something was learned or obeyed");

        // The same words of a coordinator, carried by the same member, are obeyed.
        member.send_frame(&lease_frame(&coordinator, &right, &mesh, daemon.node)).await;
        daemon.says(&["saved entry=\"epoch\""]).await;
        assert!(daemon.journal().len() > untouched.len());
    });
}
