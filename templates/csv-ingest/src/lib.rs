//! Puts the rows of a CSV text into a memory space. The first row names the columns; every other row becomes a
//! JSON object. All of the text is read before anything is written, so a text with a mistake changes nothing.

use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Config {
    space: String,
    prefix: String,
    key: String,
    delimiter: char,
    #[serde(default)]
    numbers: Vec<String>,
}

#[derive(Deserialize)]
struct Input {
    csv: String,
}

#[derive(Serialize)]
struct Output {
    rows: usize,
    space: String,
}

export!(invoke);

fn invoke(input: Input) -> Result<Output> {
    let config: Config = config::get()?;
    let entries = entries(&input.csv, &config)?;
    let space = memory::space(&config.space)?;
    for (number, (key, row)) in entries.iter().enumerate() {
        space.put_json(key, row)?;
        if number % 100 == 99 {
            log::progress(
                (number + 1) as f64 / entries.len() as f64,
                format!("{} rows", number + 1),
            );
        }
    }
    log::info!("{} rows are in {}", entries.len(), config.space);
    Ok(Output {
        rows: entries.len(),
        space: config.space,
    })
}

/// Key and object of every row after the first.
fn entries(csv: &str, config: &Config) -> Result<Vec<(String, Value)>, Failure> {
    let mut rows = parse(csv, config.delimiter)?.into_iter();
    let Some((_, columns)) = rows.next() else {
        fail!("bad-csv", "the text is empty")
    };
    for column in config
        .numbers
        .iter()
        .chain(Some(&config.key).filter(|key| !key.is_empty()))
    {
        ensure!(
            columns.contains(column),
            "bad-csv",
            "there is no column {column}, only {}",
            columns.join(", ")
        );
    }
    let mut entries = Vec::new();
    for (line, values) in rows {
        let (have, want) = (values.len(), columns.len());
        ensure!(
            have == want,
            "bad-csv",
            "line {line} has {have} values, there are {want} columns"
        );
        let mut key = (entries.len() + 1).to_string();
        let mut row = serde_json::Map::new();
        for (column, value) in columns.iter().zip(values) {
            if *column == config.key {
                ensure!(!value.is_empty(), "bad-csv", "line {line} has no {column}");
                key.clone_from(&value);
            }
            let value = if config.numbers.contains(column) {
                number(&value, line)?
            } else {
                Value::String(value)
            };
            row.insert(column.clone(), value);
        }
        entries.push((format!("{}{key}", config.prefix), Value::Object(row)));
    }
    Ok(entries)
}

/// A number as it is written, null for an empty value.
fn number(value: &str, line: usize) -> Result<Value, Failure> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(Value::Null);
    }
    match value.parse::<serde_json::Number>() {
        Ok(number) => Ok(Value::Number(number)),
        Err(_) => fail!("bad-csv", "line {line}: {value:?} is not a number"),
    }
}

/// Rows with the number of their first line, as in RFC 4180: values may be quoted, a quote in quotes is doubled,
/// lines end in LF or CR LF, and empty lines are left out.
fn parse(csv: &str, delimiter: char) -> Result<Vec<(usize, Vec<String>)>, Failure> {
    let mut rows = Vec::new();
    let (mut row, mut value) = (Vec::new(), String::new());
    let (mut line, mut first_line) = (1, 1);
    // Whether the value began with a quote, and whether that quote is still open.
    let (mut quoted, mut open) = (false, false);
    let mut characters = csv
        .strip_prefix('\u{feff}')
        .unwrap_or(csv)
        .chars()
        .peekable();
    while let Some(character) = characters.next() {
        line += usize::from(character == '\n');
        match character {
            '"' if open && characters.next_if_eq(&'"').is_some() => value.push('"'),
            '"' if open => open = false,
            _ if open => value.push(character),
            '"' if value.is_empty() && !quoted => (quoted, open) = (true, true),
            '"' => fail!("bad-csv", "line {line}: a quote in the middle of a value"),
            '\r' if characters.peek() == Some(&'\n') => {}
            '\n' => {
                if !(row.is_empty() && value.is_empty() && !quoted) {
                    row.push(std::mem::take(&mut value));
                    rows.push((first_line, std::mem::take(&mut row)));
                }
                (quoted, first_line) = (false, line);
            }
            _ if character == delimiter => {
                row.push(std::mem::take(&mut value));
                quoted = false;
            }
            _ if quoted => fail!("bad-csv", "line {line}: text after a closing quote"),
            _ => value.push(character),
        }
    }
    ensure!(
        !open,
        "bad-csv",
        "the quote of line {first_line} is never closed"
    );
    if !(row.is_empty() && value.is_empty() && !quoted) {
        row.push(value);
        rows.push((first_line, row));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(key: &str, numbers: &[&str]) -> Config {
        let numbers = numbers.iter().map(|&name| name.to_owned()).collect();
        Config {
            space: "kb".into(),
            prefix: "row/".into(),
            key: key.into(),
            delimiter: ',',
            numbers,
        }
    }

    fn values(csv: &str) -> Vec<Vec<String>> {
        parse(csv, ',')
            .map(|rows| rows.into_iter().map(|(_, row)| row).collect())
            .unwrap_or_default()
    }

    #[test]
    fn values_may_be_quoted() {
        assert_eq!(
            values("a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n"),
            [["a", "b"], ["1", "x, \"y\"\nz"]]
        );
        assert_eq!(
            values("a,b\n\n,\n\"\",\"\""),
            [["a", "b"], ["", ""], ["", ""]]
        );
        assert_eq!(values("\u{feff}a"), [["a"]]);
    }

    #[test]
    fn rows_become_objects_under_their_keys() {
        let entries = entries(
            "symbol,price\nETH,3150.25\nBTC,\n",
            &config("symbol", &["price"]),
        );
        let expected = vec![
            (
                "row/ETH".to_owned(),
                json!({ "symbol": "ETH", "price": 3150.25 }),
            ),
            (
                "row/BTC".to_owned(),
                json!({ "symbol": "BTC", "price": null }),
            ),
        ];
        assert_eq!(entries, Ok(expected));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let message =
            |csv, config: Config| entries(csv, &config).err().map(|failure| failure.message);
        let cases = [
            ("a,b\n1", config("", &[]), "line 2 has 1 values"),
            ("a\n\"x\ny\"\n\"z", config("", &[]), "the quote of line 4"),
            ("a\nx\"y", config("", &[]), "line 2"),
            ("a\n\"x\"y", config("", &[]), "after a closing quote"),
            ("a\nx", config("", &["a"]), "is not a number"),
            ("a\nx", config("b", &[]), "no column b"),
            ("", config("", &[]), "empty"),
        ];
        for (csv, config, part) in cases {
            let message = message(csv, config).unwrap_or_default();
            assert!(message.contains(part), "{csv:?}: {message}");
        }
    }
}
