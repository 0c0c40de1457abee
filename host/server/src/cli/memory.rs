//! `nexus memory`.

use std::io::IsTerminal as _;

use nexus_proto::v1::{DeleteEntryRequest, GetEntryRequest, ListEntriesRequest, PutEntryRequest};

use super::{
    args::Memory, connection::Client, exit::Exit, json, output::Output, prompt, text::name,
    view::secret as view,
};

pub(crate) async fn run(command: Memory, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Memory::Get { space, key } => {
            let request = GetEntryRequest {
                name: entry(&space, &key),
            };
            let entry = client.memory().get_entry(request).await?.into_inner();
            if output.is_json() {
                output.json(&json::value(&entry)?)?;
            } else {
                output.bytes(&entry.value)?;
                // A file or a program gets the value as it is; the prompt of a shell its own line.
                if std::io::stdout().is_terminal() && !entry.value.ends_with(b"\n") {
                    output.bytes(b"\n")?;
                }
            }
        }
        Memory::Put {
            space,
            key,
            value,
            create_only,
        } => {
            let value = if value == "-" {
                prompt::stdin().await?
            } else {
                value.into_bytes()
            };
            let request = PutEntryRequest {
                name: entry(&space, &key),
                value,
                etag: String::new(),
                create_only,
            };
            let entry = client.memory().put_entry(request).await?.into_inner();
            output.message(&entry, |entry| view::entries(std::slice::from_ref(entry)))?;
        }
        Memory::Delete { space, key } => {
            let request = DeleteEntryRequest {
                name: entry(&space, &key),
                etag: String::new(),
            };
            let name = request.name.clone();
            client.memory().delete_entry(request).await?;
            output.removed(&name)?;
        }
        Memory::List { space, prefix } => {
            let mut entries = Vec::new();
            let mut request = ListEntriesRequest {
                parent: name("spaces", &space),
                prefix,
                ..ListEntriesRequest::default()
            };
            loop {
                let page = client
                    .memory()
                    .list_entries(request.clone())
                    .await?
                    .into_inner();
                entries.extend(page.entries);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            output.list("entries", &entries, view::entries)?;
        }
    }
    Ok(Exit::Success)
}

/// Keys are taken as they are: they may hold slashes.
fn entry(space: &str, key: &str) -> String {
    format!("{}/entries/{key}", name("spaces", space))
}
