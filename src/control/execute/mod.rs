//! Steps on servers: each does one thing, may be done again, and has a limit in time.
//!
//! What is decided here is only how; `failover` decides what, and in which order. Nothing here waits for ever, and nothing is
//! put into an error that is a secret.

mod hand;
mod primary;
mod rejoin;
mod replica;
mod words;

pub use hand::{Access, Hand, StepError};
pub use primary::Closed;
pub use rejoin::Fitness;
pub use replica::Held;
pub use words::Source;
