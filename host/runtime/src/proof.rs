//! The proof that a component can do no more than its manifest says.

use nexus_manifest::{Access, Manifest, Permission};

use crate::shape::{Interface, Shape};

/// The WASI interfaces that the virtual WASI offers, by package and name.
const WASI: &[&str] = &[
    "cli/environment",
    "cli/exit",
    "cli/stderr",
    "cli/stdin",
    "cli/stdout",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stderr",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
];

/// The interfaces that a permission opens, with what it is called.
const GUARDED: &[(&str, &str)] = &[
    ("http", "http"),
    ("vault", "secret"),
    ("memory", "memory"),
    ("bus", "peer"),
];

/// The interface by which a secret's value enters a guest.
const REVEAL: &str = "vault-reveal";

/// Where a component came from, which decides what it can be given at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A person built it, or has already accepted it.
    Uploaded,
    /// The forge built it from words or from source that somebody sent.
    Forged,
}

/// Why a component and its manifest do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The component imports something that no agent gets.
    #[error("the component imports `{import}`, which this host does not offer: {reason}")]
    NotOffered {
        /// The import's full name.
        import: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The component imports an interface that the manifest does not cover.
    #[error(
        "the component imports `{import}`, but its manifest has no `{permission}` permission; \
         add one to agent.toml or do not use the interface"
    )]
    NotCovered {
        /// The import's full name.
        import: String,
        /// The kind of permission that would cover it.
        permission: &'static str,
    },
    /// A forged component imports what no forged one gets.
    #[error(
        "the component imports `{import}`, which no forged agent gets: have the host place the \
         secret with `vault`, or build the agent by hand and deploy it"
    )]
    NeverForged {
        /// The import's full name.
        import: String,
    },
    /// The manifest asks for a power that the component cannot use.
    #[error(
        "the manifest asks for `{permission}`, but the component does not import \
         `nexus:agent/{interface}`; remove the permission from agent.toml"
    )]
    PermissionNotUsed {
        /// The permission, as people read it.
        permission: String,
        /// The interface that would use it.
        interface: &'static str,
    },
    /// A forged component writes to memory, and its manifest asks to read only.
    #[error(
        "the component calls `{function}` of `nexus:agent/memory`, and its manifest asks for no \
         `read-write` access; write `access = \"read-write\"` for the space that it changes"
    )]
    AccessNotAsked {
        /// The function that writes.
        function: String,
    },
    /// The manifest asks to write, and the forged component only reads.
    #[error(
        "the manifest asks for `{permission}`, but the component never writes to memory; \
         write `access = \"read\"`"
    )]
    AccessNotUsed {
        /// The permission, as people read it.
        permission: String,
    },
    /// A forged component offers what nobody asked it for.
    #[error(
        "the component exports `{export}`; an agent exports `nexus:agent/handler@0.1.0` with the \
         function `invoke` and nothing else"
    )]
    TooMuchExported {
        /// The export's full name.
        export: String,
    },
    /// The component is no agent.
    #[error(
        "the component does not export `nexus:agent/handler@0.1.0` with the function `invoke`; \
         use the SDK's `export!` macro"
    )]
    NoHandler,
}

/// Checks imports against permissions, both ways, and that there is a handler.
/// Of forged components, whose every import is one that is used, also that they
/// write to memory if and only if they ask to, and export nothing else.
///
/// An import without its permission is always refused. A permission without
/// its import is refused where imports can be read off: a component that
/// imports every guarded interface was built by a toolchain that imports the
/// whole world, and only its manifest narrows it. That does not go for
/// `vault-reveal`, which is in a world of its own.
pub(crate) fn prove(shape: &Shape, manifest: &Manifest, source: Source) -> Result<(), ProofError> {
    let mut used = Vec::new();
    let mut reveals = false;
    for import in &shape.imports {
        let refuse = |reason| {
            Err(ProofError::NotOffered {
                import: import.name.clone(),
                reason,
            })
        };
        if !import.is_interface {
            return refuse("agents import interfaces only");
        }
        match Name::parse(&import.name) {
            Some(Name {
                package: "nexus:agent",
                interface,
                version,
            }) => {
                if !version.starts_with("0.1.") {
                    return refuse("this host speaks version 0.1 of nexus:agent");
                }
                match interface {
                    "types" | "config" | "log" => {}
                    REVEAL => {
                        if source == Source::Forged {
                            return Err(ProofError::NeverForged {
                                import: import.name.clone(),
                            });
                        }
                        if !manifest.permissions.iter().any(may_reveal) {
                            return Err(ProofError::NotCovered {
                                import: import.name.clone(),
                                permission: "secret` with `reveal = true",
                            });
                        }
                        reveals = true;
                    }
                    _ => {
                        let Some((interface, permission)) =
                            GUARDED.iter().find(|(name, _)| *name == interface)
                        else {
                            return refuse("nexus:agent has no such interface");
                        };
                        // Without functions it only lends a type to another.
                        if import.functions.is_empty() {
                            continue;
                        }
                        if !manifest
                            .permissions
                            .iter()
                            .any(|p| interface_of(p) == *interface)
                        {
                            return Err(ProofError::NotCovered {
                                import: import.name.clone(),
                                permission,
                            });
                        }
                        used.push(*interface);
                    }
                }
            }
            Some(Name {
                package,
                interface,
                version,
            }) if package.starts_with("wasi:") => {
                if matches!(package, "wasi:sockets" | "wasi:http") {
                    return refuse("the network is reached through `nexus:agent/http` only");
                }
                let name = format!("{}/{interface}", &package["wasi:".len()..]);
                if !version.starts_with("0.2.") || !WASI.contains(&name.as_str()) {
                    return refuse("it is not part of the virtual WASI 0.2");
                }
            }
            _ => return refuse("only `nexus:agent` and a virtual WASI 0.2 are there to import"),
        }
    }
    if used.len() < GUARDED.len() {
        for permission in &manifest.permissions {
            let interface = interface_of(permission);
            if !used.contains(&interface) {
                return Err(ProofError::PermissionNotUsed {
                    permission: permission.to_string(),
                    interface,
                });
            }
        }
    }
    let unused = |permission: &&Permission| may_reveal(permission) && !reveals;
    if let Some(permission) = manifest.permissions.iter().find(unused) {
        return Err(ProofError::PermissionNotUsed {
            permission: permission.to_string(),
            interface: REVEAL,
        });
    }
    let handler = handler(shape)?;
    if source == Source::Forged {
        access(shape, manifest)?;
        let other = |export: &&Interface| export.name != handler || export.functions != ["invoke"];
        if let Some(export) = shape.exports.iter().find(other) {
            return Err(ProofError::TooMuchExported {
                export: export.name.clone(),
            });
        }
    }
    Ok(())
}

/// The functions of `memory` that change something.
const WRITES: &[&str] = &[
    "[method]space.put",
    "[method]space.put-if",
    "[method]space.delete",
];

/// Checks that memory is written to if that is asked for, and only then.
fn access(shape: &Shape, manifest: &Manifest) -> Result<(), ProofError> {
    let memory = shape.imports.iter().filter(|import| {
        matches!(
            Name::parse(&import.name),
            Some(Name {
                package: "nexus:agent",
                interface: "memory",
                ..
            })
        )
    });
    let mut functions = memory.flat_map(|import| &import.functions);
    let write = functions.find(|function| WRITES.contains(&function.as_str()));
    let asked = manifest.permissions.iter().find(|permission| {
        matches!(permission, Permission::Memory(memory) if memory.access == Access::ReadWrite)
    });
    match (write, asked) {
        (Some(function), None) => Err(ProofError::AccessNotAsked {
            function: function.clone(),
        }),
        (None, Some(permission)) => Err(ProofError::AccessNotUsed {
            permission: permission.to_string(),
        }),
        _ => Ok(()),
    }
}

fn may_reveal(permission: &Permission) -> bool {
    matches!(permission, Permission::Secret(secret) if secret.reveal)
}

/// The exported handler's full name.
pub(crate) fn handler(shape: &Shape) -> Result<&str, ProofError> {
    shape
        .exports
        .iter()
        .find(|export| {
            matches!(
                Name::parse(&export.name),
                Some(Name { package: "nexus:agent", interface: "handler", version })
                    if version.starts_with("0.1.")
            ) && export.functions.iter().any(|function| function == "invoke")
        })
        .map(|export| export.name.as_str())
        .ok_or(ProofError::NoHandler)
}

fn interface_of(permission: &Permission) -> &'static str {
    match permission {
        Permission::Http(_) => "http",
        Permission::Secret(_) => "vault",
        Permission::Memory(_) => "memory",
        Permission::Peer(_) => "bus",
    }
}

struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: &'a str,
}

impl<'a> Name<'a> {
    /// Reads `package:name/interface@version`.
    fn parse(name: &'a str) -> Option<Self> {
        let (path, version) = name.split_once('@')?;
        let (package, interface) = path.split_once('/')?;
        Some(Self {
            package,
            interface,
            version,
        })
    }
}
