//! How often an agent asks, and how often it is told yes: whoever decides sees when they are being worn
//! down.

use std::collections::VecDeque;

use nexus_store::now_ms;

/// How a question stands among the others of its agent. Counted by this process since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Company {
    /// Open questions of the agent that ask for the very same.
    pub identical: usize,
    /// Its questions within the last hour.
    pub asked: u32,
    /// How many questions were approved within the last hour.
    pub approved: u32,
    /// How many were denied.
    pub denied: u32,
}

/// Counts by the minute, for an hour.
#[derive(Default)]
pub(crate) struct Rates(VecDeque<(u64, Company)>);

const MINUTES: u64 = 60;

impl Rates {
    pub(crate) fn asked(&mut self) {
        self.now().asked += 1;
    }

    pub(crate) fn approved(&mut self) {
        self.now().approved += 1;
    }

    pub(crate) fn denied(&mut self) {
        self.now().denied += 1;
    }

    pub(crate) fn last_hour(&self) -> Company {
        let since = minute().saturating_sub(MINUTES);
        let mut sum = Company::default();
        for (_, count) in self.0.iter().filter(|(at, _)| *at > since) {
            sum.asked += count.asked;
            sum.approved += count.approved;
            sum.denied += count.denied;
        }
        sum
    }

    fn now(&mut self) -> &mut Company {
        let now = minute();
        while self.0.front().is_some_and(|(at, _)| at + MINUTES <= now) {
            self.0.pop_front();
        }
        if self.0.back().is_none_or(|(at, _)| *at != now) {
            self.0.push_back((now, Company::default()));
        }
        let last = self.0.len() - 1;
        &mut self.0[last].1
    }
}

fn minute() -> u64 {
    now_ms() / 60_000
}
