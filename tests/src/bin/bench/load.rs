//! A closed loop: as many calls in flight as asked, each followed by the next.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nexus_proto::v1;
use nexus_proto::v1::invocation_service_client::InvocationServiceClient;
use nexus_tests::Connection;
use nexus_tests::client::Client;
use tonic::transport::{Channel, Endpoint};

/// Connections, and calls in flight on each.
pub(crate) const CONNECTIONS: usize = 16;
pub(crate) const IN_FLIGHT: usize = 16;

/// What a load came to.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Calls that were answered with a success.
    pub(crate) answered: u64,
    /// Calls that were not.
    pub(crate) failed: u64,
    /// What the first of those was told.
    pub(crate) failure: Option<String>,
    /// The time of each call, in milliseconds.
    pub(crate) times: Vec<f64>,
    /// How long it went on.
    pub(crate) seconds: f64,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.answered as f64 / self.seconds
    }
}

/// Connections to an endpoint, with a token or without.
pub(crate) async fn connect(
    endpoint: &str,
    token: Option<&str>,
    count: usize,
) -> anyhow::Result<Vec<InvocationServiceClient<Connection>>> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let channel: Channel = Endpoint::new(endpoint.to_owned())?
            .tcp_nodelay(true)
            .connect()
            .await?;
        clients.push(Client::new(channel, token)?.invocations);
    }
    Ok(clients)
}

/// Calls an agent for `time` over every connection. Needs a current-thread runtime.
pub(crate) async fn run(
    clients: &[InvocationServiceClient<Connection>],
    agent: &str,
    time: Duration,
) -> Load {
    let result = Rc::new(RefCell::new(Load::default()));
    let begin = Instant::now();
    let end = begin + time;
    let local = tokio::task::LocalSet::new();
    for client in clients {
        for _ in 0..IN_FLIGHT {
            let (mut client, result, name) = (
                client.clone(),
                Rc::clone(&result),
                format!("agents/{agent}"),
            );
            local.spawn_local(async move {
                while Instant::now() < end {
                    let request = v1::InvokeAgentRequest {
                        name: name.clone(),
                        input: r#"{"say":"hello"}"#.to_owned(),
                        ..v1::InvokeAgentRequest::default()
                    };
                    let sent = Instant::now();
                    let answer = client.invoke_agent(request).await;
                    let took = sent.elapsed().as_secs_f64() * 1e3;
                    let failure = match answer {
                        Ok(answer) => match answer.into_inner().outcome {
                            Some(v1::invocation::Outcome::Success(_)) => None,
                            other => Some(format!("{other:?}")),
                        },
                        Err(status) => Some(status.to_string()),
                    };
                    let mut result = result.borrow_mut();
                    if let Some(failure) = failure {
                        result.failed += 1;
                        result.failure.get_or_insert(failure);
                    } else {
                        result.answered += 1;
                        result.times.push(took);
                    }
                }
            });
        }
    }
    local.await;
    let mut result = result.take();
    result.seconds = begin.elapsed().as_secs_f64();
    result
}
