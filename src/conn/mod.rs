//! A MySQL connection either way: sockets, TLS, the connection phase. The only room with sockets and TLS,
//! and the two boards where the data plane, the control plane and the operator's side meet.

mod quick;
mod registry;
mod watch;

pub use quick::*;
pub use registry::{FIRST_ID, Registry, Session, SessionRow};
pub use watch::{TopologyPublisher, TopologyWatch, topology_channel};
