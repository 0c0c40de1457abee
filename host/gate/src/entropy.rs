//! Values that look like keys or like data under cover: long, and without a pattern.
//!
//! A read can carry out what it should not in its path, its query or a header. Nobody can tell a
//! stolen key from a checksum by its looks, so both count. What does not count is what people and
//! programs write by the thousand: words, slugs, dates, numbers, and UUIDs, which carry 16 bytes each.

/// Shorter values carry too little to be worth a question.
const LONG: usize = 32;

/// Bits for each character above which a value of any alphabet has no pattern: random letters and
/// digits come to more from 40 characters on, words and their abbreviations to less.
const NO_PATTERN: f64 = 4.5;
/// The same where letters and digits take turns, as in no language.
const MIXED: f64 = 3.3;
/// The same for hexadecimal and decimal digits, of which there are few.
const DIGITS: f64 = 2.6;

/// Whether the path and query of a target, or a value of one of these headers, has a long value
/// without a pattern.
pub(crate) fn is_high<'a>(target: &str, headers: impl IntoIterator<Item = &'a [u8]>) -> bool {
    if target.len() >= LONG && target.split(['/', '?', '&', '=']).any(text_is_high) {
        return true;
    }
    headers.into_iter().any(bytes_are_high)
}

fn text_is_high(text: &str) -> bool {
    if text.len() < LONG {
        return false;
    }
    if !text.contains('%') {
        return bytes_are_high(text.as_bytes());
    }
    bytes_are_high(&decoded(text.as_bytes()))
}

/// Without its percent-encoding; what is none stays as it is.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn bytes_are_high(value: &[u8]) -> bool {
    if value.len() < LONG {
        return false;
    }
    // Text of any script is valid UTF-8; bytes that are not are no text.
    std::str::from_utf8(value).is_err()
        || value
            .split(|byte| !(byte.is_ascii_alphanumeric() || b"+/_-=".contains(byte)))
            .any(run_is_high)
}

/// Of one run of the characters that base64, base32 and hexadecimal are written with.
fn run_is_high(run: &[u8]) -> bool {
    let digits = || run.iter().filter(|byte| !b"-_".contains(byte));
    if run.len() < LONG || is_uuid(run) {
        return false;
    }
    let entropy = bits(run);
    if digits().all(u8::is_ascii_hexdigit) {
        return digits().count() >= LONG && entropy >= DIGITS;
    }
    let turns = run
        .windows(2)
        .filter(|pair| {
            pair[0].is_ascii_digit() && pair[1].is_ascii_alphabetic()
                || pair[0].is_ascii_alphabetic() && pair[1].is_ascii_digit()
        })
        .count();
    entropy >= NO_PATTERN || (entropy >= MIXED && turns >= run.len() / 8)
}

/// Shannon's entropy of the bytes, in bits for each.
fn bits(run: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in run {
        counts[usize::from(*byte)] += 1;
    }
    let length = run.len() as f64;
    counts
        .into_iter()
        .filter(|count| *count > 0)
        .map(|count| f64::from(count) / length)
        .map(|share| -share * share.log2())
        .sum()
}

/// Whether it is a UUID in its usual form.
fn is_uuid(run: &[u8]) -> bool {
    run.len() == 36
        && run.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Targets, and headers where a `: ` stands in them.
    fn high(text: &str) -> bool {
        match text.split_once(": ") {
            Some((_, value)) => is_high("/", [value.as_bytes()]),
            None => is_high(text, []),
        }
    }

    #[test]
    fn what_people_and_programs_write_is_no_secret() {
        let good = [
            "/",
            "/v1/orders/2024-11-21T10:00:00.000Z/items/00000000000000000042",
            "/users/550e8400-e29b-41d4-a716-446655440000/profile",
            "/v1/a/550e8400-e29b-41d4-a716-446655440000?b=6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "/blog/how-to-build-a-house-with-your-own-hands-in-2024",
            "/api/getUserAccountTransactionHistoryByDateRange",
            "/ListAllInvocationsOfTheCurrentUserSortedByTime",
            "/shop/iphone-15-pro-max-256gb-blue-titanium-unlocked",
            "/reports/annual-report-2023-q4-final-v2-reviewed-by-finance.pdf",
            "/wiki/Donaudampfschifffahrtselektrizitaetenhauptbetriebswerk",
            "/sensors/sensor-0001-room-12-floor-3-building-A7-temp",
            "/rates/EXCHANGE-RATES-EUR-USD-GBP-JPY-CHF-AUD-CAD-CNY",
            "/photos/IMG_20240101_123456_HDR_edited_final_copy.jpg",
            "/registry/us-central1-docker-pkg-dev-my-project-artifacts",
            "/search?q=what+is+the+price+of+one+ether+in+euro+today+and+tomorrow",
            "/search?q=what%20is%20the%20price%20of%20one%20ether%20in%20euro%20today",
            "/search?q=%D1%81%D0%BA%D0%BE%D0%BB%D1%8C%D0%BA%D0%BE%20%D1%81%D1%82%D0%BE%D0%B8%D1%82",
            "/search?q=%E4%BB%A5%E5%A4%AA%E5%9D%8A%E7%9A%84%E4%BB%B7%E6%A0%BC%E6%98%AF%E5%A4%9A%E5%B0%91",
            "/v3/price?ids=ethereum,bitcoin,solana,cardano,polkadot&vs_currencies=usd,eur",
            "/weather?latitude=25.2048493&longitude=55.2707828&hourly=temperature_2m",
            "/range?from=1700000000000&to=1800000000000&step=60000&limit=1000",
            "/amounts?value=1000000000000000000000000000000000000000",
            "/blank?padding=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "/flags?f=00000000000000000000000000000000ffffffff",
            "/fields?fields=id,name,created_at,updated_at,description,owner,labels",
            "/mail?to=customer.relations.department%40international-example.com",
            "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
            "x-request-id: 7f1f7f4e-5d2c-4c7a-9f53-0c3b4c2e6a10",
            "if-modified-since: Thu, 21 Nov 2026 10:00:00 Greenwich Mean Time",
        ];
        assert_eq!(good.len(), 30);
        for text in good {
            assert!(!high(text), "{text}");
        }
    }

    #[test]
    fn what_could_be_a_key_or_a_load_is_seen() {
        let bad = [
            // Hexadecimal, in capitals, with dashes, as a chain's address, a checksum, a commit.
            "/x/9f86d081884c7d659a2feaa0c55ad015",
            "/x?k=A3F5C9D01B7E42886F90D3E4B5A6C7D8",
            "/x/9f86d081-884c7d65-9a2feaa0-c55ad015-a3bf4f1b",
            "/balance?of=0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045",
            "/blobs/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "/commit/a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
            "if-none-match: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
            // Decimal digits.
            "/x?n=84629304716520398475610293847561029384",
            "/x/73105829461730582946173058294617305829461730582946",
            // Base64 in both alphabets, padded, percent-encoded, in a path of its own.
            "/x?d=c2VjcmV0LWtleS1vZi10aGUtb3BlcmF0b3I9NDI=",
            "/x?d=TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24",
            "/x?d=q83vEjRWeJCrze_2R1bC-9ZyXwVuTsRqPoNmLkJi",
            "/x?d=q83vEjRWeJCrze%2B2R1bC%2F9ZyXwVuTsRqPoNmLkJi%3D",
            "/wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY1",
            "/a/b/c/dGhpcyBpcyB0aGUgcHJpdmF0ZSBtZW1vcnkgb2Yga2ItMDg",
            "/x?cursor=eyJpZCI6MTIzNDU2Nzg5LCJ0IjoxNzAwMDAwMDAwfQ",
            // Base32, and letters and digits in one case.
            "/x?d=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
            "/x?d=MZXW6YTBOI4TGN3QKJ2HE5DFNZRW63LQ",
            "/x?d=k3j9x0q7m2v8n5b1z6c4l0p9o8i7u6y5",
            "/x/0mz7wq2r9t4k1x8v5c3b6n0l2p4s7d9f",
            // Tokens as services make them.
            "authorization: Bearer ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "x-api-key: sk-proj-4eC39HqLyjWDarjtT1zdp7dcT3BlbkFJ0aZ",
            "cookie: session=eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.s",
            "/oauth?token=ya29.a0AfH6SMBx9Q2v8ZkR7yT4nL1pW5cD3eF6gH0jK",
            "/x?a=xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOHcbrzqgy",
            "/x?a=AKIAIOSFODNN7EXAMPLE%2FwJalrXUtnFEMI%2FK7MDENG%2FbPxRfiCYEXAMPLEKEY",
            "/x?a=AIzaSyD9tSrke72PouQMnMX7a0eZSW0jkFMBWY",
            // Bytes that are no text.
            "/x?b=%80%91%a2%b3%c4%d5%e6%f7%08%19%2a%3b%4c%5d%6e%7f%80%91%a2%b3%c4%d5%e6%f7%08%19%2a%3b%4c%5d%6e%7f",
            "/x?b=plain+words+first+and+then+%ff%fe%fd%fc%fb%fa%f9",
            "/x?q=ok&b=MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj",
        ];
        assert_eq!(bad.len(), 30);
        for text in bad {
            assert!(high(text), "{text}");
        }
    }

    #[test]
    fn short_values_are_not_looked_at() {
        assert!(!high("/x?k=9f86d081884c7d659a2feaa0c55ad01"));
    }
}
