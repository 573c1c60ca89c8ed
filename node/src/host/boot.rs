//! The boot id and the reboot.
//!
//! On `/` a boot is the kernel's. On a private root a reboot is a restart of the daemon under a new boot id.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use patchmesh_common::id::BootId;

use crate::store::durable;

const KERNEL_BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// By absolute name: the daemon's own PATH may lack it.
const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// Where there is no systemd.
const REBOOT: &str = "/sbin/reboot";

/// The kernel's own boot id, whatever the root.
///
/// # Errors
/// `/proc` is not mounted, or holds something else.
pub fn kernel_boot_id() -> io::Result<BootId> {
    parse(Path::new(KERNEL_BOOT_ID))
}

/// What a boot is on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// The machine's.
    Kernel,
    /// The daemon's, of a private root.
    Private {
        /// Holds the boot id; in the daemon's state folder.
        file: PathBuf,
        /// The private root, whose reboot request is answered by the reboot.
        root: PathBuf,
    },
}

impl Boot {
    /// Of the host whose root is `root` and whose daemon keeps its state in `state`.
    pub fn of(root: &Path, state: &Path) -> Self {
        if root == Path::new("/") {
            Self::Kernel
        } else {
            Self::Private { file: state.join("boot-id"), root: root.to_owned() }
        }
    }

    /// The present boot id. On a private root the first call makes one.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else; it was left as it is.
    pub fn id(&self) -> io::Result<BootId> {
        match self {
            Self::Kernel => kernel_boot_id(),
            Self::Private { file, .. } => match parse(file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => renew(file),
                other => other,
            },
        }
    }

    /// Reboots. Returns `Ok` if the system accepted it and will end this process in its own time; on a private root it does
    /// not return if it succeeds, because the process replaces itself.
    ///
    /// # Errors
    /// Why the reboot did not happen.
    pub fn reboot(&self) -> Result<(), String> {
        match self {
            Self::Kernel => reboot_system(),
            Self::Private { file, root } => {
                for request in ["run/reboot-required", "run/reboot-required.pkgs"] {
                    remove(&root.join(request)).map_err(|error| format!("cannot remove {request}: {error}"))?;
                }
                // Last: after a failure above, the next start of the daemon must not look like a boot.
                renew(file).map_err(|error| format!("cannot write a new boot id to {}: {error}", file.display()))?;
                Err(format!("cannot start the daemon again: {}", restart()))
            }
        }
    }
}

fn reboot_system() -> Result<(), String> {
    let mut command = if Path::new("/run/systemd/system").exists() {
        let mut command = Command::new(SYSTEMCTL);
        command.arg("reboot");
        command
    } else {
        Command::new(REBOOT)
    };
    let output = command.output().map_err(|error| format!("{command:?} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// Replaces this process by a new one of the same program, arguments and pid, so that it comes back without a supervisor.
fn restart() -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let program = match std::env::current_exe() {
        Ok(program) => program.into_os_string(),
        Err(_) => name.clone(),
    };
    Command::new(program).arg0(name).args(arguments.collect::<Vec<OsString>>()).exec()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn renew(file: &Path) -> io::Result<BootId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    let id = BootId(bytes);
    durable::write(file, format!("{id}\n").as_bytes())?;
    Ok(id)
}

fn parse(file: &Path) -> io::Result<BootId> {
    let text = std::fs::read_to_string(file)?;
    let hex: String = text.trim().chars().filter(|c| *c != '-').collect();
    BootId::parse(&hex).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no boot id: {:?}", file.display(), text.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_its_boot() {
        assert_eq!(kernel_boot_id().unwrap(), Boot::of(Path::new("/"), Path::new("/nowhere")).id().unwrap());
    }

    #[test]
    fn a_private_root_keeps_its_boot_until_it_is_renewed() {
        let state = tempfile::tempdir().unwrap();
        let boot = Boot::of(Path::new("/somewhere"), state.path());
        let first = boot.id().unwrap();
        assert_eq!(boot.id().unwrap(), first);
        assert_ne!(renew(&state.path().join("boot-id")).unwrap(), first);
        let first = boot.id().unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run/reboot-required")).unwrap();
        let error = Boot::of(root.path(), state.path()).reboot().unwrap_err();
        assert!(error.starts_with("cannot remove run/reboot-required: "), "{error}");
        assert_eq!(boot.id().unwrap(), first, "a reboot that failed is no boot");
        std::fs::write(state.path().join("boot-id"), "rubbish").unwrap();
        assert!(boot.id().unwrap_err().to_string().contains("holds no boot id: \"rubbish\""));
    }
}
