//! A network between client and service that can be made to stand still, to lead elsewhere, and to
//! keep what passes.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

#[derive(Debug, Default)]
struct Network {
    service: Mutex<String>,
    stands_still: AtomicBool,
    connections: AtomicUsize,
    /// Where what passes is kept.
    captures: Option<PathBuf>,
}

/// Passes on what comes to its address.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens, on the loopback interface.
    pub address: String,
    network: Arc<Network>,
}

impl Proxy {
    /// A network that leads to a service.
    pub fn to(service: &str) -> Result<Self> {
        Self::start(service, None)
    }

    /// The same; what passes on the `n`th connection, from 0 on, is written to `<n>.request` and
    /// `<n>.response` in a folder. A byte is in its file before it is passed on.
    pub fn recording(service: &str, captures: &Path) -> Result<Self> {
        Self::start(service, Some(captures.to_owned()))
    }

    fn start(service: &str, captures: Option<PathBuf>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let network = Arc::new(Network { captures, ..Network::default() });
        let proxy = Self { address, network: Arc::clone(&network) };
        proxy.lead_to(service);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(io::Result::ok) {
                let number = network.connections.fetch_add(1, Ordering::SeqCst);
                let network = Arc::clone(&network);
                std::thread::spawn(move || {
                    if let Err(error) = network.connect(client, number) {
                        eprintln!("testkit: a connection of the proxy: {error:#}");
                    }
                });
            }
        });
        Ok(proxy)
    }

    /// New connections go there.
    pub fn lead_to(&self, service: &str) {
        let mut place = self.network.service.lock().unwrap_or_else(PoisonError::into_inner);
        service.clone_into(&mut place);
    }

    /// Nothing passes any more, and nobody is told; or it passes again.
    pub fn stand_still(&self, stands_still: bool) {
        self.network.stands_still.store(stands_still, Ordering::SeqCst);
    }

    /// How many connections clients have made.
    pub fn connections(&self) -> usize {
        self.network.connections.load(Ordering::SeqCst)
    }
}

impl Network {
    fn connect(self: Arc<Self>, client: TcpStream, number: usize) -> Result<()> {
        self.wait();
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The client sees that nobody is there.
        let Ok(service) = TcpStream::connect(service) else { return Ok(()) };
        let (client_too, service_too) = (client.try_clone()?, service.try_clone()?);
        let request = self.capture(number, "request")?;
        let response = self.capture(number, "response")?;
        let network = Arc::clone(&self);
        std::thread::spawn(move || network.pass(client_too, service_too, request));
        self.pass(service, client, response);
        Ok(())
    }

    fn capture(&self, number: usize, direction: &str) -> Result<Option<File>> {
        let path = self.captures.as_ref().map(|dir| dir.join(format!("{number}.{direction}")));
        Ok(path.map(File::create).transpose()?)
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, mut capture: Option<File>) {
        let mut buf = [0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buf) {
            self.wait();
            let bytes = &buf[..read];
            let kept = capture.as_mut().map_or(Ok(()), |file| file.write_all(bytes));
            if kept.and_then(|()| to.write_all(bytes)).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn wait(&self) {
        while self.stands_still.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each connection's bytes are in files of its own, by direction, once they have passed.
    #[test]
    fn what_passes_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = listener.local_addr().unwrap().to_string();
        let echo = std::thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                let (mut stream, mut bytes) = (stream.unwrap(), [0; 3]);
                stream.read_exact(&mut bytes).unwrap();
                bytes.reverse();
                stream.write_all(&bytes).unwrap();
            }
        });
        let proxy = Proxy::recording(&service, dir.path()).unwrap();
        for (asked, answered) in [(*b"abc", *b"cba"), (*b"xyz", *b"zyx")] {
            let mut stream = TcpStream::connect(&proxy.address).unwrap();
            stream.write_all(&asked).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, answered);
        }
        echo.join().unwrap();
        assert_eq!(proxy.connections(), 2);
        for (name, bytes) in [
            ("0.request", "abc"),
            ("0.response", "cba"),
            ("1.request", "xyz"),
            ("1.response", "zyx"),
        ] {
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), bytes, "{name}");
        }
    }
}
