//! The world outside, as small as can be: a market with one price and an order book.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::{net::TcpListener, task::JoinSet};

/// What one ETH is said to cost. The two differ so that answers tell which one was read.
pub(super) const PRICE: f64 = 3_000.5;
/// What one has to pay for it.
pub(super) const ASK: f64 = 3_001.25;

/// The largest order that is read.
const MAX_BODY: usize = 64 << 10;

/// A request that the market took as an order.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: String,
}

/// A market on loopback. It closes when it is dropped.
pub(super) struct Market {
    /// Its address, as agents name it. A name, because policy has a person look at bare addresses.
    pub(super) origin: String,
    book: Arc<Mutex<Vec<Order>>>,
    _listening: JoinSet<()>,
}

impl Market {
    /// Opens on a free port, for both kinds of loopback address where there are both.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("failed to open the market on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let book = Arc::new(Mutex::new(Vec::new()));
        let mut listening = JoinSet::new();
        listening.spawn(accept(listener, Arc::clone(&book)));
        if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
            listening.spawn(accept(listener, Arc::clone(&book)));
        }
        Ok(Self {
            origin: format!("http://localhost:{port}"),
            book,
            _listening: listening,
        })
    }

    /// The orders so far, oldest first.
    pub(super) fn orders(&self) -> Vec<Order> {
        self.book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn accept(listener: TcpListener, book: Arc<Mutex<Vec<Order>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let book = Arc::clone(&book);
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&book)));
            // A client that goes away in the middle is no concern of the market's.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    book: Arc<Mutex<Vec<Order>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let (status, body) = match (&method, path.as_str()) {
        (&Method::GET, "/price") => (StatusCode::OK, quote(request.uri().query())),
        (&Method::POST, "/orders") => {
            match Limited::new(request.into_body(), MAX_BODY).collect().await {
                Ok(body) => {
                    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                    book.push(Order {
                        method: method.to_string(),
                        path,
                        body,
                    });
                    let id = format!("order-{}", book.len());
                    (
                        StatusCode::CREATED,
                        json!({ "id": id, "state": "accepted" }),
                    )
                }
                Err(_) => (
                    StatusCode::BAD_REQUEST,
                    json!({ "error": "the order does not read" }),
                ),
            }
        }
        _ => (
            StatusCode::NOT_FOUND,
            json!({ "error": "there is GET /price and POST /orders" }),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

fn quote(query: Option<&str>) -> Json {
    let symbol = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("symbol="))
        .unwrap_or("ETH");
    json!({ "symbol": symbol, "price": PRICE, "ask": ASK })
}
