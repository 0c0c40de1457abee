use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    before: String,
}

#[derive(Deserialize)]
struct Dated {
    date: String,
}

#[derive(Serialize)]
struct Output {
    deleted: Vec<String>,
    kept: usize,
}

fn invoke(input: Input) -> Result<Output> {
    let journal = memory::space("journal")?;
    let mut deleted = Vec::new();
    let mut kept = 0;
    for entry in journal.scan("") {
        let entry = entry?;
        let dated: Dated = entry.json()?;
        // Dates of this form sort as texts.
        if dated.date < input.before {
            deleted.push(entry.key);
        } else {
            kept += 1;
        }
    }
    for key in &deleted {
        journal.delete(key)?;
    }
    Ok(Output { deleted, kept })
}

nexus_agent::export!(invoke);
