use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use nexus_manifest::{Manifest, package};
use nexus_sandbox::Limits;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Semaphore, watch};

use super::{Diagnostic, Error, FLAGS, diagnostic, rustc};
use crate::toolchain::{self, Toolchain, Warm, tempdir};

/// How sources are compiled.
#[derive(Debug, Clone)]
pub struct Options {
    /// A directory of the builder's own, for jobs and, unless they have one, prebuilt libraries.
    pub directory: PathBuf,
    /// Where prebuilt libraries are kept if several builders share them. Whoever can write there
    /// decides what agents are linked with.
    pub libraries: Option<PathBuf>,
    /// Where the compiler is.
    pub toolchain: toolchain::Config,
    /// Compile even where the compiler can't be confined. For the operator to
    /// say, who then trusts every source.
    pub allow_unsandboxed: bool,
    /// The binary that has the sandbox's helper mode; the running one if `None`.
    pub helper: Option<PathBuf>,
    /// What one compilation may use up.
    pub limits: Limits,
}

impl Options {
    /// The defaults: the compiler on PATH, always confined, with the sandbox's
    /// default limits.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            libraries: None,
            toolchain: toolchain::Config::default(),
            allow_unsandboxed: false,
            helper: None,
            limits: Limits::default(),
        }
    }

    fn libraries(&self) -> PathBuf {
        self.libraries
            .clone()
            .unwrap_or_else(|| self.directory.join(LIBRARIES))
    }
}

/// Compiles agents. Cheap to clone; all clones share the libraries and the bound
/// on how many compilations run at once, which is the number of cores.
#[derive(Debug, Clone)]
pub struct Builder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    warm: Mutex<Option<Arc<Warm>>>,
    jobs: Semaphore,
    /// Whether libraries are being prepared, which takes long.
    preparing: watch::Sender<bool>,
}

/// A component, and what is to be known of how it came about.
#[derive(Debug, Clone)]
pub struct Built {
    /// The component, carrying its manifest.
    pub component: Vec<u8>,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What the compiler warned of.
    pub warnings: Vec<Diagnostic>,
    /// What `rustc -vV` says.
    pub toolchain: String,
    /// The flags that decide what the component is.
    pub flags: Vec<String>,
    /// Who compiled it.
    pub by: BuiltBy,
    /// The host that compiled it, if it was another one.
    pub host: Option<String>,
}

/// Who makes a component of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuiltBy {
    /// The compiler of this host.
    #[default]
    Local,
    /// Nobody any more: the component of a template is in the binary.
    Prebuilt,
    /// Another host that the configuration names.
    Remote,
}

pub(super) const SOURCE_BYTES: usize = 256 * 1024;
pub(super) const COMPONENT_BYTES: u64 = 32 << 20;
const LIBRARIES: &str = "libraries";
const JOBS: &str = "jobs";

impl Builder {
    /// Prepares the directory, clearing what an interrupted host left in it.
    /// No other process may use the directory meanwhile.
    pub fn open(mut options: Options) -> Result<Self, toolchain::Error> {
        std::fs::create_dir_all(&options.directory)
            .map_err(toolchain::Error::io("create", &options.directory))?;
        options.directory = std::fs::canonicalize(&options.directory)
            .map_err(toolchain::Error::io("resolve", &options.directory))?;
        let jobs = options.directory.join(JOBS);
        if jobs.exists() {
            std::fs::remove_dir_all(&jobs).map_err(toolchain::Error::io("clear", &jobs))?;
        }
        let libraries = options.libraries();
        std::fs::create_dir_all(&libraries).map_err(toolchain::Error::io("create", &libraries))?;
        if options.libraries.is_none() {
            remove(&libraries, |name| name.starts_with("building-"));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            shared: Arc::new(Shared {
                options,
                warm: Mutex::new(None),
                jobs: Semaphore::new(cores),
                preparing: watch::Sender::new(false),
            }),
        })
    }

    /// The libraries of the compiler that is installed now, building them if
    /// need be. Whoever asks while they are being built waits for that; whoever
    /// stops waiting does not stop it.
    pub async fn warm(&self) -> Result<Arc<Warm>, toolchain::Error> {
        let shared = self.shared.clone();
        tokio::spawn(async move { shared.warm().await })
            .await
            .map_err(|error| toolchain::Error::Warm(error.to_string()))?
    }

    /// Whether there are libraries of the compiler that is installed now, or why not; `None` while
    /// they are being prepared, which this begins and does not wait for.
    pub async fn standing(&self) -> Option<Result<(), toolchain::Error>> {
        let mut preparing = self.shared.preparing.subscribe();
        tokio::select! {
            biased;
            warm = self.warm() => Some(warm.map(drop)),
            // The sender lives as long as this does.
            _ = preparing.wait_for(|preparing| *preparing) => None,
        }
    }

    /// Compiles `source`, one `src/lib.rs`, with `manifest`, its `agent.toml`.
    ///
    /// The source is taken to be hostile: the compiler runs confined, and no
    /// byte of this machine beyond source, manifest and libraries can end up in
    /// the component or the diagnostics. Nothing is left on disk.
    pub async fn build(&self, source: &str, manifest: &str) -> Result<Built, Error> {
        if source.len() > SOURCE_BYTES {
            return Err(Error::SourceTooLarge {
                bytes: source.len(),
            });
        }
        let parsed = Manifest::parse(manifest).map_err(Error::Manifest)?;
        let warm = self.warm().await?;
        let _turn = self.shared.jobs.acquire().await;
        let started = Instant::now();
        let options = &self.shared.options;
        let job = Arc::new(tempdir(&options.directory.join(JOBS), "")?);
        lay_out(&job.0, source, manifest).map_err(|source| Error::Io {
            action: "write",
            source,
        })?;

        let mut run = rustc::job(&warm, &job.0);
        run.limits = options.limits;
        run.helper.clone_from(&options.helper);
        run.allow_unsandboxed = options.allow_unsandboxed;
        // A compiler that is killed may still write for a moment.
        run.keeps = Some(job.clone());
        let output = run.run().await?;
        let hidden = |text: &str| hide(text, &job.0, &warm);
        let diagnostics = diagnostic::read(&output.stderr, rustc::SOURCE, hidden);
        if let Some(limit) = output.exhausted {
            return Err(Error::Exhausted {
                limit,
                after: started.elapsed(),
            });
        }
        if !output.status.success() {
            return Err(Error::Rejected(diagnostics));
        }
        let component = read_component(&job.0.join(rustc::COMPONENT))?;
        match package::read_manifest(&component) {
            Ok(found) if found == manifest => {}
            Ok(_) => return Err(Error::NotAnAgent("it is another one".to_owned())),
            Err(error) => return Err(Error::NotAnAgent(error.to_string())),
        }
        Ok(Built {
            component,
            manifest: parsed,
            warnings: diagnostics,
            toolchain: warm.toolchain.version().to_owned(),
            flags: FLAGS.iter().map(|flag| (*flag).to_owned()).collect(),
            by: BuiltBy::Local,
            host: None,
        })
    }
}

impl Shared {
    async fn warm(&self) -> Result<Arc<Warm>, toolchain::Error> {
        let mut current = self.warm.lock().await;
        if let Some(warm) = current.as_ref().filter(|warm| warm.toolchain.unchanged()) {
            return Ok(warm.clone());
        }
        let toolchain = Toolchain::find(&self.options.toolchain).await?;
        let libraries = self.options.libraries();
        if !Warm::is_built(&libraries, &toolchain) {
            self.preparing.send_replace(true);
        }
        let warm = Warm::open(&libraries, toolchain).await;
        self.preparing.send_replace(false);
        let warm = Arc::new(warm?);
        let key = warm.toolchain.key();
        if current.is_none() && self.options.libraries.is_none() {
            // At the first use nobody compiles against another compiler's.
            remove(&libraries, |name| name != key && name != toolchain::LOCK);
        }
        *current = Some(warm.clone());
        Ok(warm)
    }
}

/// Clears away; what can't be removed costs space and nothing else.
fn remove(directory: &Path, unwanted: impl Fn(&str) -> bool) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&unwanted) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn lay_out(job: &Path, source: &str, manifest: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(job.join(rustc::TEMPORARY))?;
    std::fs::create_dir_all(job.join("src"))?;
    std::fs::write(job.join(rustc::SOURCE), source)?;
    std::fs::write(job.join(rustc::MANIFEST), manifest)
}

fn read_component(path: &Path) -> Result<Vec<u8>, Error> {
    let io = |source| Error::Io {
        action: "read",
        source,
    };
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    if bytes > COMPONENT_BYTES {
        return Err(Error::ComponentTooLarge { bytes });
    }
    std::fs::read(path).map_err(io)
}

/// Replaces the paths of this machine that the compiler mentions.
fn hide(text: &str, job: &Path, warm: &Warm) -> String {
    [
        (job, "/agent"),
        (warm.directory.as_path(), "/forge"),
        (warm.toolchain.sysroot.as_path(), "/toolchain"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (path, name)| {
        text.replace(&*path.to_string_lossy(), name)
    })
}
