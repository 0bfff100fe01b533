//! Certificates: are they trusted, and for how long yet?

use std::path::Path;

use client::{Certificate, Client};
use formats::TimestampMs;

use super::findings::{Check, Findings};
use crate::address::Address;
use crate::args::CheckArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::units;

const WARN_DAYS: i64 = 30;
const DAY_SECONDS: i64 = 86_400;

/// This client's own files. False where one cannot be used.
pub fn own_files(args: &CheckArgs, findings: &mut Findings) -> bool {
    let mut usable = true;
    let files = [("ca", &args.tls.ca), ("client_certificate", &args.tls.client_cert)];
    for (name, path) in files {
        if let Some(path) = path {
            usable &= file(findings, Check::new(name), path);
        }
    }
    usable
}

/// A PEM file with certificates. False where it cannot be used.
pub fn file(findings: &mut Findings, check: Check<'_>, path: &Path) -> bool {
    let certificates = match Certificate::read(path) {
        Ok(certificates) => certificates,
        Err(error) => {
            findings.error(check, error);
            return false;
        }
    };
    let expired = Failure::new(ExitCode::BadConfiguration, "").hint("get a new certificate");
    validity(findings, check, &format!("{}: ", path.display()), &certificates, &expired)
}

/// What the service shows.
pub async fn of_service(client: &Client, address: &Address, findings: &mut Findings) {
    let check = Check::new("certificate");
    let shown = match client.certificate().await {
        Ok(shown) => shown,
        // Whether there is a service at all is told by another check.
        Err(client::Error::Connect { .. }) => return,
        Err(error) => return findings.error(check, error),
    };
    let Some(shown) = shown else {
        let message = format!("no TLS: what goes to {address} can be read and changed on the way");
        return match address.is_this_host() {
            true => findings.ok(check, "no TLS; the service is on this host"),
            false => findings.warning(check, message, "serve with --tls-cert, and give --ca here"),
        };
    };
    let hint = "give --ca the authority that signed it, and -host a name that it is for; an expired \
                one must be made anew";
    let distrusted = |message: String| Failure::new(ExitCode::CannotConnect, message).hint(hint);
    if let Some(why) = shown.distrust {
        let own = shown.chain.first().map_or_else(String::new, describe);
        return findings.error(check, distrusted(format!("not trusted: {why}{own}")));
    }
    validity(findings, check, "trusted; ", &shown.chain, &distrusted(String::new()));
}

fn describe(certificate: &Certificate) -> String {
    format!(" (of {}, valid until {})", certificate.subject, day(certificate))
}

fn day(certificate: &Certificate) -> String {
    let ms = certificate.not_after_unix_seconds.saturating_mul(1000);
    units::timestamp(TimestampMs(ms).0).chars().take(10).collect()
}

/// Of several certificates the one that expires first. False if it does not hold now.
fn validity(
    findings: &mut Findings,
    check: Check<'_>,
    before: &str,
    certificates: &[Certificate],
    expired: &Failure,
) -> bool {
    let now = jiff::Timestamp::now().as_second();
    let Some(first) = certificates.iter().min_by_key(|found| found.not_after_unix_seconds) else {
        findings.ok(check, format!("{before}what it says cannot be understood"));
        return true;
    };
    let left = first.not_after_unix_seconds.saturating_sub(now);
    let refuse = |what: String| Failure { message: format!("{before}{what}"), ..expired.clone() };
    if left <= 0 {
        findings.error(check, refuse(format!("{} expired on {}", first.subject, day(first))));
        return false;
    }
    if certificates.iter().any(|found| found.not_before_unix_seconds > now) {
        findings.error(check, refuse(format!("{} is not valid yet", first.subject)));
        return false;
    }
    let until = format!("{before}valid until {}, {} days", day(first), left / DAY_SECONDS);
    if left < WARN_DAYS * DAY_SECONDS {
        findings.warning(check, until, "get a new certificate before that day");
    } else {
        findings.ok(check, until);
    }
    true
}
