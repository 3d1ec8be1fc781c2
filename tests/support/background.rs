//! The one background thread of the harness: it runs the SQL clients' futures, and it starts the child processes.
//!
//! Children are started from here because PR_SET_PDEATHSIG fires when the *thread* that started the child ends, and a
//! test may start a cluster on a thread that ends early. This thread ends with the process.

use std::future::Future;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use tokio::runtime::Handle;

/// Runs a future to its end on the background runtime; blocks the caller, who may be inside a runtime of its own.
pub fn block_on<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (done, result) = mpsc::sync_channel(1);
    handle().spawn(async move {
        // The receiver is gone only when the caller's thread is.
        let _ = done.send(future.await);
    });
    result.recv().expect("the background task panicked: see its message above")
}

/// Starts a child process, as a child of the background thread.
pub fn spawn(mut command: Command) -> std::io::Result<Child> {
    block_on(async move { command.spawn() })
}

fn handle() -> &'static Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let (ready, handle) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("harness".to_owned())
            .spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
                ready.send(runtime.handle().clone()).expect("the starter waits for this");
                runtime.block_on(std::future::pending::<()>());
            })
            .expect("a thread for the harness");
        handle.recv().expect("the harness thread started")
    })
}
