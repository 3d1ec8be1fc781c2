//! Programs of the operator's, beside a failover.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Longest that a hook's words are told, in bytes.
const WORDS_BYTES_MOST: usize = 1000;

/// Why a hook did not do what it is for.
#[derive(Debug, Error)]
pub enum HookError {
    /// It could not be started.
    #[error("{0}: cannot be run: {1}")]
    Start(String, #[source] std::io::Error),
    /// It ended with another status than 0.
    #[error("{program}: {status}: {words}")]
    Status {
        /// Its path.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote to standard error.
        words: String,
    },
    /// It took too long, and was killed.
    #[error("{0}: not done within {1} ms, and ended")]
    Timeout(String, u128),
}

/// Runs a program with a text on its standard input; it has done its part when it ends with status 0. Cancelled, it kills it.
///
/// # Errors
/// It could not be started, ended otherwise, or took too long.
pub async fn run_hook(program: &Path, input: &str, limit: Duration) -> Result<(), HookError> {
    let name = program.display().to_string();
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| HookError::Start(name.clone(), error))?;
    let stdin = child.stdin.take();
    let talk = async {
        if let Some(mut stdin) = stdin {
            // A hook need not read what it is told.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    match timeout(limit, talk).await {
        Err(_elapsed) => Err(HookError::Timeout(name, limit.as_millis())),
        Ok(Err(error)) => Err(HookError::Start(name, error)),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let from = words.char_indices().map(|(at, _)| at).find(|at| words.len() - at <= WORDS_BYTES_MOST);
            let words = words[from.unwrap_or(words.len())..].to_owned();
            Err(HookError::Status { program: name, status: output.status.to_string(), words })
        }
    }
}
