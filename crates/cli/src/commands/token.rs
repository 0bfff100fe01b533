//! `token`: a secret for a client, its hash for the service.

use std::path::Path;

use fs::Disk;
use service::{Scope, Token, TokenFile};

use crate::args::{TokenArgs, TokenScope};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::output::{self, Ended};

pub fn run(args: &TokenArgs) -> Ended {
    let token = Token::generate()?;
    let scope = match args.scope {
        TokenScope::Backup => Scope::Backup,
        TokenScope::Metrics => Scope::Metrics,
    };
    let line = token.line(&args.name, scope);
    if TokenFile::parse(&line).is_err() {
        return Err(Failure::usage(format!("{:?} is not one plain word", args.name)));
    }
    let old = match &args.token_file {
        Some(path) => checked(path, &line)?,
        None => String::new(),
    };
    let disk = fs::RealDisk::new();
    write_new(&*disk, &args.client_file, &format!("{}\n", token.secret()))?;
    let told = match &args.token_file {
        Some(path) => append(&*disk, path, &old, &line),
        None => output::write(&line).map_err(output::unwritten),
    };
    if let Err(failure) = told {
        // The secret is of no use without its line.
        let _ = disk.remove_file(&args.client_file);
        return Err(failure);
    }
    Ok(ExitCode::Ok)
}

/// The service's file as it is; fails if the service could not read it with the new line.
fn checked(path: &Path, line: &str) -> Result<String> {
    let old = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(fs::Error::io("read", path)(error).into()),
        Ok(text) => text,
    };
    match TokenFile::parse(&format!("{old}\n{line}")) {
        Ok(_) => Ok(old),
        Err(what) => {
            let message = format!("{}: {what}", path.display());
            Err(Failure::new(ExitCode::BadConfiguration, message))
        }
    }
}

/// In place, since a new file would have another owner than the service's.
fn append(disk: &dyn Disk, path: &Path, old: &str, line: &str) -> Result<()> {
    if old.is_empty() && !path.exists() {
        return write_new(disk, path, &format!("{line}\n"));
    }
    let separator = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
    let file = disk.open_write(path)?;
    let end = old.len() as u64;
    let written = file.write_at(end, format!("{separator}{line}\n").as_bytes());
    if let Err(error) = written.and_then(|()| file.sync()) {
        // Half a line would keep the service from starting.
        let _ = file.set_len(end);
        return Err(error.into());
    }
    Ok(())
}

fn write_new(disk: &dyn Disk, path: &Path, text: &str) -> Result<()> {
    let file = disk.create_file(path, 0o600)?;
    if let Err(error) = file.write_at(0, text.as_bytes()).and_then(|()| file.sync()) {
        let _ = disk.remove_file(path);
        return Err(error.into());
    }
    Ok(())
}
