/// Why the model gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No endpoint is configured.
    #[error(
        "ask a model: none is configured; set [model] base_url and model, or forge from a template or a source"
    )]
    NotConfigured,
    /// The endpoint's address is no URL of this kind.
    #[error("read the model's base URL {url:?}: {reason}")]
    BaseUrl {
        /// What is configured.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The endpoint may not be talked to.
    #[error("set up the way to the model")]
    Setup(#[source] nexus_effects::operator_egress::OperatorError),
    /// The endpoint could not be reached or broke off.
    #[error("ask the model")]
    Unreachable(#[source] nexus_effects::Error),
    /// The endpoint said no.
    #[error("ask the model: the endpoint answered {status}: {message}")]
    Refused {
        /// Its status.
        status: u16,
        /// The beginning of what it said.
        message: String,
    },
    /// The stream is not what a chat endpoint sends.
    #[error("read the model's answer: {0}")]
    Stream(String),
    /// The answer ended at the limit on its length.
    #[error("read the model's answer: it is longer than {0} tokens or bytes")]
    TooLong(usize),
    /// The spec is not one, even after the model was told what is wrong.
    #[error("read the model's specification: {0}")]
    Spec(String),
}
