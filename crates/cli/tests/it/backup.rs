//! `backup`, `info` and `verify` on a data directory that a real server wrote.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::run::{
    Ran, Service, command, copy, data_directory, data_directory_of, finish, run, signal, tree,
};

pub fn backup(service: &Service, to: &Path, more: &[&str]) -> Ran {
    let line = ["-host", service.address.as_str(), "-to", to.to_str().unwrap(), "--json"];
    run(line.iter().chain(more))
}

/// Waits until a run has begun to stage a copy.
pub fn wait_for_staging(to: &Path) {
    let staged = to.join(".neo4j-backup.staged");
    while !std::fs::read_dir(&staged).is_ok_and(|mut entries| entries.next().is_some()) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The fields of a database in JSON are a contract.
fn check_report(database: &Value) {
    assert_eq!(database["name"], "neo4j");
    assert_eq!(database["type"], "full");
    assert!(database["store_id"].is_string());
    for field in [
        "checkpoint_tx_id",
        "first_consistent_tx_id",
        "last_tx_id",
        "bytes_transferred",
        "files",
        "duration_ms",
    ] {
        assert!(database[field].is_u64(), "{field}: {database}");
    }
    let time = database["last_commit_time"].as_str().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    assert!(database["left_out"].is_array());
}

/// A backup, what info says of it, a clean verify, and a second one that is refused or replaces.
#[test]
fn from_the_first_backup_to_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let before = tree(&data);
    let service = Service::start(&data, &[]);
    let to = dir.path().join("backup");
    let from = to.to_str().unwrap();

    let ran = backup(&service, &to, &[]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let document = ran.json();
    assert_eq!(document["databases"].as_array().unwrap().len(), 1);
    check_report(&document["databases"][0]);
    assert!(tree(&data) == before, "the source was changed");

    let info = run(["info", "--from", from, "--json"]);
    assert_eq!(info.status, 0);
    check_report(&info.json()["databases"][0]);
    assert_eq!(info.json()["databases"], document["databases"]);
    let text = run(["info", "--from", from]);
    assert!(text.stdout.starts_with("neo4j: full backup (first backup) of 20"), "{text:?}");

    let verify = run(["verify", "--from", from, "--json"]);
    assert_eq!((verify.status, &verify.json()["ok"]), (0, &Value::Bool(true)), "{verify:?}");

    // Nothing new on the server.
    let again = backup(&service, &to, &[]);
    assert_eq!(again.status, 0, "{again:?}");
    let second = &again.json()["databases"][0];
    assert_eq!((&second["type"], &second["reason"]), (&"incremental".into(), &Value::Null));
    assert_eq!(second["last_tx_id"], document["databases"][0]["last_tx_id"]);
    let again = backup(&service, &to, &["--full"]);
    assert_eq!(again.status, 0, "{again:?}");
    assert_eq!(again.json()["databases"][0]["reason"], "requested");
    assert_eq!(run(["verify", "--from", from]).status, 0);
    assert_eq!(service.stop().status, 0);
}

/// --quiet prints nothing at all, text goes to stdout, progress to stderr.
#[test]
fn what_is_printed_where() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &[]);
    let run = |name: &str, more: &[&str]| {
        let to = dir.path().join(name);
        let line = ["-host", service.address.as_str(), "-to", to.to_str().unwrap()];
        run(line.iter().chain(more))
    };
    let quiet = run("quiet", &["--quiet"]);
    assert_eq!((quiet.status, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
    let text = run("text", &[]);
    assert!(text.stdout.starts_with("neo4j: full backup (first backup) of 20"), "{text:?}");
    assert!(text.stderr.starts_with("neo4j: "), "{text:?}");
    let both = run("both", &["--quiet", "--json"]);
    assert_eq!(both.stderr, "");
    check_report(&both.json()["databases"][0]);
}

/// Every byte counts: a flipped one, a missing file and a stranger are found and named.
#[test]
fn damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &[]);
    let good = dir.path().join("good");
    assert_eq!(backup(&service, &good, &[]).status, 0);

    let check = |kind: &str, damage: &dyn Fn(&Path)| {
        let bad = dir.path().join(kind);
        copy(&good, &bad);
        damage(&bad.join("databases/neo4j"));
        let ran = run(["verify", "--from", bad.to_str().unwrap(), "--json"]);
        assert_eq!((ran.status, ran.code().as_str()), (40, "corrupt_data"), "{kind}: {ran:?}");
        let document = ran.json();
        let database = &document["databases"][0];
        assert_eq!(document["ok"], false);
        let finding = &database["findings"][0];
        assert_eq!(finding["kind"], kind, "{document}");
        assert!(finding["path"].is_string() && finding["message"].is_string());
    };
    check("block", &|store| {
        let path = store.join("neostore.nodestore.db");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    });
    check("missing", &|store| std::fs::remove_file(store.join("neostore")).unwrap());
    check("extra", &|store| std::fs::write(store.join("stranger"), "x").unwrap());
}

/// Targets that are no place for a backup are refused and stay as they are.
#[test]
fn targets_that_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &[]);
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("letter"), "dear").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    // What the tool of Neo4j 3.0 makes: the database's directory itself.
    let older = dir.path().join("older");
    copy(&data.join("databases/neo4j"), &older);
    let before = tree(dir.path());
    for (to, status, code) in [
        (&foreign, 38, "not_a_backup"),
        (&foreign.join("letter"), 38, "not_a_backup"),
        (&older, 38, "not_a_backup"),
        (&data, 38, "not_a_backup"),
        (&data.join("b"), 30, "target_unusable"),
        (&link.join("databases/b"), 30, "target_unusable"),
    ] {
        let ran = backup(&service, to, &[]);
        assert_eq!((ran.status, ran.code().as_str()), (status, code), "{to:?}: {ran:?}");
    }
    assert!(tree(dir.path()) == before, "a refused target was changed");
}

/// Globs choose; what is chosen by name and not there is an error, and so is nothing at all.
#[test]
fn globs_choose_databases() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    std::fs::create_dir(data.join("databases/fresh")).unwrap();
    let service = Service::start(&data, &[]);
    let to = |name: &str| dir.path().join(name);

    let ran = backup(&service, &to("none"), &["--database", "x*"]);
    assert_eq!((ran.status, ran.code().as_str()), (21, "no_such_database"), "{ran:?}");
    assert!(!to("none").exists());

    // A database in the middle of its creation is said so, but no failure unless it was named.
    let ran = backup(&service, &to("all"), &[]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.json()["skipped"][0]["name"], "fresh");
    assert!(ran.stderr.contains("fresh"), "{ran:?}");
    let ran = backup(&service, &to("one"), &["--database", "fresh"]);
    assert_eq!((ran.status, ran.code().as_str()), (20, "source_unusable"), "{ran:?}");
    let ran = backup(&service, &to("both"), &["--database", "fresh", "--database", "neo*"]);
    assert_eq!((ran.status, ran.code().as_str()), (50, "partial"), "{ran:?}");
    let document = ran.json();
    check_report(&document["databases"][0]);
    assert_eq!(document["failed"][0]["name"], "fresh");
    assert_eq!(document["failed"][0]["error"]["code"], "source_unusable");
    let verify = run(["verify", "--from", to("both").to_str().unwrap()]);
    assert_eq!(verify.status, 0, "{verify:?}");
}

/// Ctrl-C in the middle: its own code, nothing left behind but what the next run uses.
#[test]
fn an_interrupted_backup_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &[]);
    let to = dir.path().join("backup");
    for (signal_, more) in [(Signal::INT, "--json"), (Signal::TERM, "--quiet")] {
        let line = ["-host", service.address.as_str(), "-to", to.to_str().unwrap(), more];
        let child = command(line).args(["--limit-rate", "64KiB"]).spawn().unwrap();
        wait_for_staging(&to);
        signal(&child, signal_);
        let ran = finish(child);
        assert_eq!(ran.status, 130, "{ran:?}");
        if more == "--json" {
            assert_eq!(ran.code(), "interrupted");
        }
        let left = tree(&to);
        assert!(left.iter().all(|(path, _)| path.ends_with(".neo4j-backup.lock")), "{left:?}");
    }
    assert_eq!(backup(&service, &to, &[]).status, 0);
}

/// Commands that read a backup, where there is none.
#[test]
fn no_backup_there() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let data = dir.path().join("restored");
    for from in [dir.path(), &missing] {
        let from = from.to_str().unwrap();
        for line in [
            &["info", "--from", from, "--json"][..],
            &["verify", "--from", from, "--json"],
            &["restore", "--from", from, "--to", data.to_str().unwrap(), "--json"],
        ] {
            let ran = run(line);
            assert_eq!((ran.status, ran.code().as_str()), (34, "no_backup"), "{line:?}: {ran:?}");
        }
    }
    assert!(!data.exists());
}

/// A backup of a later version is not "no backup": whoever takes that for "nothing there" may delete it.
/// Every command says so with a code of its own, and none touches it.
#[test]
fn a_backup_of_a_later_version() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(&data_directory(dir.path()), &[]);
    let (host, to) = (&*service.address, dir.path().join("backup"));
    let to = to.to_str().unwrap();
    assert_eq!(run(["-host", host, "-to", to]).status, 0);
    let path = Path::new(to).join(".neo4j-backup.json");
    let manifest = std::fs::read_to_string(&path).unwrap();
    let newer = manifest.replace("\"format_version\": 1", "\"format_version\": 9");
    std::fs::write(&path, newer).unwrap();
    let before = tree(Path::new(to));
    let data = dir.path().join("restored");
    let data = data.to_str().unwrap();
    for line in [
        &["backup", "--host", host, "--to", to, "--json"][..],
        &["backup", "--host", host, "--to", to, "--full", "--json"],
        &["backup", "--host", host, "--to", to, "--follow", "--json"],
        &["check", "--host", host, "--to", to, "--json"],
        &["info", "--from", to, "--json"],
        &["verify", "--from", to, "--json"],
        &["restore", "--from", to, "--to", data, "--json"],
    ] {
        let ran = run(line);
        assert_eq!((ran.status, ran.code().as_str()), (39, "backup_too_new"), "{line:?}: {ran:?}");
        // A follower's output is read line by line.
        let is_one_line = ran.stdout.lines().count() == 1;
        assert_eq!(is_one_line, line.contains(&"--follow"), "{ran:?}");
    }
    assert!(tree(Path::new(to)) == before);
}

/// Runs a shell script with a file system of its own at `$1`; `$0` is the executable. `None` where
/// only root may mount and this is somebody else.
pub fn mounted(script: &str, at: &Path, address: &str) -> Option<Ran> {
    std::fs::create_dir_all(at).unwrap();
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_neo4j-backup")]);
    let ran = unshare.arg(at).arg(address).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let status = ran.status.code().unwrap();
    let ran = Ran { status, stdout: text(&ran.stdout), stderr: text(&ran.stderr) };
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root may mount: {}", ran.stderr);
        return None;
    }
    Some(ran)
}

/// A disk that is too small, one that fills up in the middle, and one that is read-only: each is
/// its own error, and what was there stays.
#[test]
fn full_and_read_only_disks() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &[]);
    let run = |script: &str| mounted(script, &dir.path().join("disk"), &service.address);

    let small = "mount -t tmpfs -o size=128k none \"$1\" && echo precious >\"$1/precious\" &&
        { \"$0\" -host \"$2\" -to \"$1/backup\" --json; status=$?; } &&
        test \"$(ls -A \"$1\")\" = \"$(printf 'backup\\nprecious')\" &&
        test \"$(cat \"$1/precious\")\" = precious &&
        test \"$(ls -A \"$1/backup\")\" = .neo4j-backup.lock && exit $status";
    let Some(ran) = run(small) else { return };
    assert_eq!((ran.status, ran.code().as_str()), (33, "no_space"), "{ran:?}");

    // As large as the first look wants it, but somebody else takes the rest.
    let filling = "mount -t tmpfs -o size=40m none \"$1\" &&
        { \"$0\" -host \"$2\" -to \"$1/backup\" --json --limit-rate 64KiB & } &&
        while ! ls \"$1/backup/.neo4j-backup.staged/\"* >/dev/null 2>&1; do sleep 0.05; done &&
        { head -c 60m /dev/zero >\"$1/other\" 2>/dev/null; wait $!; status=$?; } &&
        rm \"$1/other\" &&
        test \"$(find \"$1/backup\" -type f)\" = \"$1/backup/.neo4j-backup.lock\" &&
        \"$0\" -host \"$2\" -to \"$1/backup\" --quiet >/dev/null && exit $status";
    let ran = run(filling).unwrap();
    assert_eq!((ran.status, ran.code().as_str()), (33, "no_space"), "{ran:?}");

    let read_only = "mount -t tmpfs none \"$1\" && mount -o remount,ro \"$1\" &&
        exec \"$0\" -host \"$2\" -to \"$1/backup\" --json";
    let ran = run(read_only).unwrap();
    assert_eq!((ran.status, ran.code().as_str()), (30, "target_unusable"), "{ran:?}");
}

/// A lock that is a link is told in the same way by `check` and by `backup`.
#[test]
fn a_lock_that_is_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(&data_directory(dir.path()), &[]);
    let (host, to) = (&*service.address, dir.path().join("backup"));
    assert_eq!(run(["-host", host, "-to", to.to_str().unwrap()]).status, 0);
    let lock = to.join(".neo4j-backup.lock");
    std::fs::rename(&lock, dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &lock).unwrap();
    let [backup, check] = ["backup", "check"]
        .map(|command| run([command, "--host", host, "--to", to.to_str().unwrap(), "--json"]));
    assert_eq!((backup.status, backup.code().as_str()), (30, "target_unusable"), "{backup:?}");
    assert_eq!((check.status, check.code().as_str()), (30, "target_unusable"), "{check:?}");
    let (backup, check) = (backup.json(), check.json());
    let found = check["checks"].as_array().unwrap().iter().find(|it| it["check"] == "target");
    for (field, said) in [("message", "the lock is a link"), ("hint", "remove or unmount it")] {
        assert_eq!(found.unwrap()[field], backup["error"][field], "{field}");
        assert!(backup["error"][field].as_str().unwrap().contains(said), "{backup}");
    }
    assert!(std::fs::symlink_metadata(&lock).unwrap().is_symlink());
}

/// A lock, or a part of the backup, that lies on another file system than the rest is refused.
#[test]
fn parts_on_another_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &[]);
    let run = |script: &str| mounted(script, &dir.path().join("disk"), &service.address);
    for mounted in [".neo4j-backup.lock", "transactions"] {
        let script = format!(
            "mount -t tmpfs none \"$1\" && mkdir -p \"$1/elsewhere\" &&
            \"$0\" -host \"$2\" -to \"$1/backup\" --quiet && mv \"$1/backup\" \"$1/moved\" &&
            mkdir \"$1/backup\" && mount -t tmpfs none \"$1/elsewhere\" &&
            mv \"$1/moved/{mounted}\" \"$1/elsewhere/it\" && cp -r \"$1/moved/.\" \"$1/backup\" &&
            {{ test -d \"$1/elsewhere/it\" && mkdir \"$1/backup/{mounted}\" ||
               touch \"$1/backup/{mounted}\"; }} &&
            mount --bind \"$1/elsewhere/it\" \"$1/backup/{mounted}\" &&
            exec \"$0\" -host \"$2\" -to \"$1/backup\" --json"
        );
        let Some(ran) = run(&script) else { return };
        assert_eq!(
            (ran.status, ran.code().as_str()),
            (30, "target_unusable"),
            "{mounted}: {ran:?}"
        );
        assert!(ran.json()["error"]["message"].as_str().unwrap().contains(mounted), "{ran:?}");
    }
    // A database's directory cannot be replaced, also where it is mounted from the same file system.
    for (mounted, of) in [("databases/neo4j", "none"), ("transactions/neo4j", "same")] {
        let script = format!(
            "mount -t tmpfs none \"$1\" && \"$0\" -host \"$2\" -to \"$1/backup\" --quiet &&
            mkdir \"$1/elsewhere\" && {{ test {of} = same || mount -t tmpfs none \"$1/elsewhere\"; }} &&
            cp -rp \"$1/backup/{mounted}/.\" \"$1/elsewhere\" &&
            mount --bind \"$1/elsewhere\" \"$1/backup/{mounted}\" &&
            for more in --json \"--json --full\"; do
                \"$0\" -host \"$2\" -to \"$1/backup\" $more >\"$1/told\"; status=$?
                test ! -e \"$1/backup/.neo4j-backup.staged\" || exit 99
            done; cat \"$1/told\"; exit $status"
        );
        let ran = run(&script).unwrap();
        assert_eq!(
            (ran.status, ran.code().as_str()),
            (30, "target_unusable"),
            "{mounted}: {ran:?}"
        );
        assert!(ran.json()["error"]["message"].as_str().unwrap().contains(mounted), "{ran:?}");
    }
}

/// The server was upgraded between two runs: entries of another kernel version, and from 5.19 on files
/// with another header, go on where the old ones ended.
#[test]
fn an_increment_over_an_upgrade() {
    for (fixture, before, after) in [
        ("5.19.0-upgraded-to-5.26.30/upgrade", 19, 25),
        ("5.26.30-upgraded-to-2026.08.1/upgrade", 19, 25),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let data = data_directory_of(dir.path(), fixture);
        let [first, second, checkpoints] =
            ["neostore.transaction.db.0", "neostore.transaction.db.1", "checkpoint.1"]
                .map(|name| data.join("transactions/neo4j").join(name));
        let upgraded = [&first, &second, &checkpoints].map(|path| std::fs::read(path).unwrap());
        // As it was before the upgrade.
        let mut reader = formats::txlog::BatchReader::new(&upgraded[0][128..], 128);
        let batches: Vec<_> = std::iter::from_fn(|| reader.next_batch().unwrap()).collect();
        let last = batches.iter().find(|batch| batch.tx_id.0 == before).unwrap();
        let old_version = last.kernel_version;
        std::fs::write(&first, &upgraded[0][..last.end as usize]).unwrap();
        std::fs::remove_file(&second).unwrap();
        std::fs::remove_file(&checkpoints).unwrap();
        let service = Service::start(&data, &[]);
        let to = dir.path().join("backup");
        let full = backup(&service, &to, &[]).json()["databases"][0].clone();
        assert_eq!((&full["type"], &full["last_tx_id"]), (&"full".into(), &before.into()));

        for (path, bytes) in [&first, &second, &checkpoints].iter().zip(&upgraded) {
            std::fs::write(path, bytes).unwrap();
        }
        let ran = backup(&service, &to, &[]);
        let next = ran.json()["databases"][0].clone();
        let found = (&next["type"], &next["last_tx_id"]);
        assert_eq!(found, (&"incremental".into(), &after.into()), "{fixture}: {ran:?}");
        assert_eq!(run(["verify", "--from", to.to_str().unwrap()]).status, 0);
        let appended =
            std::fs::read(to.join("transactions/neo4j/neostore.transaction.db.1")).unwrap();
        let mut reader = formats::txlog::BatchReader::new(&appended[128..], 128);
        assert!(reader.next_batch().unwrap().unwrap().kernel_version > old_version);
    }
}
