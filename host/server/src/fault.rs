//! What goes wrong, as gRPC statuses: code, message and details are decided together, here.
//!
//! Every status carries `google.rpc.ErrorInfo` with the domain `nexus` and a stable reason; bad
//! input carries `BadRequest`, a wrong state `PreconditionFailure`, a used-up limit `QuotaFailure`, and
//! what passes by itself `RetryInfo`.

use std::collections::HashMap;
use std::time::Duration;

use nexus_manifest::{Violation, error_chain};
use nexus_store::CommitError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::auth::Role;

const DOMAIN: &str = "nexus";
/// A status travels in trailers, of which clients take 16 KiB, some of it twice and encoded.
const MESSAGE_BYTES: usize = 1_500;
const FIELD_BYTES: usize = 4_000;

/// A status in the making.
#[derive(Debug)]
pub struct Fault {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: HashMap<String, String>,
    fields: Vec<(String, String)>,
    retry: Option<Duration>,
}

impl Fault {
    /// A fault with a stable UPPER_SNAKE `reason`.
    pub fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            metadata: HashMap::new(),
            fields: Vec::new(),
            retry: None,
        }
    }

    /// Adds something that programs may need, such as a resource's name.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Says when to come again, as `google.rpc.RetryInfo`.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry = Some(wait);
        self
    }

    /// A field of the request that the caller has to change.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut fault = Self::new(
            Code::InvalidArgument,
            "INVALID_FIELD",
            format!("{field}: {message}"),
        );
        fault.fields.push((field.to_owned(), message));
        fault
    }

    /// A field of the request that the caller has to change, with a reason of its own.
    pub fn invalid_as(reason: &'static str, field: &str, message: impl Into<String>) -> Self {
        Self {
            reason,
            ..Self::invalid(field, message)
        }
    }

    /// Input that breaks the agent's schema.
    pub fn schema(agent: &str, violations: &[Violation]) -> Self {
        let first = violations
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = format!(
            "the input does not fit the schema of {agent}: {first}; GetAgent shows the schema"
        );
        let mut fault =
            Self::new(Code::InvalidArgument, "INPUT_SCHEMA", message).with("agent", agent);
        fault.fields = violations
            .iter()
            .map(|v| (format!("input{}", v.path), v.message.clone()))
            .collect();
        fault
    }

    /// Nothing has this name.
    pub fn not_found(kind: &'static str, name: &str, hint: &str) -> Self {
        let shown: String = name.chars().take(200).collect();
        Self::new(
            Code::NotFound,
            "NOT_FOUND",
            format!("there is no {kind} {shown:?}; {hint}"),
        )
        .with(kind, shown)
    }

    /// The thing is in a state that does not allow this.
    pub fn precondition(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, reason, message)
    }

    /// No credentials, or none that are worth anything.
    pub fn unauthenticated(message: &str) -> Self {
        Self::new(Code::Unauthenticated, "UNAUTHENTICATED", message)
    }

    /// The token's role may not call this method.
    pub fn role_not_allowed(role: Role, path: &str, roles: &[Role]) -> Self {
        let allowed: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
        let message = match allowed.as_slice() {
            [] => format!(
                "no role may call {path}; see the method's name in the protos or by reflection"
            ),
            _ => format!(
                "a token of role {role} may not call {path}; use one of role {}",
                allowed.join(" or ")
            ),
        };
        Self::new(Code::PermissionDenied, "ROLE_NOT_ALLOWED", message)
            .with("method", path)
            .with("role", role.as_str())
    }

    /// The emergency lock is engaged.
    pub fn locked(locked: &nexus_gate::Locked) -> Self {
        Self::precondition("LOCKED", locked.to_string())
    }

    /// A limit is used up for now.
    pub fn exhausted(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, reason, message)
    }

    /// Something the host stands on does not answer.
    pub fn unavailable(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, reason, message)
    }

    /// What can't be recorded does not happen.
    pub fn disk_full() -> Self {
        Self::exhausted(
            "DISK_FULL",
            "the disk of the host is full; nothing was changed. Free some space there: the host goes on by itself",
        )
    }

    /// [`disk_full`](Self::disk_full), if that is why something could not be recorded. The gate
    /// gives reasons as texts, and passes on the store's own words.
    pub fn not_recorded(reason: &str) -> Option<Self> {
        reason
            .contains(&CommitError::Full.to_string())
            .then(Self::disk_full)
    }

    /// A bug or a broken part of ours, unless the disk is full. The cause goes to the log, not to
    /// the caller.
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut causes = std::iter::successors(Some(cause), |error| error.source());
        if causes.any(|error| matches!(error.downcast_ref(), Some(CommitError::Full))) {
            return Self::disk_full();
        }
        tracing::error!(error = error_chain(cause), "internal error");
        Self::new(
            Code::Internal,
            "INTERNAL",
            "the host failed; its log says why",
        )
    }
}

impl From<Fault> for Status {
    fn from(mut fault: Fault) -> Self {
        cut(&mut fault.message, MESSAGE_BYTES);
        let mut details = ErrorDetails::new();
        let mut room = FIELD_BYTES;
        for (field, mut description) in fault.fields {
            cut(&mut description, MESSAGE_BYTES);
            let bytes = field.len() + description.len();
            if bytes > room {
                break;
            }
            room -= bytes;
            details.add_bad_request_violation(field, description);
        }
        match fault.code {
            Code::FailedPrecondition => {
                details.add_precondition_failure_violation(fault.reason, DOMAIN, &fault.message);
            }
            Code::ResourceExhausted => {
                details.add_quota_failure_violation(fault.reason, &fault.message);
            }
            _ => {}
        }
        if let Some(wait) = fault.retry {
            details.set_retry_info(Some(wait));
        }
        details.set_error_info(fault.reason, DOMAIN, fault.metadata);
        Status::with_error_details(fault.code, fault.message, details)
    }
}

fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
}
