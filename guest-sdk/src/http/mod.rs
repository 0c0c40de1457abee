//! Outbound HTTP and HTTPS. Every request passes the host's gate: reads within the manifest go through, writes
//! wait for a person. All functions block until the answer is there.
//!
//! ```no_run
//! use nexus_agent::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Price {
//!     usd: f64,
//! }
//!
//! # fn invoke() -> Result<()> {
//! let price: Price = http::get("https://api.example.com/price?symbol=ETH")?.json()?;
//!
//! let order = http::post("https://api.example.com/orders")
//!     .bearer(&vault::secret("exchange-key")?)
//!     .json(&json!({ "symbol": "ETH", "quantity": 0.5 }))
//!     .send()?
//!     .error_for_status()?;
//! # Ok(())
//! # }
//! ```

mod request;
mod response;
mod url;

pub use crate::bindings::nexus::agent::http::Encoding;
pub use request::{Method, Pending, RequestBuilder};
pub use response::Response;
pub use url::encode;

use crate::Result;

/// Sends a GET request and waits for the response. For headers, secrets or query parameters use
/// [`request`]`(Method::Get, url)`.
pub fn get(url: impl AsRef<str>) -> Result<Response> {
    request(Method::Get, url).send()
}

/// Begins a request with any method.
pub fn request(method: Method, url: impl AsRef<str>) -> RequestBuilder {
    RequestBuilder::new(method, url.as_ref())
}

/// Begins a POST request; [`send`](RequestBuilder::send) sends it.
pub fn post(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Post, url)
}

/// Begins a PUT request; [`send`](RequestBuilder::send) sends it.
pub fn put(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Put, url)
}

/// Begins a PATCH request; [`send`](RequestBuilder::send) sends it.
pub fn patch(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Patch, url)
}

/// Begins a DELETE request; [`send`](RequestBuilder::send) sends it.
pub fn delete(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Delete, url)
}

/// Begins a HEAD request; [`send`](RequestBuilder::send) sends it.
pub fn head(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Head, url)
}

/// Begins an OPTIONS request; [`send`](RequestBuilder::send) sends it.
pub fn options(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Options, url)
}
