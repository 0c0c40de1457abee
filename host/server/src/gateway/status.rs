//! Errors as HTTP tells them: a status, and `google.rpc.Status` as JSON.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::answer::json as respond;
use crate::fault::Fault;

/// An answer that is an error.
pub(super) fn error(status: &Status) -> Response<Body> {
    with(http(status), status)
}

/// An error that HTTP has a status of its own for.
pub(super) fn with(code: StatusCode, status: &Status) -> Response<Body> {
    let mut response = respond(&body(status));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    if code == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let wait = status
        .get_details_retry_info()
        .and_then(|retry| retry.retry_delay);
    if let Some(wait) = wait {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A fault as an answer, with a status of its own.
pub(super) fn fault(code: StatusCode, fault: Fault) -> Response<Body> {
    with(code, &fault.into())
}

/// The status of HTTP that `google.rpc.Code` names for each code.
fn http(status: &Status) -> StatusCode {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match (status.code(), reason.as_deref()) {
        (_, Some("MESSAGE_TOO_LARGE" | "COMPONENT_TOO_LARGE")) => StatusCode::PAYLOAD_TOO_LARGE,
        (_, Some("BODY_TOO_SLOW")) => StatusCode::REQUEST_TIMEOUT,
        (code, _) => of(code),
    }
}

fn of(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // The client has gone; whoever reads it is a log.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// `google.rpc.Status` with its details.
pub(super) fn body(status: &Status) -> Value {
    let all = status.get_error_details();
    let mut details = Vec::new();
    let mut add = |kind: &str, mut detail: Value| {
        detail["@type"] = format!("type.googleapis.com/google.rpc.{kind}").into();
        details.push(detail);
    };
    if let Some(info) = all.error_info() {
        let detail =
            json!({ "reason": info.reason, "domain": info.domain, "metadata": info.metadata });
        add("ErrorInfo", detail);
    }
    if let Some(bad) = all.bad_request() {
        let violations: Vec<Value> = bad
            .field_violations
            .iter()
            .map(|v| json!({ "field": v.field, "description": v.description }))
            .collect();
        add("BadRequest", json!({ "fieldViolations": violations }));
    }
    if let Some(failure) = all.precondition_failure() {
        let violations: Vec<Value> = failure
            .violations
            .iter()
            .map(
                |v| json!({ "type": v.r#type, "subject": v.subject, "description": v.description }),
            )
            .collect();
        add("PreconditionFailure", json!({ "violations": violations }));
    }
    if let Some(failure) = all.quota_failure() {
        let violations: Vec<Value> = failure
            .violations
            .iter()
            .map(|v| json!({ "subject": v.subject, "description": v.description }))
            .collect();
        add("QuotaFailure", json!({ "violations": violations }));
    }
    if let Some(wait) = all.retry_info().and_then(|retry| retry.retry_delay) {
        add(
            "RetryInfo",
            json!({ "retryDelay": format!("{}s", wait.as_secs_f64()) }),
        );
    }
    json!({ "code": i32::from(status.code()), "message": status.message(), "details": details })
}
