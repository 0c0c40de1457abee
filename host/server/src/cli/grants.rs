//! `nexus grants`.

use nexus_proto::v1::{DeleteGrantRequest, ListGrantsRequest};

use super::{
    args::Grants, connection::Client, exit::Exit, output::Output, text::name, view::grant as view,
};

pub(crate) async fn run(command: Grants, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Grants::List { agent } => {
            let mut grants = Vec::new();
            let mut request = ListGrantsRequest {
                agent: super::filter("agents", &agent),
                ..ListGrantsRequest::default()
            };
            loop {
                let page = client
                    .approvals()
                    .list_grants(request.clone())
                    .await?
                    .into_inner();
                grants.extend(page.grants);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            output.list("grants", &grants, view::list)?;
        }
        Grants::Revoke { id } => {
            let request = DeleteGrantRequest {
                name: name("grants", &id),
            };
            let name = request.name.clone();
            client.approvals().delete_grant(request).await?;
            output.removed(&name)?;
        }
    }
    Ok(Exit::Success)
}
