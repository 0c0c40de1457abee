//! What the agent says while it is worked on.

use nexus_proto::v1::{InvocationEvent, WatchInvocationsRequest};
use serde_json::json;
use tokio::task::JoinHandle;
use tonic::Streaming;

use crate::cli::{connection::Client, failure, json, output::Output, view::invocation as view};

/// Tells every invocation of one agent, by whomever it was called.
pub(super) struct Log {
    client: Client,
    output: Output,
    agent: String,
    task: Option<JoinHandle<()>>,
}

impl Log {
    pub(super) fn new(client: Client, output: Output) -> Self {
        Self {
            client,
            output,
            agent: String::new(),
            task: None,
        }
    }

    /// Goes on with this agent; begins anew if its name has changed or the host was away.
    pub(super) async fn follow(&mut self, agent: &str) -> anyhow::Result<()> {
        let runs = self.task.as_ref().is_some_and(|task| !task.is_finished());
        if runs && self.agent == agent {
            return Ok(());
        }
        if let Some(task) = self.task.take() {
            task.abort();
        }
        agent.clone_into(&mut self.agent);
        let request = WatchInvocationsRequest {
            agent: agent.to_owned(),
        };
        let events = self.client.invocations().watch_invocations(request).await?;
        self.task = Some(tokio::spawn(tell(events.into_inner(), self.output)));
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn tell(mut events: Streaming<InvocationEvent>, output: Output) {
    loop {
        let told = match events.message().await {
            Ok(Some(event)) if output.is_json() => json::value(&event)
                .and_then(|event| output.json_line(&json!({ "invocation": event }))),
            Ok(Some(event)) => output.text(&view::event_of(&event)),
            Ok(None) => return,
            Err(status) => {
                return output.note(&format!(
                    "the log is not followed any more, until the next save: {}",
                    failure::describe_status(&status)
                ));
            }
        };
        if told.is_err() {
            // Nobody reads stdout.
            return;
        }
    }
}
