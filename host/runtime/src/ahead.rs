//! Machine code for components that are yet to get their manifest.

use std::sync::PoisonError;

use bytes::Bytes;
use nexus_manifest::{Digest, package};

use crate::cache::Artifact;
use crate::compile::CompileError;
use crate::prepare::{PrepareError, blocking};
use crate::runtime::Runtime;
use crate::shape::{self, Bodies, ShapeError};

impl Runtime {
    /// Compiles a component to machine code unless that is there, and keeps the code while this
    /// runtime runs, whatever agents come and go. Whatever manifest the component then gets, preparing
    /// it compiles nothing. Cancel-safe.
    pub async fn compile_ahead(&self, component: Bytes) -> Result<(), PrepareError> {
        let (runtime, bytes) = (self.clone(), component.clone());
        let looked = tokio::task::spawn_blocking(move || -> Result<_, PrepareError> {
            let code = package::code_digest(&bytes)?;
            runtime.keep_code(code);
            // What is there and not whole is compiled again.
            if runtime.0.cache.get(&code).is_some() {
                return Ok(None);
            }
            shape::read(&bytes, Bodies::Checked)?;
            Ok(Some(code))
        });
        let looked = looked
            .await
            .map_err(|error| ShapeError::Malformed(error.to_string()))?;
        if let Some(code) = looked? {
            self.machine_code(&component, code).await?;
        }
        Ok(())
    }

    /// Compiles, and keeps what came out.
    pub(crate) async fn machine_code(
        &self,
        component: &[u8],
        code: Digest,
    ) -> Result<Artifact, CompileError> {
        let artifact = self.0.options.compiler.compile(component).await?;
        let runtime = self.clone();
        Ok(blocking(move || {
            // The cache saves time; without it the agent works as well.
            if let Err(error) = runtime.0.cache.put(&code, &artifact) {
                tracing::warn!(%error, component = %code, "the artifact is not kept");
            }
            artifact
        })
        .await)
    }

    fn keep_code(&self, code: Digest) {
        let kept = self.0.kept_code.lock();
        kept.unwrap_or_else(PoisonError::into_inner).insert(code);
    }

    /// Forgets machine code, unless it is kept for what is to come.
    pub(crate) fn forget_code(&self, code: &Digest) {
        let kept = self.0.kept_code.lock();
        if !kept.unwrap_or_else(PoisonError::into_inner).contains(code) {
            self.0.cache.remove(code);
        }
    }
}
