//! What a component is made of, read off without running or compiling it, and
//! the bounds that keep compiling it affordable.

use wasmparser::component_types::ComponentEntityType;
use wasmparser::{FunctionBody, Operator, Parser, Payload, ValidPayload, Validator, WasmFeatures};

/// Bytes of the largest function body.
const FUNCTION_BYTES: usize = 1 << 20;
/// Loops within loops. Register allocation takes exponentially long beyond.
const LOOP_NESTING: usize = 64;
/// Local variables of one function.
const LOCALS: u64 = 10_000;
/// Core modules and components within one component.
const PARTS: usize = 256;

/// Why a component is not worth compiling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The bytes are no WebAssembly component at all.
    #[error("the file is not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// The component is malformed.
    #[error("the component is malformed: {0}")]
    Malformed(String),
    /// One function would take too long to compile.
    #[error("function {function} has {found} {what}; the limit is {limit}")]
    TooComplex {
        /// The index of the function in its module.
        function: u32,
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// How much there may be.
        limit: u64,
    },
    /// The component contains too many modules and components.
    #[error("the component has more than {PARTS} parts")]
    TooManyParts,
}

/// An imported or exported interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// The full name, such as `nexus:agent/http@0.1.0`.
    pub(crate) name: String,
    /// The functions in it. An interface that only lends its types has none.
    pub(crate) functions: Vec<String>,
    /// Whether the item is an interface rather than a bare function or type.
    pub(crate) is_interface: bool,
}

/// The outside of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) imports: Vec<Interface>,
    pub(crate) exports: Vec<Interface>,
}

/// Whether the functions of a component are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// They will be compiled: what would be a bomb for the compiler is refused.
    Checked,
    /// This host has compiled them before.
    Compiled,
}

/// Reads the outside of a component and refuses what would be a bomb for the
/// compiler. Linear in the size of the component.
pub(crate) fn read(component: &[u8], bodies: Bodies) -> Result<Shape, ShapeError> {
    if !Parser::is_component(component) {
        return Err(ShapeError::NotAComponent(
            if Parser::is_core_wasm(component) {
                "it is a core module; build for wasm32-wasip2, or make a component of it with \
                 `wasm-tools component new`"
            } else {
                "it does not begin as one"
            }
            .to_owned(),
        ));
    }
    let malformed = |error: wasmparser::BinaryReaderError| ShapeError::Malformed(error.to_string());
    let mut validator = Validator::new_with_features(WasmFeatures::default());
    let (mut names, mut depth, mut parts, mut function) = (Names::default(), 0_usize, 0, 0_u32);
    let mut outside = None;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(malformed)?;
        let valid = validator.payload(&payload).map_err(malformed)?;
        match payload {
            Payload::Version { .. } => {
                depth += 1;
                parts += 1;
                function = 0;
                if parts > PARTS {
                    return Err(ShapeError::TooManyParts);
                }
            }
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    names
                        .imports
                        .push(import.map_err(malformed)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    names
                        .exports
                        .push(export.map_err(malformed)?.name.name.to_owned());
                }
            }
            Payload::CodeSectionEntry(body) if bodies == Bodies::Checked => {
                check(function, &body)?;
                function += 1;
            }
            _ => {}
        }
        if let ValidPayload::End(types) = valid {
            outside = Some(types);
        }
    }
    let Some(types) = outside else {
        return Err(ShapeError::Malformed("it ends too early".to_owned()));
    };
    let types = types.as_ref();
    let interface = |name: String, item: Option<&wasmparser::component_types::ComponentItem>| {
        let (functions, is_interface) = match item.map(|item| item.ty) {
            Some(ComponentEntityType::Instance(id)) => {
                let functions = types.get(id).map(|instance| {
                    instance
                        .exports
                        .iter()
                        .filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)))
                        .map(|(name, _)| name.clone())
                        .collect()
                });
                (functions.unwrap_or_default(), true)
            }
            _ => (Vec::new(), false),
        };
        Interface {
            name,
            functions,
            is_interface,
        }
    };
    let imports = names.imports.into_iter();
    let exports = names.exports.into_iter();
    Ok(Shape {
        imports: imports
            .map(|name| {
                let item = types.component_item_for_import(&name);
                interface(name, item)
            })
            .collect(),
        exports: exports
            .map(|name| {
                let item = types.component_item_for_export(&name);
                interface(name, item)
            })
            .collect(),
    })
}

#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

fn check(function: u32, body: &FunctionBody<'_>) -> Result<(), ShapeError> {
    let too_complex = |what, found: u64, limit: u64| ShapeError::TooComplex {
        function,
        what,
        found,
        limit,
    };
    let malformed = |error: wasmparser::BinaryReaderError| ShapeError::Malformed(error.to_string());
    let bytes = body.range().len();
    if bytes > FUNCTION_BYTES {
        return Err(too_complex("bytes", bytes as u64, FUNCTION_BYTES as u64));
    }
    let mut locals = 0_u64;
    for local in body.get_locals_reader().map_err(malformed)? {
        locals += u64::from(local.map_err(malformed)?.0);
    }
    if locals > LOCALS {
        return Err(too_complex("locals", locals, LOCALS));
    }
    // One entry per open block: whether it is a loop.
    let (mut open, mut loops) = (Vec::new(), 0_usize);
    for operator in body.get_operators_reader().map_err(malformed)? {
        match operator.map_err(malformed)? {
            Operator::Loop { .. } => {
                open.push(true);
                loops += 1;
                if loops > LOOP_NESTING {
                    return Err(too_complex(
                        "nested loops",
                        loops as u64,
                        LOOP_NESTING as u64,
                    ));
                }
            }
            Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                open.push(false);
            }
            Operator::End => loops -= usize::from(open.pop() == Some(true)),
            _ => {}
        }
    }
    Ok(())
}
