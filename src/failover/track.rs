//! One server, observation after observation: its silence, its restarts, its transactions.

use super::evidence::{Aged, ServerEvidence, Silence, Stall, Writing};
use super::{Moment, Observation, Policy, Seen, Status};
use crate::topology::{Failure, GtidHistory, Receiver, ServerId};
use std::time::Duration;

/// Two estimates of a start time that differ by more than this are two starts: servers report whole seconds.
const START_SLACK_MS: u64 = 1500;
/// Servers report their uptime in whole seconds: they may have been started this much earlier.
const SECOND_MS: u64 = 1000;
/// A report older than this is of a server that did not answer, which says nothing about how long probes take.
const PACE_MAX_MS: u64 = 5000;
/// How long a broken connection of the data path counts.
const RESET_WINDOW: Duration = Duration::from_secs(1);
/// How long a rejected login counts while another connection works.
const TURNED_AWAY_WINDOW: Duration = Duration::from_secs(3);

/// What is remembered about one server.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Track {
    silent: Option<Silent>,
    turned_away: Option<(Moment, Failure)>,
    /// The last sign of life.
    pub(super) alive: Option<Moment>,
    /// When the data path last sent it something that it answered.
    answered: Option<Moment>,
    /// When the last report was asked for, when it came, and the report.
    pub(super) word: Option<Word>,
    /// How old its reports have become recently before the next one came.
    pace_ms: u64,
    /// Everything that it has, by that report.
    pub(super) held: Option<GtidHistory>,
    /// When it was started, as far as it reports.
    pub(super) started: Option<Moment>,
    /// The latest time at which it can have been started, by all reports since.
    started_by: Option<Moment>,
    /// Its last reported uptime, and when that report came.
    uptime: Option<(u64, Moment)>,
    /// Since when it may lack what it had acknowledged.
    pub(super) doubt: Option<Moment>,
    /// Whether it has restarted since its role was last confirmed.
    pub(super) restarted: bool,
    /// Whether it was seen to receive since its start, or in this run. If not, it waits for an order.
    pub(super) received: bool,
    writes: WriteTrail,
    resets: Vec<Moment>,
}

/// A server's report, and when.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Word {
    pub(super) asked: Moment,
    pub(super) came: Moment,
    pub(super) status: Status,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Silent {
    since: Moment,
    last: Moment,
    probes: u32,
    refused: u32,
    refused_since: Moment,
    failure: Failure,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct WriteTrail {
    probed: bool,
    failing: Option<(Moment, Moment, Stall)>,
    good: u32,
}

impl Track {
    /// Whether anything was ever heard of it, or its silence observed.
    pub(super) fn was_looked_at(&self) -> bool {
        self.word.is_some() || self.silent.is_some() || self.turned_away.is_some()
    }

    pub(super) fn status(&self) -> Option<&Status> {
        self.word.as_ref().map(|word| &word.status)
    }

    /// Takes an observation. `stream` is what is known of the source that it may replicate from.
    pub(super) fn note(&mut self, observation: Observation, stream: Option<&GtidHistory>, now: Moment) {
        match observation.result {
            Ok(Seen::Alive) => {
                self.turned_away = None;
                self.lives(now);
            }
            Ok(Seen::Status(status)) => {
                self.note_pace(now);
                self.lives(now);
                self.note_start(status.uptime_ms, observation.began, now);
                self.held = Some(status.sets.held(stream));
                self.received |= status.stream.as_ref().is_some_and(|stream| stream.receiver != Receiver::Stopped);
                self.word = Some(Word { asked: observation.began, came: now, status: *status });
            }
            Err(failure) => match failure {
                Failure::Refused | Failure::Timeout | Failure::NoGreeting | Failure::Broken(_) => {
                    self.fails(observation.began, failure, now);
                }
                Failure::AccessDenied(_) | Failure::TooManyConnections | Failure::HostBlocked | Failure::Other(_) => {
                    self.lives(now);
                    self.turned_away = Some((now, failure));
                }
            },
        }
    }

    /// A slow probe counts at once and is forgotten gradually. A server that was gone meanwhile was not slow.
    fn note_pace(&mut self, now: Moment) {
        let gone = self.silent.as_ref().is_some_and(|silent| silent.refused > 0);
        let lasted = self.word.as_ref().map_or(0, |word| now.ms_since(word.asked));
        let lasted = if gone || lasted > PACE_MAX_MS { 0 } else { lasted };
        self.pace_ms = lasted.max(self.pace_ms - self.pace_ms / 8);
    }

    fn lives(&mut self, now: Moment) {
        self.silent = None;
        self.alive = Some(now);
    }

    /// The data path got an answer to something that it sent at `asked`: the silence of probes that began before that
    /// was none. New ones count from then on only.
    pub(super) fn note_answer(&mut self, asked: Moment) {
        self.answered = self.answered.max(Some(asked));
        if self.silent.as_ref().is_some_and(|silent| silent.since < asked) {
            self.silent = None;
        }
    }

    /// A failed probe. One that began before the last sign of life says nothing about the time after it.
    fn fails(&mut self, began: Moment, failure: Failure, now: Moment) {
        if self.alive.is_some_and(|alive| began < alive) {
            return;
        }
        let began = self.answered.map_or(began, |answered| began.max(answered));
        self.turned_away = None;
        let refused = failure == Failure::Refused;
        let silent = self.silent.get_or_insert_with(|| Silent {
            since: began,
            last: now,
            probes: 0,
            refused: 0,
            refused_since: began,
            failure: failure.clone(),
        });
        silent.since = silent.since.min(began);
        silent.last = now;
        silent.probes = silent.probes.saturating_add(1);
        if !refused {
            silent.refused = 0;
        } else if silent.refused == 0 {
            (silent.refused, silent.refused_since) = (1, began);
        } else {
            silent.refused = silent.refused.saturating_add(1);
        }
        silent.failure = failure;
    }

    /// Returns true if the primary has restarted since it was opened for writes: it started clearly later than its
    /// start time known then, or clearly later than it was opened.
    pub(super) fn started_since(&self, before: Option<Moment>, opened: Moment) -> bool {
        let latest = self.word.as_ref().map(|word| word.asked.0.saturating_sub(word.status.uptime_ms));
        let later = |at: Moment, slack: u64| latest.is_some_and(|started| started > at.0.saturating_add(slack));
        before.is_some_and(|before| later(before, START_SLACK_MS)) || later(opened, SECOND_MS)
    }

    /// Whether it may have been started after it was opened. Servers report whole seconds, so one that was opened
    /// within the second of its start does not distinguish a start directly after that.
    pub(super) fn may_have_started_since(&self, opened: Moment) -> bool {
        self.word.as_ref().is_some_and(|word| word.came.0.saturating_sub(word.status.uptime_ms) > opened.0)
    }

    /// It was started then or before, by its last report.
    pub(super) fn started_at_most(&self) -> Option<Moment> {
        self.uptime.map(|(uptime_ms, came)| Moment(came.0.saturating_sub(uptime_ms)))
    }

    /// Detects a restart by the reported uptime. The report was made at some time between `asked` and `now` and counts
    /// whole seconds, which leaves a span in which the server was started; a span after all earlier ones belongs to
    /// another start. Two answers may overtake each other. The earliest estimate is kept.
    pub(super) fn note_start(&mut self, uptime_ms: u64, asked: Moment, now: Moment) {
        let started = Moment(asked.0.saturating_sub(uptime_ms));
        let earliest = Moment(started.0.saturating_sub(SECOND_MS));
        let before = self.started_by.or(self.started.map(|started| Moment(started.0 + START_SLACK_MS)));
        let shrank = self.uptime.is_some_and(|(before, came)| uptime_ms < before && asked >= came);
        let anew = shrank || before.is_some_and(|before| earliest > before);
        let by = Moment(now.0.saturating_sub(uptime_ms));
        // Clocks drift: an old latest time is relaxed gradually.
        self.started_by = Some(self.started_by.filter(|_| !anew).map_or(by, |before| Moment(before.0 + 1).min(by)));
        if self.started.is_some() && anew {
            self.restarted = true;
            self.doubt = Some(now);
            self.received = false;
        }
        self.started = Some(if anew { started } else { self.started.map_or(started, |before| before.min(started)) });
        self.uptime = Some((uptime_ms, now));
    }

    /// The doubt after a restart is resolved once the server has, by a later report, everything that the primary was
    /// seen to have after the restart.
    pub(super) fn settle(&mut self, primary: &GtidHistory, primary_asked: Moment) {
        let asked = self.word.as_ref().map(|word| word.asked.min(primary_asked));
        if self.doubt.is_some_and(|doubt| asked.is_some_and(|asked| asked >= doubt))
            && self.held.as_ref().is_some_and(|held| held.covers(primary))
        {
            self.doubt = None;
            self.restarted = false;
        }
    }

    pub(super) fn note_write(&mut self, began: Moment, result: Result<(), Stall>, policy: &Policy, now: Moment) {
        self.writes.probed = true;
        match result {
            Ok(()) => {
                self.writes.good = self.writes.good.saturating_add(1);
                if self.writes.good >= policy.detection.recovery_probes {
                    self.writes.failing = None;
                }
            }
            Err(cause) => {
                self.writes.good = 0;
                let since = self.writes.failing.map_or(began, |(since, _, _)| since);
                self.writes.failing = Some((since, now, cause));
            }
        }
    }

    pub(super) fn note_reset(&mut self, now: Moment) {
        self.resets.retain(|at| now.since(*at) < RESET_WINDOW);
        if self.resets.len() < 16 {
            self.resets.push(now);
        }
    }

    /// Our own timeouts caused it: what looked like silence was none.
    pub(super) fn forget_silence(&mut self) {
        self.silent = None;
        self.resets.clear();
        if let Some((since, last, _)) = &mut self.writes.failing {
            *since = *last;
        }
    }

    /// Another role begins: what was known of writes, and of a restart, belongs to the old role.
    pub(super) fn begin_reign(&mut self) {
        self.writes = WriteTrail::default();
        self.restarted = false;
        self.doubt = None;
    }

    pub(super) fn evidence(&self, id: ServerId, now: Moment) -> ServerEvidence {
        let recent = |at: &Moment, window: Duration| now.since(*at) < window;
        ServerEvidence {
            silence: self.silent.as_ref().map(|silent| Silence {
                lasting_ms: silent.last.ms_since(silent.since),
                probes: silent.probes,
                refused: silent.refused,
                refused_lasting_ms: if silent.refused == 0 { 0 } else { silent.last.ms_since(silent.refused_since) },
                failure: silent.failure.clone(),
            }),
            turned_away: self
                .turned_away
                .as_ref()
                .filter(|(at, _)| recent(at, TURNED_AWAY_WINDOW))
                .map(|(_, failure)| failure.clone()),
            status: self
                .word
                .as_ref()
                .map(|word| Aged { age_ms: now.ms_since(word.asked), status: word.status.clone() }),
            pace_ms: self.pace_ms,
            held: self.held.clone(),
            writes: match self.writes.failing {
                _ if !self.writes.probed => Writing::Unknown,
                None => Writing::Works,
                Some((since, last, cause)) => Writing::Stalled { lasting_ms: last.ms_since(since), cause },
            },
            resets: u32::try_from(self.resets.iter().filter(|at| recent(at, RESET_WINDOW)).count()).unwrap_or(u32::MAX),
            restarted: self.restarted || self.doubt.is_some(),
            ..ServerEvidence::unseen(id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::Sets;
    use crate::topology::Flavor;

    fn told(track: &mut Track, asked: u64, now: u64, uptime_s: u64) -> bool {
        track.note_start(uptime_s * 1000, Moment(asked), Moment(now));
        track.restarted
    }

    #[test]
    fn a_look_that_took_long_is_no_restart_and_a_restart_is() {
        let mut track = Track::default();
        // Started at 100,000. Asked at 130,000, it answers at 132,600, which arrives at 132,700.
        assert!(!told(&mut track, 130_000, 132_700, 32));
        assert!(!told(&mut track, 133_050, 133_060, 33));
        // Asked before, and overtaken.
        assert!(!told(&mut track, 131_000, 133_100, 31));
        assert!(!told(&mut track, 136_900, 139_000, 36));
        // It was started at 140,000.
        assert!(told(&mut track, 142_500, 142_510, 2));
    }

    fn missed(track: &mut Track, began: u64, now: u64) {
        let result = Err(Failure::Timeout);
        track.note(Observation { server: ServerId(0), began: Moment(began), result }, None, Moment(now));
    }

    fn silent_ms(track: &Track, now: u64) -> Option<u64> {
        track.evidence(ServerId(0), Moment(now)).silence.map(|silence| silence.lasting_ms)
    }

    #[test]
    fn a_server_that_answers_clients_is_not_silent_however_long_its_looks_take() {
        let mut track = Track::default();
        missed(&mut track, 1000, 2000);
        missed(&mut track, 2100, 3100);
        assert_eq!(silent_ms(&track, 3100), Some(2100));
        track.note_answer(Moment(900));
        assert_eq!(silent_ms(&track, 3100), Some(2100), "asked before the silence began");
        track.note_answer(Moment(3050));
        assert_eq!(silent_ms(&track, 3100), None);
        // The probe was under way when clients were answered.
        missed(&mut track, 2500, 3500);
        assert_eq!(silent_ms(&track, 3500), Some(450));
        missed(&mut track, 3500, 4500);
        assert_eq!(silent_ms(&track, 4500), Some(1450), "nobody was answered since");
    }

    #[test]
    fn a_primary_that_was_opened_in_the_second_of_its_start_was_not_started_anew() {
        let mut track = Track::default();
        let mut seems = |asked: u64, uptime_s: u64| {
            let sets = Sets { executed: GtidHistory::empty(Flavor::MariaDb), received: None, purged: None };
            let status = Status { uptime_ms: uptime_s * 1000, ..Status::unknown(sets) };
            track.word = Some(Word { asked: Moment(asked), came: Moment(asked), status });
            track.started_since(Some(Moment(100_000)), Moment(100_300))
        };
        // Started at 100,000, opened 300 ms later.
        assert!(!seems(100_400, 0));
        assert!(!seems(100_990, 0), "not a whole second yet");
        assert!(!seems(107_950, 7));
        assert!(seems(107_950, 5));
        // Its state shows which of the two it was, not its start time.
        assert!(track.may_have_started_since(Moment(100_300)));
        assert!(!track.may_have_started_since(Moment(103_000)));
    }

    #[test]
    fn a_server_that_was_up_for_a_shorter_time_than_before_was_restarted() {
        let mut track = Track::default();
        assert!(!told(&mut track, 101_000, 101_010, 1));
        assert!(told(&mut track, 102_500, 102_510, 0));
    }
}
