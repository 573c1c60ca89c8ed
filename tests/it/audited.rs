//! The ledger of a real wave, checked from outside: as it is, and after what people who can write there may do to it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use patchmesh_common::{
    id::LeaseId,
    rollout::{
        chain::{Chain, Head},
        ledger::{LedgerAct, LedgerEntry},
    },
    seal::Ed25519,
};
use patchmesh_node::{
    identity::Identity,
    store::log::{self, Log},
};
use serde_json::Value;

use crate::fleet::{Demo, program};

/// A journal of `frames` in a new folder.
fn written(folder: PathBuf, frames: &[Vec<u8>]) -> PathBuf {
    fs::create_dir(&folder).unwrap();
    let (mut log, ..) = Log::open(&folder.join("ledger.log")).unwrap();
    frames.iter().for_each(|frame| log.append(frame).unwrap());
    folder
}

fn entries(frames: &[Vec<u8>]) -> Vec<LedgerEntry> {
    let mut chain = Chain::default();
    frames.iter().map(|frame| chain.next(frame, &Ed25519).unwrap()).collect()
}

/// The exit code of `audit verify`, what it printed, and its error.
fn verify(program: &Path, dir: &Path) -> (i32, Value, Value) {
    let output = Command::new(program).args(["audit", "verify", "-o", "json", "--dir"]).arg(dir).output().unwrap();
    let error = serde_json::from_slice(&output.stderr).unwrap_or_default();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap(), error)
}

#[test]
fn the_ledger_of_a_real_wave_holds_until_somebody_touches_it() {
    let Some(program) = program() else { return };
    let (status, recap, dir) = Demo::start(&program, &["--hosts", "3", "--max-concurrency", "1"]).finish();
    assert!(status.success(), "{recap}");
    let own = dir.path().join("demo/coordinator");
    let frames = log::read(&own.join("ledger.log")).unwrap();
    let (code, audited, _) = verify(&program, &own);
    assert_eq!(
        (code, &audited["chain"]["ok"], audited["entries"].as_u64()),
        (0, &true.into(), Some(frames.len() as u64))
    );
    assert_eq!(audited["testimonies"], serde_json::json!({"checked": 3, "excused": 0, "violations": []}));
    for (promise, looked) in audited["promises"].as_object().unwrap() {
        assert!(looked["checked"].as_u64() > Some(0) || promise == "stop", "{promise}: {looked}");
        assert_eq!(looked["violations"], serde_json::json!([]), "{promise}");
    }

    let entries = entries(&frames);
    let is_grant = |entry: &LedgerEntry| matches!(entry.act, LedgerAct::Granted { .. });
    let first = entries.iter().position(is_grant).unwrap();
    let bad = |folder: &Path, at: usize| {
        let (code, found, error) = verify(&program, folder);
        assert_eq!((code, &found["chain"]["firstBad"]), (1, &Value::from(at)), "{found}");
        let named = error["message"].as_str().unwrap_or_default().starts_with(&format!("entry {at} of the ledger"));
        assert!(named, "{error}");
    };
    // One byte of the file, in the last frame and in one before.
    let whole = fs::read(own.join("ledger.log")).unwrap();
    for at in [first, frames.len() - 1] {
        let place = whole.windows(frames[at].len()).position(|bytes| bytes == frames[at]).unwrap();
        let mut bent = whole.clone();
        bent[place + frames[at].len() / 2] ^= 1;
        let folder = dir.path().join(format!("bent-{at}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("ledger.log"), bent).unwrap();
        bad(&folder, at);
    }
    let mut dropped = frames.clone();
    dropped.remove(first);
    bad(&written(dir.path().join("dropped"), &dropped), first);

    // A second grant beside the first, sealed and chained with the coordinator's own key.
    let identity = Identity::load_or_create(&own.join("key")).unwrap();
    let mut forged = entries.clone();
    let mut second = entries.iter().rfind(|entry| is_grant(entry)).unwrap().clone();
    if let LedgerAct::Granted { lease, .. } = &mut second.act {
        *lease = LeaseId([9; 16]);
    }
    forged.insert(first + 1, LedgerEntry { at: entries[first].at, ..second });
    let mut head = Head::default();
    let chained = forged.iter().map(|entry| {
        let frame = head.link(identity.signer(), entry);
        head = head.after(&frame);
        frame
    });
    let (code, found, error) = verify(&program, &written(dir.path().join("forged"), &chained.collect::<Vec<_>>()));
    assert_eq!((code, &found["promises"]["concurrency"]["violations"][0]["entry"]), (1, &Value::from(first + 1)));
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.starts_with(&format!("entry {} breaks the promise concurrency", first + 1)), "{error}");
    // Two of the hosts saw the ledger grow on without it.
    assert_eq!(found["testimonies"]["violations"].as_array().map(Vec::len), Some(2), "{found}");
}
