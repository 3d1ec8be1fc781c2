//! What must survive this process: the failover's decisions, one JSON line each, synced before what follows them is done.
//!
//! One process at a time has a journal: it holds a lock on a file beside it. Another that is pointed at the same folder does
//! not act.

use super::tell;
use crate::failover::Record;
use crate::tasks::{Pending, Worker};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Error, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A journal beyond this is begun anew with its last entry; the old one is kept beside it.
const BYTES_MOST: u64 = 16 << 20;
/// Room for some hundred entries.
const ROOM_BYTES: usize = 1 << 18;
/// How long the disk is waited for where there is no limit of another kind.
pub const DISK_MAX: Duration = Duration::from_secs(1);
/// Entries that are kept in memory, to be shown.
const SHOWN_MOST: usize = 1000;

/// The journal of one cluster. Its file is written by a [`Worker`]: a disk may hang, and no task may wait for it without a limit.
pub(super) struct Journal {
    path: Option<PathBuf>,
    /// Used by the worker alone, but for opening.
    place: Option<Arc<Mutex<Place>>>,
    disk: Option<Worker>,
    /// The latest entries, oldest first.
    shown: VecDeque<Record>,
}

/// An entry that is being written.
pub(super) type Writing = Pending<Result<(), Error>>;

struct Place {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Beyond that it is begun anew.
    most: u64,
    /// The last entry, as it was written.
    last: Vec<u8>,
    // Held for as long as this lives.
    _lock: File,
}

/// Whether this process may act.
#[derive(Debug)]
pub(super) enum Opened {
    /// It has the journal.
    Ours(Journal),
    /// Another process has it.
    Taken(PathBuf),
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Journal {
    /// Keeps what it is told in memory only.
    pub(super) fn in_memory() -> Self {
        Self { path: None, place: None, disk: None, shown: VecDeque::new() }
    }

    /// Opens the journal of a cluster in a folder, made if need be. Blocks.
    pub(super) fn open(folder: &Path, cluster: &str) -> Result<Opened, Error> {
        std::fs::create_dir_all(folder)?;
        let lock_path = folder.join(format!("failover-{cluster}.lock"));
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Opened::Taken(lock_path)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let path = folder.join(format!("failover-{cluster}.journal"));
        let shown = read(&path)?;
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let mut bytes = file.metadata()?.len();
        if bytes > 0 && !ends_a_line(&path)? {
            // What was being written when the last run was killed is no entry; the next one begins a line of its own.
            (&file).write_all(b"\n")?;
            bytes += 1;
        }
        sync_folder(&path)?;
        let last = shown.back().map(line_of).transpose()?.unwrap_or_default();
        let place = Place { path: path.clone(), file, bytes, most: BYTES_MOST, last, _lock: lock };
        Ok(Opened::Ours(Self { path: Some(path), place: Some(Arc::new(Mutex::new(place))), disk: None, shown }))
    }

    /// Lets `disk` write.
    #[must_use]
    pub(super) fn written_by(self, disk: Worker) -> Self {
        Self { disk: Some(disk), ..self }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Leaves the file to whoever wants it: from now on this is a journal in memory.
    pub(super) fn let_go(&mut self) {
        self.path = None;
        // Behind what is being written, since closing the file may block as well.
        if let (Some(place), Some(disk)) = (self.place.take(), &self.disk) {
            let _ = disk.submit(move || drop(place), drop);
        }
    }

    /// Whether there is room for some entries more, as one that could not be written wants to know before it goes on. Blocks.
    pub(super) fn has_room(&self) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let trial = path.with_extension("room");
        let tried = File::create(&trial).and_then(|mut file| {
            file.write_all(&vec![b'\n'; ROOM_BYTES])?;
            file.sync_all()
        });
        let removed = std::fs::remove_file(&trial);
        tried.and(removed)
    }

    /// The latest entry.
    pub(super) fn last(&self) -> Option<&Record> {
        self.shown.back()
    }

    /// The latest entries, oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Record> {
        self.shown.iter()
    }

    /// Begins to write an entry. It is on the disk when the result says so; `None`: there is no disk to wait for. An entry whose
    /// result is given up is taken back when it is written after all.
    ///
    /// # Errors
    /// It cannot even be begun.
    pub(super) fn write(&mut self, record: &Record) -> Result<Option<Writing>, Error> {
        self.shown.push_back(record.clone());
        if self.shown.len() > SHOWN_MOST {
            self.shown.pop_front();
        }
        let (Some(place), Some(disk)) = (&self.place, &self.disk) else { return Ok(None) };
        let (line, place, same) = (line_of(record)?, place.clone(), place.clone());
        let write = move || lock(&place).append(line);
        let take_back = move |written: Result<(), Error>| {
            if written.is_ok() {
                lock(&same).take_back();
            }
        };
        disk.submit(write, take_back).map(Some)
    }
}

fn line_of(record: &Record) -> Result<Vec<u8>, Error> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// Writes an entry; when this returns it is on the disk.
    fn append(&mut self, line: Vec<u8>) -> Result<(), Error> {
        if self.bytes > self.most
            && let Err(error) = self.begin_anew()
        {
            tell::journal_not_begun_anew(&self.path, &error);
            self.most = self.bytes + BYTES_MOST;
        }
        if let Err(error) = self.file.write_all(&line).and_then(|()| self.file.sync_data()) {
            // What is not said to be written must not be found there later.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += line.len() as u64;
        self.last = line;
        Ok(())
    }

    /// Takes the last entry back: nobody acted on it.
    fn take_back(&mut self) {
        self.bytes -= self.last.len() as u64;
        if let Err(error) = self.file.set_len(self.bytes).and_then(|()| self.file.sync_data()) {
            tell::journal_failed(Some(&self.path), &error);
        }
    }

    /// Goes on in a file that has the last entry alone.
    fn begin_anew(&mut self) -> Result<(), Error> {
        let old = self.path.with_extension("journal.1");
        let _ = std::fs::remove_file(&old);
        std::fs::hard_link(&self.path, &old)?;
        write_file(&self.path, &self.last)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        (self.bytes, self.most) = (self.last.len() as u64, BYTES_MOST);
        Ok(())
    }
}

/// What earlier runs left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Past {
    /// Nothing, or nothing that matters here.
    Nothing,
    /// The cluster was found fit for a failover.
    Fit,
    /// A change of the primary was under way.
    Changing,
}

/// What earlier runs left of this cluster.
#[must_use]
pub fn past(folder: Option<&Path>, cluster: &str) -> Past {
    let Some(folder) = folder else { return Past::Nothing };
    let entries = read(&folder.join(format!("failover-{cluster}.journal"))).unwrap_or_default();
    if entries.back().is_some_and(|record| record.durable.change.is_some()) {
        Past::Changing
    } else if fit_mark(folder, cluster).exists() {
        Past::Fit
    } else {
        Past::Nothing
    }
}

/// Remembers that the cluster was found fit.
///
/// # Errors
/// The folder cannot be written to.
pub fn note_fit(folder: &Path, cluster: &str) -> Result<(), Error> {
    write_file(&fit_mark(folder, cluster), b"found fit for a failover by dbproxy doctor\n")
}

fn fit_mark(folder: &Path, cluster: &str) -> PathBuf {
    folder.join(format!("failover-{cluster}.fit"))
}

/// The entries of a journal. A line that is none was cut off by a crash, or is of another version: it is left out.
fn read(path: &Path) -> Result<VecDeque<Record>, Error> {
    let mut entries = VecDeque::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(entries),
        Err(error) => return Err(error),
    };
    for line in BufReader::new(file).split(b'\n') {
        if let Ok(record) = serde_json::from_slice(&line?) {
            entries.push_back(record);
            if entries.len() > SHOWN_MOST {
                entries.pop_front();
            }
        }
    }
    Ok(entries)
}

fn ends_a_line(path: &Path) -> Result<bool, Error> {
    Ok(std::fs::read(path)?.ends_with(b"\n"))
}

/// Writes a file so that there is always a whole one of that name.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    sync_folder(path)
}

/// A new name is on the disk only when its folder is.
fn sync_folder(path: &Path) -> Result<(), Error> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::{Durable, Moment};
    use crate::topology::{Epoch, ServerId};
    use std::collections::BTreeSet;

    fn record(epoch: u64) -> Record {
        let durable = Durable { epoch: Epoch(epoch), ackers: BTreeSet::from([ServerId(1)]), ..Durable::default() };
        Record { at: Moment(epoch), what: format!("epoch {epoch}"), report: None, durable }
    }

    fn open(folder: &Path) -> Journal {
        match Journal::open(folder, "c").unwrap() {
            Opened::Ours(journal) => journal,
            Opened::Taken(path) => panic!("{} is taken", path.display()),
        }
    }

    impl Journal {
        /// Writes without a worker.
        fn append(&mut self, record: &Record) -> Result<(), Error> {
            self.write(record)?;
            let line = line_of(record)?;
            self.place.as_ref().map_or(Ok(()), |place| lock(place).append(line))
        }
    }

    #[tokio::test]
    async fn an_entry_that_a_slow_disk_writes_after_it_was_given_up_is_not_there() {
        let (disk, _thread) = Worker::start("disk").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path()).written_by(disk.clone());
        let long = Duration::from_secs(10);
        let mut first = journal.write(&record(1)).unwrap().unwrap();
        first.within(long).await.unwrap().unwrap();
        let (release, hangs) = std::sync::mpsc::channel::<()>();
        let _hung = disk.submit(move || hangs.recv().is_ok(), |_| ()).unwrap();
        let mut second = journal.write(&record(2)).unwrap().unwrap();
        assert!(second.within(Duration::from_millis(20)).await.is_err());
        journal.let_go();
        release.send(()).unwrap();
        disk.run(long, || ()).await.unwrap();
        assert_eq!(open(folder.path()).last(), Some(&record(1)), "and the file is free");
    }

    #[test]
    fn the_last_entry_survives() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        assert!(journal.last().is_none());
        journal.append(&record(1)).unwrap();
        journal.append(&record(2)).unwrap();
        drop(journal);
        let journal = open(folder.path());
        assert_eq!(journal.last(), Some(&record(2)));
        assert_eq!(journal.entries().count(), 2);
    }

    #[test]
    fn an_entry_that_was_cut_off_is_none_and_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).append(&record(1)).unwrap();
        let path = folder.path().join("failover-c.journal");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
        let mut journal = open(folder.path());
        assert_eq!(journal.last(), Some(&record(1)));
        journal.append(&record(3)).unwrap();
        drop(journal);
        assert_eq!(open(folder.path()).last(), Some(&record(3)));
    }

    #[test]
    fn what_an_earlier_run_left_is_known() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(past(Some(folder.path()), "c"), Past::Nothing);
        open(folder.path()).append(&record(1)).unwrap();
        assert_eq!(past(Some(folder.path()), "c"), Past::Nothing, "that it ran says nothing of the cluster");
        note_fit(folder.path(), "c").unwrap();
        assert_eq!(past(Some(folder.path()), "c"), Past::Fit);
        assert_eq!(past(None, "c"), Past::Nothing);
    }

    #[test]
    fn a_second_process_does_not_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path());
        assert!(matches!(Journal::open(folder.path(), "c").unwrap(), Opened::Taken(_)));
        assert!(matches!(Journal::open(folder.path(), "other").unwrap(), Opened::Ours(_)));
        drop(first);
        open(folder.path());
    }

    #[test]
    fn a_journal_that_is_too_long_begins_anew_with_its_last_entry() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        let long = Record { what: "x".repeat(1 << 20), ..record(1) };
        for _ in 0..17 {
            journal.append(&long).unwrap();
        }
        journal.append(&record(9)).unwrap();
        drop(journal);
        assert!(std::fs::metadata(folder.path().join("failover-c.journal")).unwrap().len() < 4 << 20);
        assert_eq!(open(folder.path()).last(), Some(&record(9)));
    }
}
