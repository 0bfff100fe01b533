//! One writer: its numbered transactions.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{LoadOptions, Shared};
use crate::bolt::{Address, Connection, Failure, Map, Value};
use crate::params;
use crate::random::Random;
use crate::seed::{ACCOUNTS, HUBS};
use crate::versions::Generation;

const QUERY_LIMIT: Duration = Duration::from_secs(120);
const BEFORE_RECONNECT: Duration = Duration::from_millis(200);
const VECTOR_SIZE: u32 = 8;

/// Accounts in the order of their numbers, so that two writers cannot wait for each other.
const TRANSFER: &str = "\
MATCH (a:Account {id: $low}) SET a.balance = a.balance + $amount \
WITH a MATCH (b:Account {id: $high}) SET b.balance = b.balance - $amount RETURN count(b)";

const CREATE: &str = "\
MATCH (o:Writer) WITH o ORDER BY o.id WITH collect(o.n) AS seen \
MATCH (w:Writer {id: $w}) WHERE w.n = $n - 1 SET w.n = $n \
CREATE (w)-[:WROTE]->(s:Seq {writer: $w, n: $n, seen: seen}) SET s += $seq \
WITH w UNWIND $items AS item \
CREATE (i:Item) SET i = item \
WITH i ORDER BY i.i WITH collect(i) AS items \
FOREACH (k IN range(0, size(items) - 2) | FOREACH (a IN [items[k]] | FOREACH (b IN [items[k + 1]] | \
CREATE (a)-[:NEXT {writer: $w, n: $n, i: k}]->(b)))) \
WITH items MATCH (h:Hub {id: $hub}) UNWIND items[0..$hubs] AS i \
CREATE (i)-[:AT {writer: $w, n: $n}]->(h) RETURN count(*)";

const CHANGE_AND_MARK: &str = "\
MATCH (i:Item {writer: $w, n: $m}) SET i.text = $text, i.len = size($text), \
i.changed = coalesce(i.changed, 0) + 1, i:Marked RETURN count(i)";

const CHANGE_AND_CLEAR: &str = "\
MATCH (i:Item {writer: $w, n: $m}) SET i.text = $text, i.len = size($text) \
REMOVE i.changed, i:Marked RETURN count(i)";

const DELETE: &str = "MATCH (i:Item {writer: $w, n: $m}) WITH collect(i) AS items, count(i) AS found \
     FOREACH (i IN items | DETACH DELETE i) RETURN found";

/// A transaction whose items are still there.
#[derive(Debug, Clone, Copy)]
struct Live {
    n: u64,
    made: i64,
}

/// A writer between two transactions.
pub(super) struct Writer {
    id: u32,
    generation: Generation,
    committed: u64,
    live: VecDeque<Live>,
    random: Random,
    kept: usize,
    pause: Duration,
}

/// What a transaction does, chosen before the first attempt and the same in every attempt.
struct Plan {
    n: u64,
    made: i64,
    hubs: u32,
    transfer: Map,
    create: Map,
    change: Option<(&'static str, Map, i64)>,
    /// Position in `live`.
    delete: Option<usize>,
}

impl Writer {
    /// Creates the writer's counter, or continues from it.
    pub(super) fn prepare(
        id: u32,
        generation: Generation,
        address: &Address,
        options: &LoadOptions,
    ) -> Result<Writer> {
        let mut connection = Connection::open(address, QUERY_LIMIT)?;
        let rows = connection.run(
            "MERGE (w:Writer {id: $w}) ON CREATE SET w.n = 0 RETURN w.n",
            params! { "w" => id },
        )?;
        let committed = rows[0][0].as_int().context("a writer without a number")?;
        let rows = connection.run(
            "MATCH (s:Seq {writer: $w}) WITH collect(s.deleted) AS deleted \
             MATCH (s:Seq {writer: $w}) WHERE NOT s.n IN deleted RETURN s.n, s.made ORDER BY s.n",
            params! { "w" => id },
        )?;
        let live = rows.iter().map(|row| {
            let (n, made) = (row[0].as_int(), row[1].as_int());
            Ok(Live { n: n.context("no n")?.try_into()?, made: made.context("no made")? })
        });
        Ok(Writer {
            id,
            generation,
            committed: committed.try_into()?,
            live: live.collect::<Result<_>>()?,
            random: Random::new(options.seed ^ (u64::from(id) << 32)),
            kept: options.kept.max(1),
            pause: options.pause,
        })
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// The last transaction that is known to be committed.
    pub(super) fn committed(&self) -> u64 {
        self.committed
    }

    /// Commits transactions until the load stops.
    pub(super) fn run(mut self, shared: &Shared) -> Result<()> {
        let mut connection = None;
        while !shared.stopped() {
            let plan = self.plan();
            shared.history.begin(self.id as usize);
            let Some(tx_id) = self.carry_out(&plan, &mut connection, shared)? else { break };
            shared.history.acknowledge(self.id as usize, tx_id);
            self.committed = plan.n;
            if let Some(position) = plan.delete {
                self.live.remove(position);
            }
            self.live.push_back(Live { n: plan.n, made: plan.made });
            if !self.pause.is_zero() && !shared.sleep(self.pause) {
                break;
            }
        }
        Ok(())
    }

    /// Tries until it is committed, as the transaction that the server says, if its answer comes;
    /// `None` when the load stops before.
    fn carry_out(
        &self,
        plan: &Plan,
        connection: &mut Option<Connection>,
        shared: &Shared,
    ) -> Result<Option<Option<u64>>> {
        let mut first = true;
        loop {
            match self.attempt(plan, connection, shared, first) {
                Ok(tx_id) => return Ok(Some(tx_id)),
                Err(error) => {
                    let failure = error.downcast_ref::<Failure>();
                    let io = error.downcast_ref::<std::io::Error>();
                    if io.is_some() {
                        *connection = None;
                    } else if !failure.is_some_and(Failure::is_transient) {
                        return Err(error);
                    }
                    first = false;
                    shared.retries.fetch_add(1, Ordering::Relaxed);
                    let wait = if io.is_some() { BEFORE_RECONNECT } else { Duration::ZERO };
                    if shared.stopped() || !shared.sleep(wait) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn attempt(
        &self,
        plan: &Plan,
        connection: &mut Option<Connection>,
        shared: &Shared,
        first: bool,
    ) -> Result<Option<u64>> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(Connection::open(&shared.address, QUERY_LIMIT)?),
        };
        if !first {
            connection.rollback()?;
            // Without an answer to its commit an attempt may still have been committed.
            let counter = self.counter(connection)?;
            if counter == plan.n {
                return Ok(None);
            }
            ensure!(counter + 1 == plan.n, "the counter is {counter} before {}", plan.n);
        }
        connection.begin()?;
        self.statements(plan, connection)?;
        connection.commit()
    }

    fn counter(&self, connection: &mut Connection) -> Result<u64> {
        let rows =
            connection.run("MATCH (w:Writer {id: $w}) RETURN w.n", params! { "w" => self.id })?;
        let counter = rows.first().and_then(|row| row[0].as_int());
        Ok(counter.context("the writer's counter is gone")?.try_into()?)
    }

    /// Each statement says how much it found or made, and that is known before.
    fn statements(&self, plan: &Plan, connection: &mut Connection) -> Result<()> {
        let mut run = |query: &str, params: &Map, expected: i64| {
            let rows = connection.run(query, params.clone())?;
            let count = rows.first().and_then(|row| row[0].as_int());
            ensure!(count == Some(expected), "{count:?} instead of {expected}: {query}");
            Ok(())
        };
        run(TRANSFER, &plan.transfer, 1)?;
        run(CREATE, &plan.create, plan.hubs.into())?;
        if let Some((query, params, found)) = &plan.change {
            run(query, params, *found)?;
        }
        if let Some(position) = plan.delete {
            let Live { n, made } = self.live[position];
            run(DELETE, &params! { "w" => self.id, "m" => n.cast_signed() }, made)?;
        }
        Ok(())
    }

    fn plan(&mut self) -> Plan {
        let n = self.committed + 1;
        let made = 5 + self.random.below(11);
        let hubs = 2 + self.random.below(4);
        let low = self.random.below(ACCOUNTS - 1);
        let high = low + 1 + self.random.below(ACCOUNTS - 1 - low);
        let amount = if self.random.one_in(2) { 1 } else { -1 };
        let delete = (self.live.len() >= self.kept)
            .then(|| self.random.below(self.live.len().div_ceil(2) as u32) as usize);
        let change = (!self.live.is_empty() && self.random.one_in(2)).then(|| self.change());
        let items = (0..made).map(|i| self.item(n, i)).collect::<Vec<_>>();
        let mut seq = params! {
            "made" => made, "hubs" => hubs, "note" => format!("transaction {n}"),
        };
        if let Some(position) = delete {
            seq.insert("deleted".to_owned(), self.live[position].n.cast_signed().into());
        }
        let create = params! {
            "w" => self.id, "n" => n.cast_signed(), "seq" => seq, "items" => items,
            "hub" => self.random.below(HUBS), "hubs" => hubs,
        };
        let transfer = params! { "low" => low, "high" => high, "amount" => amount };
        Plan { n, made: made.into(), hubs, transfer, create, change, delete }
    }

    fn change(&mut self) -> (&'static str, Map, i64) {
        let Live { n: m, made } = self.live[self.random.below(self.live.len() as u32) as usize];
        let query = if self.random.one_in(2) { CHANGE_AND_MARK } else { CHANGE_AND_CLEAR };
        let text = format!("item changed {}", self.words(1500));
        (query, params! { "w" => self.id, "m" => m.cast_signed(), "text" => text }, made)
    }

    fn item(&mut self, n: u64, i: u32) -> Map {
        let words = self.words(380);
        let text = format!("item {} {n} {i} {words}", self.id);
        let first = f64::from(i + 1) / 2.0;
        let others = (1..VECTOR_SIZE).map(|_| f64::from(self.random.below(2001)) / 500.0 - 2.0);
        let vector = [first].into_iter().chain(others).collect::<Vec<_>>();
        let mut numbers = vec![self.random.next().cast_signed(); self.random.below(12) as usize];
        numbers.push(n.cast_signed());
        let mut item = params! {
            "writer" => self.id, "n" => n.cast_signed(), "i" => i, "len" => text.len() as i64,
            "text" => text, "vec" => vector, "nums" => numbers,
            "serial" => format!("{}-{n}-{i}", self.id),
        };
        if self.generation == Generation::Five {
            // a point of two dimensions: the code of its system, x and y
            let place = vec![7203.into(), (n as f64).into(), f64::from(i).into()];
            item.insert("place".to_owned(), Value::Struct(b'X', place));
        }
        // beyond one dynamic record: 1 to 20 KB
        let blob: Option<(Value, usize)> = match self.random.below(24) {
            0 => {
                let words = self.words(20_000);
                Some((words.as_str().into(), words.len()))
            }
            1 => {
                let count = 120 + self.random.below(2300) as usize;
                let longs = (0..count).map(|_| self.random.next().cast_signed());
                Some((longs.collect::<Vec<_>>().into(), count))
            }
            _ => None,
        };
        if let Some((blob, size)) = blob {
            item.insert("blob".to_owned(), blob);
            item.insert("blob_len".to_owned(), (size as i64).into());
        }
        item
    }

    /// Random words of up to `size_max` bytes in all, not less than a twentieth of that.
    fn words(&mut self, size_max: u32) -> String {
        let size = size_max / 20 + self.random.below(size_max - size_max / 20);
        let mut words = String::new();
        while words.len() < size as usize {
            words += &format!("{:x} ", self.random.next());
        }
        words.truncate(size as usize);
        words
    }
}
