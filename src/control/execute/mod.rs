//! Steps on servers: each does one thing, may be done again, and has a limit in time.
//!
//! What is decided here is only how; `failover` decides what, and in which order. Nothing here waits for ever, and nothing is
//! put into an error that is a secret.

mod dump;
mod events;
mod hand;
mod hook;
mod primary;
mod rejoin;
mod replica;
mod run;
mod sessions;
mod vitals;
mod words;

pub(super) use events::{Altered, Runs, Scheduled};
pub use hand::{Access, Hand, StepError};
pub use hook::{HookError, run_hook};
pub use primary::Closed;
pub use rejoin::Fitness;
pub use replica::Held;
pub use run::{Executor, Means};
pub use sessions::Busy;
pub use words::Source;
