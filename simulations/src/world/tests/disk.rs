//! The model of the disk against real journals, cut where the power might have failed.
//!
//! The model: a save that has returned is durable; of the save in which the power fails, everything is there or nothing.

use std::path::Path;

use patchmesh_common::{
    id::{BootId, Epoch, Incarnation, LeaseId},
    run::{
        Phase,
        journal::{Journal, JournalEntry},
        machine::Effect,
    },
    time::{BootInstant, BootTime, WallTime},
};
use patchmesh_node::store::log::{Log, LogError, Opened};

use super::{SPOT, still};
use crate::{
    chance::{Draws, Seeds},
    world::World,
};

/// Saves of one journal.
const SAVES: u64 = 12;
/// Cuts of one journal.
const CUTS: usize = 300;

fn entries() -> Vec<JournalEntry> {
    let epoch = |counter| JournalEntry::Epoch(Epoch { serial: 1, counter, incarnation: Incarnation(counter) });
    let began = |number: u64| JournalEntry::Began {
        phase: Phase::Verify,
        attempt: 1,
        at: BootInstant { boot_id: BootId([1; 16]), at: BootTime(number) },
        wall: WallTime(number as i64),
    };
    (0..SAVES)
        .map(|number| match number % 3 {
            0 => epoch(number),
            1 => JournalEntry::Refused { lease: LeaseId([number as u8; 16]) },
            _ => began(number),
        })
        .collect()
}

/// Opens a journal. A process that another test is just starting may hold every lock of this one until it runs its program.
fn open(path: &Path) -> Result<(Log, Vec<Vec<u8>>, Opened), LogError> {
    loop {
        match Log::open(path) {
            Err(LogError::Locked { owner, .. }) if owner == std::process::id().to_string() => std::thread::yield_now(),
            other => return other,
        }
    }
}

/// What a simulated host has after `saved` saves, and the power fails in the next one if there is one: `whole` if it got through.
fn simulated(all: &[JournalEntry], saved: usize, whole: bool) -> Vec<JournalEntry> {
    let draws = Draws::from([(format!("run {SPOT}"), vec![u64::from(!whole)])]);
    let mut world = World::replay(1, still(), draws);
    world.seats[SPOT as usize].up = true;
    let host = world.seats[SPOT as usize].host_mut().unwrap();
    host.pending.extend(all[..saved].iter().cloned().map(Effect::Save));
    world.perform(SPOT);
    if let Some(entry) = all.get(saved) {
        let host = world.seats[SPOT as usize].host_mut().unwrap();
        host.pending.push_back(Effect::Save(entry.clone()));
        world.tear(SPOT);
    }
    world.power_off(SPOT);
    decoded(&world.seats[SPOT as usize].host().unwrap().frames)
}

fn decoded(frames: &[Vec<u8>]) -> Vec<JournalEntry> {
    frames.iter().map(|frame| JournalEntry::decode(frame).unwrap()).collect()
}

/// Writes every entry; the size of the file when each save had returned, the first before any.
fn write(path: &Path, all: &[JournalEntry]) -> Vec<u64> {
    let size = || std::fs::metadata(path).unwrap().len();
    let (mut log, ..) = open(path).unwrap();
    let mut sizes = vec![size()];
    for entry in all {
        log.append(&entry.encode()).unwrap();
        sizes.push(size());
    }
    sizes
}

#[test]
fn a_journal_cut_anywhere_holds_what_the_simulated_disk_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.log");
    let all = entries();
    let sizes = write(&path, &all);
    let bytes = std::fs::read(&path).unwrap();
    let mut chance = Seeds::new(1, false).chance("cuts");
    // Every end of a frame, the byte before it and the byte after it, and anywhere.
    let mut cuts: Vec<u64> = sizes.iter().flat_map(|size| [size - 1, *size, size + 1]).collect();
    cuts.extend((0..CUTS).map(|_| chance.below(bytes.len() as u64 + 1)));
    for cut in cuts.into_iter().filter(|cut| *cut <= bytes.len() as u64) {
        std::fs::write(&path, &bytes[..cut as usize]).unwrap();
        // Saves that had returned before the one in which the power failed, and whether that one got through.
        let Some(returned) = sizes.iter().rposition(|size| *size < cut) else {
            // Not even an empty journal is there, but for the cut right behind its head: it is never seen cut.
            let opened = open(&path);
            assert_eq!(matches!(opened, Err(LogError::Foreign { .. })), cut < sizes[0], "cut at {cut}");
            continue;
        };
        let whole = sizes.contains(&cut);
        let model = simulated(&all, returned, whole);
        let (_, frames, opened) = open(&path).unwrap();
        let real = decoded(&frames);
        assert_eq!(real, model, "cut at {cut}: {returned} saves had returned, the next got through: {whole}");
        assert_eq!(Journal::fold(&real), Journal::fold(&model));
        assert_eq!(opened.torn_bytes > 0, !whole, "cut at {cut}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), sizes[real.len()], "the torn end is cut off");
    }
}

/// What is appended after a cut follows what has survived, on both disks.
#[test]
fn a_journal_goes_on_behind_a_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.log");
    let all = entries();
    let sizes = write(&path, &all);
    let bytes = std::fs::read(&path).unwrap();
    for saved in 0..all.len() {
        std::fs::write(&path, &bytes[..sizes[saved] as usize + 3]).unwrap();
        let (mut log, ..) = open(&path).unwrap();
        log.append(&all[0].encode()).unwrap();
        drop(log);
        let (_, frames, _) = open(&path).unwrap();
        let expected = [&simulated(&all, saved, false)[..], &all[..1]].concat();
        assert_eq!(decoded(&frames), expected);
    }
}
