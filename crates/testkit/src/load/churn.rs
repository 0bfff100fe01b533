//! Changes of the schema and of users while the writers write.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Attempt, Shared, User};
use crate::bolt::{Address, Connection, Failure};
use crate::schema::{Rule, passing};

const QUERY_LIMIT: Duration = Duration::from_secs(120);
const BEFORE_RETRY: Duration = Duration::from_millis(200);
const DROP_EVERY: usize = 3;

/// Creates one passing rule after the other and drops the one before the last.
pub(super) fn schema(shared: &Shared, every: Duration) -> Result<()> {
    let mut client = Client { shared, address: shared.address.clone(), connection: None };
    let rules = passing(shared.generation);
    for step in 0.. {
        if step >= 2 {
            client.drop(&rules[(step - 2) % rules.len()])?;
        }
        if client.create(&rules[step % rules.len()])?.is_none() {
            break;
        }
        shared.schema_changes.fetch_add(if step >= 2 { 2 } else { 1 }, Ordering::Relaxed);
        if !shared.sleep(every) {
            break;
        }
    }
    Ok(())
}

/// Creates users, and drops an earlier one every third time.
pub(super) fn users(shared: &Shared, every: Duration) -> Result<()> {
    let address = shared.address.database("system");
    let mut client = Client { shared, address, connection: None };
    // Names are new in every load, also in a second one on the same server.
    let run = client.run("SHOW USERS YIELD user RETURN count(user)")?;
    let Some(rows) = run else { return Ok(()) };
    let first = rows.first().and_then(|row| row[0].as_int()).unwrap_or_default();
    for step in 0_usize.. {
        let name = format!("user_{first}_{step}");
        let begun = Attempt { begun: Instant::now(), acknowledged: None, tx_id: None };
        shared.history.users().push(User { name: name.clone(), created: begun, dropped: None });
        let create = format!("CREATE USER {name} IF NOT EXISTS SET PASSWORD 'password of {name}'");
        if client.run(&create)?.is_none() {
            break;
        }
        shared.history.users()[step].created.acknowledged = Some(Instant::now());
        shared.user_changes.fetch_add(1, Ordering::Relaxed);
        if step % DROP_EVERY == DROP_EVERY - 1 {
            let victim = step - 1;
            let begun = Attempt { begun: Instant::now(), acknowledged: None, tx_id: None };
            shared.history.users()[victim].dropped = Some(begun);
            let drop = format!("DROP USER user_{first}_{victim} IF EXISTS");
            if client.run(&drop)?.is_none() {
                break;
            }
            if let Some(dropped) = &mut shared.history.users()[victim].dropped {
                dropped.acknowledged = Some(Instant::now());
            }
            shared.user_changes.fetch_add(1, Ordering::Relaxed);
        }
        if !shared.sleep(every) {
            break;
        }
    }
    Ok(())
}

struct Client<'a> {
    shared: &'a Shared,
    address: Address,
    connection: Option<Connection>,
}

impl Client<'_> {
    /// Creates a rule; first drops what a server that was killed in the middle left of it.
    fn create(&mut self, rule: &Rule) -> Result<Option<crate::bolt::Rows>> {
        match self.run(&rule.create()) {
            Err(error)
                if rule.is_constraint()
                    && error.downcast_ref().is_some_and(Failure::is_index_in_the_way) =>
            {
                self.run(&rule.drop_unfinished())?;
                self.run(&rule.create())
            }
            result => result,
        }
    }

    /// Drops a rule; in 3.0 an answer may have been lost, and then it is gone already.
    fn drop(&mut self, rule: &Rule) -> Result<()> {
        match self.run(&rule.drop()) {
            Err(error) if error.downcast_ref().is_some_and(Failure::is_nothing_to_drop) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Runs a statement that may be repeated, until it succeeds; `None` when the load stops.
    fn run(&mut self, query: &str) -> Result<Option<crate::bolt::Rows>> {
        loop {
            let error = match self.attempt(query) {
                Ok(rows) => return Ok(Some(rows)),
                Err(error) => error,
            };
            if error.downcast_ref::<std::io::Error>().is_some() {
                self.connection = None;
            } else if !error.downcast_ref::<Failure>().is_some_and(Failure::is_transient) {
                return Err(error);
            }
            self.shared.retries.fetch_add(1, Ordering::Relaxed);
            if !self.shared.sleep(BEFORE_RETRY) {
                return Ok(None);
            }
        }
    }

    fn attempt(&mut self, query: &str) -> Result<crate::bolt::Rows> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(Connection::open(&self.address, QUERY_LIMIT)?),
        };
        connection.query(query)
    }
}
