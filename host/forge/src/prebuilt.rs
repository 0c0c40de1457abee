//! The templates as components, compiled when this host was built: an agent in milliseconds, and
//! where there is no compiler.

use std::collections::BTreeMap;

use bytes::Bytes;
use nexus_manifest::{Manifest, package};
use nexus_runtime::{PrepareError, Runtime};
use tokio::sync::OnceCell;

use crate::assets;
use crate::build::{self, Built, BuiltBy, FLAGS};
use crate::template::{self, Catalog};

/// What `build.rs` calls the compiler's version text.
const TOOLCHAIN: &str = "toolchain";
const EXTENSION: &str = ".wasm";

/// The components in this binary, without a manifest.
#[derive(Debug)]
pub(crate) struct Prebuilt {
    components: BTreeMap<String, Component>,
    toolchain: String,
}

#[derive(Debug)]
struct Component {
    bytes: Bytes,
    /// Set when its machine code is there.
    compiled: OnceCell<()>,
}

impl Prebuilt {
    /// The embedded components. Each template of the catalog has one.
    pub(crate) fn embedded(catalog: &Catalog) -> Result<Self, template::Error> {
        let broken = |template: &str, reason: String| template::Error::Broken {
            template: template.to_owned(),
            reason,
        };
        let files = assets::unpack(assets::PREBUILT)
            .map_err(|error| broken("components", error.to_string()))?;
        let mut toolchain = String::new();
        let mut components = BTreeMap::new();
        for (path, content) in files {
            if path == TOOLCHAIN {
                toolchain = String::from_utf8_lossy(&content).into_owned();
            } else if let Some(template) = path.strip_suffix(EXTENSION) {
                let bytes = package::strip(&content)
                    .map_err(|error| broken(template, error.to_string()))?;
                let component = Component {
                    bytes: bytes.into(),
                    compiled: OnceCell::new(),
                };
                components.insert(template.to_owned(), component);
            }
        }
        let mut all = catalog.templates().iter();
        let without =
            all.find(|template| !components.contains_key(&template.name) || toolchain.is_empty());
        if let Some(template) = without {
            return Err(broken(&template.name, "it has no component".to_owned()));
        }
        Ok(Self {
            components,
            toolchain,
        })
    }

    /// The template's component with this manifest.
    pub(crate) fn build(&self, template: &str, manifest: &str) -> Result<Built, build::Error> {
        let component = self.get(template)?;
        let component = package::pack(&component.bytes, manifest)
            .map_err(|error| build::Error::NotAnAgent(error.to_string()))?;
        Ok(Built {
            component,
            manifest: Manifest::parse(manifest).map_err(build::Error::Manifest)?,
            warnings: Vec::new(),
            toolchain: self.toolchain.clone(),
            flags: FLAGS.iter().map(|flag| (*flag).to_owned()).collect(),
            by: BuiltBy::Prebuilt,
            host: None,
        })
    }

    /// Returns when the template's machine code is there, which serves every agent made from it:
    /// compiles it, or waits for whoever does.
    pub(crate) async fn compiled(
        &self,
        template: &str,
        runtime: &Runtime,
    ) -> Result<(), CompiledError> {
        let component = self.get(template).map_err(CompiledError::Unknown)?;
        let compile = || runtime.compile_ahead(component.bytes.clone());
        let compiled = component.compiled.get_or_try_init(compile).await;
        compiled.map(drop).map_err(CompiledError::Prepare)
    }

    /// Their templates, by name.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &str> {
        self.components.keys().map(String::as_str)
    }

    /// The first line of what the compiler says of itself.
    pub(crate) fn compiler(&self) -> &str {
        self.toolchain.lines().next().unwrap_or_default()
    }

    fn get(&self, template: &str) -> Result<&Component, build::Error> {
        self.components
            .get(template)
            .ok_or_else(|| build::Error::NotPrebuilt(template.to_owned()))
    }
}

/// Why a template has no machine code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompiledError {
    #[error(transparent)]
    Unknown(build::Error),
    #[error("compile the template to machine code")]
    Prepare(#[source] PrepareError),
}
