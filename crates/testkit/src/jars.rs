//! The jars of a Neo4j version, fetched once by Maven and kept.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::versions::{Generation, Version};

const FETCH_LIMIT: Duration = Duration::from_secs(1800);

/// What Bolt of 3.0 packs strings with looks into `java.lang.String`, which is another one since
/// Java 9, and then no connection gets an answer. Neo4j has a plain one for a JVM that has not got this
/// class. A folder of its name, first in the class path, makes that so: what cannot be read is not
/// there to a class loader. The jars stay as they are.
const NEEDS_JAVA_8: &str = "org/neo4j/bolt/v1/packstream/utf8/SunMiscUTF8Encoder.class";

/// The folder of everything kept for `version`; `NEO4J_BACKUP_TEST_CACHE` moves it.
pub fn cache_dir(version: &Version) -> PathBuf {
    let root = env::var_os("NEO4J_BACKUP_TEST_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/testkit"),
        PathBuf::from,
    );
    // Programs that use it run elsewhere.
    let root = std::path::absolute(&root).unwrap_or(root);
    root.join(version.folder())
}

/// A lock between processes on what is kept for `version`; released when dropped.
pub(crate) fn lock(version: &Version) -> Result<File> {
    let dir = cache_dir(version);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let lock = File::create(dir.join("lock"))?;
    lock.lock().context("lock the jar cache")?;
    Ok(lock)
}

/// The folder with the jars of `version`; fetches them if they are not there yet.
///
/// The folder appears by a rename, so it is complete or absent, and a second process waits.
pub fn jars(version: &Version) -> Result<PathBuf> {
    let dir = cache_dir(version);
    let lib = dir.join("lib");
    let _lock = lock(version)?;
    if lib.is_dir() {
        return Ok(lib);
    }
    let partial = dir.join("lib.partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let pom = dir.join("pom.xml");
    fs::write(&pom, pom_of(version))?;
    let mvn = which("mvn").context("no mvn on PATH: install the Debian package maven")?;
    let mut command = process::bound_to_us(&mvn);
    command.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
    command.arg("-DincludeScope=runtime");
    command.arg(format!("-DoutputDirectory={}", partial.display()));
    let finished = process::run(command, FETCH_LIMIT)?;
    if !finished.status.success() {
        bail!("fetch the jars of Neo4j {}: {}", version.name, finished.output);
    }
    let server = format!("neo4j-{}.jar", version.name);
    if !partial.join(&server).is_file() {
        bail!("Maven fetched no {server}: {}", finished.output);
    }
    fs::rename(&partial, &lib)?;
    Ok(lib)
}

/// A `java` that runs `version` with its flags, its class path and `flags` of the caller's.
pub fn java(version: &Version, flags: &[&str], main_class: &str) -> Result<Command> {
    let java = crate::jdk::find(version.java)?.join("bin/java");
    let mut command = process::bound_to_us(&java);
    command.args(version.jvm_flags).args(flags);
    let mut class_path = jars(version)?.join("*").into_os_string();
    if version.generation == Generation::Three {
        let hidden = cache_dir(version).join("hidden");
        fs::create_dir_all(hidden.join(NEEDS_JAVA_8))?;
        class_path = env::join_paths([hidden.as_os_str(), &class_path])?;
    }
    command.arg("-cp").arg(class_path).arg(main_class);
    Ok(command)
}

fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn pom_of(version: &Version) -> String {
    let (group, artifact) = version.artifact();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n\
         <modelVersion>4.0.0</modelVersion>\n\
         <groupId>testkit</groupId><artifactId>jars</artifactId><version>1</version>\n\
         <packaging>pom</packaging>\n\
         <dependencies><dependency><groupId>{group}</groupId>\
         <artifactId>{artifact}</artifactId>\
         <version>{}</version></dependency></dependencies>\n\
         </project>\n",
        version.name
    )
}
