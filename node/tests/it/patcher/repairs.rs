//! Package databases that a transaction left unclean.

use patchmesh_node::host::runner::{Claim, Identity};

use super::*;

/// Kills the runner with its whole session, as the kernel's out-of-memory killer may: nothing that could still install is left.
fn kill_runner(host: &Host) {
    touch(&host.path("dirty"));
    let claim = std::fs::read(host.path("run").join(LEASE.to_string()).join("1/claim.json")).unwrap();
    let claim: serde_json::Value = serde_json::from_slice(&claim).unwrap();
    let pid = claim["runner"]["pid"].as_u64().unwrap() as i32;
    let session = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process_group(session, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn what_no_repair_mended_is_reported_and_never_rebooted_on() {
    in_system(async {
        let host = Host::new();
        let mut first = host.start();
        first.grant(lease()).await;
        first.phase(Phase::Transaction, "unpacking").await;
        for number in 1..=9 {
            let folder = host.path(&format!("run/{LEASE}/repair-{number}"));
            std::fs::create_dir(&folder).unwrap();
            let identity = Identity { pid: 1, start_time: 1, boot_id: "00".repeat(16), argv_hash: String::new() };
            std::fs::write(folder.join("claim.json"), serde_json::to_vec(&Claim::Runner(identity)).unwrap()).unwrap();
        }
        kill_runner(&host);
        let report = first.report().await;
        let error = report.error.unwrap();
        assert!(error.text.contains("the package database is left unclean: tool is half-installed"), "{error:?}");
        assert_eq!(host.reboots.load(Ordering::SeqCst), 0, "never rebooted on");
    });
}

#[test]
fn what_became_unclean_after_the_transaction_is_not_rebooted_on_either() {
    in_system(async {
        let host = Host::new();
        touch(&host.path("gate"));
        let hook = host.path("hooks/post-install/20-tear");
        std::fs::write(&hook, format!("#!/bin/sh\n: > {}\n", host.path("dirty").display())).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut running = host.start();
        running.grant(lease()).await;
        let report = running.report().await;
        let error = report.error.unwrap();
        assert_eq!((report.outcome, error.code.as_str()), (Outcome::Failed, "dirty-database"));
        assert!(
            error.text.starts_with("reboot was not begun: the package database is unclean: tool is half-"),
            "{error:?}"
        );
        assert_eq!(host.reboots.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_runner_that_was_killed_is_repaired() {
    in_system(async {
        let host = Host::new();
        let mut first = host.start();
        first.grant(Lease { reboot: RebootOption::Never, ..lease() }).await;
        first.phase(Phase::Transaction, "unpacking").await;
        // As if the daemon had been killed just before the first repair began: that is no try.
        std::fs::create_dir(host.path(&format!("run/{LEASE}/repair-1"))).unwrap();
        kill_runner(&host);
        let report = first.report().await;
        assert_eq!((report.outcome, report.error), (Outcome::Succeeded, None), "what the repair left is exact");
        let step = report.steps.iter().find(|step| step.phase == Phase::Transaction).unwrap();
        let told = "unpacking\n\na repair was cut off, and is begun anew\n\nconfiguring\nrepair 1 of 3: /bin/sh: exit status: 1\n\ncompleted\nrepair 2 of 3: /bin/sh: exit status: 0\n\n\
                    configuring\nrepair 3 of 3: /bin/sh: exit status: 0\nafterwards: /bin/sh: exit status: 0\n";
        assert_eq!(step.output, told, "every step is in the report");
        assert_eq!(
            std::fs::read_to_string(host.path("marks")).unwrap(),
            "mark\n",
            "what follows an install does so once"
        );
        assert!(!host.path("installs").exists() && !host.path("dirty").exists());
    });
}
