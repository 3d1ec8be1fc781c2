//! What happened in a drill, as the clients and the sampler saw it: kept in memory, and on disk as lines of JSON.

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since the beginning.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. A `session` is one connection; an `id` is one row, never tried twice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A client is about to send a row.
    Attempted { session: u32, id: u64 },
    /// It was told that the row is there.
    Acknowledged { session: u32, id: u64 },
    /// It was told something else. `refused`: that the row is not there, and never will be.
    Failed { session: u32, id: u64, refused: bool, error: String },
    /// A client could not log in, or a read failed.
    Unserved { session: u32, error: String },
    /// A client counted the rows, and the money, on this server.
    Counted { session: u32, server: u32, rows: u64, money: i64 },
    /// A server was asked, some time after `sent`, whether it takes writes; `None` when it did not answer.
    Asked { server: u32, sent: u64, writable: Option<bool> },
    /// What a server has in the end: every row as often as it is there.
    Found { server: u32, ids: Vec<u64>, money: i64 },
    /// What was done to the servers, or seen of them: for the reader.
    Note { text: String },
}

/// Where all threads of a drill write to.
#[derive(Clone, Debug)]
pub struct Recorder {
    began: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Recorder {
    pub fn new() -> Self {
        Self { began: Instant::now(), events: Arc::default() }
    }

    /// Microseconds since the beginning.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("a drill does not take so long")
    }

    /// Writes down what happens now. The time is taken under the lock, so that the events are in order.
    pub fn record(&self, what: What) {
        let mut events = self.events.lock().expect("nobody panics holding it");
        events.push(Event { at: self.now(), what });
    }

    /// For the reader.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into();
        println!("  {:>8.3} s  {text}", self.now() as f64 / 1e6);
        self.record(What::Note { text });
    }

    /// Rows acknowledged up to now, and when the last one was.
    pub fn acknowledged(&self) -> (usize, u64) {
        let events = self.events.lock().expect("nobody panics holding it");
        let times = events.iter().filter(|event| matches!(event.what, What::Acknowledged { .. })).map(|event| event.at);
        times.fold((0, 0), |(count, _), at| (count + 1, at))
    }

    pub fn history(&self) -> Vec<Event> {
        self.events.lock().expect("nobody panics holding it").clone()
    }
}

/// Writes a history, one event a line.
pub fn write(history: &[Event], path: &Path) {
    let lines: String =
        history.iter().map(|event| serde_json::to_string(event).expect("an event as JSON") + "\n").collect();
    std::fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory for histories");
    std::fs::write(path, lines).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Reads it back.
pub fn read(path: &Path) -> Vec<Event> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}
