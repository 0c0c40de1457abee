//! `nexus tokens`.

use anyhow::Context as _;
use nexus_proto::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Role};

use super::{
    args::Tokens,
    connection::Client,
    exit::Exit,
    output::Output,
    text::{name, word},
    view::token as view,
};

pub(crate) async fn run(command: Tokens, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Tokens::Create {
            role,
            principal,
            ttl,
        } => {
            let role = Role::from(role);
            let request = CreateTokenRequest {
                principal: principal.unwrap_or_else(|| word(role.as_str_name(), "ROLE_")),
                role: role.into(),
                ttl: ttl
                    .map(prost_types::Duration::try_from)
                    .transpose()
                    .context("failed to use the ttl")?,
                request_id: String::new(),
            };
            let created = client.system().create_token(request).await?.into_inner();
            if !output.is_json()
                && let Some(token) = &created.token
            {
                output.note(&view::list(std::slice::from_ref(token)));
                output.note("the token, shown this once:");
            }
            output.message(&created, |created| created.secret.clone())?;
        }
        Tokens::List => {
            let mut tokens = Vec::new();
            let mut request = ListTokensRequest::default();
            loop {
                let page = client
                    .system()
                    .list_tokens(request.clone())
                    .await?
                    .into_inner();
                tokens.extend(page.tokens);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            output.list("tokens", &tokens, view::list)?;
        }
        Tokens::Revoke { id } => {
            let request = RevokeTokenRequest {
                name: name("tokens", &id),
            };
            let token = client.system().revoke_token(request).await?.into_inner();
            output.message(&token, |token| view::list(std::slice::from_ref(token)))?;
        }
    }
    Ok(Exit::Success)
}
