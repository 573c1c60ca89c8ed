//! What a scan costs beside `apt list --upgradable`, on a copy of this machine's package database and indexes in a private root:
//!
//! ```text
//! cargo run --release -p patchmesh-coordinator --example scan_cost -- [RUNS]
//! ```
//!
//! Both take turns in the same run, as whole processes; `changed` means that the main index was downloaded anew, so apt's own cache is
//! of no use, or that dpkg's database was written, so half of it is. The copy leaves out pins and options.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement is for people to read, and may break")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant, SystemTime},
};

use patchmesh_common::patch::Baseline;
use patchmesh_node::host::{
    apt::{Apt, scan::Source},
    root::Root,
};

/// Fewest runs whose median counts.
const RUNS: usize = 7;
/// Longest wait for an answer to be old enough to be kept.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    // The measured process is this program in its other role.
    if args.get(1).is_some_and(|word| word == "scan") {
        return patchmesh_coordinator::cli::main(args);
    }
    let runs = args.get(1).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(RUNS).max(RUNS);
    if fs::metadata("/var/lib/dpkg/status").is_err() || !Path::new("/usr/bin/apt").exists() {
        println!("skipped: this machine is no Debian");
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().unwrap();
    Bench::new(folder.path(), false).measure("stock apt: plain lists, binary cache kept", runs);
    let folder = tempfile::tempdir().unwrap();
    Bench::new(folder.path(), true).measure("container image: lists as downloaded, no binary cache", runs);
    ExitCode::SUCCESS
}

struct Bench {
    root: PathBuf,
    config: PathBuf,
    home: PathBuf,
    main_index: PathBuf,
}

/// One figure: wall time and peak memory in KiB.
struct Cost {
    times: Vec<Duration>,
    peak: Option<u64>,
}

impl Cost {
    fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times[times.len() / 2]
    }
}

impl Bench {
    fn new(folder: &Path, image: bool) -> Self {
        let root = folder.join("root");
        for path in ["etc/apt", "var/lib/dpkg", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "home"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::copy("/var/lib/dpkg/status", root.join("var/lib/dpkg/status")).unwrap();
        for path in ["etc/apt/sources.list", "var/lib/apt/extended_states", "etc/machine-id"] {
            let _ = fs::copy(Path::new("/").join(path), root.join(path));
        }
        let _ = Command::new("cp").args(["-r", "/etc/apt/sources.list.d"]).arg(root.join("etc/apt")).status();
        let lists = root.join("var/lib/apt/lists");
        for entry in fs::read_dir("/var/lib/apt/lists").unwrap().flatten().filter(|entry| entry.path().is_file()) {
            let name = entry.file_name().into_string().unwrap();
            let plain =
                name.split_once("_Packages.").map(|(before, _)| format!("{before}_Packages")).filter(|_| !image);
            match plain {
                Some(plain) => {
                    let output = fs::File::create(lists.join(plain)).unwrap();
                    let mut unpack = Command::new("/usr/lib/apt/apt-helper");
                    assert!(unpack.arg("cat-file").arg(entry.path()).stdout(output).status().unwrap().success());
                }
                None => drop(fs::copy(entry.path(), lists.join(&name)).unwrap()),
            }
        }
        let indexes = fs::read_dir(&lists).unwrap().map(|entry| entry.unwrap().path());
        let indexes = indexes.filter(|path| path.to_string_lossy().contains("_Packages"));
        let main_index = indexes.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        let config = folder.join("apt.conf");
        let r = root.display();
        let cache = if image { "Dir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\n" } else { "" };
        fs::write(
            &config,
            format!("Dir \"{r}\";\nDir::State::status \"{r}/var/lib/dpkg/status\";\nAPT::Sandbox::User \"\";\n{cache}"),
        )
        .unwrap();
        Self { home: folder.join("home"), root, config, main_index }
    }

    fn apt(&self) -> Command {
        let mut command = Command::new("/usr/bin/apt");
        command.args(["list", "--upgradable"]).env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }

    fn scan(&self) -> Command {
        fs::create_dir_all(&self.home).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["scan", "--local", "-o", "json", "--root"]).arg(&self.root).env("XDG_CACHE_HOME", &self.home);
        command
    }

    /// The word that the scan has for where its answer comes from, and how many packages are missing.
    fn source(&self) -> (String, u64) {
        let output = self.scan().output().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (document["source"].as_str().unwrap().to_owned(), document["summary"]["missing"].as_u64().unwrap())
    }

    /// Writes a file anew, with the same content.
    fn renew(&self, path: &Path) {
        let fresh = path.with_extension("fresh");
        fs::copy(path, &fresh).unwrap();
        fs::rename(fresh, path).unwrap();
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now()).unwrap();
    }

    fn cost(&self, runs: usize, command: impl Fn() -> Command, before: impl Fn()) -> Cost {
        let once = || {
            before();
            let mut command = command();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let begun = Instant::now();
            assert!(command.status().unwrap().success());
            begun.elapsed()
        };
        let times = (0..runs).map(|_| once()).collect();
        before();
        Cost { times, peak: peak(&command()) }
    }

    fn settle(&self) -> u64 {
        let begun = Instant::now();
        loop {
            match self.source() {
                (source, missing) if source == "unchanged" => return missing,
                _ => assert!(begun.elapsed() < PATIENCE, "the answer is never kept"),
            }
        }
    }

    fn measure(&self, what: &str, runs: usize) {
        let status = self.root.join("var/lib/dpkg/status");
        assert!(self.apt().stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
        let missing = self.settle();
        println!("{what}; {missing} packages to upgrade; medians of {runs}");
        println!(
            "{:<34} {:>10} {:>10} {:>8} {:>7}  {:>9} {:>9}",
            "", "apt ms", "ours ms", "ratio", "target", "apt KiB", "ours KiB"
        );

        let warm = self.cost(runs, || self.apt(), || ());
        let ours = self.cost(runs, || self.scan(), || ());
        line("unchanged, whole process", &warm, &ours, 50.0);
        line("unchanged, in the daemon", &warm, &self.daemon(runs), 100.0);
        for (name, path) in [("index downloaded anew", &self.main_index), ("package database written", &status)] {
            let renew = || self.renew(path);
            let cold = self.cost(runs, || self.apt(), renew);
            let ours = self.cost(runs, || self.scan(), renew);
            renew();
            let (source, again) = self.source();
            assert_eq!(again, missing);
            line(&format!("{name} ({source})"), &cold, &ours, 5.0);
            line("  the same beside apt's warm cache", &warm, &ours, 5.0);
        }
        println!();
    }

    fn daemon(&self, runs: usize) -> Cost {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let root = Root::open(&self.root).unwrap();
        runtime.block_on(async {
            let apt = Apt::open(root, &self.home.join("daemon")).await.unwrap();
            let begun = Instant::now();
            while apt.scan(Baseline::All).await.unwrap().source != Source::Unchanged {
                assert!(begun.elapsed() < PATIENCE, "the answer is never kept");
            }
            let mut times = Vec::new();
            for _ in 0..runs {
                let begun = Instant::now();
                assert_eq!(apt.scan(Baseline::All).await.unwrap().source, Source::Unchanged);
                times.push(begun.elapsed());
            }
            Cost { times, peak: None }
        })
    }
}

/// Peak resident memory of a process and those that it waited for, by GNU time.
fn peak(command: &Command) -> Option<u64> {
    let mut time = Command::new("/usr/bin/time");
    time.args(["-f", "peak %M"]).arg(command.get_program()).args(command.get_args());
    time.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = time.stdin(Stdio::null()).stdout(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&output.stderr).lines().find_map(|line| line.strip_prefix("peak ")?.parse().ok())
}

fn line(name: &str, apt: &Cost, ours: &Cost, target: f64) {
    let ms = |cost: &Cost| cost.median().as_secs_f64() * 1000.0;
    let ratio = ms(apt) / ms(ours);
    let verdict = if ratio >= target { "" } else { "  MISSED" };
    let kib = |cost: &Cost| cost.peak.map_or_else(|| "-".to_owned(), |kib| kib.to_string());
    let memory = match (apt.peak, ours.peak) {
        (Some(apt), Some(ours)) if ours * 5 > apt => "  MEMORY ABOVE 1/5",
        _ => "",
    };
    println!(
        "{name:<34} {:>10.1} {:>10.2} {ratio:>7.1}x {target:>6.0}x  {:>9} {:>9}{verdict}{memory}",
        ms(apt),
        ms(ours),
        kib(apt),
        kib(ours)
    );
}
