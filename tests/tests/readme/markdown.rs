//! Reading the documents.

/// A fenced block.
pub(crate) struct Block {
    /// What stands behind the opening fence.
    pub(crate) info: String,
    /// Its lines.
    pub(crate) text: String,
}

/// The fenced blocks of a document, in order.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block {
                    info: info.trim().to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Whether an output has the expected lines, in their order, with others in between; `...` stands for
/// anything. The error is the first line that is missing.
pub(crate) fn shows(output: &str, expected: &str) -> Result<(), String> {
    let mut lines = output.lines();
    for wanted in expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        if !lines.any(|line| has(line, wanted)) {
            return Err(wanted.to_owned());
        }
    }
    Ok(())
}

fn has(line: &str, wanted: &str) -> bool {
    let mut rest = line;
    wanted.split("...").all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

/// The cells of each row of the tables between a heading and the next one of any level, without the
/// rows that head the tables.
pub(crate) fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    document
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .filter(|line| line.trim_start().starts_with('`'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

/// The only code span of a cell.
pub(crate) fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

/// The targets of all links.
pub(crate) fn links(document: &str) -> impl Iterator<Item = &str> {
    document
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}
