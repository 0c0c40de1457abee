//! From WebAssembly to machine code, in a child process that may touch nothing:
//! the compiler faces hostile input, and may be made to loop or to grow.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use nexus_sandbox::{Job, Libraries, Limits};
use tokio::sync::Semaphore;

use crate::cache::Artifact;
use crate::engine;

/// The first argument that makes the host's binary the compiler.
pub const COMPILE_MODE: &str = "compile-component";

/// Threads that compile one component.
const THREADS: usize = 2;
/// Bytes of the largest artifact.
const ARTIFACT_BYTES: usize = 512 << 20;

/// Why there is no machine code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The compiler refused the component.
    #[error("the compiler refused the component: {0}")]
    Refused(String),
    /// Compiling took more than it may.
    #[error("compiling the component used up its limit of {0}")]
    Limit(nexus_sandbox::Limit),
    /// The compiler ended without an answer.
    #[error("the compiler ended unexpectedly: {0}")]
    Crashed(String),
    /// The compiler could not be started.
    #[error("start the compiler")]
    Start(#[source] nexus_sandbox::Error),
}

/// How components are compiled.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: Option<PathBuf>,
    sandbox: Option<PathBuf>,
    limits: Limits,
    allow_unsandboxed: bool,
    in_process: bool,
    /// Components that are compiled at once; the others wait for their turn.
    turns: Arc<Semaphore>,
    /// What the binary is started with, once that was asked.
    libraries: Arc<OnceLock<Libraries>>,
}

impl Default for Compiler {
    /// The running binary in its [`COMPILE_MODE`], sandboxed, with 20 s of CPU
    /// time and 1 GiB of memory, and one component for each processor at a time.
    fn default() -> Self {
        Self {
            program: None,
            sandbox: None,
            limits: Limits::default(),
            allow_unsandboxed: false,
            in_process: false,
            turns: Arc::new(Semaphore::new(
                std::thread::available_parallelism().map_or(1, usize::from),
            )),
            libraries: Arc::default(),
        }
    }
}

impl Compiler {
    /// Uses another binary, which has to call [`compile_main`] in
    /// [`COMPILE_MODE`].
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self.libraries = Arc::default();
        self
    }

    /// Uses another binary for the sandbox helper.
    #[must_use]
    pub fn sandbox(mut self, helper: impl Into<PathBuf>) -> Self {
        self.sandbox = Some(helper.into());
        self
    }

    /// Sets other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Compiles even where there is no sandbox. For the operator to say.
    #[must_use]
    pub fn allow_unsandboxed(mut self, allow: bool) -> Self {
        self.allow_unsandboxed = allow;
        self
    }

    /// Compiles within this process and without limits, for tools whose
    /// components are their own.
    #[must_use]
    pub fn in_process(mut self) -> Self {
        self.in_process = true;
        self
    }

    /// Compiles a component. Cancel-safe: dropping the future ends the child.
    pub(crate) async fn compile(&self, component: &[u8]) -> Result<Artifact, CompileError> {
        // Before anything is copied or started: each may take a gigabyte. Never closed; if it were,
        // nothing would be compiled any more.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let _turn = turn.map_err(|error| CompileError::Crashed(error.to_string()))?;
        if self.in_process {
            let component = component.to_vec();
            return tokio::task::spawn_blocking(move || precompile(&component))
                .await
                .map_err(|error| CompileError::Crashed(error.to_string()))?
                .map(Artifact::compiled)
                .map_err(CompileError::Refused);
        }
        let program = match &self.program {
            Some(program) => program.clone(),
            None => {
                std::env::current_exe().map_err(|error| CompileError::Crashed(error.to_string()))?
            }
        };
        let mut job = Job::new(program);
        job.args = vec![COMPILE_MODE.to_owned()];
        job.env = vec![("RAYON_NUM_THREADS".to_owned(), THREADS.to_string())];
        self.libraries(&job.program).await?.grant(&mut job);
        job.limits = self.limits;
        job.stdin = component.to_vec();
        job.output_cap = ARTIFACT_BYTES;
        job.helper = self.sandbox.clone();
        job.allow_unsandboxed = self.allow_unsandboxed;
        let output = job.run().await.map_err(CompileError::Start)?;
        if let Some(limit) = output.exhausted {
            return Err(CompileError::Limit(limit));
        }
        let message = || {
            let text = String::from_utf8_lossy(&output.stderr);
            text.trim().chars().take(2_000).collect::<String>()
        };
        if output.status.success() {
            Ok(Artifact::compiled(output.stdout))
        } else if output.status.code() == Some(REFUSED.into()) {
            Err(CompileError::Refused(message()))
        } else {
            Err(CompileError::Crashed(format!(
                "{}: {}",
                output.status,
                message()
            )))
        }
    }
}

impl Compiler {
    /// What the compiler's binary is started with; it may read nothing else.
    async fn libraries(&self, program: &Path) -> Result<Libraries, CompileError> {
        if let Some(known) = self.libraries.get() {
            return Ok(known.clone());
        }
        let program = program.to_owned();
        let found = tokio::task::spawn_blocking(move || Libraries::of(&[&program])).await;
        let found = found.map_err(|error| CompileError::Crashed(error.to_string()))?;
        Ok(self.libraries.get_or_init(|| found).clone())
    }
}

/// The exit code of a component that the compiler refused.
const REFUSED: u8 = 3;

/// The compiler: reads a component on standard input, writes its artifact to
/// standard output. The host's `main` calls it in [`COMPILE_MODE`], before it
/// does anything else.
pub fn compile_main() -> ExitCode {
    let fail = |code, message: &str| {
        // Nobody is left to tell if this fails.
        let _ = writeln!(std::io::stderr(), "{message}");
        ExitCode::from(code)
    };
    // Serving goes first. Without it compiling is only less polite.
    let _ = rustix::process::nice(5);
    let mut component = Vec::new();
    if let Err(error) = std::io::stdin().lock().read_to_end(&mut component) {
        return fail(1, &format!("read the component: {error}"));
    }
    match precompile(&component) {
        Ok(artifact) => match std::io::stdout().lock().write_all(&artifact) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(1, &format!("write the artifact: {error}")),
        },
        Err(message) => fail(REFUSED, &message),
    }
}

fn precompile(component: &[u8]) -> Result<Vec<u8>, String> {
    engine::compiler()
        .and_then(|engine| engine.precompile_component(component))
        .map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_component_waits_until_one_of_those_before_it_is_done() {
        let compiler = Compiler::default().in_process();
        let turns = u32::try_from(compiler.turns.available_permits()).expect("few");
        let others = Arc::clone(&compiler.turns).acquire_many_owned(turns);
        let others = others.await.expect("open");
        // Clones are one compiler.
        let clone = compiler.clone();
        let mut compiled = std::pin::pin!(clone.compile(b"\0asm"));
        assert!(futures::poll!(compiled.as_mut()).is_pending());
        drop(others);
        assert!(matches!(compiled.await, Err(CompileError::Refused(_))));
        assert_eq!(compiler.turns.available_permits(), turns as usize);
    }
}
