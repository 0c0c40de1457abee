//! From bytes to something that can be published: read, proved, compiled,
//! linked and tried out, with nothing changed for anybody.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use nexus_gate::{Context, EffectClass, InvocationId, Principal, RootOrigin};
use nexus_manifest::{AgentName, Digest, Manifest, package};

use crate::cache::Artifact;
use crate::compile::CompileError;
use crate::generation::{Entry, Loaded};
use crate::invocation::{Facts, Invocation};
use crate::outcome::Outcome;
use crate::proof::{self, ProofError, Source};
use crate::runtime::Runtime;
use crate::shape::{self, Bodies, Shape, ShapeError};
use crate::state::State;

/// A component that can be published.
#[derive(Clone)]
pub struct Prepared {
    /// What the component says of itself and asks for.
    pub manifest: Arc<Manifest>,
    /// The digest of the whole component.
    pub digest: Digest,
    /// The interfaces it imports, by their full names.
    pub imports: Vec<String>,
    /// The digest of what it may do, which a person accepts.
    pub permissions_digest: Digest,
    /// The component.
    pub component: Bytes,
    pub(crate) loaded: Arc<Loaded>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("agent", &self.manifest.name)
            .field("digest", &self.digest)
            .field("imports", &self.imports)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    /// The agent's name.
    pub fn agent(&self) -> &AgentName {
        &self.manifest.name
    }
}

/// Why a component can't be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// It is larger than a component may be.
    #[error("the component has {size} bytes; the limit is {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// It is no component, or one that would be a bomb for the compiler.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// It carries no manifest, or more than one.
    #[error(transparent)]
    Package(#[from] package::Error),
    /// Its manifest is wrong.
    #[error("the component's manifest is not valid: {}", .0.to_line())]
    Manifest(nexus_manifest::Error),
    /// It and its manifest do not belong together.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// It does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its imports are not what this host offers under these names.
    #[error("the component does not fit this host: {0}")]
    Unlinkable(String),
    /// It can't even be instantiated.
    #[error("the component can't be started: {0}")]
    Trial(String),
}

impl Runtime {
    /// Makes a component ready to be published. Changes nothing but the
    /// artifact cache. Cancel-safe.
    pub async fn prepare(&self, component: Bytes) -> Result<Prepared, PrepareError> {
        self.prepare_from(component, Source::Uploaded).await
    }

    /// The same for a component that the forge has built, which is refused whatever no forged agent
    /// gets: the interface `vault-reveal`, whatever its manifest says.
    pub async fn prepare_forged(&self, component: Bytes) -> Result<Prepared, PrepareError> {
        self.prepare_from(component, Source::Forged).await
    }

    async fn prepare_from(
        &self,
        component: Bytes,
        source: Source,
    ) -> Result<Prepared, PrepareError> {
        let limit = self.limits().component_bytes;
        if component.len() > limit {
            return Err(PrepareError::TooLarge {
                size: component.len(),
                limit,
            });
        }
        let (component, digest, loaded) = self.load_from(component, source).await?;
        self.try_out(&loaded, digest).await?;
        Ok(Prepared {
            manifest: Arc::clone(&loaded.manifest),
            digest,
            imports: loaded.imports.clone(),
            permissions_digest: loaded.manifest.permissions_digest(),
            component,
            loaded: Arc::new(loaded),
        })
    }

    /// Reads, proves, compiles if the cache has nothing, and links what was accepted before.
    pub(crate) async fn load(
        &self,
        component: Bytes,
    ) -> Result<(Bytes, Digest, Loaded), PrepareError> {
        self.load_from(component, Source::Uploaded).await
    }

    async fn load_from(
        &self,
        component: Bytes,
        source: Source,
    ) -> Result<(Bytes, Digest, Loaded), PrepareError> {
        let Inspected {
            digest,
            code,
            artifact,
            manifest,
            imports,
            handler,
        } = self.inspect(component.clone(), source).await?;
        let artifact = match artifact {
            Some(artifact) => artifact,
            None => self.machine_code(&component, code).await?,
        };
        let unlinkable = |error: wasmtime::Error| PrepareError::Unlinkable(format!("{error:#}"));
        let linker = self.0.linkers.first();
        let native = artifact.load(linker.engine()).map_err(unlinkable)?;
        let first = Entry::new(linker, &native, &handler).map_err(unlinkable)?;
        let loaded = Loaded {
            code,
            limits: self.limits().lowered(&manifest.limits),
            manifest: Arc::new(manifest),
            imports,
            first,
            others: self.0.linkers.others().map(|_| OnceLock::new()).collect(),
            fallback: tokio::sync::OnceCell::new(),
            handler,
        };
        Ok((component, digest, loaded))
    }

    /// Reads and proves a component, and finds its machine code. Hashing, authenticating and
    /// reading go on beside each other: each is a pass over much of the bytes.
    async fn inspect(&self, component: Bytes, source: Source) -> Result<Inspected, PrepareError> {
        let bytes = component.clone();
        let digest = tokio::task::spawn_blocking(move || Digest::of(&bytes));
        let (runtime, bytes) = (self.clone(), component.clone());
        // Whatever goes wrong over bytes from outside is the fault of the bytes.
        let failed = |error: tokio::task::JoinError| ShapeError::Malformed(error.to_string());
        let found = tokio::task::spawn_blocking(move || {
            // What is no component has no code either, and a better error below.
            let code = package::code_digest(&bytes);
            let kept = code
                .as_ref()
                .is_ok_and(|code| runtime.0.cache.contains(code));
            (code, kept)
        });
        let (code, kept) = found.await.map_err(failed)?;
        let runtime = self.clone();
        let wanted = code.as_ref().ok().copied().filter(|_| kept);
        let artifact = blocking(move || wanted.and_then(|code| runtime.0.cache.get(&code)));
        // Only what passed every bound was ever compiled and kept.
        let bodies = if kept {
            Bodies::Compiled
        } else {
            Bodies::Checked
        };
        let bytes = component.clone();
        let read = tokio::task::spawn_blocking(move || read(&bytes, bodies));
        let (artifact, read) = tokio::join!(artifact, read);
        let (shape, manifest) = read.map_err(failed)??;
        if kept && artifact.is_none() {
            // What was kept is not what this host compiled: the bounds have not been looked at.
            let checked =
                tokio::task::spawn_blocking(move || shape::read(&component, Bodies::Checked));
            checked.await.map_err(failed)??;
        }
        proof::prove(&shape, &manifest, source)?;
        let handler = proof::handler(&shape)?.to_owned();
        Ok(Inspected {
            digest: digest.await.map_err(failed)?,
            code: code?,
            artifact,
            manifest,
            imports: shape
                .imports
                .into_iter()
                .map(|import| import.name)
                .collect(),
            handler,
        })
    }

    /// An invocation that belongs to no agent yet.
    pub(crate) fn trial_of(
        loaded: &Loaded,
        digest: Digest,
        principal: Principal,
    ) -> (Arc<Invocation>, Arc<Context>) {
        let facts = Facts {
            id: InvocationId::new(),
            agent: loaded.manifest.name.clone(),
            component: digest,
            generation: 0,
            principal,
            root: RootOrigin::Interactive,
            chain: Vec::new(),
            chain_class: EffectClass::Read,
            request_id: None,
        };
        let context = Context {
            agent: facts.agent.clone(),
            component: digest,
            manifest: Arc::clone(&loaded.manifest),
            principal: facts.principal.clone(),
            invocation: facts.id,
            root: facts.root,
            chain: Vec::new(),
            chain_class: EffectClass::Read,
            reviewed: false,
            shadow: false,
            labels: BTreeSet::new(),
        };
        let invocation = Invocation::new(facts, &loaded.limits, BTreeSet::new(), None);
        (invocation, Arc::new(context))
    }

    /// Instantiates the component once, with all limits and no capability.
    async fn try_out(&self, loaded: &Loaded, digest: Digest) -> Result<(), PrepareError> {
        let (invocation, context) = Self::trial_of(loaded, digest, Principal::new("nexus"));
        let state = State::new(
            self.clone(),
            Arc::clone(&invocation),
            context,
            &loaded.limits,
            true,
        );
        let tried = self
            .guarded(&invocation, self.run_guest(loaded, state, None))
            .await;
        match tried {
            Outcome::Success(_) => Ok(()),
            Outcome::Exhausted { message, .. }
            | Outcome::Trapped { message }
            | Outcome::HostFault { message } => Err(PrepareError::Trial(message)),
            other => Err(PrepareError::Trial(other.as_str().to_owned())),
        }
    }
}

/// Runs what blocks for microseconds to milliseconds on files. A panic in it is
/// a bug and goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The task is never aborted, so only a stopping runtime ends here.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The outside of a component, and the manifest in it.
fn read(component: &[u8], bodies: Bodies) -> Result<(Shape, Manifest), PrepareError> {
    let shape = shape::read(component, bodies)?;
    let manifest = package::read_manifest(component)?;
    let manifest = Manifest::parse(&manifest).map_err(PrepareError::Manifest)?;
    Ok((shape, manifest))
}

/// Whether a host would take this component for an agent, as far as that can be read off it: its
/// shape, its manifest, and that the two belong together. Nothing is compiled and nothing runs.
pub fn check(component: &[u8]) -> Result<Manifest, PrepareError> {
    let (shape, manifest) = read(component, Bodies::Checked)?;
    proof::prove(&shape, &manifest, Source::Uploaded)?;
    Ok(manifest)
}

struct Inspected {
    digest: Digest,
    code: Digest,
    /// Its machine code, if the cache has it.
    artifact: Option<Artifact>,
    manifest: Manifest,
    imports: Vec<String>,
    handler: String,
}
