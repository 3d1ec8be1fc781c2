//! What test processes share: a bounded number of clusters, loopback ports, and a place for their files.
//!
//! All by locked files (`flock`): the kernel gives them back however the process ends.

use super::{PATIENCE, wait_within};
use std::fs::{File, OpenOptions, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

/// Clusters that run at the same time on one machine unless `DBPROXY_TEST_CLUSTERS` says otherwise: each is three
/// servers of about 250 to 500 MiB.
pub const CLUSTERS_AT_ONCE: usize = 2;

/// Below the kernel's ephemeral range (32768 on Linux), so that no outgoing connection takes a reserved port.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// The right to run one cluster; given back when dropped.
#[derive(Debug)]
pub struct Slot(File);

impl Slot {
    /// Waits for a free slot: other tests' clusters come first, for up to 20 minutes.
    pub fn acquire() -> Self {
        let slots =
            std::env::var("DBPROXY_TEST_CLUSTERS").ok().and_then(|n| n.parse().ok()).unwrap_or(CLUSTERS_AT_ONCE);
        wait_within(20 * PATIENCE, "a free cluster slot (does one test hold two clusters?)", || {
            (0..slots.max(1)).find_map(|slot| try_lock(&lock_dir().join(format!("cluster-{slot}"))).map(Slot))
        })
    }
}

/// Loopback ports that nobody else's test uses; given back when dropped.
#[derive(Debug)]
pub struct Ports(Vec<(u16, File)>);

impl Ports {
    /// Reserves `count` ports: locked against other tests, and not in use by anybody now.
    pub fn reserve(count: usize) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let span = PORTS.end - PORTS.start;
        // Processes begin at different places, so that a port just given up rests for a while.
        let start =
            u16::try_from(std::process::id() % u32::from(span)).expect("below the span").wrapping_mul(61) % span;
        let mut ports = Vec::new();
        for _ in 0..span {
            if ports.len() == count {
                break;
            }
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = PORTS.start + (u32::from(start) + u32::from(step)).rem_euclid(u32::from(span)) as u16;
            let Some(lock) = try_lock(&lock_dir().join(format!("port-{port}"))) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                ports.push((port, lock));
            }
        }
        assert_eq!(ports.len(), count, "free loopback ports between {} and {}", PORTS.start, PORTS.end);
        Self(ports)
    }

    /// The reserved ports.
    pub fn numbers(&self) -> Vec<u16> {
        self.0.iter().map(|(port, _)| *port).collect()
    }
}

/// A new empty directory for one cluster or proxy. On a memory filesystem when there is room, since the servers sync.
pub fn scratch_dir(purpose: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = scratch_root().join(format!("dbproxy-{purpose}-{}-{number}", std::process::id()));
    // Only what a process of the same number left before a reboot of its container can be in the way.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("cannot make {}: {error}", dir.display()));
    dir
}

/// `DBPROXY_TEST_DIR`, or `/dev/shm` with 3 GiB to spare, or the temporary directory.
fn scratch_root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        if let Some(dir) = std::env::var_os("DBPROXY_TEST_DIR") {
            return PathBuf::from(dir);
        }
        let shm = Path::new("/dev/shm");
        let room = std::process::Command::new("df").args(["-k", "--output=avail", "/dev/shm"]).output();
        let free_kib: u64 = room
            .ok()
            .and_then(|df| String::from_utf8_lossy(&df.stdout).lines().nth(1)?.trim().parse().ok())
            .unwrap_or(0);
        if free_kib > 3 * 1024 * 1024 { shm.to_owned() } else { std::env::temp_dir() }
    })
}

/// One for all checkouts of this user, since the machine's ports and memory are too.
fn lock_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("dbproxy-locks-{}", rustix::process::getuid().as_raw()));
        std::fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("cannot make {}: {error}", dir.display()));
        dir
    })
}

/// Takes the lock of a file if it is free.
fn try_lock(path: &Path) -> Option<File> {
    let file = open(path);
    match file.try_lock() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(error)) => panic!("cannot lock {}: {error}", path.display()),
    }
}

/// Takes the lock of a file, waiting for it.
pub fn lock(path: &Path) -> File {
    wait_within(Duration::from_secs(600), &format!("the lock {}", path.display()), || try_lock(path))
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
}
