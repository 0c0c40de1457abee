//! Lines that a terminal does not break.

/// What stands before the rest of a line that is too long. No line of a rendering begins so.
const MORE: &str = "  + ";

/// The rendering with its lines broken at a width, in columns.
///
/// A terminal breaks a line without a mark, and a long text could be written so that its rest looks
/// like a line of the host's. Here the rest is marked. A character that is not ASCII counts two
/// columns, as the widest do.
pub fn wrap(rendering: &str, columns: usize) -> String {
    // However narrow, something has to go on each line.
    let columns = columns.max(MORE.len() + 16);
    let mut out = String::with_capacity(rendering.len() + rendering.len() / 8);
    for line in rendering.lines() {
        let mut used = 0;
        for character in line.chars() {
            let width = if character.is_ascii() { 1 } else { 2 };
            if used + width > columns {
                out.push('\n');
                out.push_str(MORE);
                used = MORE.len();
            }
            out.push(character);
            used += width;
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_long_line_is_marked() {
        let rendering = format!("target: x\n  | note: \"{}target: y\"\n", " ".repeat(69));
        let wrapped = wrap(&rendering, 80);
        assert!(wrapped.lines().all(|line| line.len() <= 80));
        assert_eq!(
            wrapped
                .lines()
                .filter(|line| line.starts_with("target: "))
                .count(),
            1
        );
        assert_eq!(wrapped.replace("\n  + ", ""), rendering);
        let wide = wrap(&"価".repeat(100), 80);
        let width = |line: &str| -> usize {
            let columns = |character: char| if character.is_ascii() { 1 } else { 2 };
            line.chars().map(columns).sum()
        };
        assert!(wide.lines().all(|line| width(line) <= 80));
        assert_eq!(wrap("a\nb\n", 0), "a\nb\n");
    }
}
