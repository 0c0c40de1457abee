use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    id: String,
}

#[derive(Deserialize)]
struct Translation {
    text: String,
}

#[derive(Serialize)]
struct Output {
    id: String,
    text: String,
}

fn invoke(input: Input) -> Result<Output> {
    let key = format!("note/{}", input.id);
    let Some(text) = memory::read_only("notes-de")?.get_text(&key)? else {
        fail!("no-such-note", "there is no note {}", input.id);
    };
    let translation: Translation =
        bus::peer("translator")?.call(&json!({ "text": text }))?.json()?;
    memory::space("notes-en")?.put(&key, &translation.text)?;
    Ok(Output { id: input.id, text: translation.text })
}

nexus_agent::export!(invoke);
