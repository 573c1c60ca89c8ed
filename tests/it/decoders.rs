//! Everything that a fuzzer found, and the samples that it began with, fed to the same decoders once more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use patchmesh_common::{
    patch::snapshot::{Choice, MAX_SNAPSHOT, Registered, Rules, Snapshot, Subject, Written},
    time::WallTime,
};
use patchmesh_tests::decoders::{TARGETS, feed};

#[test]
fn no_decoder_panics_over_what_a_fuzzer_found() {
    let corpus = crate::own("fuzz/corpus");
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut found = BTreeSet::new();
    for folder in fs::read_dir(&corpus).unwrap().map(|folder| folder.unwrap().path()) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        for input in fs::read_dir(&folder).unwrap().map(|input| input.unwrap().path()) {
            let bytes = fs::read(&input).unwrap();
            // An abort says nothing about itself.
            eprintln!("{}", input.display());
            feed(&name, &bytes);
        }
        found.insert(name);
    }
    assert_eq!(found, names, "each decoder has a folder of samples");
    for name in &names {
        assert!(corpus.with_file_name("fuzz_targets").join(format!("{name}.rs")).exists(), "{name} has no fuzzer");
    }
}

/// What a fuzzer does first, so that a decoder that broke since is found without one.
#[test]
fn any_cut_or_flipped_sample_is_harmless_too() {
    let corpus = crate::own("fuzz/corpus");
    for (name, target) in TARGETS {
        for input in fs::read_dir(corpus.join(name)).unwrap().map(|input| input.unwrap().path()) {
            let bytes = fs::read(&input).unwrap();
            let step = bytes.len() / 32 + 1;
            for at in (0..bytes.len()).step_by(step) {
                target(&bytes[..at]);
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x41;
                target(&flipped);
            }
        }
    }
}

/// As large as a message may be, and made to take as long as can be.
#[test]
fn a_hostile_snapshot_is_judged_quickly() {
    let long = format!("{{\"operatingSystem\":\"DEBIAN\",\"description\":\"\"{}}}", " ".repeat(MAX_SNAPSHOT / 4));
    let written = |name: &str, spec: &str| Written { name: name.into(), spec: spec.into() };
    let good = long.replace(",\"description\":\"\"", "");
    let (tags, os_version) = (BTreeMap::new(), "12");
    let host = Subject { os: "debian", os_version, tags: &tags };
    let judged = |baselines: Vec<Written>, defaults: Vec<String>| {
        let choice = Choice::Group(Registered { groups: Vec::new(), defaults });
        let rules = Rules { baselines, ..Rules::plain(choice) };
        let snapshot = Snapshot { at: WallTime(0), rules, versions: None };
        assert_eq!(snapshot.check(), Ok(()));
        let begun = Instant::now();
        let judgement = snapshot.judge(&host);
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
        judgement
    };
    let often = judged(vec![written("web", &good)], vec!["web".to_owned(); MAX_SNAPSHOT / 8]).unwrap();
    assert_eq!(often.by.name(), "web");
    let bad = judged(vec![written("web", &long)], vec!["web".to_owned(); 2]).unwrap_err();
    assert!(bad.to_string().starts_with("baseline web cannot be used: description"), "{bad}");
    let names: Vec<_> = (0..50_000).map(|n| format!("{n:05x}")).collect();
    let many = names.iter().map(|name| written(name, "{}")).collect();
    assert!(judged(many, names).is_err());
}
