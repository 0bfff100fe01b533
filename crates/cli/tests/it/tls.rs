//! TLS from the command line: server certificates, client certificates, and who is turned away.

use std::path::Path;

use testkit::certificates::Certificates;

use crate::run::{Ran, Service, data_directory, run};

/// A service with a certificate, and one that wants a certificate of its clients as well.
fn serve(data: &Path, certificates: &Certificates, client_ca: bool) -> Service {
    let (cert, key) = (certificates.arg("server.pem"), certificates.arg("server.key"));
    let ca = certificates.arg("ca.pem");
    let mut more = vec!["--tls-cert", &cert, "--tls-key", &key];
    if client_ca {
        more.extend(["--client-ca", ca.as_str()]);
    }
    Service::start(data, &more)
}

fn backup(service: &Service, to: &Path, more: &[&str]) -> Ran {
    let line = ["-host", service.address.as_str(), "-to", to.to_str().unwrap(), "--json"];
    run(line.iter().chain(more))
}

#[track_caller]
fn refused(ran: &Ran, to: &Path, status: i32, code: &str) {
    assert_eq!((ran.status, ran.code().as_str()), (status, code), "{ran:?}");
    assert!(!to.exists(), "the target was made");
}

#[test]
fn a_server_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let certificates = Certificates::make(&dir.path().join("ours")).unwrap();
    let service = serve(&data, &certificates, false);
    let to = dir.path().join("backup");

    refused(&backup(&service, &to, &[]), &to, 11, "wrong_service");
    let strange = Certificates::make(&dir.path().join("strange")).unwrap();
    let ran = backup(&service, &to, &["--ca", &strange.arg("ca.pem")]);
    refused(&ran, &to, 10, "cannot_connect");
    let name = service.address.replace("127.0.0.1", "localhost");
    let (ca, target) = (certificates.arg("ca.pem"), to.to_str().unwrap());
    let ran = run(["-host", &name, "-to", target, "--json", "--ca", &ca]);
    refused(&ran, &to, 10, "cannot_connect");

    let ran = backup(&service, &to, &["--ca", &certificates.arg("ca.pem")]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let verify = run(["verify", "--from", to.to_str().unwrap()]);
    assert_eq!(verify.status, 0, "{verify:?}");
}

#[test]
fn a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let certificates = Certificates::make(&dir.path().join("ours")).unwrap();
    let strange = Certificates::make(&dir.path().join("strange")).unwrap();
    let service = serve(&data, &certificates, true);
    let to = dir.path().join("backup");
    let ca = certificates.arg("ca.pem");

    refused(&backup(&service, &to, &["--ca", &ca]), &to, 10, "cannot_connect");
    let with = |certificates: &Certificates| {
        let (cert, key) = (certificates.arg("client.pem"), certificates.arg("client.key"));
        backup(&service, &to, &["--ca", &ca, "--client-cert", &cert, "--client-key", &key])
    };
    refused(&with(&strange), &to, 10, "cannot_connect");
    let ran = with(&certificates);
    assert_eq!(ran.status, 0, "{ran:?}");
}
