//! Everything that a fuzzer found, and the samples that it began with, fed to the same decoders once more.

use std::{collections::BTreeSet, fs};

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
