use nexus_agent::prelude::*;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Input {
    csv: String,
}

#[derive(Serialize)]
struct Output {
    imported: usize,
}

/// The fields of one line; a quoted field may hold commas, and quotes written twice.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                fields[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    fields
}

fn invoke(input: Input) -> Result<Output> {
    let mut lines = input.csv.lines().filter(|line| !line.trim().is_empty());
    let columns = fields(lines.next().ok_or("the CSV is empty")?);
    ensure!(columns.first().is_some_and(|name| name == "id"), "no-id", "the first column is not id");
    let space = memory::space("kb-import")?;
    let mut imported = 0;
    for line in lines {
        let values = fields(line);
        ensure!(values.len() == columns.len(), "bad-row", "{} fields in {line:?}", values.len());
        let id = values[0].clone();
        let row: BTreeMap<&String, String> = columns.iter().zip(values).collect();
        space.put_json(format!("row/{id}"), &row)?;
        imported += 1;
    }
    Ok(Output { imported })
}

nexus_agent::export!(invoke);
