//! Starting apt and dpkg: exact arguments, a clean environment, bounded output, no input.

use std::{path::Path, process::Stdio, time::Duration};

use patchmesh_common::run::message::{Refusal, RefusalCode};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

/// dpkg needs the sbin folders, which an ordinary user's PATH lacks on Debian.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Most output of one command: the simulation of an upgrade of 8,192 packages is below 4 MiB.
const MAX_OUTPUT: u64 = 16 << 20;
/// Most items that a message lists; the rest is counted. A refusal travels in one frame and is read by a person.
const MAX_TOLD: usize = 8;
/// Longest stretch of the package manager's talk in a message, in characters.
const MAX_TALK: usize = 600;
/// What the administrator may have set and apt's downloads need.
const PASSED_ON: [&str; 6] = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy", "TMPDIR"];

/// Where the package manager is not there or breaks.
pub fn failed(text: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    Refusal { code: RefusalCode::ManagerFailed, text: text.into(), remedy: remedy.into() }
}

/// The whole environment of a command; `config` becomes `APT_CONFIG`.
pub fn environment(config: &Path) -> Vec<(String, String)> {
    let mut env = vec![
        ("APT_CONFIG".to_owned(), config.display().to_string()),
        ("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned()),
        ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
        ("PATH".to_owned(), PATH.to_owned()),
    ];
    env.extend(PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))));
    env
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error; the same.
    pub stderr: String,
}

impl Output {
    /// Whether the exit code was 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// The lines of standard error that apt marks as errors, without the mark and joined; all of it if none is. Shortened.
    pub fn errors(&self) -> String {
        let marked: Vec<_> = self.stderr.lines().filter_map(|line| line.strip_prefix("E: ")).collect();
        if marked.is_empty() { shorten(self.stderr.trim()) } else { list(&marked, "; ") }
    }
}

/// The first few of a list, and how many more there are.
pub fn list(items: &[impl AsRef<str>], between: &str) -> String {
    let told: Vec<_> = items.iter().take(MAX_TOLD).map(|item| shorten(item.as_ref())).collect();
    let mut text = told.join(between);
    if items.len() > MAX_TOLD {
        text.push_str(&format!(" and {} more", items.len() - MAX_TOLD));
    }
    text
}

/// The beginning of somebody else's talk, for a message.
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_TALK) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}

/// Runs a command that changes no package and waits for at most `limit`; after that it is killed.
///
/// # Errors
/// `ManagerFailed` if the program is not there, runs too long or prints more than 16 MiB. An exit code is no error.
pub async fn read(argv: &[String], env: &[(String, String)], limit: Duration) -> Result<Output, Refusal> {
    read_in(Path::new("/"), argv, env, limit).await
}

/// As [`read`], in `folder`.
///
/// # Errors
/// As [`read`].
pub async fn read_in(
    folder: &Path,
    argv: &[String],
    env: &[(String, String)],
    limit: Duration,
) -> Result<Output, Refusal> {
    let Some((program, args)) = argv.split_first() else {
        return Err(failed("an empty command was to be run", "report this as a fault"));
    };
    let io_error = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            failed(format!("{program} is not on this machine"), format!("install {program}"))
        }
        _ => failed(format!("{program} cannot be run: {error}"), "see the system's log"),
    };
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(io_error)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr) = tokio::try_join!(bounded(stdout), bounded(stderr))?;
        Ok((child.wait().await?, stdout, stderr))
    };
    let (status, stdout, stderr) = match timeout(limit, work).await {
        Ok(result) => result.map_err(io_error)?,
        Err(_) => {
            let text = format!("{} did not end within {} s", argv.join(" "), limit.as_secs());
            return Err(failed(text, "run it by hand to see what it waits for"));
        }
    };
    Ok(Output { code: status.code(), stdout, stderr })
}

async fn bounded(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > MAX_OUTPUT {
        return Err(std::io::Error::other(format!("it printed more than {MAX_OUTPUT} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Owned arguments from words.
pub fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Vec<(String, String)> {
        environment(Path::new("/conf"))
    }

    #[tokio::test]
    async fn a_command_sees_only_the_environment_it_is_given() {
        let output = read(&argv(&["env"]), &env(), Duration::from_secs(20)).await.unwrap();
        assert!(output.success());
        for line in output.stdout.lines() {
            let name = line.split('=').next().unwrap();
            assert!(env().iter().any(|(known, _)| known == name), "{line}");
        }
        assert!(output.stdout.contains("PATH=") && output.stdout.contains("/usr/sbin"));
    }

    #[tokio::test]
    async fn too_much_output_too_much_time_and_no_program_are_refused_by_name() {
        let limit = Duration::from_secs(20);
        let refusal = read(&argv(&["no-such-program"]), &env(), limit).await.unwrap_err();
        assert_eq!(refusal.text, "no-such-program is not on this machine");
        let refusal = read(&argv(&["yes"]), &env(), limit).await.unwrap_err();
        assert!(refusal.text.contains("printed more than"), "{}", refusal.text);
        let refusal = read(&argv(&["sleep", "60"]), &env(), Duration::from_millis(50)).await.unwrap_err();
        assert!(refusal.text.contains("sleep 60 did not end"), "{}", refusal.text);
    }

    #[test]
    fn a_long_list_is_cut_with_its_count_and_long_talk_at_a_character() {
        let items: Vec<_> = (0..10).map(|i| i.to_string()).collect();
        assert_eq!(list(&items, ", "), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!(shorten("é"), "é");
        assert!(shorten(&"é".repeat(700)).ends_with(" …"));
        let output = Output { code: Some(1), stdout: String::new(), stderr: "E: é".repeat(1 << 20) };
        assert!(output.errors().len() < 4096);
    }

    #[test]
    fn marked_errors_are_told_apart_from_talk() {
        let output = Output { code: Some(100), stdout: String::new(), stderr: "W: a\nE: b\nE: c\n".into() };
        assert_eq!(output.errors(), "b; c");
    }
}
