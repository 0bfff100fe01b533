//! What can be asked of a service without a session: for a look whether a backup would work.

use reqwest::Method;
use wire::api::{After, CheckDatabase, CheckedDatabase, Logs, MAX_LOG_FILES};

use crate::certificate::{Shown, shown};
use crate::client::{Client, first_contact};
use crate::error::{Error, Result};
use crate::plan::tidy;

impl Client {
    /// Whether a service of ours answers at all. Needs no token.
    ///
    /// # Errors
    /// When it cannot be reached, or when something else answers.
    pub async fn health(&self) -> Result<()> {
        if self.is_v3_0().await? {
            return Ok(());
        }
        let request = self.http.request(Method::GET, "/health");
        let (begin, whole) = (self.options.contact_timeout, self.options.answer_timeout);
        let answer = self.http.json::<serde_json::Value>(request, begin, whole).await;
        answer.map(drop).map_err(first_contact)
    }

    /// The certificate that the service shows, trusted or not; `None` without TLS.
    ///
    /// # Errors
    /// When it cannot be reached, or when it speaks no TLS.
    pub async fn certificate(&self) -> Result<Option<Shown>> {
        match &self.options.tls {
            Some(tls) => shown(&self.options, tls).await.map(Some),
            None => Ok(None),
        }
    }

    /// What the service tells of a database's transaction logs; that of a Neo4j 3.0 server tells
    /// nothing.
    ///
    /// # Errors
    /// When the service cannot be reached, does not know the database, or cannot read its logs.
    pub async fn logs(&self, database: &str) -> Result<Option<Logs>> {
        if self.is_v3_0().await? {
            return Ok(None);
        }
        let request = self.http.request(Method::GET, &path(database, "logs")?);
        let timeout = self.options.begin_timeout;
        let answer = self.http.json(request, timeout, timeout).await;
        let mut logs: Logs = answer.map_err(first_contact)?;
        if logs.files.len() > MAX_LOG_FILES
            || !logs.files.is_sorted_by(|a, b| a.version < b.version)
        {
            return Err(Error::Protocol("log files that are too many or in disorder".to_owned()));
        }
        logs.retention_policy.iter_mut().for_each(tidy);
        tidy(&mut logs.checkpoint.reason);
        Ok(Some(logs))
    }

    /// Whether a full copy could begin now or, with what a backup ends with, an increment. A Neo4j 3.0
    /// server does not tell of its files: `None`.
    ///
    /// # Errors
    /// Those that the copy would fail with as it begins.
    pub async fn check(
        &self,
        database: &str,
        after: Option<After>,
    ) -> Result<Option<CheckedDatabase>> {
        if let Some(server) = self.v3_0().await? {
            return server.check(after).await.map(|()| None);
        }
        let request = self.http.request(Method::POST, &path(database, "check")?);
        let request = request.json(&CheckDatabase { after });
        let timeout = self.options.begin_timeout;
        self.http.json(request, timeout, timeout).await.map(Some).map_err(first_contact)
    }
}

/// Names have no character that means something in a path.
fn path(database: &str, what: &str) -> Result<String> {
    wire::names::check_database(database).map_err(|e| Error::Options(e.to_string()))?;
    Ok(format!("/v1/databases/{database}/{what}"))
}
