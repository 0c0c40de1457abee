//! Policy files: whatever is in one, it is taken as a whole or refused.

use nexus_gate::Policy;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Both readings agree, and neither panics.
    let (first, second) = (Policy::parse(text), Policy::parse(text));
    assert_eq!(first.is_ok(), second.is_ok());
    if let (Ok(first), Ok(second)) = (first, second) {
        assert_eq!(first.version(), second.version());
    }
}
