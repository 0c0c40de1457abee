//! What a principal may forge in an hour.
//!
//! Counted by the minute and kept in the store, so that a restart gives nobody a new hour. An hour is
//! the last sixty minutes and the one that runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_gate::Principal;
use nexus_store::{Commit, ReadError, Scan, Store, Table, now_ms};
use serde::{Deserialize, Serialize};

/// What principals have forged of late.
pub const BUDGETS: Table = Table("forge-budgets");

const MINUTE_MS: u64 = 60_000;
/// Minutes that count, the running one included.
const MINUTES: u64 = 61;

/// What each principal may forge in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Forges that begin; 0 sets no limit.
    pub forges: u32,
    /// Tokens of models, read and written; 0 sets no limit.
    pub tokens: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            forges: 600,
            tokens: 5_000_000,
        }
    }
}

/// Why no forge begins now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{principal} has used up what it may forge in an hour: {used} {what}, and {limit} are allowed ({key} under [forge])"
)]
pub struct OverBudget {
    /// Whose hour it is.
    pub principal: Principal,
    /// `forges` or `model tokens`.
    pub what: &'static str,
    /// How many were used.
    pub used: u64,
    /// How many may be.
    pub limit: u64,
    /// The key of the configuration that says so.
    pub key: &'static str,
    /// When there is room again.
    pub again: Duration,
}

/// One minute of a principal's.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Minute {
    /// Minutes since the epoch.
    at: u64,
    forges: u32,
    tokens: u64,
}

/// The minutes of a principal in which it forged, the oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Hour(Vec<Minute>);

/// Counts what principals forge.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget: Budget,
    hours: Mutex<HashMap<Principal, Hour>>,
}

impl Ledger {
    /// Takes up what the last host has counted.
    pub(crate) async fn open(store: &Arc<dyn Store>, budget: Budget) -> Result<Self, ReadError> {
        let rows = store.scan(BUDGETS, Scan::default()).await?;
        let hours = rows.iter().filter_map(|(key, row)| {
            let principal = Principal::new(String::from_utf8_lossy(key));
            // A row that does not read is one of a later version: the hour begins anew.
            Some((principal, serde_json::from_slice(row).ok()?))
        });
        Ok(Self {
            budget,
            hours: Mutex::new(hours.collect()),
        })
    }

    /// Counts a forge that begins, and adds that to `commit`. A forge by a model needs tokens, too.
    pub(crate) fn admit(
        &self,
        principal: &Principal,
        model: bool,
        commit: &mut Commit,
    ) -> Result<(), OverBudget> {
        self.admit_at(principal, model, now_ms())?;
        self.keep(principal, commit);
        Ok(())
    }

    fn admit_at(&self, principal: &Principal, model: bool, now: u64) -> Result<(), OverBudget> {
        let mut hours = self.lock();
        let hour = hours.entry(principal.clone()).or_default();
        hour.forget(now);
        let (forges, tokens) = (u64::from(self.budget.forges), self.budget.tokens);
        let limits = [
            ("forges", "per_hour", forges, true),
            ("model tokens", "tokens_per_hour", tokens, model),
        ];
        for (what, key, limit, asked) in limits {
            let of = |minute: &Minute| match what {
                "forges" => u64::from(minute.forges),
                _ => minute.tokens,
            };
            let used: u64 = hour.0.iter().map(of).sum();
            if asked && limit > 0 && used >= limit {
                return Err(OverBudget {
                    principal: principal.clone(),
                    what,
                    used,
                    limit,
                    key,
                    again: hour.again(now, limit, of),
                });
            }
        }
        hour.now(now).forges += 1;
        Ok(())
    }

    /// How many tokens of models the principal may use now.
    pub(crate) fn tokens_left(&self, principal: &Principal) -> u64 {
        if self.budget.tokens == 0 {
            return u64::MAX;
        }
        let mut hours = self.lock();
        let Some(hour) = hours.get_mut(principal) else {
            return self.budget.tokens;
        };
        hour.forget(now_ms());
        let used: u64 = hour.0.iter().map(|minute| minute.tokens).sum();
        self.budget.tokens.saturating_sub(used)
    }

    /// Counts tokens of models. They are kept with the next [`keep`](Self::keep).
    pub(crate) fn note_tokens(&self, principal: &Principal, tokens: u64) {
        let mut hours = self.lock();
        let hour = hours.entry(principal.clone()).or_default();
        let now = now_ms();
        hour.forget(now);
        let minute = hour.now(now);
        minute.tokens = minute.tokens.saturating_add(tokens);
    }

    /// Adds to a commit what is counted of a principal.
    pub(crate) fn keep(&self, principal: &Principal, commit: &mut Commit) {
        let hours = self.lock();
        let Some(hour) = hours.get(principal) else {
            return;
        };
        // Plain numbers always have a JSON form.
        let row = serde_json::to_vec(hour).unwrap_or_default();
        commit.put(BUDGETS, principal.as_str(), row);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Principal, Hour>> {
        self.hours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hour {
    /// Forgets what no longer counts, and what a clock that was set back has left in the future.
    fn forget(&mut self, now: u64) {
        let now = now / MINUTE_MS;
        self.0
            .retain(|minute| minute.at <= now && minute.at + MINUTES > now);
    }

    fn now(&mut self, now: u64) -> &mut Minute {
        let at = now / MINUTE_MS;
        if self.0.last().is_none_or(|last| last.at != at) {
            self.0.push(Minute {
                at,
                ..Minute::default()
            });
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// How long it takes until less than `limit` counts.
    fn again(&self, now: u64, limit: u64, of: impl Fn(&Minute) -> u64) -> Duration {
        let mut left: u64 = self.0.iter().map(&of).sum();
        for minute in &self.0 {
            left -= of(minute);
            if left < limit {
                let until = (minute.at + MINUTES) * MINUTE_MS;
                return Duration::from_millis(until.saturating_sub(now));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(forges: u32, tokens: u64) -> Ledger {
        Ledger {
            budget: Budget { forges, tokens },
            hours: Mutex::default(),
        }
    }

    #[test]
    fn an_hour_holds_so_many_forges_and_says_when_there_is_room_again() {
        let (anna, bert) = (Principal::new("anna"), Principal::new("bert"));
        let ledger = ledger(2, 0);
        let begin = 1_000 * MINUTE_MS;
        let minutes = |count: u64| begin + count * MINUTE_MS;
        assert_eq!(ledger.admit_at(&anna, false, minutes(0)), Ok(()));
        assert_eq!(ledger.admit_at(&anna, false, minutes(30)), Ok(()));
        let refused = ledger.admit_at(&anna, false, minutes(40));
        let refused = refused.expect_err("a third in one hour");
        assert_eq!(
            (refused.used, refused.limit, refused.key),
            (2, 2, "per_hour")
        );
        assert_eq!(refused.again, Duration::from_secs(21 * 60));
        assert_eq!(ledger.admit_at(&bert, false, minutes(40)), Ok(()));
        assert!(ledger.admit_at(&anna, false, minutes(60)).is_err());
        assert_eq!(ledger.admit_at(&anna, false, minutes(61)), Ok(()));
        assert!(ledger.admit_at(&anna, false, minutes(62)).is_err());
        // A clock that was far ahead does not lock anybody out for ever.
        assert_eq!(ledger.admit_at(&anna, false, minutes(0)), Ok(()));
    }

    #[test]
    fn tokens_count_for_forges_by_a_model_alone() {
        let anna = Principal::new("anna");
        let ledger = ledger(0, 100);
        assert_eq!(ledger.tokens_left(&anna), 100);
        ledger.note_tokens(&anna, 130);
        assert_eq!(ledger.tokens_left(&anna), 0);
        assert_eq!(ledger.admit_at(&anna, false, now_ms()), Ok(()));
        let refused = ledger.admit_at(&anna, true, now_ms());
        assert_eq!(refused.map_err(|refused| refused.what), Err("model tokens"));
    }
}
