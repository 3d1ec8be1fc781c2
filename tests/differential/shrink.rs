//! From a script that fails to a shorter one that fails.

use super::script::{Act, Lag, Script, Step};
use std::time::{Duration, Instant};

/// Longest time for it.
const LIMIT: Duration = Duration::from_secs(150);

/// The shortest script found for which `fails` still is true; `failed_at` is the act that differed.
pub fn shrink(script: &Script, failed_at: usize, mut fails: impl FnMut(&Script) -> bool) -> Script {
    let deadline = Instant::now() + LIMIT;
    let mut best = Script { steps: script.steps[..script.steps.len().min(failed_at + 1)].to_vec(), ..script.clone() };
    if !fails(&best) {
        best = script.clone();
    }
    // What came before the last login is seldom of interest.
    let last = best.steps.iter().rposition(|step| matches!(step.act, Act::Connect { .. })).unwrap_or(0);
    let session = Script { steps: best.steps[last..].to_vec(), ..best.clone() };
    if last > 0 && fails(&session) {
        best = session;
    }
    let mut chunk = best.steps.len().div_ceil(2);
    while chunk > 0 && Instant::now() < deadline {
        let mut removed = false;
        let mut from = 0;
        while from < best.steps.len() && Instant::now() < deadline {
            let shorter = without(&best, from, chunk);
            if !shorter.steps.is_empty() && fails(&shorter) {
                (best, removed) = (shorter, true);
            } else {
                from += chunk;
            }
        }
        if !removed || chunk > 1 {
            chunk /= 2;
        }
    }
    simpler(best, deadline, &mut fails)
}

fn without(script: &Script, from: usize, count: usize) -> Script {
    let mut steps: Vec<Step> = script.steps.clone();
    // The login stays: without one the player makes its own.
    let from = if matches!(steps.first(), Some(Step { act: Act::Connect { .. }, .. })) { from.max(1) } else { from };
    let end = (from + count).min(steps.len());
    if from < end {
        steps.drain(from..end);
    }
    if steps.len() == script.steps.len() {
        steps.clear();
    }
    Script { steps, ..script.clone() }
}

fn simpler(mut best: Script, deadline: Instant, fails: &mut impl FnMut(&Script) -> bool) -> Script {
    let mut tries = vec![Script { lag: Lag::None, ..best.clone() }];
    let mut alone = best.clone();
    alone.steps.iter_mut().for_each(|step| step.together = false);
    tries.push(alone);
    for candidate in tries {
        if candidate != best && Instant::now() < deadline && fails(&candidate) {
            best = candidate;
        }
    }
    best
}
