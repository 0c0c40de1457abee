//! `nexus tokens`.

use std::time::Duration;

use anyhow::Context as _;
use nexus_proto::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Role, Token};

use super::{
    args::Tokens,
    connection::Client,
    exit::Exit,
    output::Output,
    text::{name, word},
    view::token as view,
};

/// The file of the data directory that holds the operator's token.
const OPERATOR_FILE: &str = "operator.token";

pub(crate) async fn run(command: Tokens, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Tokens::Create {
            holder,
            role,
            principal,
            ttl,
        } => {
            let role = Role::from(role);
            let request = CreateTokenRequest {
                principal: holder
                    .or(principal)
                    .unwrap_or_else(|| word(role.as_str_name(), "ROLE_")),
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
            let tokens = all(client).await?;
            output.list("tokens", &tokens, view::list)?;
        }
        Tokens::Rotate { id, overlap, ttl } => rotate(&id, overlap, ttl, client, output).await?,
        Tokens::Revoke { id } => {
            let request = RevokeTokenRequest {
                name: name("tokens", &id),
                grace: None,
            };
            let token = client.system().revoke_token(request).await?.into_inner();
            output.message(&token, |token| view::list(std::slice::from_ref(token)))?;
        }
    }
    Ok(Exit::Success)
}

async fn all(client: &Client) -> anyhow::Result<Vec<Token>> {
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
            return Ok(tokens);
        }
        request.page_token = page.next_page_token;
    }
}

/// A new token in the place of an old one, which works on for a while.
async fn rotate(
    id: &str,
    overlap: Option<Duration>,
    ttl: Option<Duration>,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let name = name("tokens", id);
    let old = all(client)
        .await?
        .into_iter()
        .find(|token| token.name == name);
    let old =
        old.with_context(|| format!("no token is called {name}; `nexus tokens list` shows them"))?;
    let wire = |time: Option<Duration>| {
        let time = time.filter(|time| !time.is_zero());
        time.map(prost_types::Duration::try_from)
            .transpose()
            .context("failed to use the time")
    };
    let request = CreateTokenRequest {
        principal: old.principal,
        role: old.role,
        ttl: wire(ttl)?,
        request_id: String::new(),
    };
    let created = client.system().create_token(request).await?.into_inner();
    // Said first: should the old one not be revoked, the new one is not lost.
    if !output.is_json()
        && let Some(token) = &created.token
    {
        output.note(&view::list(std::slice::from_ref(token)));
        output.note("the new token, shown this once:");
    }
    output.message(&created, |created| created.secret.clone())?;
    let mut system = client.system();
    let directory = crate::config::default_data_dir();
    let file = directory.join(OPERATOR_FILE);
    // The token that commands on this machine use: they go on with the new one.
    let mine = std::fs::read_to_string(&file).is_ok_and(|secret| {
        crate::auth::token_id(secret.trim()) == name.trim_start_matches("tokens/")
    });
    if mine {
        crate::auth::write_private(&file, created.secret.as_bytes())
            .with_context(|| format!("failed to write {}", file.display()))?;
    }
    let request = RevokeTokenRequest {
        name,
        grace: wire(overlap)?,
    };
    system.revoke_token(request).await?;
    Ok(())
}
