//! Putting a request together. Nothing is said to the host before `send` or `start`, so the functions chain
//! without `?` and the first thing wrong is reported there.

use serde::Serialize;

use super::url::{Url, encode};
use super::{Encoding, Response};
use crate::bindings::nexus::agent::http as wit;
use crate::vault::Secret;
use crate::{Error, Result};

/// Request methods. `Get`, `Head` and `Options` are reads; the rest are writes, unless the manifest declares
/// a request as a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads a resource.
    Get,
    /// Reads the headers of a resource.
    Head,
    /// Asks what can be done with a resource.
    Options,
    /// Creates, or asks for something to be done.
    Post,
    /// Replaces a resource.
    Put,
    /// Changes a resource.
    Patch,
    /// Removes a resource.
    Delete,
}

/// A request being put together.
///
/// The `bearer`, `secret_*` and `signature_*` functions name what the host adds when the request leaves: over
/// TLS and towards the secret's audience only. The agent never sees the result.
#[derive(Debug)]
#[must_use = "nothing is sent before `send` or `start`"]
pub struct RequestBuilder {
    method: Method,
    url: Result<Url>,
    steps: Vec<Step>,
    body: Option<Vec<u8>>,
    /// The type of the body, unless the agent gives one itself.
    content_type: Option<&'static str>,
}

/// A request in the host's hands; start several, then wait for each. Dropping it withdraws the request if
/// nobody has decided it yet.
#[derive(Debug)]
#[must_use = "dropping it withdraws the request"]
pub struct Pending {
    url: String,
    handle: wit::Pending,
}

#[derive(Debug)]
enum Step {
    Header {
        name: String,
        value: Vec<u8>,
    },
    SecretHeader {
        name: String,
        format: String,
        secret: Secret,
    },
    SecretQuery {
        name: String,
        secret: Secret,
    },
    SecretBasic {
        user: String,
        secret: Secret,
    },
    SecretForm {
        name: String,
        secret: Secret,
    },
    SignatureHeader {
        name: String,
        message: Vec<u8>,
        encoding: Encoding,
        secret: Secret,
    },
    SignatureQuery {
        name: String,
        message: Vec<u8>,
        encoding: Encoding,
        secret: Secret,
    },
}

impl RequestBuilder {
    pub(super) fn new(method: Method, url: &str) -> Self {
        RequestBuilder {
            method,
            url: Url::parse(url),
            steps: Vec::new(),
            body: None,
            content_type: None,
        }
    }

    /// Adds a header.
    pub fn header(self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.step(Step::Header {
            name: name.into(),
            value: value.as_ref().to_vec(),
        })
    }

    /// Adds a query parameter and encodes it: `.query("ids", "eth").query("limit", 10)`.
    pub fn query(mut self, name: impl AsRef<str>, value: impl ToString) -> Self {
        if let Ok(url) = &mut self.url {
            url.append(name.as_ref(), &value.to_string());
        }
        self
    }

    /// Sets the body to a text or bytes; add a `content-type` header to say which.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(bytes.into());
        self
    }

    /// Sets the body to a value as JSON, and its type.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => {
                self.body = Some(body);
                self.content_type = Some("application/json");
            }
            Err(error) => self.fail(Error::json("the body of a request", &error)),
        }
        self
    }

    /// Sets the body to a form, and its type: a struct, a map or pairs such as `&[("symbol", "ETH")]`.
    pub fn form<T: Serialize + ?Sized>(mut self, fields: &T) -> Self {
        match form_of(fields) {
            Ok(body) => {
                self.body = Some(body.into_bytes());
                self.content_type = Some(FORM);
            }
            Err(error) => self.fail(error),
        }
        self
    }

    /// Adds the header `authorization: Bearer <secret>`.
    pub fn bearer(self, secret: &Secret) -> Self {
        self.secret_header("authorization", "Bearer {}", secret)
    }

    /// Adds a header in which `{}` of `format` is replaced by the secret: `("x-api-key", "{}", &secret)`.
    pub fn secret_header(
        self,
        name: impl Into<String>,
        format: impl Into<String>,
        secret: &Secret,
    ) -> Self {
        self.step(Step::SecretHeader {
            name: name.into(),
            format: format.into(),
            secret: secret.clone(),
        })
    }

    /// Adds a query parameter with the secret.
    pub fn secret_query(self, name: impl Into<String>, secret: &Secret) -> Self {
        self.step(Step::SecretQuery {
            name: name.into(),
            secret: secret.clone(),
        })
    }

    /// Adds basic authentication with the secret as password.
    pub fn secret_basic(self, user: impl Into<String>, secret: &Secret) -> Self {
        self.step(Step::SecretBasic {
            user: user.into(),
            secret: secret.clone(),
        })
    }

    /// Adds a field with the secret to the form that is the body.
    pub fn secret_form(mut self, name: impl Into<String>, secret: &Secret) -> Self {
        self.content_type.get_or_insert(FORM);
        self.step(Step::SecretForm {
            name: name.into(),
            secret: secret.clone(),
        })
    }

    /// Adds a header with the HMAC-SHA-256 of `message`, keyed by the secret.
    pub fn signature_header(
        self,
        name: impl Into<String>,
        message: impl AsRef<[u8]>,
        encoding: Encoding,
        secret: &Secret,
    ) -> Self {
        let message = message.as_ref().to_vec();
        self.step(Step::SignatureHeader {
            name: name.into(),
            message,
            encoding,
            secret: secret.clone(),
        })
    }

    /// Adds a query parameter with the HMAC-SHA-256 of `message`, keyed by the secret.
    pub fn signature_query(
        self,
        name: impl Into<String>,
        message: impl AsRef<[u8]>,
        encoding: Encoding,
        secret: &Secret,
    ) -> Self {
        let message = message.as_ref().to_vec();
        self.step(Step::SignatureQuery {
            name: name.into(),
            message,
            encoding,
            secret: secret.clone(),
        })
    }

    /// Sends the request and waits for the response, and for a person if one has to be asked.
    pub fn send(self) -> Result<Response> {
        self.start()?.wait()
    }

    /// Hands the request to the host and returns at once.
    pub fn start(mut self) -> Result<Pending> {
        self.default_content_type();
        let url = self.url?;
        let request = wit::Origin::open(&url.origin)?.request(self.method.into(), &url.target())?;
        for step in &self.steps {
            step.apply(&request)?;
        }
        if let Some(body) = &self.body {
            request.body(body)?;
        }
        let handle = wit::Request::send(request)?;
        Ok(Pending {
            url: url.origin + &url.path,
            handle,
        })
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Keeps the first error for `start`.
    fn fail(&mut self, error: Error) {
        if self.url.is_ok() {
            self.url = Err(error);
        }
    }

    fn default_content_type(&mut self) {
        let given = |step: &Step| matches!(step, Step::Header { name, .. } if name.eq_ignore_ascii_case("content-type"));
        if let Some(content_type) = self.content_type
            && !self.steps.iter().any(given)
        {
            self.steps.push(Step::Header {
                name: "content-type".to_owned(),
                value: content_type.into(),
            });
        }
    }
}

impl Pending {
    /// Waits for the decision, if one is needed, and for the response.
    pub fn wait(self) -> Result<Response> {
        let response = wit::Pending::wait(self.handle)?;
        Ok(Response::new(self.url, response))
    }
}

impl Step {
    fn apply(&self, request: &wit::Request) -> Result<()> {
        match self {
            Step::Header { name, value } => request.header(name, value),
            Step::SecretHeader {
                name,
                format,
                secret,
            } => request.secret_header(name, format, secret.handle()),
            Step::SecretQuery { name, secret } => request.secret_query(name, secret.handle()),
            Step::SecretBasic { user, secret } => request.secret_basic(user, secret.handle()),
            Step::SecretForm { name, secret } => request.secret_form(name, secret.handle()),
            Step::SignatureHeader {
                name,
                message,
                encoding,
                secret,
            } => request.signature_header(name, message, *encoding, secret.handle()),
            Step::SignatureQuery {
                name,
                message,
                encoding,
                secret,
            } => request.signature_query(name, message, *encoding, secret.handle()),
        }?;
        Ok(())
    }
}

impl From<Method> for wit::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => wit::Method::Get,
            Method::Head => wit::Method::Head,
            Method::Options => wit::Method::Options,
            Method::Post => wit::Method::Post,
            Method::Put => wit::Method::Put,
            Method::Patch => wit::Method::Patch,
            Method::Delete => wit::Method::Delete,
        }
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Fields of an object, or pairs, in their order; numbers and booleans as they are written in JSON.
fn form_of<T: Serialize + ?Sized>(fields: &T) -> Result<String> {
    use serde_json::Value;

    fn text(value: &Value) -> Result<String> {
        match value {
            Value::String(text) => Ok(encode(text)),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(flag.to_string()),
            other => Err(Error::Invalid(format!("{other} is not a value for a form"))),
        }
    }

    let fields = serde_json::to_value(fields)
        .map_err(|error| Error::json("the fields of a form", &error))?;
    let pairs: Vec<String> = match &fields {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| Ok(format!("{}={}", encode(name), text(value)?)))
            .collect::<Result<_>>()?,
        Value::Array(pairs) => pairs
            .iter()
            .map(|pair| match pair.as_array().map(Vec::as_slice) {
                Some([name, value]) => Ok(format!("{}={}", text(name)?, text(value)?)),
                _ => Err(Error::Invalid(format!(
                    "{pair} is not a pair of name and value"
                ))),
            })
            .collect::<Result<_>>()?,
        other => {
            return Err(Error::Invalid(format!(
                "{other} is not a form: use a struct, a map or pairs"
            )));
        }
    };
    Ok(pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_form_comes_from_pairs_and_from_structs() {
        #[derive(Serialize)]
        struct Order {
            symbol: &'static str,
            quantity: f64,
            note: Option<String>,
        }
        assert_eq!(
            form_of(&[("a", "b c"), ("d", "e&f")]),
            Ok("a=b%20c&d=e%26f".to_owned())
        );
        let order = Order {
            symbol: "ETH/USD",
            quantity: 0.5,
            note: None,
        };
        let form = form_of(&order).unwrap_or_default();
        let mut fields: Vec<_> = form.split('&').collect();
        fields.sort_unstable();
        assert_eq!(fields, ["quantity=0.5", "symbol=ETH%2FUSD"]);
        assert!(matches!(
            form_of(&json!({ "a": [1] })),
            Err(Error::Invalid(_))
        ));
        assert!(matches!(form_of(&1), Err(Error::Invalid(_))));
    }

    #[test]
    fn query_parameters_follow_those_of_the_url() {
        let builder = super::super::post("https://a.example/x?a=1")
            .query("q", "b c")
            .query("limit", 10);
        assert_eq!(
            builder.url.map(|url| url.target()),
            Ok("/x?a=1&q=b%20c&limit=10".to_owned())
        );
    }

    #[test]
    fn a_given_content_type_wins() {
        let types = |builder: RequestBuilder| {
            let mut builder = builder;
            builder.default_content_type();
            builder
                .steps
                .iter()
                .filter(|step| matches!(step, Step::Header { .. }))
                .count()
        };
        assert_eq!(types(super::super::post("https://a.example").json(&1)), 1);
        assert_eq!(
            types(
                super::super::post("https://a.example")
                    .header("Content-Type", "text/x")
                    .json(&1)
            ),
            1
        );
        assert_eq!(types(super::super::post("https://a.example").body("x")), 0);
    }

    #[test]
    fn what_is_wrong_is_reported_when_it_is_sent() {
        let error = super::super::post("nonsense")
            .query("a", 1)
            .json(&1)
            .send()
            .err();
        assert!(matches!(error, Some(Error::Invalid(_))));
        let bad_key = std::collections::HashMap::from([((1, 2), 3)]);
        let error = super::super::post("https://a.example")
            .json(&bad_key)
            .send()
            .err();
        assert!(matches!(error, Some(Error::Json(_))));
    }
}
