#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| patchmesh_tests::decoders::feed("window", bytes));
