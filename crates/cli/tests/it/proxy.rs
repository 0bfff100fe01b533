//! A network between client and service that can be made to stand still, and to lead elsewhere.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Network {
    service: Mutex<String>,
    stands_still: AtomicBool,
}

/// Passes on what comes to its address.
pub struct Proxy {
    pub address: String,
    network: Arc<Network>,
}

impl Proxy {
    pub fn to(service: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let network = Arc::new(Network::default());
        let proxy = Self { address, network: Arc::clone(&network) };
        proxy.lead_to(service);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let network = Arc::clone(&network);
                std::thread::spawn(move || network.connect(client));
            }
        });
        proxy
    }

    /// New connections go there.
    pub fn lead_to(&self, service: &str) {
        *self.network.service.lock().unwrap() = service.to_owned();
    }

    /// Nothing passes any more, and nobody is told; or it passes again.
    pub fn stand_still(&self, stands_still: bool) {
        self.network.stands_still.store(stands_still, Ordering::SeqCst);
    }
}

impl Network {
    fn connect(self: Arc<Self>, client: TcpStream) {
        self.wait();
        let service = self.service.lock().unwrap().clone();
        let Ok(service) = TcpStream::connect(service) else { return };
        let (client_too, service_too) = (client.try_clone().unwrap(), service.try_clone().unwrap());
        let network = Arc::clone(&self);
        std::thread::spawn(move || network.pass(client_too, service_too));
        self.pass(service, client);
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buf = [0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buf) {
            self.wait();
            if to.write_all(&buf[..read]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(std::net::Shutdown::Both);
        let _ = to.shutdown(std::net::Shutdown::Both);
    }

    fn wait(&self) {
        while self.stands_still.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
