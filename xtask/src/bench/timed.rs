//! Commands and how long they take; trees of files.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// How often a process is asked for its memory; the kernel keeps the peak.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Runs a command to its end, and expects success; how long it took.
pub fn run(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    let took = begun.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took)
}

/// The output of a command, and how long it took.
pub fn output(program: &str, args: &[&str]) -> Result<(String, Duration)> {
    let begun = Instant::now();
    let done = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    ensure!(done.status.success(), "{program} {}: {}", args.join(" "), done.status);
    Ok((String::from_utf8_lossy(&done.stdout).into_owned(), begun.elapsed()))
}

/// Runs a command to its end, and expects success; the peak of its resident memory in KiB.
pub fn peak_of(command: &mut Command) -> Result<u64> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("run {command:?}"))?;
    let mut peak = 0;
    let status = loop {
        peak = resident_peak(&child).unwrap_or(0).max(peak);
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(BETWEEN_LOOKS),
        }
    };
    ensure!(status.success(), "{command:?}: {status}");
    ensure!(peak > 0, "{command:?}: ended before it was looked at");
    Ok(peak)
}

/// The peak of a running process's resident memory in KiB, as the kernel has it.
pub fn resident_peak(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Tree {
    /// All files.
    pub files: Vec<PathBuf>,
    /// Bytes that they take up; holes and what was only preallocated do not count.
    pub bytes: u64,
}

/// All files under directories.
pub fn tree(dir: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    visit(dir, &mut tree)?;
    tree.files.sort();
    Ok(tree)
}

fn visit(dir: &Path, tree: &mut Tree) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            visit(&entry.path(), tree)?;
        } else if metadata.is_file() {
            let path = entry.path();
            let bytes = metadata.size().min(metadata.blocks() * 512);
            tree.bytes += if is_log(&path) { 0 } else { bytes };
            tree.files.push(path);
        }
    }
    Ok(())
}

/// A log is preallocated; nearly all of it has never been written.
fn is_log(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("neostore.transaction")
}

/// Reads files, so that they are in the page cache. Not the logs: what was only preallocated would
/// look like data to `cp` from then on.
pub fn warm(files: &[PathBuf]) -> Result<()> {
    for file in files.iter().filter(|file| !is_log(file)) {
        // A running server removes files of its indexes.
        let Ok(mut opened) = std::fs::File::open(file) else { continue };
        std::io::copy(&mut opened, &mut std::io::sink())?;
    }
    Ok(())
}

/// Has the machine own as much free memory as a copy fills.
///
/// A virtual machine hands memory that is free back to its host (free page reporting), and getting it
/// again was seen to take three times as long as the whole copy. What is measured first would pay for
/// it. Where there is no such directory, nothing is done.
pub fn own_memory(bytes: u64) -> Result<()> {
    let path = Path::new("/dev/shm").join(format!("neo4j-backup-bench-{}", std::process::id()));
    let Ok(mut file) = std::fs::File::create_new(&path) else { return Ok(()) };
    std::fs::remove_file(&path)?;
    std::io::copy(&mut std::io::repeat(0).take(bytes), &mut file)?;
    Ok(())
}

/// Removes a directory, and waits until the disk has nothing more to do.
pub fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    run(&mut Command::new("sync"))?;
    std::thread::sleep(Duration::from_millis(500));
    Ok(())
}
