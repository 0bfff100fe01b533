//! Child processes that never outlive the test.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A command that the kernel kills when this process dies, however it dies.
///
/// `setpriv` (util-linux) asks for that and then becomes the program: same process, same id.
pub fn bound_to_us(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// Starts `command` from a thread that lives as long as the process.
///
/// The parent whose death the kernel watches for is the *thread* that started the child, and
/// the threads of tests and of runtimes come and go.
pub fn spawn(command: Command) -> Result<Child> {
    type Request = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in requests {
                // Nobody waiting means the asking thread is gone: then nobody owns the child.
                if let Err(mpsc::SendError(Ok(mut orphan))) = answer.send(command.spawn()) {
                    let _ = orphan.kill();
                }
            }
        });
        sender
    });
    let (answer, answered) = mpsc::channel();
    spawner.send((command, answer)).ok().context("the spawning thread is gone")?;
    answered.recv().context("the spawning thread is gone")?.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => ": install the Debian package util-linux (setpriv)",
            _ => "",
        };
        anyhow::Error::new(error).context(format!("start a child process{hint}"))
    })
}

/// What a finished program left behind.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output and standard error, in the order written.
    pub output: String,
}

/// Runs `command` to its end, or kills it after `limit`.
pub fn run(mut command: Command, limit: Duration) -> Result<Finished> {
    let file = tempfile::NamedTempFile::new().context("create a file for the output")?;
    let output = File::options().append(true).open(file.path()).context("open the output")?;
    command.stdout(output.try_clone()?).stderr(output);
    let what = format!("{command:?}");
    let mut child = spawn(command)?;
    let ended = wait(&mut child, limit)?;
    let status = match ended {
        Some(status) => status,
        None => {
            child.kill()?;
            child.wait()?
        }
    };
    let output = String::from_utf8_lossy(&fs::read(file.path())?).into_owned();
    if ended.is_none() {
        bail!("not finished after {limit:?}: {what}\n{output}");
    }
    Ok(Finished { status, output })
}

/// Waits for the end of `child`; `None` when it still runs after `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("wait for a child process")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends `signal` to `child`, which has not been waited for.
pub fn signal(child: &Child, signal: Signal) -> Result<()> {
    kill_process(Pid::from_child(child), signal).with_context(|| format!("send {signal:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child started by a thread that ends at once still runs; a slow one is killed in time.
    #[test]
    fn child_survives_the_asking_thread() {
        let mut command = bound_to_us(Path::new("sleep"));
        command.arg("30");
        let mut child = thread::spawn(|| spawn(command).unwrap()).join().unwrap();
        assert!(wait(&mut child, Duration::from_millis(300)).unwrap().is_none());
        signal(&child, Signal::KILL).unwrap();
        assert!(wait(&mut child, Duration::from_secs(5)).unwrap().is_some());

        let mut command = bound_to_us(Path::new("sh"));
        command.args(["-c", "echo begun; sleep 30"]);
        let error = run(command, Duration::from_millis(300)).unwrap_err().to_string();
        assert!(error.contains("begun"), "{error}");
    }
}
