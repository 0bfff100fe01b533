//! A running service, and a sink that keeps everything in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use client::{Base, Client, ClientOptions, Phase, Progress, Sink, SinkError};
use service::ServiceConfig;
use tokio::sync::oneshot;
use wire::api::FileInfo;
use wire::pages::{GROUP_BYTES, Group};

use crate::synthetic::{Knobs, Synthetic, byte_at};

/// Of synthetic copies.
const BLOCK_BYTES: u64 = 1 << 20;

/// A service that stops when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    _stop: oneshot::Sender<()>,
    pub task: tokio::task::JoinHandle<Result<(), service::Error>>,
}

pub async fn serve(knobs: &Arc<Knobs>, change: impl FnOnce(&mut ServiceConfig)) -> Running {
    let mut config = ServiceConfig::new(Arc::new(Synthetic(Arc::clone(knobs))));
    config.listen.set_port(0);
    change(&mut config);
    let (listening, address) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let on_listening = |address| listening.send(address).unwrap();
        service::serve(config, on_listening, async move {
            let _ = stopped.await;
        })
        .await
    });
    Running { address: address.await.unwrap(), _stop: stop, task }
}

pub fn options(address: SocketAddr) -> ClientOptions {
    ClientOptions::new(address.ip().to_string(), address.port())
}

pub fn client(address: SocketAddr) -> Client {
    Client::new(options(address)).unwrap()
}

/// Keeps files in memory and notes what a real sink would rely on.
#[derive(Default)]
pub struct Memory {
    pub files: Mutex<BTreeMap<u32, Kept>>,
    pub fail_write: Mutex<Option<SinkError>>,
    pub write_delay_ms: u64,
    /// What there is of files already, by path.
    pub old: BTreeMap<String, Old>,
    /// From this offset on it cannot be read.
    pub old_fails_from: Option<u64>,
    /// What is known of an offset of it is made wrong so.
    pub old_is_known_as: Option<fn(u64, Group) -> Group>,
}

/// A file of an older copy.
#[derive(Clone, Debug)]
pub struct Old {
    pub bytes: Vec<u8>,
    pub stays: bool,
}

#[derive(Default, Clone, Debug)]
pub struct Kept {
    pub path: String,
    pub bytes: Vec<u8>,
    pub blocks: BTreeMap<u64, [u8; 32]>,
    pub groups: Vec<Group>,
    pub complete: bool,
}

impl Sink for Memory {
    fn create(&self, file: &FileInfo) -> Result<(), SinkError> {
        let mut kept = Kept { path: file.path.clone(), ..Kept::default() };
        if let Some(old) = self.old.get(&file.path).filter(|old| old.stays) {
            kept.bytes.clone_from(&old.bytes);
            kept.bytes.truncate(file.size_bytes as usize);
        }
        let before = self.files.lock().unwrap().insert(file.id, kept);
        assert!(before.is_none(), "{} is created twice", file.path);
        Ok(())
    }

    fn create_unsized(&self, file: &FileInfo) -> Result<(), SinkError> {
        self.create(file)
    }

    fn base(&self, file: u32) -> Option<Base> {
        let path = self.files.lock().unwrap()[&file].path.clone();
        let old = self.old.get(&path)?;
        Some(Base { size_bytes: old.bytes.len() as u64, stays: old.stays })
    }

    fn base_groups(&self, file: u32, range: Range<u64>) -> Result<Vec<Group>, SinkError> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.read_base(file, range.start, &mut bytes)?;
        let groups = (range.start..).step_by(GROUP_BYTES).zip(bytes.chunks(GROUP_BYTES));
        let change = self.old_is_known_as.unwrap_or(|_, group| group);
        Ok(groups.map(|(at, bytes)| change(at, Group::of(at % BLOCK_BYTES, bytes))).collect())
    }

    fn base_block(&self, file: u32, range: Range<u64>) -> Option<[u8; 32]> {
        let path = self.files.lock().unwrap()[&file].path.clone();
        let old = &self.old[&path].bytes;
        let block = old.get(range.start as usize..range.end as usize)?;
        Some(*blake3::hash(block).as_bytes())
    }

    fn read_base(&self, file: u32, offset_bytes: u64, buf: &mut [u8]) -> Result<(), SinkError> {
        if self.old_fails_from.is_some_and(|from| offset_bytes >= from) {
            return Err("a bad sector".into());
        }
        let path = self.files.lock().unwrap()[&file].path.clone();
        buf.copy_from_slice(&self.old[&path].bytes[offset_bytes as usize..][..buf.len()]);
        Ok(())
    }

    fn write_at(&self, file: u32, offset_bytes: u64, bytes: &[u8]) -> Result<(), SinkError> {
        if let Some(error) = self.fail_write.lock().unwrap().take() {
            return Err(error);
        }
        std::thread::sleep(std::time::Duration::from_millis(self.write_delay_ms));
        let mut files = self.files.lock().unwrap();
        let kept = files.get_mut(&file).expect("created");
        assert!(!kept.complete);
        let start = usize::try_from(offset_bytes).unwrap();
        let end = start + bytes.len();
        if kept.bytes.len() < end {
            kept.bytes.resize(end, 0);
        }
        kept.bytes[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn block(&self, file: u32, offset_bytes: u64, hash: [u8; 32]) -> Result<(), SinkError> {
        self.files.lock().unwrap().get_mut(&file).unwrap().blocks.insert(offset_bytes, hash);
        Ok(())
    }

    fn groups(&self, file: u32, offset_bytes: u64, groups: &[Group]) -> Result<(), SinkError> {
        let mut files = self.files.lock().unwrap();
        let kept = &mut files.get_mut(&file).unwrap().groups;
        let first = offset_bytes as usize / GROUP_BYTES;
        kept.resize(kept.len().max(first + groups.len()), Group::default());
        kept[first..][..groups.len()].copy_from_slice(groups);
        Ok(())
    }

    fn complete(&self, file: u32, size_bytes: u64) -> Result<(), SinkError> {
        let mut files = self.files.lock().unwrap();
        let kept = files.get_mut(&file).unwrap();
        assert!(!kept.complete);
        if self.old.contains_key(&kept.path) {
            kept.bytes.truncate(size_bytes as usize);
        }
        assert_eq!(kept.bytes.len() as u64, size_bytes, "{}", kept.path);
        assert_eq!(kept.blocks.len() as u64, size_bytes.div_ceil(1 << 20), "{}", kept.path);
        for (at, hash) in &kept.blocks {
            let start = usize::try_from(*at).unwrap();
            let end = kept.bytes.len().min(start + (1 << 20));
            assert_eq!(blake3::hash(&kept.bytes[start..end]).as_bytes(), hash);
        }
        kept.complete = true;
        Ok(())
    }

    fn discard(&self, file: u32) -> Result<(), SinkError> {
        self.files.lock().unwrap().remove(&file).expect("created");
        Ok(())
    }
}

impl Memory {
    /// Whether all files are complete and have the synthetic bytes; their paths.
    pub fn verified(&self) -> Vec<String> {
        let files = self.files.lock().unwrap();
        for (id, kept) in &*files {
            assert!(kept.complete, "{} is complete", kept.path);
            let right = (0..).zip(&kept.bytes).all(|(at, byte)| *byte == byte_at(*id, at));
            assert!(right, "{} has its bytes", kept.path);
            let groups = (0..).step_by(GROUP_BYTES).zip(kept.bytes.chunks(GROUP_BYTES));
            let groups = groups.map(|(at, bytes)| Group::of(at % BLOCK_BYTES, bytes));
            assert!(groups.eq(kept.groups.iter().copied()), "{} is known", kept.path);
        }
        files.values().map(|kept| kept.path.clone()).collect()
    }
}

/// Notes the last figures.
#[derive(Default)]
pub struct Watch {
    pub phases: Mutex<Vec<(Phase, u64)>>,
    pub done: Mutex<u64>,
}

impl Progress for Watch {
    fn phase(&self, phase: Phase, total_bytes: u64) {
        self.phases.lock().unwrap().push((phase, total_bytes));
    }
    fn done(&self, done_bytes: u64) {
        *self.done.lock().unwrap() = done_bytes;
    }
}
