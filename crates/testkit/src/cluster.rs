//! A cluster of 3.0: three members on this host, which choose a master among them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::rest;
use crate::server::{Builder, Server};
use crate::versions::Version;

/// As many as it takes for two to outvote one.
pub const MEMBERS: usize = 3;

/// Formed, and after its master was killed or a member came back with a copy of the whole store.
const FORM_LIMIT: Duration = Duration::from_secs(120);
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// A lost master is noticed within seconds, not within the 40 that are the default.
const SETTINGS: [(&str, &str); 3] =
    [("dbms.mode", "HA"), ("ha.heartbeat_interval", "1s"), ("ha.heartbeat_timeout", "5s")];

/// Three servers; dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Server>,
}

impl Cluster {
    /// Starts members with homes in `dir`, and waits until they are a cluster. `configure` is for
    /// what all of them are to have besides.
    pub fn start(
        version: &Version,
        dir: &Path,
        configure: impl Fn(Builder) -> Builder,
    ) -> Result<Cluster> {
        let addresses = free_addresses(2 * MEMBERS)?;
        let (coordination, data) = addresses.split_at(MEMBERS);
        let all = coordination.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        let builders =
            (1..=MEMBERS).zip(coordination).zip(data).map(|((id, coordination), data)| {
                let builder = Server::builder(version)
                    .home(dir.join(format!("member-{id}")))
                    .heap("256m")
                    .setting("ha.server_id", id)
                    .setting("ha.initial_hosts", &all)
                    .setting("ha.host.coordination", coordination)
                    .setting("ha.host.data", data);
                let set =
                    |builder: Builder, (name, value): &(&str, &str)| builder.setting(name, value);
                configure(SETTINGS.iter().fold(builder, set))
            });
        // Each waits for the others before it answers.
        let members = together(builders, Builder::start)?;
        let cluster = Cluster { members };
        cluster.master()?;
        Ok(cluster)
    }

    /// The members, in the order of their ids.
    pub fn members(&self) -> &[Server] {
        &self.members
    }

    /// One of them, to be killed, stopped or started again.
    pub fn member(&mut self, index: usize) -> &mut Server {
        &mut self.members[index]
    }

    /// Waits until one member is the master and all others that run are its slaves; which one.
    pub fn master(&self) -> Result<usize> {
        let deadline = Instant::now() + FORM_LIMIT;
        loop {
            let running = || (0..).zip(&self.members).filter(|(_, one)| one.pid().is_some());
            let roles = running().map(|(index, member)| (index, role(member))).collect::<Vec<_>>();
            let with = |wanted: &str| {
                let is_it = |role: &Result<String>| role.as_ref().is_ok_and(|role| role == wanted);
                roles.iter().filter(|(_, role)| is_it(role)).map(|(index, _)| *index).collect()
            };
            let (masters, slaves): (Vec<usize>, Vec<usize>) = (with("master"), with("slave"));
            if let [master] = masters[..]
                && slaves.len() + 1 == roles.len()
            {
                return Ok(master);
            }
            ensure!(Instant::now() < deadline, "no cluster after {FORM_LIMIT:?}: {roles:?}");
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Waits until a member has that transaction.
    pub fn caught_up(&self, index: usize, tx_id: u64) -> Result<()> {
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        loop {
            let last = rest::last_tx_id(&self.members[index])?;
            if last >= tx_id {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("member {index} is at {last} after {CATCH_UP_LIMIT:?}, not at {tx_id}");
            }
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Stops all members that run, cleanly.
    pub fn stop(&mut self) -> Result<()> {
        let running = self.members.iter_mut().filter(|member| member.pid().is_some());
        together(running, Server::stop).map(drop)
    }

    /// Starts all members again, and waits until they are a cluster; which one is the master.
    pub fn start_again(&mut self) -> Result<usize> {
        together(self.members.iter_mut(), Server::start_again)?;
        self.master()
    }
}

/// `master` or `slave`; something else while that is not decided.
fn role(member: &Server) -> Result<String> {
    let role = rest::bean(member, "High%20Availability", "Role")?;
    Ok(role.as_str().context("a role that is no text")?.to_owned())
}

/// Does something with all of them at once.
fn together<I: Send, T: Send>(
    all: impl Iterator<Item = I>,
    work: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let threads = all.map(|one| scope.spawn(move || work(one))).collect::<Vec<_>>();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().ok().context("a thread of the cluster panicked")?
        };
        threads.into_iter().map(join).collect()
    })
}

/// Addresses of this host that nobody listens at; members must know each other's before they start.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let held = (0..count).map(|_| TcpListener::bind(any)).collect::<Result<Vec<_>, _>>()?;
    Ok(held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}
