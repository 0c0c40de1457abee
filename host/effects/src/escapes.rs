//! Texts as decoders see them.

use std::ops::Range;

use zeroize::Zeroizing;

/// A way to write characters as others.
#[derive(Clone, Copy)]
pub(crate) enum Escapes {
    /// `%XX` and `+`.
    Url,
    /// Backslash escapes of JSON strings.
    Json,
}

/// A part of a text.
struct Piece<'a> {
    /// Where it stands.
    at: usize,
    meant: &'a [u8],
    /// Whether it means what it is, byte by byte.
    plain: bool,
}

impl Escapes {
    pub(crate) const ALL: [Self; 2] = [Self::Url, Self::Json];

    /// What the bytes mean, if anything in them could be an escape.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.next(bytes)?;
        // No escape is shorter than what it means, so this is never moved.
        let mut out = Zeroizing::new(Vec::with_capacity(bytes.len()));
        self.each(bytes, |piece| out.extend_from_slice(piece.meant));
        Some(out)
    }

    /// Where in the bytes stands what is at these places of their meaning.
    pub(crate) fn written(self, bytes: &[u8], ranges: &[Range<usize>]) -> Vec<Range<usize>> {
        let mut places: Vec<usize> = ranges
            .iter()
            .flat_map(|range| [range.start, range.end])
            .collect();
        if places.is_empty() {
            return Vec::new();
        }
        places.sort_unstable();
        places.dedup();
        let mut sources = Vec::with_capacity(places.len());
        let mut from = 0;
        self.each(bytes, |piece| {
            let until = from + piece.meant.len();
            while let Some(place) = places.get(sources.len()).filter(|place| **place < until) {
                sources.push(match piece.plain {
                    true => piece.at + (place - from),
                    false => piece.at,
                });
            }
            from = until;
        });
        let source = |place: &usize| {
            let found = places.binary_search(place).ok();
            let found = found.and_then(|at| sources.get(at).copied());
            // What is behind the last byte.
            found.unwrap_or(bytes.len())
        };
        ranges
            .iter()
            .map(|range| source(&range.start)..source(&range.end))
            .collect()
    }

    /// Where the next byte is that could begin an escape.
    fn next(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Url => memchr::memchr2(b'%', b'+', bytes),
            Self::Json => memchr::memchr(b'\\', bytes),
        }
    }

    /// Tells of every piece in its order; what lies between escapes is one.
    fn each(self, bytes: &[u8], mut tell: impl FnMut(Piece<'_>)) {
        let mut at = 0;
        while at < bytes.len() {
            let next = self
                .next(&bytes[at..])
                .map_or(bytes.len(), |next| at + next);
            if next > at {
                let meant = &bytes[at..next];
                let plain = true;
                tell(Piece { at, meant, plain });
                at = next;
                continue;
            }
            let mut buffer = [0; 4];
            let (meant, plain, written) = match self.read(&bytes[at..], &mut buffer) {
                Some((length, written)) => (&buffer[..length], false, written),
                None => (&bytes[at..=at], true, 1),
            };
            tell(Piece { at, meant, plain });
            at += written;
        }
    }

    /// Reads one escape: how many bytes it means, which are then in `meant`, and how many it is
    /// written with. `None` if it is none.
    fn read(self, bytes: &[u8], meant: &mut [u8; 4]) -> Option<(usize, usize)> {
        match (self, bytes) {
            (Self::Url, [b'%', high, low, ..]) => {
                meant[0] = digit(*high)? << 4 | digit(*low)?;
                Some((1, 3))
            }
            (Self::Url, [b'+', ..]) => {
                meant[0] = b' ';
                Some((1, 1))
            }
            (Self::Json, [b'\\', b'u', tail @ ..]) => {
                let first = code_unit(tail)?;
                let second = match tail.get(4..6) {
                    Some(b"\\u") if (0xd800..0xdc00).contains(&first) => code_unit(&tail[6..]),
                    _ => None,
                };
                let written = if second.is_some() { 12 } else { 6 };
                let units = std::iter::once(first).chain(second);
                let character = char::decode_utf16(units).next()?.ok()?;
                Some((character.encode_utf8(meant).len(), written))
            }
            (Self::Json, [b'\\', kind, ..]) => {
                meant[0] = match kind {
                    b'"' | b'\\' | b'/' => *kind,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return None,
                };
                Some((1, 2))
            }
            _ => None,
        }
    }
}

fn code_unit(digits: &[u8]) -> Option<u16> {
    digits.get(..4)?.iter().try_fold(0u16, |unit, byte| {
        Some(unit << 4 | u16::from(digit(*byte)?))
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(escapes: Escapes, text: &str) -> Option<Vec<u8>> {
        escapes.decode(text.as_bytes()).map(|bytes| bytes.to_vec())
    }

    #[test]
    fn what_is_escaped_is_decoded_and_all_else_is_kept() {
        for (text, meant) in [
            ("a%20b+c", "a b c"),
            ("%41%zz%", "A%zz%"),
            ("\\u0041%", "\\u0041%"),
        ] {
            assert_eq!(decoded(Escapes::Url, text), Some(meant.as_bytes().to_vec()));
        }
        for (text, meant) in [
            (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r"\u0041\u00e4\ud83d\ude00!", "Aä😀!"),
            (r"\ud83d\u0041 \x \u12", r"\ud83dA \x \u12"),
        ] {
            assert_eq!(
                decoded(Escapes::Json, text),
                Some(meant.as_bytes().to_vec()),
                "{text}"
            );
        }
        assert_eq!(decoded(Escapes::Url, "plain"), None);
        assert_eq!(decoded(Escapes::Json, "plain%"), None);
    }

    #[test]
    fn every_place_of_the_meaning_is_found_in_the_text() {
        let text = "ab%63d+e";
        let ranges: Vec<_> = (0..=6).map(|at| at..6).collect();
        let starts: Vec<_> = Escapes::Url
            .written(text.as_bytes(), &ranges)
            .into_iter()
            .map(|range| (range.start, range.end))
            .collect();
        assert_eq!(
            starts,
            [(0, 8), (1, 8), (2, 8), (5, 8), (6, 8), (7, 8), (8, 8)]
        );
    }
}
