//! The configuration of this moment, replaced as a whole on SIGHUP.

use super::Config;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;

/// A handle on the configuration of this moment; cheap to clone.
#[derive(Clone, Debug)]
pub struct Live(Arc<ArcSwap<Config>>);

impl Live {
    /// Starts with this one.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(config)))
    }

    /// The configuration of this moment: one pointer load. Read it at the start of a connection or statement; do not hold
    /// it across a wait.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Config>> {
        self.0.load()
    }

    /// The same, for keeping it longer.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Config> {
        self.0.load_full()
    }

    /// Replaces it. Only the task that answers SIGHUP does.
    pub fn replace(&self, config: Config) {
        self.0.store(Arc::new(config));
    }
}
