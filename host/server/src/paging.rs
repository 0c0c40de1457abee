//! Pages: sizes capped, tokens opaque.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Status;

use crate::fault::Fault;

const DEFAULT: usize = 50;
const MAX: usize = 1000;

/// The page size in force: 50 if none was asked for, 1,000 at most.
pub(crate) fn size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT),
        Ok(size) => Ok(size.min(MAX)),
        Err(_) => Err(Fault::invalid("page_size", "use 0 for the default, or up to 1000").into()),
    }
}

/// Where the page before ended, if this is not the first.
pub(crate) fn after(token: &str) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(Some)
        .ok_or_else(|| {
            Fault::invalid("page_token", "use the next_page_token of the page before").into()
        })
}

/// The token of the page after the item with this key.
pub(crate) fn token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// One page of items that are sorted by `key`, and the token of the next page.
pub(crate) fn cut<T>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    page_size: i32,
    page_token: &str,
) -> Result<(Vec<T>, String), Status> {
    let size = size(page_size)?;
    let after = after(page_token)?;
    let mut rest = items
        .into_iter()
        .filter(|item| after.as_ref().is_none_or(|after| key(item) > *after));
    let page: Vec<T> = rest.by_ref().take(size).collect();
    let next = match (page.last(), rest.next()) {
        (Some(last), Some(_)) => token(&key(last)),
        _ => String::new(),
    };
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once() {
        let items: Vec<String> = (0..120).map(|n| format!("{n:03}")).collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let (page, next) = cut(items.clone(), Clone::clone, 50, &token).expect("page");
            seen.extend(page);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, items);
    }

    #[test]
    fn a_token_that_is_none_and_a_negative_size_are_refused() {
        assert!(after("§").is_err());
        assert!(size(-1).is_err());
        assert_eq!(size(100_000).expect("capped"), MAX);
    }
}
