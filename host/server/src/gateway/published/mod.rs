//! The forge as its published guide calls it: `/api/v1/forge/`, with the guide's paths and names.
//!
//! Each path is one or two calls of `ForgeService`, through the same doors as any other. A *skill* of
//! the guide is an agent here: `salesforce_sentinel` is the agent `salesforce-sentinel`.

mod create;
mod hot_reload;
mod names;
mod skeleton;
mod words;

use http::request::Parts;
use http::{HeaderMap, Method, Response};
use serde_json::Value;
use tonic::Status;
use tonic::body::Body;

use super::call::Sender;
use super::{Stack, answer, status};

pub(super) const PREFIX: &str = "/api/v1/forge/";

/// One path of the guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    Status,
    Enable,
    Disable,
    List,
    Trigger,
    Create,
}

/// All of them: path, method of HTTP, what it does.
pub(super) const ALL: [(&str, Method, Published); 6] = [
    ("hot-reload/status", Method::GET, Published::Status),
    ("hot-reload/enable", Method::POST, Published::Enable),
    ("hot-reload/disable", Method::POST, Published::Disable),
    ("hot-reload/list", Method::GET, Published::List),
    ("hot-reload/trigger", Method::POST, Published::Trigger),
    ("create", Method::POST, Published::Create),
];

/// An answer, and the headers of the call behind it.
type Answered = Result<(Value, HeaderMap), Status>;

impl Published {
    /// What a path is, and the method that it takes.
    pub(super) fn find(path: &str) -> Option<(Self, &'static Method)> {
        let path = path.strip_prefix(PREFIX)?;
        let found = ALL.iter().find(|(known, _, _)| *known == path);
        found.map(|(_, verb, published)| (*published, verb))
    }

    /// Answers it. With `model` the host has a language model to write agents.
    pub(super) async fn answer<S: Stack>(
        self,
        stack: S,
        parts: &Parts,
        body: Body,
        model: bool,
    ) -> Response<Body> {
        let sender = Sender::of(parts);
        let answered = match self {
            Self::Status => hot_reload::status(stack, &sender).await,
            Self::Enable => hot_reload::switch(stack, &sender, true).await,
            Self::Disable => hot_reload::switch(stack, &sender, false).await,
            Self::List => hot_reload::list(stack, &sender).await,
            Self::Trigger => hot_reload::trigger(stack, &sender, body).await,
            Self::Create => create::create(stack, &sender, body, model).await,
        };
        match answered {
            Ok((value, headers)) => {
                let mut response = answer::json(&value);
                answer::pass_head(&headers, &mut response);
                response
            }
            Err(error) => status::error(&error),
        }
    }
}
