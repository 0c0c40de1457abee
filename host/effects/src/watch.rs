//! What an invocation hands out, searched for the secrets that it had put into requests.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_gate::Action;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::Error;
use crate::beside::{SMALL, beside};
use crate::leak::Scanner;

/// The secrets that one invocation had put into requests. Clones share one list.
///
/// What the invocation hands out later, by whatever way, is searched for them.
#[derive(Clone, Default)]
pub struct Watch(Arc<Watched>);

#[derive(Default)]
struct Watched {
    /// Most invocations use no secret, and pay no more than this.
    any: AtomicBool,
    /// Whoever searches holds the list, not the lock: others add to it meanwhile.
    scanner: Mutex<Arc<Scanner>>,
}

impl Watch {
    /// Adds a value that `name` stands for.
    pub fn add(&self, name: &str, value: &[u8]) {
        Arc::make_mut(&mut self.lock()).add(name, value);
        self.0.any.store(true, Ordering::Release);
    }

    /// Lets go of the values. For when the invocation has ended and nothing comes out of it any more.
    pub fn forget(&self) {
        self.0.any.store(false, Ordering::Release);
        *self.lock() = Arc::default();
    }

    /// The text without the secrets, if there was one in it.
    pub fn redact(&self, text: &str) -> Option<String> {
        let clean = self.scanner()?.redact(text.as_bytes())?;
        Some(String::from_utf8_lossy(&clean).into_owned())
    }

    /// A JSON text without the secrets, if there was one in it: `Err` with the secret's name if it
    /// can't be taken out, because it stood in pieces or the rest is no JSON.
    pub fn redact_json(&self, text: &str) -> Result<Option<String>, String> {
        let Some(scanner) = self.scanner() else {
            return Ok(None);
        };
        let clean = scanner
            .redact(text.as_bytes())
            .map(|clean| String::from_utf8_lossy(&clean).into_owned());
        let left = clean.as_deref().unwrap_or(text);
        let found = match strings(left.as_bytes()) {
            Some(texts) => scanner.find_joined(texts.iter().map(|text| text.as_bytes())),
            // What was no JSON before is refused by whoever expects some.
            None if clean.is_some() => scanner.find(text.as_bytes()),
            None => None,
        };
        match found {
            Some(name) => Err(name.to_owned()),
            None => Ok(clean),
        }
    }

    /// Refuses an action that carries a secret in its target or anywhere in its payload.
    pub async fn check(&self, action: &Action) -> Result<(), Error> {
        let Some(scanner) = self.scanner() else {
            return Ok(());
        };
        let parts = action.payload.parts.iter();
        let size = parts.map(|part| part.bytes.len()).sum();
        if size <= SMALL {
            return check(&scanner, action);
        }
        let action = action.clone();
        beside(size, move || check(&scanner, &action)).await
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        !self.0.any.load(Ordering::Acquire)
    }

    /// What there is to look for, if anything.
    pub(crate) fn scanner(&self) -> Option<Arc<Scanner>> {
        (!self.is_empty()).then(|| self.lock().clone())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Scanner>> {
        self.0
            .scanner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(scanner: &Scanner, action: &Action) -> Result<(), Error> {
    let mut texts = Vec::new();
    leaves(&action.payload.fields, &mut texts);
    let fields = || {
        let parts = action.payload.parts.iter().map(|part| part.bytes.as_ref());
        [action.target.as_bytes()]
            .into_iter()
            .chain(texts.iter().map(|text| text.as_bytes()))
            .chain(parts)
    };
    let found = fields()
        .find_map(|bytes| scanner.find(bytes))
        .or_else(|| scanner.find_joined(fields()));
    let found = found.or_else(|| {
        action.payload.parts.iter().find_map(|part| {
            let body = pieces(&part.bytes);
            scanner.find_joined(body.iter().map(Vec::as_slice))
        })
    });
    match found {
        Some(name) => Err(carried(name)),
        None => Ok(()),
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Why something that carries a secret goes nowhere.
pub(crate) fn carried(name: &str) -> Error {
    Error::Forbidden(format!(
        "it carries the value of the secret `{name}`: only the host puts secrets in"
    ))
}

/// The strings of a JSON value in their order, keys left out.
fn leaves(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, out)),
        Value::Object(fields) => fields.values().for_each(|field| leaves(field, out)),
        _ => {}
    }
}

/// The strings of a JSON text in the order in which they stand there; `None` if it is no JSON.
fn strings(text: &[u8]) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(text);
    Strings(&mut out).deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(out)
}

/// Collects the strings of whatever it is given.
struct Strings<'a>(&'a mut Vec<String>);

impl<'de> DeserializeSeed<'de> for Strings<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strings<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.push(text.to_owned());
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Strings(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_key::<IgnoredAny>()?.is_some() {
            fields.next_value_seed(Strings(&mut *self.0))?;
        }
        Ok(())
    }
}

/// The fields that a body is made of, if it is JSON, a form or a query.
pub(crate) fn pieces(body: &[u8]) -> Vec<Vec<u8>> {
    if let Some(texts) = strings(body) {
        return texts.into_iter().map(String::into_bytes).collect();
    }
    url::form_urlencoded::parse(body)
        .map(|(_, value)| value.into_owned().into_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        let watch = Watch::default();
        watch.add("key", b"alpha-secret-omega");
        watch
    }

    #[test]
    fn an_answer_is_given_without_the_secret_or_not_at_all() {
        let watch = watch();
        let clean = |text: &str| watch.redact_json(text);
        assert_eq!(clean(r#"{"a": "alpha"}"#), Ok(None));
        assert_eq!(
            clean(r#"["<alpha-secret-omega>"]"#),
            Ok(Some(r#"["<[secret:key]>"]"#.to_owned()))
        );
        // In pieces, in the order of the document and not of the keys.
        let refused = Err("key".to_owned());
        assert_eq!(
            clean(r#"{"z": "alpha-sec", "n": 1, "a": ["ret-omega"]}"#),
            refused
        );
        assert_eq!(clean(r#"{"a": "ret-omega", "z": "alpha-sec"}"#), Ok(None));
        // What was no JSON is for others to refuse.
        assert_eq!(clean("alpha-secret-omega"), refused);
        assert_eq!(clean("alpha"), Ok(None));
        assert_eq!(Watch::default().redact_json("alpha-secret-omega"), Ok(None));
    }

    #[test]
    fn a_body_is_taken_apart_as_json_or_as_a_form() {
        let texts = |body: &str| pieces(body.as_bytes()).concat();
        assert_eq!(
            texts(r#"{"z": "1", "a": {"b": ["2", 3, null, true, 1.5]}}"#),
            b"12"
        );
        assert_eq!(texts("a=alpha%2D&b=secret"), b"alpha-secret");
        assert_eq!(texts(""), b"");
    }
}
