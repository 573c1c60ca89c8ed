//! The reboot of a private root: the same process under a new boot id.

use std::{io::Write as _, path::PathBuf, process::Stdio};

use patchmesh_node::host::boot::Boot;

const FOLDER: &str = "PATCHMESH_TEST_BOOT";

/// Not a test: a daemon that reboots once, in [`a_private_root_comes_back_with_the_same_pid_and_a_new_boot_id`].
#[test]
fn rebooting_daemon() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let boot = Boot::of(&folder.join("root"), &folder);
    let trace = folder.join("trace");
    let mut file = std::fs::File::options().create(true).append(true).open(&trace).unwrap();
    writeln!(file, "{} {}", std::process::id(), boot.id().unwrap()).unwrap();
    if std::fs::read_to_string(&trace).unwrap().lines().count() == 1 {
        panic!("{:?}", boot.reboot());
    }
}

#[test]
fn a_private_root_comes_back_with_the_same_pid_and_a_new_boot_id() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("root/run");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("reboot-required"), "").unwrap();
    let mut daemon = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "boot::rebooting_daemon"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(daemon.wait().unwrap().success());
    let trace = std::fs::read_to_string(folder.path().join("trace")).unwrap();
    let lives: Vec<(&str, &str)> = trace.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!(lives.len(), 2, "{trace}");
    assert_eq!(lives[0].0, daemon.id().to_string());
    assert_eq!(lives[1].0, lives[0].0, "the same process");
    assert_ne!(lives[1].1, lives[0].1, "another boot");
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 0, "the request is answered");
}
