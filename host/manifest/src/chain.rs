/// An error and its causes in one line, outermost first.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::error_chain;

    #[derive(Debug, thiserror::Error)]
    #[error("open the house")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn every_cause_is_told_once() {
        let cause = "x".parse::<u8>().expect_err("no number");
        let line = error_chain(&Outer(cause));
        assert_eq!(line, "open the house: invalid digit found in string");
    }
}
