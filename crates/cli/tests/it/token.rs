//! `token`: the client's file, the service's line, and that they fit.

use std::os::unix::fs::PermissionsExt as _;

use crate::run::{Service, data_directory, run};

/// The secret is in the client's file only, which nobody else can read and which is never replaced.
#[test]
fn a_token_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    let line = ["token", "--name", "nightly", "--client-file", secret.to_str().unwrap()];
    let ran = run(line);
    assert_eq!(ran.status, 0, "{ran:?}");
    let text = std::fs::read_to_string(&secret).unwrap();
    assert!(ran.stdout.starts_with("nightly backup "), "{ran:?}");
    assert!(!ran.stdout.contains(text.trim()) && !ran.stderr.contains(text.trim()));
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(run(line).status, 31);
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), text);
}

/// Lines are appended; a name that is taken or no word changes nothing.
#[test]
fn lines_are_appended() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    let make = |name: &str, client: &str| {
        let client = dir.path().join(client);
        let (client, tokens) = (client.to_str().unwrap(), tokens.to_str().unwrap());
        run(["token", "--name", name, "--client-file", client, "--token-file", tokens]).status
    };
    assert_eq!(make("a", "1"), 0);
    assert_eq!(make("b", "2"), 0);
    let text = std::fs::read_to_string(&tokens).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert_eq!(make("a", "3"), 3);
    assert_eq!(make("two words", "3"), 2);
    assert_eq!(make("#", "3"), 2);
    assert!(!dir.path().join("3").exists());
    assert_eq!(std::fs::read_to_string(&tokens).unwrap(), text);
}

/// A service with tokens lets in who has one of the right scope.
#[test]
fn the_service_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let tokens = path("tokens");
    for (name, scope) in [("good", "backup"), ("metrics", "metrics")] {
        let client = path(name);
        let ran = run([
            "token",
            "--name",
            name,
            "--scope",
            scope,
            "--client-file",
            &client,
            "--token-file",
            &tokens,
        ]);
        assert_eq!(ran.status, 0, "{ran:?}");
    }
    std::fs::write(path("unknown"), "n4b_0\n").unwrap();
    let service = Service::start(&data, &["--token-file", &tokens]);
    let to = path("backup");
    let backup = |token: Option<&str>| {
        let mut line = vec!["-host", service.address.as_str(), "-to", to.as_str(), "--json"];
        let token = token.map(path);
        if let Some(token) = &token {
            line.extend(["--token-file", token.as_str()]);
        }
        run(line)
    };
    for token in [None, Some("unknown"), Some("metrics")] {
        let ran = backup(token);
        assert_eq!((ran.status, ran.code().as_str()), (12, "not_authorised"), "{token:?}: {ran:?}");
        assert!(!dir.path().join("backup").exists());
    }
    let ran = backup(Some("good"));
    assert_eq!(ran.status, 0, "{ran:?}");
}
