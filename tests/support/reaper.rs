//! Removes a cluster's directory after its test process has died without doing so, and kills what may still run in it.

use super::background;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Waits for a line or for the end of the pipe. A line means that the owner has seen to it; the end without one means that
/// the owner is gone. A process counts as the directory's own only when its command line names the directory.
const SCRIPT: &str = r#"
trap "" INT TERM HUP QUIT
read -r word && exit 0
for pid_file in "$1"/*/pid; do
    [ -e "$pid_file" ] || continue
    pid=$(cat "$pid_file")
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$1/" && kill -KILL "$pid"
done
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" && exit 0
    sleep 0.2
done
"#;

/// A watcher process beside one directory; its pipe is closed by the kernel when the test process ends.
#[derive(Debug)]
pub struct Reaper {
    watcher: Child,
    dir: PathBuf,
}

impl Reaper {
    /// Starts watching over a directory.
    pub fn watch(dir: &Path) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(SCRIPT).arg("reaper").arg(dir);
        // A group of its own: an interrupt from the terminal is for the test, not for the one who cleans up after it.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let watcher = background::spawn(command).expect("sh for the reaper");
        Self { watcher, dir: dir.to_owned() }
    }
}

impl Drop for Reaper {
    /// Removes the directory, then dismisses the watcher.
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("{} is left behind: {error}", self.dir.display());
        }
        if let Some(mut pipe) = self.watcher.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.watcher.wait();
    }
}
