//! Indexes far larger than real ones: read piece by piece, or refused before they have filled the memory.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufReader, Read},
    process::Command,
};

use patchmesh_common::{inventory::document::MAX_OFFERS, patch::Automatic};
use patchmesh_node::host::apt::{
    lists::{self, Offers, Target},
    native,
};

/// Set for the copy of this binary that reads alone, so that its memory is its own.
const ALONE: &str = "PATCHMESH_TEST_ALONE";
/// Bytes of an index.
const SIZE: u64 = 200 << 20;
/// How much more memory than before reading one may take, in KiB.
const MOST: u64 = 64 << 10;
const STATUS: &[u8] = b"Package: lib\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n";

/// Paragraphs without end, each with its number.
struct Paragraphs<F> {
    paragraph: F,
    next: u64,
    at: usize,
    text: Vec<u8>,
}

impl<F: Fn(u64) -> String> Paragraphs<F> {
    fn new(paragraph: F) -> Self {
        Self { paragraph, next: 0, at: 0, text: Vec::new() }
    }
}

impl<F: Fn(u64) -> String> Read for Paragraphs<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.text.len() {
            (self.text, self.at) = ((self.paragraph)(self.next).into_bytes(), 0);
            self.next += 1;
        }
        let count = buffer.len().min(self.text.len() - self.at);
        buffer[..count].copy_from_slice(&self.text[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn collect(index: impl Read) -> Result<Offers, String> {
    let mut offers = Offers::new();
    let wanted: BTreeSet<_> = ["lib".to_owned()].into();
    let target = Target { file: "big_Packages".into(), ..Target::default() };
    lists::collect(BufReader::new(index), &target, Automatic::Yes, &wanted, "amd64", &mut offers)
        .map(|()| offers)
        .map_err(|error| error.to_string())
}

/// Others' packages with long texts, as most of an index is.
fn others(number: u64) -> String {
    let text = " the same line of a description, again and again, until it is long\n".repeat(1000);
    format!("Package: p{number}\nVersion: {number}\nArchitecture: amd64\nDescription: x\n{text}\n")
}

/// Ever newer versions of the same package.
fn versions(number: u64) -> String {
    format!("Package: lib\nVersion: {}\nArchitecture: amd64\n\n", number + 2)
}

/// Packages that every system is said to need.
fn needed(number: u64) -> String {
    format!("Package: need{number}\nVersion: 1\nArchitecture: amd64\nEssential: yes\n\n")
}

#[test]
fn an_index_of_200_mb_takes_little_memory_or_is_refused() {
    if std::env::var_os(ALONE).is_none() {
        let mut copy = Command::new(std::env::current_exe().unwrap());
        let name = "apt::large::an_index_of_200_mb_takes_little_memory_or_is_refused";
        let told = super::run(copy.args(["--exact", name, "--nocapture"]).env(ALONE, "1"));
        assert!(String::from_utf8_lossy(&told.stdout).contains("1 passed"), "{told:?}");
        return;
    }
    let before = peak();
    assert_eq!(collect(Paragraphs::new(others).take(SIZE)).unwrap(), Offers::new());
    // The last paragraph is cut, which is a doubt.
    let cut = native::upgrades(STATUS, Paragraphs::new(others).take(SIZE), "amd64").unwrap_err();
    assert!(cut.contains("no end"), "{cut}");

    let most = format!("lib is offered in more than {MAX_OFFERS} versions");
    let refused = collect(Paragraphs::new(versions).take(SIZE)).unwrap_err();
    assert!(refused.starts_with("big_Packages:") && refused.ends_with(&most), "{refused}");
    assert_eq!(native::upgrades(STATUS, Paragraphs::new(versions).take(SIZE), "amd64").unwrap_err(), most);
    let doubt = native::upgrades(STATUS, Paragraphs::new(needed).take(SIZE), "amd64").unwrap_err();
    assert!(doubt.contains("packages that the system needs"), "{doubt}");

    // One line without end.
    let endless = || std::io::repeat(b'x').take(SIZE);
    assert_eq!(collect(endless()).unwrap_err(), "big_Packages:1: the line is longer than 4 MiB");
    assert!(native::upgrades(STATUS, endless(), "amd64").unwrap_err().contains("longer than 4 MiB"));
    let grown = peak() - before;
    assert!(grown < MOST, "{grown} KiB");
    eprintln!("{grown} KiB more");
}
