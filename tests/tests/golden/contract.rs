//! What a version of the WIT promises, item by item, in words that can be compared.

use std::collections::BTreeMap;
use std::path::Path;

use wit_parser::{Function, Handle, Resolve, Type, TypeDefKind, TypeId, TypeOwner, WorldKey};

/// The items of a version.
#[derive(Debug)]
pub(crate) struct Contract {
    /// Functions and types with what they are, by `interface/item`.
    pub(crate) items: BTreeMap<String, String>,
    /// The interfaces that each world imports, as `world/interface`.
    imports: Vec<String>,
    /// The interfaces that each world exports.
    pub(crate) exports: Vec<String>,
}

/// Reads a directory of WIT files.
pub(crate) fn read(directory: &Path) -> Contract {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(directory).unwrap();
    let package = &resolve.packages[package];
    let mut items = BTreeMap::new();
    for (name, interface) in &package.interfaces {
        let interface = &resolve.interfaces[*interface];
        for (item, id) in &interface.types {
            items.insert(format!("{name}/{item}"), definition(&resolve, *id));
        }
        for (item, function) in &interface.functions {
            items.insert(format!("{name}/{item}"), signature(&resolve, function));
        }
    }
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    for (name, world) in &package.worlds {
        let world = &resolve.worlds[*world];
        for (list, keys) in [
            (&mut imports, world.imports.keys()),
            (&mut exports, world.exports.keys()),
        ] {
            list.extend(keys.map(|key| match key {
                WorldKey::Name(item) => format!("{name}/{item}"),
                WorldKey::Interface(id) => format!(
                    "{name}/{}",
                    resolve.interfaces[*id].name.as_deref().unwrap()
                ),
            }));
        }
    }
    Contract {
        items,
        imports,
        exports,
    }
}

/// What of `before` is gone or different in `after`.
pub(crate) fn broken(before: &Contract, after: &Contract) -> Vec<String> {
    let items = before
        .items
        .iter()
        .filter_map(|(item, was)| match after.items.get(item) {
            Some(is) if is == was => None,
            Some(is) => Some(format!("{item} was {was} and is {is}")),
            None => Some(format!("{item} is gone")),
        });
    let imports = before
        .imports
        .iter()
        .filter(|import| !after.imports.contains(import));
    items
        .chain(imports.map(|import| format!("{import} is no longer imported")))
        .collect()
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters: Vec<_> = function
        .params
        .iter()
        .map(|parameter| format!("{}: {}", parameter.name, name(resolve, &parameter.ty)))
        .collect();
    let result = function
        .result
        .as_ref()
        .map(|ty| format!(" -> {}", name(resolve, ty)));
    format!(
        "func({}){}",
        parameters.join(", "),
        result.unwrap_or_default()
    )
}

/// A type where it is used.
fn name(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else {
        return format!("{ty:?}").to_lowercase();
    };
    let def = &resolve.types[*id];
    match (&def.name, def.owner) {
        (Some(name), TypeOwner::Interface(interface)) => {
            let interface = resolve.interfaces[interface]
                .name
                .as_deref()
                .unwrap_or_default();
            format!("{interface}.{name}")
        }
        _ => definition(resolve, *id),
    }
}

fn definition(resolve: &Resolve, id: TypeId) -> String {
    let name = |ty: &Type| name(resolve, ty);
    let optional = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), name);
    let list = |items: Vec<String>| items.join(", ");
    match &resolve.types[id].kind {
        TypeDefKind::Record(record) => {
            let fields = record
                .fields
                .iter()
                .map(|field| format!("{}: {}", field.name, name(&field.ty)));
            format!("record {{{}}}", list(fields.collect()))
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter().map(|case| match &case.ty {
                Some(ty) => format!("{}({})", case.name, name(ty)),
                None => case.name.clone(),
            });
            format!("variant {{{}}}", list(cases.collect()))
        }
        TypeDefKind::Enum(cases) => {
            format!(
                "enum {{{}}}",
                list(cases.cases.iter().map(|case| case.name.clone()).collect())
            )
        }
        TypeDefKind::Tuple(tuple) => {
            format!("tuple<{}>", list(tuple.types.iter().map(name).collect()))
        }
        TypeDefKind::Option(ty) => format!("option<{}>", name(ty)),
        TypeDefKind::List(ty) => format!("list<{}>", name(ty)),
        TypeDefKind::Result(result) => format!(
            "result<{}, {}>",
            optional(&result.ok),
            optional(&result.err)
        ),
        TypeDefKind::Resource => "resource".to_owned(),
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", name(&Type::Id(*id))),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", name(&Type::Id(*id))),
        TypeDefKind::Type(ty) => format!("= {}", name(ty)),
        other => panic!("the contract uses {other:?}, which this check does not know"),
    }
}
