//! The origin that a case's agent talks to.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::case::Recorded;
use crate::authority::Authority;
use crate::origin::{self, Answer, Origin, Received};

/// Answers what is recorded, and 404 to everything else.
pub(super) async fn origin(
    authority: &Authority,
    responses: Vec<Recorded>,
) -> anyhow::Result<Origin> {
    Origin::start_tls(authority, move |received| {
        match responses.iter().find(|recorded| recorded.answers(received)) {
            Some(recorded) => recorded.answer(),
            None => origin::json(
                StatusCode::NOT_FOUND,
                &json!({ "error": "nothing is recorded for this request" }),
            ),
        }
    })
    .await
}

/// `GET /path`, without the query.
pub(super) fn line(received: &Received) -> String {
    let path = received.target.split('?').next().unwrap_or_default();
    format!("{} {path}", received.method)
}

/// The path, and the parameters of the query in whatever order.
fn parts(target: &str) -> (&str, BTreeSet<&str>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (
        path,
        query.split('&').filter(|pair| !pair.is_empty()).collect(),
    )
}

impl Recorded {
    fn answers(&self, received: &Received) -> bool {
        let ((path, query), (asked, with)) = (parts(&self.path), parts(&received.target));
        let body: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        let holds = |(pointer, value): (&String, &Value)| body.pointer(pointer) == Some(value);
        received.method.as_str() == self.method
            && path == asked
            && (self.any_query || query == with)
            && self.when.iter().all(holds)
    }

    fn answer(&self) -> Answer {
        let json = self.body.as_ref().map(Value::to_string);
        let text = json.or_else(|| self.text.clone()).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(text)));
        let status = self
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        *response.status_mut() = status.unwrap_or(StatusCode::OK);
        let media = self.content_type.as_deref().unwrap_or("application/json");
        if let Ok(media) = HeaderValue::from_str(media) {
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, media);
        }
        response
    }
}
