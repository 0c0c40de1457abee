//! From what wasmtime reports to one of the outcomes.

use nexus_gate::Refusal;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::invocation::Invocation;
use crate::invoke::Failure;
use crate::limits::Limit;
use crate::log::Level;
use crate::outcome::Outcome;
use crate::state::{State, Stop};

/// How a guest's run ended, before it is judged.
pub(crate) enum Ended {
    /// The handler returned.
    Answered(Result<String, Failure>),
    /// It did not; `hit` is the store limit that the guest ran into last.
    Broken {
        error: wasmtime::Error,
        hit: Option<Limit>,
    },
}

impl Ended {
    pub(crate) fn broken(error: wasmtime::Error, store: &Store<State>) -> Self {
        Self::Broken {
            error,
            hit: store.data().limiter.hit(),
        }
    }

    pub(crate) fn judge(self, invocation: &Invocation) -> Outcome {
        match self {
            Self::Answered(Ok(output)) => Outcome::Success(output),
            Self::Answered(Err(Failure { code, message })) => match invocation.refusal(&code) {
                Some(refusal) => Outcome::Refused(refusal),
                None => Outcome::Failure { code, message },
            },
            Self::Broken { error, hit } => judge(&error, hit, invocation),
        }
    }
}

fn judge(error: &wasmtime::Error, hit: Option<Limit>, invocation: &Invocation) -> Outcome {
    if invocation.meter.exhausted() {
        return exhausted(Limit::Cpu);
    }
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match stop {
            Stop::Refused(refusal) => Outcome::Refused(Refusal::clone(refusal)),
            Stop::Fault(message) => Outcome::HostFault {
                message: message.clone(),
            },
            Stop::Exhausted(limit) => exhausted(*limit),
            Stop::Trial => Outcome::Trapped {
                message: stop.to_string(),
            },
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Outcome::HostFault {
            message: "no free slot for an instance".to_owned(),
        };
    }
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        return trapped(format!("the agent called exit({code})"), invocation);
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return match (trap, hit) {
            (Trap::StackOverflow, _) => exhausted(Limit::Stack),
            // Both a panic and a failed allocation end in this trap; only the
            // store knows of the second.
            (Trap::UnreachableCodeReached, Some(limit)) => exhausted(limit),
            _ => trapped(trap.to_string(), invocation),
        };
    }
    if let Some(limit) = hit.or_else(|| unnamed_limit(error)) {
        return exhausted(limit);
    }
    // The guest broke a rule of the component model, such as text that is not
    // UTF-8 or a pointer out of bounds.
    trapped(error.root_cause().to_string(), invocation)
}

/// Limits of wasmtime that have no error type of their own. The version is
/// pinned, and a test runs into each.
fn unnamed_limit(error: &wasmtime::Error) -> Option<Limit> {
    if matches!(
        error.downcast_ref::<ResourceTableError>(),
        Some(ResourceTableError::Full)
    ) {
        return Some(Limit::Handles);
    }
    let text = error.root_cause().to_string();
    let has = |words: &str| text.contains(words);
    if has("fuel allocated for hostcalls") {
        // Without guest code on the stack it was the answer that is too large.
        let called = error
            .downcast_ref::<WasmBacktrace>()
            .is_some_and(|trace| !trace.frames().is_empty());
        Some(if called {
            Limit::HostCallBytes
        } else {
            Limit::Output
        })
    } else if has("handle limit exceeded") {
        Some(Limit::Handles)
    } else if has("instance count too high") {
        Some(Limit::Instances)
    } else if has("memory count too high") {
        Some(Limit::Memory)
    } else if has("table count too high") {
        Some(Limit::Tables)
    } else {
        None
    }
}

fn exhausted(limit: Limit) -> Outcome {
    Outcome::Exhausted {
        limit,
        message: format!("the limit of {limit} is used up"),
    }
}

/// A trap, with the guest's last words: a panic writes them to standard error.
fn trapped(what: String, invocation: &Invocation) -> Outcome {
    invocation.flush_log();
    let log = invocation.log();
    let mut words: Vec<_> = log
        .iter()
        .rev()
        .filter(|line| line.level >= Level::Warn && !line.message.starts_with("note: run with"))
        .filter(|line| !line.message.trim().is_empty())
        .take(3)
        .map(|line| line.message.trim())
        .collect();
    words.reverse();
    let mut message = what;
    if !words.is_empty() {
        message.push_str("; its last words: ");
        message.push_str(&words.join(" "));
    }
    message.truncate(message.floor_char_boundary(2_000));
    Outcome::Trapped { message }
}
