//! Rate of a full copy over loopback, client and service in one process, without disks: the source
//! gives zeros, the sink forgets. `cargo bench -p client -- [GiB] [streams]`.

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../service/tests/it/synthetic.rs"]
mod synthetic;

use std::sync::Arc;
use std::time::Instant;

use client::{Client, ClientOptions, Sink, SinkError};
use service::{Begun, Catalog, HotCopy, ServiceConfig};
use wire::api::{Checked, Database, ErrorDetail, FileInfo, FileKind, Finished};

struct Forget;

impl Sink for Forget {
    fn create(&self, _: &FileInfo) -> Result<(), SinkError> {
        Ok(())
    }

    fn create_unsized(&self, _: &FileInfo) -> Result<(), SinkError> {
        Ok(())
    }
    fn write_at(&self, _: u32, _: u64, _: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
    fn block(&self, _: u32, _: u64, _: [u8; 32]) -> Result<(), SinkError> {
        Ok(())
    }
    fn complete(&self, _: u32, _: u64) -> Result<(), SinkError> {
        Ok(())
    }
    fn discard(&self, _: u32) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The synthetic source with bytes that cost nothing.
struct Zeros(synthetic::Synthetic, u64);
struct ZerosCopy(Box<dyn HotCopy>, u64);

impl Catalog for Zeros {
    fn databases(&self) -> Result<Vec<Database>, ErrorDetail> {
        self.0.databases()
    }
    fn begin(&self, database: &str, _: Option<&wire::api::After>) -> Result<Begun, ErrorDetail> {
        let mut begun = self.0.begin(database, None)?;
        begun.copy = Box::new(ZerosCopy(begun.copy, self.1));
        Ok(begun)
    }
}

impl HotCopy for ZerosCopy {
    fn read_at(&self, file: u32, offset: u64, buf: &mut [u8]) -> Result<usize, ErrorDetail> {
        if file > 0 {
            return self.0.read_at(file, offset, buf);
        }
        let rest = usize::try_from(self.1.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buf.len().min(rest);
        buf[..length].fill(0);
        Ok(length)
    }
    fn check_whole(&self, file: u32) -> Result<Checked, ErrorDetail> {
        self.0.check_whole(file)
    }
    fn finish(&self) -> Result<Finished, ErrorDetail> {
        self.0.finish()
    }
}

fn resident_peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut numbers = std::env::args().filter_map(|word| word.parse::<u64>().ok());
    let gib = numbers.next().unwrap_or(8);
    let size = gib << 30;
    for parallel in numbers.next().map_or(vec![1, 2, 4, 16], |n| vec![n]) {
        let mut knobs = synthetic::Synthetic::small();
        knobs.files = vec![(FileKind::Record, "neostore.nodestore.db".to_owned(), size)];
        let catalog = Zeros(synthetic::Synthetic(Arc::new(knobs)), size);
        let mut config = ServiceConfig::new(Arc::new(catalog));
        config.listen.set_port(0);
        let (listening, address) = tokio::sync::oneshot::channel();
        let service = tokio::spawn(async move {
            let tell = |address| listening.send(address).expect("someone waits");
            service::serve(config, tell, std::future::pending()).await
        });
        let address = address.await.expect("the service listens");
        let mut options = ClientOptions::new("127.0.0.1", address.port());
        options.parallel = usize::try_from(parallel).expect("few streams");
        let client = Client::new(options).expect("good options");
        let begun = Instant::now();
        client.full("neo4j", Arc::new(Forget), Arc::new(())).await.expect("a copy");
        let rate = size as f64 / begun.elapsed().as_secs_f64() / 1e9;
        println!("{parallel:2} streams: {rate:.2} GB/s, {}", resident_peak());
        service.abort();
    }
}
