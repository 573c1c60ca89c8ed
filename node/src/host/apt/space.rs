//! Whether a host has room for a transaction.

use std::path::Path;

use crate::host::root::Root;

/// Kept free beside what is needed: logs, triggers and the host's own work go on meanwhile.
const MARGIN: u64 = 32 << 20;
/// A kernel with its initramfs and a copy of it while it is made; what an index says counts the modules, which are elsewhere.
const KERNEL: u64 = 128 << 20;
/// Files of one kernel in `/boot`: image, initramfs, map, configuration, and copies while they are made.
const INODES_PER_KERNEL: u64 = 8;
/// New configuration files, with the copies of old ones, of one package: few and small.
const CONFIGURATION: (u64, u64) = (64 << 10, 8);
/// Files that an upgrade of a package may add: its own in `/var/lib/dpkg/info`, and some.
const INODES_PER_PACKAGE: u64 = 50;
/// Average size of an installed file; Debian's is twice that.
const BYTES_PER_INODE: u64 = 8 << 10;
/// dpkg keeps two more copies of its status while it works; a large one has 6 MB.
const DATABASE: u64 = 16 << 20;

/// What one package does to the disk, in bytes. What is unknown is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Growth {
    /// Whether it puts a kernel into `/boot`.
    pub(super) kernel: bool,
    /// Size of the archive file.
    pub(super) download: u64,
    /// Size once installed.
    pub(super) unpacked: u64,
    /// Size of what it replaces.
    pub(super) replaced: u64,
}

/// What a folder, below the root, must have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    folder: &'static str,
    bytes: u64,
    inodes: u64,
}

/// A file system, what it has, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    device: u64,
    folders: Vec<String>,
    bytes: u64,
    /// `None` where the file system does not count them.
    inodes: Option<u64>,
    wanted: (u64, u64),
}

/// Kibibytes of a package field as bytes.
pub(super) fn kibibytes(text: &str) -> Option<u64> {
    text.parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// What a transaction needs, by folder. dpkg unpacks a package beside its predecessor, one package at a time.
pub(super) fn needs(changes: &[Growth]) -> Vec<Need> {
    let sum = |bytes: fn(&Growth) -> u64| changes.iter().map(bytes).fold(0, u64::saturating_add);
    let grown = sum(|change| change.unpacked.saturating_sub(change.replaced));
    let largest = changes.iter().map(|change| change.unpacked).max().unwrap_or_default();
    let count = changes.len() as u64;
    let own = INODES_PER_PACKAGE.saturating_mul(count);
    let kernels = changes.iter().filter(|change| change.kernel).count() as u64;
    let all = [
        ("usr", grown.saturating_add(largest), grown / BYTES_PER_INODE),
        ("etc", CONFIGURATION.0.saturating_mul(count), CONFIGURATION.1.saturating_mul(count)),
        ("boot", KERNEL.saturating_mul(kernels), INODES_PER_KERNEL.saturating_mul(kernels)),
        ("var/cache/apt/archives", sum(|change| change.download), count),
        ("var/lib/dpkg", DATABASE, own),
    ];
    let wanted = all.into_iter().filter(|(_, bytes, _)| *bytes > 0 && !changes.is_empty());
    wanted.map(|(folder, bytes, inodes)| Need { folder, bytes, inodes }).collect()
}

/// Asks the file systems of `root` that `needs` name.
///
/// # Errors
/// The folder and what the system says.
pub(super) fn rooms(root: &Root, needs: &[Need]) -> Result<Vec<Room>, String> {
    let mut rooms: Vec<Room> = Vec::new();
    for need in needs {
        let folder = root.join(need.folder);
        let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let failed = |error: rustix::io::Errno| format!("the free space of {} is unknown: {error}", there.display());
        let device = rustix::fs::stat(there).map_err(failed)?.st_dev;
        let has = rustix::fs::statvfs(there).map_err(failed)?;
        let told = folder.display().to_string();
        match rooms.iter_mut().find(|room| room.device == device) {
            Some(room) => {
                room.folders.push(told);
                room.wanted.0 = room.wanted.0.saturating_add(need.bytes);
                room.wanted.1 = room.wanted.1.saturating_add(need.inodes);
            }
            None => rooms.push(Room {
                device,
                folders: vec![told],
                bytes: has.f_bavail.saturating_mul(has.f_frsize),
                inodes: (has.f_files > 0).then_some(has.f_favail),
                wanted: (need.bytes, need.inodes),
            }),
        }
    }
    Ok(rooms)
}

/// The first file system that has too little, in words.
pub(super) fn shortage(rooms: &[Room]) -> Option<String> {
    rooms.iter().find_map(|room| {
        let places = room.folders.join(", ");
        let (bytes, inodes) = (room.wanted.0.saturating_add(MARGIN), room.wanted.1);
        if room.bytes < bytes {
            let (has, wants) = (room.bytes >> 20, bytes.div_ceil(1 << 20));
            return Some(format!("the file system of {places} has {has} MiB free, and {wants} MiB are needed"));
        }
        let has = room.inodes.filter(|has| *has < inodes)?;
        Some(format!("the file system of {places} has {has} free inodes, and {inodes} are needed"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn room(bytes: u64, inodes: Option<u64>, need: &Need) -> Room {
        let wanted = (need.bytes, need.inodes);
        Room { device: 1, folders: vec![format!("/{}", need.folder)], bytes, inodes, wanted }
    }

    #[test]
    fn a_package_is_unpacked_beside_the_one_that_it_replaces() {
        let shell = Growth { download: 2 * MIB, unpacked: 10 * MIB, replaced: 9 * MIB, kernel: false };
        let kernel = Growth { download: 70 * MIB, unpacked: 400 * MIB, replaced: 0, kernel: true };
        let wanted: Vec<_> = needs(&[shell, kernel]).iter().map(|need| (need.folder, need.bytes / MIB)).collect();
        let expected = [("usr", 801), ("etc", 0), ("boot", 128), ("var/cache/apt/archives", 72), ("var/lib/dpkg", 16)];
        assert_eq!(wanted, expected);
        assert!(needs(&[shell, kernel]).iter().all(|need| need.inodes > 0), "inodes are counted everywhere");
        assert_eq!(needs(&[]), []);
    }

    #[test]
    fn what_is_missing_is_named_with_its_place() {
        let need = needs(&[Growth { download: 5 * MIB, ..Growth::default() }])[1];
        assert_eq!(need.folder, "var/cache/apt/archives");
        assert_eq!(shortage(&[room(37 * MIB, Some(9), &need)]), None);
        assert_eq!(
            shortage(&[room(37 * MIB - 1, Some(9), &need)]).unwrap(),
            "the file system of /var/cache/apt/archives has 36 MiB free, and 37 MiB are needed"
        );
        assert_eq!(
            shortage(&[room(37 * MIB, Some(0), &need)]).unwrap(),
            "the file system of /var/cache/apt/archives has 0 free inodes, and 1 are needed"
        );
        assert_eq!(shortage(&[room(37 * MIB, None, &need)]), None, "not every file system counts inodes");
    }

    #[test]
    fn folders_of_one_file_system_share_its_room() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("var/lib/dpkg")).unwrap();
        std::fs::write(folder.path().join("var/lib/dpkg/status"), "").unwrap();
        let root = Root::open(folder.path()).unwrap();
        let wanted = needs(&[Growth { download: 3 * MIB, ..Growth::default() }]);
        let rooms = rooms(&root, &wanted).unwrap();
        assert_eq!(rooms.len(), 1, "{rooms:?}");
        assert_eq!((rooms[0].wanted.0 / MIB, rooms[0].folders.len()), (19, 3));
        let full = Room { bytes: 0, ..rooms[0].clone() };
        assert!(shortage(&[full]).unwrap().contains("var/lib/dpkg has 0 MiB free, and 52 MiB are needed"));
    }
}
