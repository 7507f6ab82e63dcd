//! A child process between pipes: bytes in from a thread, its complaints collected by another, killed
//! and waited for when the handle goes.

use std::io::{BufReader, Read, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Ffmpeg;

/// Bytes of stderr that are kept: the first ones, where the cause stands.
const COMPLAINTS: usize = 4096;
/// Characters of them that an error quotes.
const QUOTED: usize = 400;

/// Arguments of every call: nothing but pipes may be opened, nothing but errors is said.
const COMMON: &[&str] = &[
    "-hide_banner",
    "-nostats",
    "-loglevel",
    "error",
    "-filter_threads",
    "1",
    "-protocol_whitelist",
    "pipe",
];

/// A running ffmpeg.
pub(super) struct Process {
    child: std::process::Child,
    input: Option<Sender<Vec<u8>>>,
    complaints: Arc<Mutex<Vec<u8>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts ffmpeg; its output is what the reader gives.
    pub fn start(
        ffmpeg: &Ffmpeg,
        arguments: &[&str],
    ) -> Result<(Self, BufReader<ChildStdout>), String> {
        let mut command = Command::new(&ffmpeg.path);
        // A Ctrl-C at the terminal is for this program, which ends its children in its own order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .args(COMMON)
            .args(arguments)
            // This variable would make it write a log file into the working folder.
            .env_remove("FFREPORT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{} can't be run: {e}", ffmpeg.path.display()))?;
        let (Some(mut stdin), Some(stdout), Some(mut stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("ffmpeg was started without pipes".to_owned());
        };
        let (input, pieces) = channel::<Vec<u8>>();
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&complaints);
        let threads = vec![
            std::thread::spawn(move || {
                // A child that ends early closes its end; what it says is told elsewhere.
                while let Ok(piece) = pieces.recv() {
                    if stdin.write_all(&piece).and_then(|()| stdin.flush()).is_err() {
                        return;
                    }
                }
            }),
            std::thread::spawn(move || {
                let mut part = [0; 1024];
                while let Ok(count @ 1..) = stderr.read(&mut part) {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    let room = COMPLAINTS.saturating_sub(kept.len());
                    kept.extend(&part[..count.min(room)]);
                }
            }),
        ];
        let process = Self { child, input: Some(input), complaints, threads };
        Ok((process, BufReader::with_capacity(1 << 16, stdout)))
    }

    /// Another thread that ends with the child's pipes.
    pub fn also(&mut self, thread: JoinHandle<()>) {
        self.threads.push(thread);
    }

    /// Queues bytes for the child. Never waits; who sends bounds what is on its way.
    pub fn send(&self, bytes: Vec<u8>) {
        if let Some(input) = &self.input {
            // It fails where the child is gone, which its output tells.
            input.send(bytes).ok();
        }
    }

    /// Ends the input: the child gives what it holds and ends.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Whether it has said that something is wrong.
    pub fn complained(&self) -> bool {
        !self.complaints.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What it has said, for an error: one line, shortened, without addresses.
    pub fn complaint(&self) -> Option<String> {
        let kept = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        let line = |line: &str| {
            let said = match line.strip_prefix('[').and_then(|l| l.split_once("] ")) {
                Some((_, said)) => said,
                None => line,
            };
            said.chars().filter(|c| !c.is_control()).collect::<String>()
        };
        let said: Vec<String> = text.lines().map(line).filter(|l| !l.trim().is_empty()).collect();
        let said: String = said.join("; ").chars().take(QUOTED).collect();
        (!said.is_empty()).then_some(said)
    }

    /// Waits for its end, no longer than `limit`; whether it ended well.
    pub fn wait(&mut self, limit: Duration) -> Result<bool, String> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status.success()),
                Ok(None) if start.elapsed() < limit => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(None) => return Err("ffmpeg does not end".to_owned()),
                Err(e) => return Err(format!("ffmpeg can't be waited for: {e}")),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        // Both fail only where it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}
