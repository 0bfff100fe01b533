//! An authority, a server's and a client's certificate, made anew.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// PEM files in a directory: `ca.pem`, `server.pem` and `server.key` for 127.0.0.1, `client.pem`
/// and `client.key`.
#[derive(Debug)]
pub struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// Makes them, in a directory that may be there already.
    pub fn make(dir: &Path) -> Result<Self> {
        Self::make_until(dir, None)
    }

    /// The same, valid until so many days from now, all but the authority's own; before now if negative.
    pub fn make_for_days(dir: &Path, days: i64) -> Result<Self> {
        let end = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let end = end.checked_add(jiff::Span::new().try_days(days)?)?;
        let (month, day) = (u8::try_from(end.month())?, u8::try_from(end.day())?);
        Self::make_until(dir, Some((end.year().into(), month, day)))
    }

    fn make_until(dir: &Path, end: Option<(i32, u8, u8)>) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(dir.join("ca.pem"), ca.pem())?;
        for (name, subject) in [("server", "127.0.0.1"), ("client", "backup")] {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec![subject.to_owned()])?;
            if let Some((year, month, day)) = end {
                params.not_after = rcgen::date_time_ymd(year, month, day);
            }
            let certificate = params.signed_by(&key, &ca)?;
            std::fs::write(dir.join(format!("{name}.pem")), certificate.pem())?;
            std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem())?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// The path of one of the files.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// [`Certificates::path`] as an argument of a command.
    #[must_use]
    pub fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}
