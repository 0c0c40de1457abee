//! Why a forge ends without an agent: a word for programs, and a sentence for people.

use std::error::Error;

use nexus_gate::{Refusal, StartError};
use nexus_runtime::{CompileError, PrepareError, PublishError};

use crate::build::{self, RemoteError};
use crate::forge::error_chain;
use crate::prebuilt::CompiledError;
use crate::{model, template, toolchain};

/// Why a forge ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For programs.
    pub reason: Reason,
    /// In a sentence that says what to do.
    pub message: String,
}

/// What a forge failed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request: its template, its values, its manifest. The same again fails again.
    Request,
    /// No model is configured, its key can't be had, or its endpoint can't be reached or fails.
    ModelUnavailable,
    /// The endpoint wants to be left alone for longer than the forge can wait.
    ModelBusy,
    /// The endpoint said no.
    ModelRefused,
    /// The endpoint began too late, or paused for too long.
    ModelTimeout,
    /// What the endpoint sent is no answer, broke off, or is no specification.
    ModelAnswer,
    /// The forge has used up its tokens, its money or its time with the model, or its principal has.
    ModelBudget,
    /// The compiler refused the source.
    Compile,
    /// The compiler ran into a limit, which a source can bring about.
    CompileLimit,
    /// There is no compiler, nothing confines it, or the building host did not build.
    CompileUnavailable,
    /// The component is not what its manifest says, or can't be started.
    Proof,
    /// An example was not answered as it had to be.
    Examples,
    /// The shadow run could not be made.
    Shadow,
    /// A person said no.
    Denied,
    /// Policy, the deny floor or the emergency lock rules it out, or a person would have to be asked and
    /// can't be: nobody is there, or the agent has asked too often.
    Forbidden,
    /// Nobody decided in time.
    Expired,
    /// What was agreed to is no longer what would be published.
    Stale,
    /// The host itself; its log may say more.
    Host,
}

impl Failure {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// What an error means for the forge that met it.
    pub(crate) fn of<E: Error + 'static>(error: &E) -> Self
    where
        for<'a> Reason: From<&'a E>,
    {
        Self::new(Reason::from(error), error_chain(error))
    }
}

impl From<&template::Error> for Reason {
    fn from(error: &template::Error) -> Self {
        match error {
            template::Error::Broken { .. } => Self::Host,
            _ => Self::Request,
        }
    }
}

impl From<&model::Error> for Reason {
    fn from(error: &model::Error) -> Self {
        use model::Error;
        match error {
            Error::NotConfigured
            | Error::BaseUrl { .. }
            | Error::Setup(_)
            | Error::Key { .. }
            | Error::Unreachable(_) => Self::ModelUnavailable,
            Error::Refused { status, .. } if *status >= 500 => Self::ModelUnavailable,
            Error::Refused { .. } => Self::ModelRefused,
            Error::Busy { .. } => Self::ModelBusy,
            Error::Silent(_) => Self::ModelTimeout,
            Error::Cut(_) | Error::Stream(_) | Error::TooLong(_) | Error::Spec(_) => {
                Self::ModelAnswer
            }
            Error::Spent { .. } => Self::ModelBudget,
        }
    }
}

impl From<&build::Error> for Reason {
    fn from(error: &build::Error) -> Self {
        use build::Error;
        match error {
            Error::SourceTooLarge { .. } | Error::Manifest(_) | Error::NotPrebuilt(_) => {
                Self::Request
            }
            Error::Rejected(_) => Self::Compile,
            Error::Exhausted { .. } | Error::ComponentTooLarge { .. } => Self::CompileLimit,
            Error::NotAnAgent(_) => Self::Proof,
            Error::Remote(RemoteError::Refused { reason, .. })
                if ["BUILD_LIMIT", "COMPONENT_TOO_LARGE"].contains(&reason.as_str()) =>
            {
                Self::CompileLimit
            }
            // Nothing that it sent is used.
            Error::Remote(RemoteError::OtherDigest { .. } | RemoteError::OtherManifest { .. }) => {
                Self::Proof
            }
            Error::Remote(_) | Error::Toolchain(_) | Error::Sandbox(_) => Self::CompileUnavailable,
            Error::Io { .. } => Self::Host,
        }
    }
}

impl From<&toolchain::Error> for Reason {
    fn from(_: &toolchain::Error) -> Self {
        Self::CompileUnavailable
    }
}

impl From<&CompiledError> for Reason {
    fn from(error: &CompiledError) -> Self {
        match error {
            CompiledError::Unknown(error) => error.into(),
            CompiledError::Prepare(error) => error.into(),
        }
    }
}

impl From<&PrepareError> for Reason {
    fn from(error: &PrepareError) -> Self {
        match error {
            PrepareError::Compile(CompileError::Limit(_) | CompileError::Crashed(_)) => {
                Self::CompileLimit
            }
            PrepareError::Compile(CompileError::Start(_)) => Self::CompileUnavailable,
            _ => Self::Proof,
        }
    }
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Denied(_) => Self::Denied,
            Refusal::Expired => Self::Expired,
            Refusal::Forbidden(_)
            | Refusal::Unattended
            | Refusal::Invalid(_)
            | Refusal::Crowded(_) => Self::Forbidden,
            Refusal::Unavailable(_) => Self::Host,
            Refusal::Cancelled => Self::Stale,
        }
    }
}

impl From<&PublishError> for Reason {
    fn from(error: &PublishError) -> Self {
        match error {
            PublishError::OwnedByAnother { .. }
            | PublishError::Widens(_)
            | PublishError::OtherComponent => Self::Stale,
            PublishError::NotPermitted(StartError::Expired) => Self::Expired,
            PublishError::NotPermitted(StartError::Forbidden(_)) => Self::Forbidden,
            PublishError::NotPermitted(
                StartError::Unavailable(_) | StartError::TooLarge(_) | StartError::NotARead,
            ) => Self::Host,
            PublishError::NotPermitted(_) => Self::Stale,
            PublishError::Locked(_) => Self::Forbidden,
            _ => Self::Host,
        }
    }
}
