//! The manifest and JSON bodies as written, before any value was checked.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::permission::{Access, Class, ReadRule};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) summary: String,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    pub(crate) input: Option<Value>,
    pub(crate) output: Option<Value>,
    #[serde(default)]
    pub(crate) config: Map<String, Value>,
    #[serde(default, rename = "permission")]
    pub(crate) permissions: Vec<Permission>,
    #[serde(default)]
    pub(crate) limits: Limits,
    pub(crate) schedule: Option<Schedule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Permission {
    Http(Http),
    Secret(Secret),
    Memory(Memory),
    Peer(Peer),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    pub(crate) origin: String,
    pub(crate) methods: Vec<String>,
    pub(crate) paths: Vec<String>,
    #[serde(default)]
    pub(crate) reads: Vec<ReadRule>,
    pub(crate) class: Option<Class>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secret {
    pub(crate) name: String,
    pub(crate) audience: Vec<String>,
    #[serde(default)]
    pub(crate) reveal: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    pub(crate) space: String,
    pub(crate) access: Access,
    #[serde(default)]
    pub(crate) private: bool,
    pub(crate) class: Option<Class>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    pub(crate) agent: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) class: Option<Class>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) memory: Option<String>,
    pub(crate) cpu: Option<String>,
    pub(crate) wall: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    pub(crate) cron: String,
    #[serde(default = "utc")]
    pub(crate) zone: String,
    #[serde(default)]
    pub(crate) input: Value,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// JSON whose objects have no key twice, so that every parser reads the same value.
pub(crate) struct UniqueKeys(pub(crate) Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate keys")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(UniqueKeys(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, UniqueKeys(member))) = members.next_entry::<String, _>()? {
            if object.insert(key, member).is_some() {
                return Err(de::Error::custom("a key stands twice in an object"));
            }
        }
        Ok(object.into())
    }
}
