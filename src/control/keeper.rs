//! Keeps scheduled events running where the writes are.
//!
//! A replica does not tell an event that its primary runs from one that the operator has disabled there (`execute/events.rs`). So what the
//! primary runs is looked at again and again, and remembered in a file beside the journal; what a new primary has as "my source runs it",
//! and the one before it ran, is enabled there. All of this is beside the failover: it never waits for it.

use super::execute::{Access, Altered, Hand, Runs, Scheduled, StepError};
use super::journal::{DISK_MAX, write_file};
use super::tell;
use crate::failover::Event;
use crate::tasks::Worker;
use crate::topology::ServerId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// Time between two looks at the primary's events: an event that was created or altered later than that before its primary was lost counts
/// as it was before.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time until the next look where one failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long one look may take, with all that follows from it.
const LIMIT: Duration = Duration::from_secs(30);

/// Who takes the writes, and since which epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) server: ServerId,
    pub(super) epoch: u64,
}

/// All that it needs.
pub(super) struct Keeper {
    pub(super) addresses: Vec<Arc<str>>,
    pub(super) access: Access,
    /// Whether this process may act for the cluster.
    pub(super) lease: Arc<AtomicBool>,
    /// What reads and writes the file.
    pub(super) disk: Worker,
    /// Where what the primary runs is remembered; `None`: in memory.
    pub(super) file: Option<PathBuf>,
    pub(super) events: mpsc::Sender<Event>,
}

/// What is remembered of one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    /// The primary runs it.
    Enabled,
    /// Nobody should.
    Disabled,
    /// The primary should, and refused to.
    Due,
}

/// What the primary runs, as last seen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Known {
    /// The epoch of that look; `None`: there was none.
    epoch: Option<u64>,
    events: BTreeMap<String, Mark>,
}

/// What follows from a look.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan<'a> {
    next: Known,
    wake: Vec<&'a Scheduled>,
    /// Names of those of which it is not known whether they should run.
    unclear: Vec<String>,
}

impl Known {
    fn plan<'a>(&self, epoch: u64, events: &'a [Scheduled]) -> Plan<'a> {
        let anew = self.epoch != Some(epoch);
        let mut plan = Plan { next: Self { epoch: Some(epoch), ..Self::default() }, ..Plan::default() };
        for event in events {
            let before = self.events.get(&event.name);
            let mark = match (event.runs, before) {
                (Runs::Enabled, _) => Mark::Enabled,
                (Runs::Disabled, _) => Mark::Disabled,
                (Runs::Elsewhere, Some(Mark::Due)) => Mark::Due,
                (Runs::Elsewhere, Some(Mark::Enabled)) if anew => Mark::Due,
                (Runs::Elsewhere, None) if anew && self.epoch.is_some() => {
                    plan.unclear.push(event.name.clone());
                    Mark::Disabled
                }
                // The operator's doing, under this primary or an earlier one.
                (Runs::Elsewhere, _) => Mark::Disabled,
            };
            if mark == Mark::Due {
                plan.wake.push(event);
            }
            plan.next.events.insert(event.name.clone(), mark);
        }
        plan
    }
}

impl Keeper {
    /// Looks where `target` says, until nobody takes what it tells any more.
    pub(super) async fn run(self, mut target: watch::Receiver<Option<Target>>) {
        let mut known = Known::default();
        loop {
            let Some(at) = *target.borrow_and_update() else {
                if target.changed().await.is_err() {
                    return;
                }
                continue;
            };
            // Another process may have written it since.
            known = self.remembered().await.unwrap_or(known);
            let mut told = None;
            loop {
                let pause = tokio::select! {
                    pause = self.look(at, &mut known, &mut told) => pause,
                    changed = target.changed() => if changed.is_err() { return } else { break },
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    changed = target.changed() => if changed.is_err() { return } else { break },
                }
            }
        }
    }

    /// One look, and what follows from it; the time until the next one.
    async fn look(&self, at: Target, known: &mut Known, told: &mut Option<Altered>) -> Duration {
        match timeout(LIMIT, self.keep(at, known, told)).await {
            Ok(Ok(())) => INTERVAL,
            // Whether it answers is the probes' to tell.
            Ok(Err(_)) | Err(_) => RETRY,
        }
    }

    async fn keep(&self, at: Target, known: &mut Known, told: &mut Option<Altered>) -> Result<(), StepError> {
        let Some(address) = self.addresses.get(usize::from(at.server.0)) else { return Ok(()) };
        let mut hand = Hand::log_in(address, &self.access).await?;
        let events = hand.events().await?;
        if events.iter().any(|event| event.read_only) {
            return Err(StepError::Unfit("it is read-only".to_owned()));
        }
        let mut plan = known.plan(at.epoch, &events);
        if !plan.wake.is_empty() || !plan.unclear.is_empty() {
            if !self.lease.load(Ordering::Acquire) || hand.read_epoch().await? > at.epoch {
                return Err(StepError::Unfit("another dbproxy acts, or another server takes the writes".to_owned()));
            }
            let altered = hand.wake_events(&plan.wake).await?;
            for name in &altered.done {
                plan.next.events.insert(name.clone(), Mark::Enabled);
            }
            let idle = !altered.done.is_empty() && !hand.schedules().await?;
            // What is refused is tried again with each look, and told when it changes.
            if told.as_ref() != Some(&altered) {
                self.tell(at.server, address, &altered, &plan.unclear, idle).await;
                *told = Some(altered);
            }
        }
        if *known != plan.next {
            *known = plan.next;
            self.remember(known).await;
        }
        Ok(())
    }

    async fn tell(&self, server: ServerId, address: &str, altered: &Altered, unclear: &[String], idle: bool) {
        tell::events_woken(address, altered, unclear, idle);
        let mut said = Vec::new();
        if !altered.done.is_empty() {
            said.push(format!("runs the events {} from now on", altered.done.join(", ")));
        }
        if idle {
            said.push("its event_scheduler is off, so nothing runs".to_owned());
        }
        if !altered.refused.is_empty() {
            said.push(format!("does not run {}", altered.refused.join(", ")));
        }
        if !unclear.is_empty() {
            said.push(format!(
                "has the events {}, of which it is not known whether they should run: ALTER EVENT ... ENABLE",
                unclear.join(", ")
            ));
        }
        let text = format!("server {} {}", server.0, said.join("; "));
        // The owner is gone only when the process ends.
        let _ = self.events.send(Event::Told { text }).await;
    }

    /// `None` also where the disk hangs: then what is in memory counts.
    async fn remembered(&self) -> Option<Known> {
        let file = self.file.clone()?;
        let read = self.disk.run(DISK_MAX, move || std::fs::read(file)).await;
        serde_json::from_slice(&read.flatten().ok()?).ok()
    }

    async fn remember(&self, known: &Known) {
        let Some(file) = &self.file else { return };
        let written = match serde_json::to_vec(known) {
            Ok(bytes) => {
                let file = file.clone();
                self.disk.run(DISK_MAX, move || write_file(&file, &bytes)).await.flatten()
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = written {
            tell::events_forgotten(file, &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(epoch: u64, marks: &[(&str, Mark)]) -> Known {
        let events = marks.iter().map(|(name, mark)| ((*name).to_owned(), *mark)).collect();
        Known { epoch: Some(epoch), events }
    }

    fn woken(plan: &Plan<'_>) -> Vec<String> {
        plan.wake.iter().map(|event| event.name.clone()).collect()
    }

    #[test]
    fn a_new_primary_runs_what_the_one_before_it_ran() {
        let before = known(1, &[("ran", Mark::Enabled), ("off", Mark::Disabled), ("refused", Mark::Due)]);
        let events = ["ran", "off", "refused", "new"].map(|name| Scheduled::example(name, Runs::Elsewhere));
        let plan = before.plan(2, &events);
        assert_eq!(woken(&plan), ["ran", "refused"]);
        assert_eq!(plan.unclear, ["new"]);
        // Until it is woken it is due, also after a restart.
        let again = plan.next.plan(2, &events);
        assert_eq!((woken(&again), again.unclear.len()), (vec!["ran".to_owned(), "refused".to_owned()], 0));
    }

    #[test]
    fn what_the_operator_changes_under_the_same_primary_stays_so() {
        let before =
            known(2, &[("given away", Mark::Enabled), ("stopped", Mark::Enabled), ("started", Mark::Disabled)]);
        let events = [
            Scheduled::example("given away", Runs::Elsewhere),
            Scheduled::example("stopped", Runs::Disabled),
            Scheduled::example("started", Runs::Enabled),
        ];
        let plan = before.plan(2, &events);
        assert_eq!(woken(&plan), Vec::<String>::new());
        let marks = [("given away", Mark::Disabled), ("stopped", Mark::Disabled), ("started", Mark::Enabled)];
        assert_eq!(plan.next, known(2, &marks));
    }

    #[test]
    fn without_a_look_before_nothing_is_woken() {
        let events = [Scheduled::example("a", Runs::Elsewhere)];
        let plan = Known::default().plan(1, &events);
        assert!(plan.wake.is_empty() && plan.unclear.is_empty());
    }
}
