//! A bare tonic service: the same message in and out, and nothing in between.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nexus_proto::v1;
use nexus_proto::v1::invocation_service_server::{InvocationService, InvocationServiceServer};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// The argument that makes this program the bare server.
pub(crate) const MODE: &str = "bare-server";

struct Echo;

type Events = futures::stream::Empty<Result<v1::InvocationEvent, Status>>;

#[tonic::async_trait]
impl InvocationService for Echo {
    async fn invoke_agent(
        &self,
        request: Request<v1::InvokeAgentRequest>,
    ) -> Result<Response<v1::Invocation>, Status> {
        let success = v1::Success {
            output: request.into_inner().input,
        };
        Ok(Response::new(v1::Invocation {
            outcome: Some(v1::invocation::Outcome::Success(success)),
            ..v1::Invocation::default()
        }))
    }

    async fn start_invocation(
        &self,
        _: Request<v1::StartInvocationRequest>,
    ) -> Result<Response<v1::Invocation>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn get_invocation(
        &self,
        _: Request<v1::GetInvocationRequest>,
    ) -> Result<Response<v1::Invocation>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn list_invocations(
        &self,
        _: Request<v1::ListInvocationsRequest>,
    ) -> Result<Response<v1::ListInvocationsResponse>, Status> {
        Err(Status::unimplemented("bare"))
    }

    type WatchInvocationStream = Events;

    async fn watch_invocation(
        &self,
        _: Request<v1::WatchInvocationRequest>,
    ) -> Result<Response<Events>, Status> {
        Err(Status::unimplemented("bare"))
    }

    type WatchInvocationsStream = Events;

    async fn watch_invocations(
        &self,
        _: Request<v1::WatchInvocationsRequest>,
    ) -> Result<Response<Events>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn cancel_invocation(
        &self,
        _: Request<v1::CancelInvocationRequest>,
    ) -> Result<Response<v1::Invocation>, Status> {
        Err(Status::unimplemented("bare"))
    }
}

/// Serves on one thread until it is killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .event_interval(8)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        Server::builder()
            .max_concurrent_streams(1024)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .add_service(InvocationServiceServer::new(Echo))
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
            .await?;
        Ok(())
    })
}

/// The bare server as a child process on core 0.
pub(crate) struct Bare {
    child: Child,
    pub(crate) endpoint: String,
}

impl Bare {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(std::env::current_exe()?)
            .arg(MODE)
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the bare server")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
        let endpoint = line
            .trim()
            .strip_prefix("listening on ")
            .context("the bare server listens")?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            child,
        })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
