use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    word: String,
}

#[derive(Deserialize)]
struct Note {
    title: String,
    text: String,
}

#[derive(Serialize)]
struct Found {
    key: String,
    title: String,
}

fn invoke(input: Input) -> Result<Value> {
    let word = input.word.to_lowercase();
    let notes = memory::space("kb-notes")?;
    notes.put("last-search", &word)?;
    let mut found = Vec::new();
    for entry in notes.scan("note/") {
        let entry = entry?;
        let note: Note = entry.json()?;
        let whole = format!("{} {}", note.title, note.text).to_lowercase();
        if whole.contains(&word) {
            found.push(Found { key: entry.key, title: note.title });
        }
    }
    Ok(json!({ "found": found }))
}

nexus_agent::export!(invoke);
