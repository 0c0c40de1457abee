//! Exit codes: scripts tell the outcomes apart without reading text.

use std::process::ExitCode;

use nexus_proto::v1::{Invocation, invocation};

/// How a command ended, as its exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    /// The command itself did not work: no host, refused by the host, a broken chain.
    Error,
    /// The command was called wrongly, or needs an answer that nobody can give here.
    Usage,
    Failure,
    Refused,
    Exhausted,
    Trap,
    HostFault,
    Cancelled,
    Interrupted,
    Waiting,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Failure => 10,
            Self::Refused => 11,
            Self::Exhausted => 12,
            Self::Trap => 13,
            Self::HostFault => 14,
            Self::Cancelled => 15,
            Self::Interrupted => 16,
            Self::Waiting => 17,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&Invocation> for Exit {
    fn from(invocation: &Invocation) -> Self {
        use invocation::{Outcome, State};
        match &invocation.outcome {
            Some(Outcome::Success(_)) => Self::Success,
            Some(Outcome::Failure(_)) => Self::Failure,
            Some(Outcome::Refusal(_)) => Self::Refused,
            Some(Outcome::Exhausted(_)) => Self::Exhausted,
            Some(Outcome::Trap(_)) => Self::Trap,
            Some(Outcome::HostFault(_)) => Self::HostFault,
            Some(Outcome::Cancellation(_)) => Self::Cancelled,
            Some(Outcome::Interruption(_)) => Self::Interrupted,
            None => match invocation.state() {
                State::Waiting => Self::Waiting,
                State::Running => Self::Success,
                State::Cancelled => Self::Cancelled,
                _ => Self::Error,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nexus_proto::v1;

    use super::*;

    #[test]
    fn every_outcome_has_a_code_of_its_own() {
        use invocation::Outcome;
        let outcomes = [
            (Outcome::Success(v1::Success::default()), 0),
            (Outcome::Failure(v1::Failure::default()), 10),
            (Outcome::Refusal(v1::Refusal::default()), 11),
            (Outcome::Exhausted(v1::Exhausted::default()), 12),
            (Outcome::Trap(v1::Trap::default()), 13),
            (Outcome::HostFault(v1::HostFault::default()), 14),
            (Outcome::Cancellation(v1::Cancellation::default()), 15),
            (Outcome::Interruption(v1::Interruption::default()), 16),
        ];
        let mut seen = BTreeSet::new();
        for (outcome, code) in outcomes {
            let invocation = Invocation {
                outcome: Some(outcome),
                ..Invocation::default()
            };
            assert_eq!(Exit::from(&invocation).code(), code);
            assert!(seen.insert(code), "{code} is used twice");
        }
    }

    #[test]
    fn waiting_for_a_person_is_not_success() {
        let waiting = Invocation {
            state: invocation::State::Waiting.into(),
            ..Invocation::default()
        };
        assert_eq!(Exit::from(&waiting).code(), 17);
    }
}
