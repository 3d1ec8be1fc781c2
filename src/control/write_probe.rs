//! One small write at the primary, again and again: reads may go well while no write does.

use super::clock::Clock;
use super::execute::{Access, Hand, StepError};
use super::keeper::Target;
use crate::failover::{Event, Stall};
use crate::topology::ServerId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

/// Time between two writes, and how long one may take before it is told of.
const INTERVAL: Duration = Duration::from_secs(1);
/// ER_OPTION_PREVENTS_STATEMENT, ER_READ_ONLY_MODE.
const READ_ONLY: [u16; 2] = [1290, 1836];
/// ER_DISK_FULL, ER_RECORD_FILE_FULL, ER_DISK_FULL_NOWAIT.
const DISK_FULL: [u16; 3] = [1021, 1114, 3519];
/// ER_ERROR_ON_WRITE, ER_ERROR_ON_READ.
const DISK: [u16; 2] = [1026, 1024];

/// Writes where `target` says until nobody takes the events any more. There is at most one write under way: one that hangs
/// stays, and is told of once a second.
pub(super) async fn run(
    addresses: Vec<Arc<str>>,
    access: Access,
    clock: Clock,
    mut target: watch::Receiver<Option<Target>>,
    events: mpsc::Sender<Event>,
) {
    loop {
        let Some(Target { server, .. }) = *target.borrow_and_update() else {
            if target.changed().await.is_err() {
                return;
            }
            continue;
        };
        let Some(address) = addresses.get(usize::from(server.0)) else { return };
        tokio::select! {
            gone = at(server, address, &access, clock, &events) => if gone { return },
            changed = target.changed() => if changed.is_err() { return },
        }
    }
}

/// Writes at one server until its connection breaks; `true`: nobody takes the events any more.
async fn at(server: ServerId, address: &Arc<str>, access: &Access, clock: Clock, events: &mpsc::Sender<Event>) -> bool {
    // Whether it can be logged in to is the other probes' to tell.
    let Ok(mut hand) = Hand::log_in(address, access).await else {
        sleep(INTERVAL).await;
        return false;
    };
    let mut prepared = false;
    loop {
        let (began, first) = (Instant::now(), !prepared);
        let written = async {
            if first {
                hand.prepare_schema().await?;
            }
            // What hangs is told of; it is not given up.
            hand.beat(Duration::MAX).await
        };
        tokio::pin!(written);
        let result = loop {
            match timeout(INTERVAL, &mut written).await {
                Ok(result) => break result,
                Err(_elapsed) => {
                    let cause = cause_of_wait(address, access).await;
                    let event = Event::WriteProbe { server, began: clock.at(began), result: Err(cause) };
                    if events.send(event).await.is_err() {
                        return true;
                    }
                }
            }
        };
        let told = match result {
            Ok(()) => Ok(()),
            Err(StepError::Refused { code, .. }) if READ_ONLY.contains(&code) => Err(Stall::ReadOnly),
            Err(StepError::Refused { code, .. }) if DISK_FULL.contains(&code) => Err(Stall::DiskFull),
            Err(StepError::Refused { code, .. }) if DISK.contains(&code) => Err(Stall::Disk),
            Err(StepError::Refused { code: 1205, .. }) => Err(Stall::Lock),
            Err(StepError::Refused { .. } | StepError::Changed(_) | StepError::Unfit(_)) => Err(Stall::Unknown),
            // Not a word on writes: the connection is gone.
            Err(
                StepError::Login(_)
                | StepError::Timeout { .. }
                | StepError::NotApplied { .. }
                | StepError::Broken { .. },
            ) => {
                sleep(INTERVAL).await;
                return false;
            }
        };
        prepared = prepared || told.is_ok();
        if events.send(Event::WriteProbe { server, began: clock.at(began), result: told }).await.is_err() {
            return true;
        }
        sleep(INTERVAL.saturating_sub(began.elapsed())).await;
    }
}

/// What a write that hangs waits for, as far as another connection can see.
async fn cause_of_wait(address: &Arc<str>, access: &Access) -> Stall {
    match Hand::log_in(address, access).await {
        Ok(mut hand) => hand.what_writes_wait_for().await.unwrap_or(Stall::Unknown),
        Err(_) => Stall::Unknown,
    }
}
