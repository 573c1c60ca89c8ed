//! The model of the disk (what was saved is durable; what the power fails in is durable or gone) against the real journal,
//! cut at random places.

use patchmesh_common::{
    id::{BootId, Epoch, Incarnation, LeaseId},
    run::{
        Phase,
        journal::{Journal, JournalEntry},
    },
    time::{BootInstant, BootTime, WallTime},
};
use patchmesh_node::store::log::{Log, LogError};

use crate::chance::Seeds;

fn entries(count: u64) -> Vec<JournalEntry> {
    let epoch = |counter| JournalEntry::Epoch(Epoch { serial: 1, counter, incarnation: Incarnation(counter) });
    let began = |number: u64| JournalEntry::Began {
        phase: Phase::Verify,
        attempt: 1,
        at: BootInstant { boot_id: BootId([1; 16]), at: BootTime(number) },
        wall: WallTime(number as i64),
    };
    (0..count)
        .map(|number| match number % 3 {
            0 => epoch(number),
            1 => JournalEntry::Refused { lease: LeaseId([number as u8; 16]) },
            _ => began(number),
        })
        .collect()
}

#[test]
fn a_journal_cut_anywhere_is_what_the_model_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.log");
    let (mut log, _, _) = Log::open(&path).unwrap();
    let all = entries(12);
    // What the file holds once each save has returned.
    let mut durable = vec![std::fs::metadata(&path).unwrap().len()];
    for entry in &all {
        log.append(&entry.encode()).unwrap();
        durable.push(std::fs::metadata(&path).unwrap().len());
    }
    drop(log);
    let whole = std::fs::read(&path).unwrap();
    let mut chance = Seeds::new(1, false).chance("cuts");
    for _ in 0..300 {
        let size = chance.below(whole.len() as u64 + 1);
        std::fs::write(&path, &whole[..size as usize]).unwrap();
        let saved = durable.iter().filter(|end| **end <= size).count();
        match Log::open(&path) {
            // Nothing was saved yet: the header itself appears whole or not at all.
            Err(LogError::Foreign { .. }) => assert_eq!(saved, 0, "cut at {size}"),
            Err(other) => panic!("cut at {size}: {other}"),
            Ok((_, frames, _)) => {
                let read: Vec<_> = frames.iter().map(|frame| JournalEntry::decode(frame).unwrap()).collect();
                // The model keeps every save that had returned, and none of the one in flight or all of it.
                assert_eq!(read, all[..saved - 1], "cut at {size}");
                assert_eq!(Journal::fold(&read), Journal::fold(&all[..saved - 1]));
            }
        }
    }
}
