use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    channel: String,
    text: String,
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    ts: Option<String>,
    error: Option<String>,
}

fn invoke(input: Input) -> Result<Value> {
    let token = vault::secret("chat-token")?;
    let answer: Answer = http::post("{{origin}}/api/chat.postMessage")
        .bearer(&token)
        .form(&[("channel", &input.channel), ("text", &input.text)])
        .send()?
        .json()?;
    ensure!(answer.ok, "chat", "the chat refused it: {}", answer.error.unwrap_or_default());
    Ok(json!({ "posted": answer.ts }))
}

nexus_agent::export!(invoke);
