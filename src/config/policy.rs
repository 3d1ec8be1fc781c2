//! The configuration in the words of `failover`.

use super::{Cluster, Durability, ErrantPolicy, Failover, FailoverMode, Hooks};
use crate::failover::{
    AntiFlap, AskHook, Detection, FenceHook, FenceRule, Limits, Mode, OnDiskStall, OnErrant, OnOpenTransactions,
    Policy, Promotion, ServerPolicy,
};
use std::time::Duration;

/// Priority of a server that is not preferred.
const USUAL: u16 = 100;

impl Failover {
    /// The policy of `failover`.
    #[must_use]
    pub fn policy(&self, cluster: &Cluster, hooks: &Hooks) -> Policy {
        let servers = cluster.servers.iter().map(|address| {
            let place = self.prefer.iter().position(|preferred| preferred == address);
            let rank = place.map_or(0, |place| self.prefer.len() - place);
            ServerPolicy {
                priority: USUAL + u16::try_from(rank).unwrap_or(u16::MAX - USUAL),
                promotion: if self.never.contains(address) { Promotion::Never } else { Promotion::Allowed },
                zone: None,
            }
        });
        Policy {
            mode: match self.mode {
                FailoverMode::Auto => Mode::Auto,
                FailoverMode::Observe => Mode::Observe,
                FailoverMode::Manual => Mode::Manual,
            },
            durability: match self.durability {
                Durability::SemiSync => crate::failover::Durability::SemiSync {
                    wait_count: u16::try_from(self.wait_for_replicas).unwrap_or(u16::MAX),
                },
                Durability::Async => {
                    crate::failover::Durability::Async { loss_max: self.loss_limit, fence: FenceRule::Required }
                }
            },
            wait_least: Some(u16::try_from(self.wait_for_replicas_least).unwrap_or(u16::MAX)),
            servers: servers.collect(),
            detection: Detection {
                refused_after: self.refused,
                silent_after: self.hung,
                deaf_after: self.deaf,
                stalled_after: self.write_stalled,
                own_lag_max: self.loop_lag_limit,
                ..Detection::default()
            },
            limits: Limits {
                step: self.step_timeout,
                drain_max: self.drain_limit,
                switchover_drain: self.switchover_drain,
                catch_up: self.catch_up,
                hook: hooks.timeout,
                ..Limits::default()
            },
            anti_flap: AntiFlap {
                gap: self.pause_between,
                failovers_max: usize::try_from(self.most_per_hour).unwrap_or(usize::MAX),
                window: Duration::from_secs(3600),
            },
            disk_stall: OnDiskStall::Alert,
            errant: match self.rejoin_errant {
                ErrantPolicy::Manual => OnErrant::Manual,
                ErrantPolicy::Clone => OnErrant::Clone,
            },
            open_transactions: OnOpenTransactions::Abort,
            ask_hook: match &hooks.before {
                None => AskHook::Never,
                Some(_) if hooks.before_blocks_failover => AskHook::Always,
                Some(_) => AskHook::Switchovers,
            },
            fence_hook: if hooks.fence.is_some() { FenceHook::Run } else { FenceHook::None },
        }
    }
}
