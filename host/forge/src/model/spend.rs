//! What a forge uses of models, and when it has to stop.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_gate::Principal;
use serde::Serialize;

use super::config::{Bound, Bounds, Price};
use super::error::Error;
use crate::budget::Ledger;

/// Bytes of a token where an endpoint does not count for us. English and code have about four, so
/// that this errs on the side of stopping early.
const TOKEN_BYTES: u64 = 3;

/// What one forge has used of models, and may use.
#[derive(Debug)]
pub struct Spend<'a> {
    bounds: Bounds,
    hour: Option<(&'a Ledger, &'a Principal)>,
    used: Mutex<Used>,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Used {
    /// Answers that were asked for, broken ones included.
    pub answers: u32,
    /// Tokens that models read.
    pub input_tokens: u64,
    /// Tokens that models wrote.
    pub output_tokens: u64,
    /// Whether an endpoint did not count, so that some of it is estimated.
    pub estimated: bool,
    /// What it cost.
    pub cost: f64,
    /// Time with asking and waiting, in milliseconds.
    pub milliseconds: u64,
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answers = if self.answers == 1 {
            "answer"
        } else {
            "answers"
        };
        write!(
            f,
            "{} {answers}, {} tokens read and {} written",
            self.answers, self.input_tokens, self.output_tokens
        )?;
        if self.estimated {
            f.write_str(" (estimated)")?;
        }
        write!(
            f,
            ", {:.1} s",
            Duration::from_millis(self.milliseconds).as_secs_f64()
        )?;
        if self.cost > 0.0 {
            write!(f, ", at a cost of {:.4}", self.cost)?;
        }
        Ok(())
    }
}

/// Tokens of so many bytes, rather too many than too few.
pub(crate) fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(TOKEN_BYTES)
}

impl<'a> Spend<'a> {
    /// Nothing is used yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            hour: None,
            used: Mutex::default(),
        }
    }

    /// Counts against what this principal may use in an hour, too.
    pub(crate) fn of(bounds: Bounds, ledger: &'a Ledger, principal: &'a Principal) -> Self {
        Self {
            hour: Some((ledger, principal)),
            ..Self::new(bounds)
        }
    }

    /// What was used so far.
    pub fn used(&self) -> Used {
        *self.lock()
    }

    /// How far the forge may go.
    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(super) fn time_left(&self) -> Duration {
        let used = Duration::from_millis(self.used().milliseconds);
        self.bounds.time.saturating_sub(used)
    }

    pub(super) fn took(&self, time: Duration) {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut used = self.lock();
        used.milliseconds = used.milliseconds.saturating_add(milliseconds);
    }

    /// The end of the forge's talk with models.
    pub(super) fn spent(&self, bound: Bound) -> Error {
        Error::Spent {
            bound,
            used: self.used(),
        }
    }

    /// Begins an answer to so many bytes, if there is anything left for it.
    pub(super) fn begin(&self, bytes: usize, price: Price) -> Result<Tally<'_, 'a>, Error> {
        let input = estimate(bytes);
        let used = self.used();
        let tokens = used.input_tokens.saturating_add(used.output_tokens);
        let mut left = self.bounds.tokens.saturating_sub(tokens);
        let mut bound = Bound::Tokens;
        if let Some((ledger, principal)) = self.hour {
            let hour = ledger.tokens_left(principal);
            if hour < left {
                (left, bound) = (hour, Bound::Hour);
            }
        }
        left = left.saturating_sub(input);
        if let Some(most) = self.bounds.cost {
            let money = most - used.cost - price.of(input, 0);
            let affordable = match price.output {
                price if price > 0.0 => (money / price * 1e6).max(0.0) as u64,
                _ if money < 0.0 => 0,
                _ => u64::MAX,
            };
            if affordable < left {
                (left, bound) = (affordable, Bound::Cost);
            }
        }
        if left == 0 {
            return Err(self.spent(bound));
        }
        self.lock().answers += 1;
        Ok(Tally {
            spend: self,
            price,
            left,
            bound,
            input,
            output: 0,
            counted: false,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Price {
    fn of(self, input: u64, output: u64) -> f64 {
        (input as f64 * self.input + output as f64 * self.output) / 1e6
    }
}

/// One answer under way. What it used is booked when it is dropped, however it ended.
pub(super) struct Tally<'s, 'a> {
    spend: &'s Spend<'a>,
    price: Price,
    /// Tokens that may be written.
    pub(super) left: u64,
    /// What sets that limit.
    bound: Bound,
    input: u64,
    output: u64,
    counted: bool,
}

impl Tally<'_, '_> {
    /// The model has written so many bytes until now.
    pub(super) fn wrote(&mut self, bytes: usize) -> Result<(), Error> {
        if !self.counted {
            self.output = estimate(bytes);
        }
        match self.output > self.left {
            true => Err(self.over()),
            false => Ok(()),
        }
    }

    /// The endpoint has counted.
    pub(super) fn count(&mut self, input: u64, output: u64) {
        (self.input, self.output, self.counted) = (input, output, true);
    }

    /// No more may be written.
    pub(super) fn over(&self) -> Error {
        let mut used = self.spend.used();
        self.add(&mut used);
        Error::Spent {
            bound: self.bound,
            used,
        }
    }

    fn add(&self, used: &mut Used) {
        used.input_tokens = used.input_tokens.saturating_add(self.input);
        used.output_tokens = used.output_tokens.saturating_add(self.output);
        used.estimated |= !self.counted;
        used.cost += self.price.of(self.input, self.output);
    }
}

impl Drop for Tally<'_, '_> {
    fn drop(&mut self) {
        self.add(&mut self.spend.lock());
        if let Some((ledger, principal)) = self.spend.hour {
            ledger.note_tokens(principal, self.input.saturating_add(self.output));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        input: 1.0,
        output: 10.0,
    };

    fn bounds() -> Bounds {
        Bounds {
            tokens: 1_000,
            cost: Some(0.005),
            ..Bounds::default()
        }
    }

    #[test]
    fn what_was_used_is_booked_however_an_answer_ends() -> Result<(), Error> {
        let spend = Spend::new(bounds());
        let mut first = spend.begin(300, PRICE)?;
        first.wrote(30)?;
        drop(first);
        assert_eq!(
            (spend.used().input_tokens, spend.used().output_tokens),
            (100, 10)
        );
        assert!(spend.used().estimated);
        let mut second = spend.begin(300, PRICE)?;
        second.count(90, 20);
        drop(second);
        let used = spend.used();
        assert_eq!(
            (used.answers, used.input_tokens, used.output_tokens),
            (2, 190, 30)
        );
        assert!((used.cost - 0.00049).abs() < 1e-9, "{used}");
        Ok(())
    }

    #[test]
    fn whichever_bound_is_nearest_ends_it_and_is_named() -> Result<(), Error> {
        let free = Price::default();
        let spend = Spend::new(bounds());
        let mut tally = spend.begin(300, free)?;
        assert_eq!(tally.left, 900);
        let over = tally.wrote(2_703).err().map(|error| error.to_string());
        assert!(
            over.is_some_and(|text| text.contains("max_tokens")),
            "900 tokens are left"
        );
        drop(tally);
        assert!(matches!(
            spend.begin(3, free),
            Err(Error::Spent {
                bound: Bound::Tokens,
                ..
            })
        ));

        let spend = Spend::new(bounds());
        // 0.0049 of the money are left for what is written: 490 tokens.
        assert_eq!(spend.begin(300, PRICE)?.left, 490);
        let dear = Price {
            input: 100.0,
            ..PRICE
        };
        assert!(matches!(
            spend.begin(300, dear),
            Err(Error::Spent {
                bound: Bound::Cost,
                ..
            })
        ));
        Ok(())
    }
}
