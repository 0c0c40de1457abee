//! The key range of a scan.

use std::ops::Bound;

use crate::Scan;

/// From where to where.
pub(super) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The bounds of a scan, or None when nothing can lie within them.
pub(super) fn bounds(scan: &Scan) -> Option<Bounds> {
    let mut lower = Bound::Included(scan.prefix.clone());
    let mut upper = successor(&scan.prefix).map_or(Bound::Unbounded, Bound::Excluded);
    if let Some(after) = &scan.after {
        let below = *after < scan.prefix;
        let above = matches!(&upper, Bound::Excluded(end) if after >= end);
        match (scan.reverse, below, above) {
            (false, false, false) => lower = Bound::Excluded(after.clone()),
            (true, false, false) => upper = Bound::Excluded(after.clone()),
            // Everything the prefix covers still lies ahead.
            (false, true, _) | (true, _, true) => {}
            // Everything the prefix covers lies behind.
            (false, _, true) | (true, true, _) => return None,
        }
    }
    match (&lower, &upper) {
        (Bound::Included(start), Bound::Excluded(end)) if start >= end => None,
        (Bound::Excluded(start), Bound::Excluded(end)) if start >= end => None,
        _ => Some((lower, upper)),
    }
}

/// The first key after all keys with this prefix; None if there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_found_across_a_carry() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff"), None);
        assert_eq!(successor(b""), None);
    }
}
