//! Invocations and what happens to them.

use nexus_gate::{InvocationId, Refusal};
use nexus_proto::v1;
use nexus_runtime::{Event, InvocationState, Level, Limit, Outcome, Record};

use super::timestamp;

/// An invocation for the wire.
pub(crate) fn invocation(record: &Record) -> v1::Invocation {
    v1::Invocation {
        name: name(record.id),
        agent: crate::names::of_agent(&record.agent),
        generation: record.generation,
        component_digest: record.component.to_string(),
        state: state(record.state).into(),
        outcome: record.outcome.as_ref().map(outcome),
        approvals: record
            .approvals
            .iter()
            .map(|id| format!("approvals/{id}"))
            .collect(),
        create_time: Some(timestamp(record.created_ms)),
        end_time: record.ended_ms.map(timestamp),
        principal: record.principal.to_string(),
    }
}

fn name(id: InvocationId) -> String {
    format!("invocations/{id}")
}

fn state(state: InvocationState) -> v1::invocation::State {
    use v1::invocation::State;
    match state {
        InvocationState::Running => State::Running,
        InvocationState::Waiting => State::Waiting,
        InvocationState::Succeeded => State::Succeeded,
        InvocationState::Failed => State::Failed,
        InvocationState::Cancelled => State::Cancelled,
    }
}

/// The state of a filter, if one was given. `None`: one that no invocation of this host is in.
pub(crate) fn invocation_state(filter: v1::invocation::State) -> Option<Option<InvocationState>> {
    use v1::invocation::State;
    Some(Some(match filter {
        State::Unspecified => return Some(None),
        State::Running => InvocationState::Running,
        State::Waiting => InvocationState::Waiting,
        State::Succeeded => InvocationState::Succeeded,
        State::Failed => InvocationState::Failed,
        State::Cancelled => InvocationState::Cancelled,
        State::Diverged => return None,
    }))
}

fn outcome(outcome: &Outcome) -> v1::invocation::Outcome {
    use v1::invocation::Outcome as Wire;
    match outcome.clone() {
        Outcome::Success(output) => Wire::Success(v1::Success { output }),
        Outcome::Failure { code, message } => Wire::Failure(v1::Failure { code, message }),
        Outcome::Refused(reason) => Wire::Refusal(refusal(reason)),
        Outcome::Exhausted {
            limit: which,
            message,
        } => Wire::Exhausted(v1::Exhausted {
            limit: limit(which).into(),
            message,
        }),
        Outcome::Trapped { message } => Wire::Trap(v1::Trap { message }),
        Outcome::Cancelled { reason } => Wire::Cancellation(v1::Cancellation { reason }),
        Outcome::Interrupted => Wire::Interruption(v1::Interruption {
            reason: "the host ended while it ran; what had begun by then may have been done: the audit trail has it as `effect_unknown`"
                .to_owned(),
        }),
        Outcome::HostFault { message } => Wire::HostFault(v1::HostFault { message }),
        // The runtime may learn of ends that this contract does not know yet.
        _ => Wire::HostFault(v1::HostFault {
            message: "it ended in a way this service does not know".to_owned(),
        }),
    }
}

fn refusal(refusal: Refusal) -> v1::Refusal {
    use v1::refusal::Kind;
    let (kind, reason) = match refusal {
        Refusal::Denied(reason) => (Kind::Denied, reason.unwrap_or_default()),
        Refusal::Forbidden(reason) => (Kind::Forbidden, reason),
        Refusal::Expired => (Kind::Expired, String::new()),
        Refusal::Unattended => (Kind::Unattended, String::new()),
        Refusal::Invalid(reason) => (Kind::Invalid, reason),
        Refusal::Crowded(reason) | Refusal::Unavailable(reason) => (Kind::Unavailable, reason),
        Refusal::Cancelled => (Kind::Cancelled, String::new()),
    };
    v1::Refusal {
        kind: kind.into(),
        reason,
    }
}

fn limit(limit: Limit) -> v1::exhausted::Limit {
    use v1::exhausted::Limit as Wire;
    match limit {
        Limit::Memory => Wire::Memory,
        Limit::Tables => Wire::Tables,
        Limit::Instances => Wire::Instances,
        Limit::Handles => Wire::Handles,
        Limit::HostCallBytes => Wire::HostCallBytes,
        Limit::HeldBytes => Wire::HeldBytes,
        Limit::Cpu => Wire::Cpu,
        Limit::Wall => Wire::Wall,
        Limit::Stack => Wire::Stack,
        Limit::HostCalls => Wire::HostCalls,
        Limit::Output => Wire::OutputBytes,
        _ => Wire::Unspecified,
    }
}

/// Something that happened to an invocation, for a watcher. States come with the whole of it.
pub(crate) fn invocation_event(
    id: InvocationId,
    event: Event,
    now_ms: u64,
    record: impl FnOnce() -> Record,
) -> v1::InvocationEvent {
    use v1::invocation_event::Event as Wire;
    let (time_ms, event) = match event {
        Event::State(_) => {
            let record = record();
            // Told late, it ended no later.
            let time_ms = record.ended_ms.unwrap_or(now_ms);
            (time_ms, Wire::State(invocation(&record)))
        }
        Event::Log(line) => (
            line.time_ms,
            Wire::Log(v1::LogEntry {
                level: match line.level {
                    Level::Debug => v1::log_entry::Level::Debug,
                    Level::Info => v1::log_entry::Level::Info,
                    Level::Warn => v1::log_entry::Level::Warn,
                    Level::Error => v1::log_entry::Level::Error,
                }
                .into(),
                message: line.message,
            }),
        ),
        Event::Progress(progress) => (
            now_ms,
            Wire::Progress(v1::Progress {
                fraction: progress.fraction,
                message: progress.message,
            }),
        ),
        Event::Approval(id) => (now_ms, Wire::Approval(format!("approvals/{id}"))),
    };
    v1::InvocationEvent {
        event_time: Some(timestamp(time_ms)),
        event: Some(event),
        invocation: name(id),
    }
}
