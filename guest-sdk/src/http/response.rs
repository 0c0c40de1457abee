//! What came back.

use serde::de::DeserializeOwned;

use crate::bindings::nexus::agent::http as wit;
use crate::{Error, Result};

/// Characters of a body that an [`Error::Status`] carries.
const EXCERPT: usize = 500;

/// A complete response. A status of 400 and above is a response too: [`json`](Self::json) and
/// [`error_for_status`](Self::error_for_status) turn it into an error, the other functions do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    url: String,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Response {
    pub(super) fn new(url: String, response: wit::Response) -> Self {
        Response {
            url,
            status: response.status,
            headers: response.headers,
            body: response.body,
        }
    }

    /// The status code, such as 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is in 200 to 299.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header called `name`, in any case, if it is text.
    pub fn header(&self, name: impl AsRef<str>) -> Option<&str> {
        let name = name.as_ref();
        self.headers
            .iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| str::from_utf8(value).ok())
    }

    /// All headers, with their values as on the wire.
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as it is, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.body
    }

    /// The body as text, whatever the status; [`Error::Invalid`] if it is not UTF-8.
    pub fn text(&self) -> Result<String> {
        match str::from_utf8(&self.body) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(Error::Invalid(format!(
                "the response of {} is not text: {error}",
                self.url
            ))),
        }
    }

    /// The body read as JSON. A status of 400 and above is [`Error::Status`] before anything is read.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        self.check()?;
        self.json_whatever_the_status()
    }

    /// The body read as JSON, also if the status is 400 or above: for APIs that explain errors in JSON.
    pub fn json_whatever_the_status<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::json(format_args!("the response of {}", self.url), &error))
    }

    /// The response itself, or [`Error::Status`] if the status is 400 or above.
    pub fn error_for_status(self) -> Result<Self> {
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<()> {
        if self.status < 400 {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&self.body)
            .chars()
            .take(EXCERPT)
            .collect();
        Err(Error::Status {
            status: self.status,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response {
        let headers = vec![("Content-Type".to_owned(), b"application/json".to_vec())];
        Response::new(
            "https://a.example/".to_owned(),
            wit::Response {
                status,
                headers,
                body: body.into(),
            },
        )
    }

    #[test]
    fn json_reads_a_good_response_and_refuses_a_bad_status() {
        assert_eq!(response(200, "[1, 2]").json::<Vec<u8>>(), Ok(vec![1, 2]));
        let refused = response(404, r#"{"error":"no such coin"}"#);
        assert_eq!(
            refused.json::<serde_json::Value>(),
            Err(Error::Status {
                status: 404,
                body: r#"{"error":"no such coin"}"#.to_owned()
            })
        );
        assert!(
            refused
                .json_whatever_the_status::<serde_json::Value>()
                .is_ok()
        );
    }

    #[test]
    fn bad_json_names_the_url() {
        let error = response(200, "<html>")
            .json::<u8>()
            .err()
            .map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("https://a.example/")));
    }

    #[test]
    fn header_names_match_in_any_case() {
        assert_eq!(
            response(200, "").header("content-type"),
            Some("application/json")
        );
        assert_eq!(response(200, "").header("accept"), None);
    }
}
