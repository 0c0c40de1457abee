use std::path::PathBuf;
use std::sync::Arc;

use nexus_gate::{ApprovalId, Principal};
pub(crate) use nexus_manifest::error_chain;
use nexus_manifest::{AgentName, Digest};
use nexus_runtime::{GenerationInfo, Runtime};
use nexus_sandbox::Limits;
use nexus_store::{Commit, CommitError, ReadError};
use tokio::sync::{RwLock, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::budget::{Budget, Ledger, OverBudget};
use crate::build::{self, Builder};
use crate::event::Event;
use crate::prebuilt::Prebuilt;
use crate::records::{self, ForgeId, Forged, ForgedState, HotReload, Lineage, RecordError};
use crate::request::{Mode, Request};
use crate::review::{Review, Reviews};
use crate::stages::Stages;
use crate::stop::Stop;
use crate::template::{self, Catalog};
use crate::{model, pipeline, publish, toolchain};

/// How a forge is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// A directory of the forge's own.
    pub data_dir: PathBuf,
    /// Where prebuilt libraries are kept if several hosts share them; in `data_dir` if `None`.
    pub libraries: Option<PathBuf>,
    /// `rustc`; found on PATH or in `~/.cargo/bin` if not named.
    pub rustc: Option<PathBuf>,
    /// `cargo`, likewise.
    pub cargo: Option<PathBuf>,
    /// Compile even where the compiler can't be confined. For the operator to
    /// say, who then trusts every source.
    pub allow_unsandboxed: bool,
    /// Compile the templates to machine code at the start; otherwise each is at its first use.
    pub precompile_templates: bool,
    /// What one compilation may use up.
    pub limits: Limits,
    /// Another host that compiles for this one, where a request or the configuration says so.
    pub remote: Option<build::Remote>,
    /// The models that write agents, if there are any.
    pub model: Option<model::Config>,
    /// What each principal may forge in an hour.
    pub budget: Budget,
    /// The binary that has the sandbox's helper mode; the running one if `None`.
    pub helper: Option<PathBuf>,
}

impl Options {
    /// The compiler on PATH, always confined, and no model.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            libraries: None,
            rustc: None,
            cargo: None,
            allow_unsandboxed: false,
            precompile_templates: true,
            limits: Limits::default(),
            remote: None,
            model: None,
            budget: Budget::default(),
            helper: None,
        }
    }
}

/// Words in, agents out. A handle; all clones are one forge.
#[derive(Clone)]
pub struct Forge {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) runtime: Runtime,
    pub(crate) builder: Builder,
    pub(crate) catalog: Catalog,
    pub(crate) prebuilt: Prebuilt,
    pub(crate) remote: Option<build::Remote>,
    pub(crate) model: Option<model::Models>,
    pub(crate) ledger: Ledger,
    pub(crate) allow_unsandboxed: bool,
    /// Held for reading while a forged component goes live, for writing while
    /// the switch is thrown: once it is off, none goes live any more.
    pub(crate) switch: RwLock<()>,
    pub(crate) reviews: Reviews,
}

/// Why there is no forge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its directory can't be used.
    #[error("open the forge's directory")]
    Directory(#[source] toolchain::Error),
    /// The templates in the binary are broken.
    #[error("open the forge's templates")]
    Templates(#[source] template::Error),
    /// The model's configuration is wrong.
    #[error("open the way to the model")]
    Model(#[source] model::Error),
    /// The forge's records can't be read or written.
    #[error("open the forge's records")]
    Records(#[source] RecordError),
    /// The forge's records can't be written.
    #[error("open the forge's records")]
    Commit(#[source] CommitError),
}

/// The events of one forge, in order.
pub type Events = UnboundedReceiverStream<Event>;

/// A forge that runs.
#[derive(Debug)]
pub struct Started {
    /// Its name.
    pub id: ForgeId,
    /// What it tells, from the first event to the last.
    pub events: Events,
    /// Cancels it.
    pub stop: Stop,
}

/// One thing that a forge stands on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckError(String);

impl Forge {
    /// Opens the forge and begins, in the background, to prepare the templates and
    /// the libraries that agents are linked with. A missing compiler is no error
    /// here: it is the answer to each forge that needs one.
    pub async fn open(options: Options, runtime: Runtime) -> Result<Self, OpenError> {
        let builder = Builder::open(build::Options {
            directory: options.data_dir,
            libraries: options.libraries,
            toolchain: toolchain::Config {
                rustc: options.rustc,
                cargo: options.cargo,
            },
            allow_unsandboxed: options.allow_unsandboxed,
            helper: options.helper,
            limits: options.limits,
        })
        .map_err(OpenError::Directory)?;
        let services = runtime.services();
        let open = |config| model::Models::open(config, &services.vault);
        let model = options.model.map(open).transpose();
        let ledger = Ledger::open(&services.store, options.budget).await;
        let catalog = Catalog::embedded().map_err(OpenError::Templates)?;
        let inner = Inner {
            runtime: runtime.clone(),
            builder,
            prebuilt: Prebuilt::embedded(&catalog).map_err(OpenError::Templates)?,
            catalog,
            remote: options.remote,
            model: model.map_err(OpenError::Model)?,
            ledger: ledger.map_err(|error| OpenError::Records(RecordError::Read(error)))?,
            allow_unsandboxed: options.allow_unsandboxed,
            switch: RwLock::new(()),
            reviews: Reviews::default(),
        };
        inner.refuse_leftovers().await?;
        let inner = Arc::new(inner);
        tokio::spawn(prepare(inner.clone(), options.precompile_templates));
        Ok(Self { inner })
    }

    /// Counts a forge against what its principal may forge in an hour, and adds to `commit` that it is
    /// counted. For whoever begins forges on behalf of others, before each.
    pub fn admit(&self, request: &Request, commit: &mut Commit) -> Result<(), OverBudget> {
        let model = matches!(request.mode, Mode::Model);
        self.inner.ledger.admit(&request.principal, model, commit)
    }

    /// Forges an agent. The forge runs to its end whether or not anybody reads
    /// the events; what goes wrong is an event.
    pub fn forge(&self, request: Request) -> Started {
        self.forge_as(ForgeId::new(), request)
    }

    /// Forges an agent under an id that is known beforehand, and new.
    pub fn forge_as(&self, id: ForgeId, request: Request) -> Started {
        let (sender, events) = mpsc::unbounded_channel();
        let stop = Stop::new();
        let (inner, stopped) = (self.inner.clone(), stop.clone());
        tokio::spawn(async move {
            pipeline::run(&inner, id, request, &Stages::new(sender), &stopped).await;
        });
        Started {
            id,
            events: UnboundedReceiverStream::new(events),
            stop,
        }
    }

    /// The generation that this forge has published, if it has and the generation is kept. For
    /// those that the host did not live to see the end of.
    pub async fn published(
        &self,
        id: ForgeId,
        agent: &AgentName,
    ) -> Result<Option<GenerationInfo>, ReadError> {
        let kept = self.inner.runtime.generations(agent).await?;
        let by_it = |info: &GenerationInfo| {
            let lineage = info.lineage.as_ref();
            lineage.is_some_and(|lineage| lineage[publish::BY_FORGE] == id.to_string())
        };
        Ok(kept.into_iter().find(by_it))
    }

    /// The newest component that waits for a person under this name and with these permissions.
    pub fn review(&self, agent: &AgentName, permissions: &Digest) -> Option<Review> {
        self.inner.reviews.find(agent, permissions)
    }

    /// The approval of the newest component that waits for a person under this name.
    pub fn waiting(&self, agent: &AgentName) -> Option<ApprovalId> {
        self.inner.reviews.waiting(agent)
    }

    /// The compiler on its own.
    pub fn builder(&self) -> &Builder {
        &self.inner.builder
    }

    /// The templates.
    pub fn templates(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// Where a forged component came from.
    pub async fn lineage(&self, component: &Digest) -> Result<Option<Lineage>, RecordError> {
        records::lineage(&*self.inner.runtime.services().store, component).await
    }

    /// What this host has forged, newest first, from the one after `after` on.
    pub async fn list(
        &self,
        after: Option<ForgeId>,
        limit: usize,
    ) -> Result<Vec<Forged>, RecordError> {
        records::list(&*self.inner.runtime.services().store, after, limit).await
    }

    /// Whether forged agents go live by themselves.
    pub async fn hot_reload(&self) -> Result<HotReload, RecordError> {
        records::hot_reload(&*self.inner.runtime.services().store).await
    }

    /// Switches that, durably. Once it is off, no forged agent goes live, not
    /// even one whose forge is under way or whose publication a person approves.
    pub async fn set_hot_reload(
        &self,
        enabled: bool,
        principal: &Principal,
    ) -> Result<HotReload, CommitError> {
        let _thrown = self.inner.switch.write().await;
        let services = self.inner.runtime.services();
        records::set_hot_reload(&*services.store, &services.audit, enabled, principal).await
    }

    /// What works here and what is missing: `sandbox`, `toolchain` and `model`.
    pub async fn checks(&self) -> Vec<(&'static str, Result<(), CheckError>)> {
        let failed = |error: &dyn std::error::Error| CheckError(error_chain(error));
        let sandbox = if self.inner.allow_unsandboxed || nexus_sandbox::probe().confines() {
            Ok(())
        } else {
            Err(failed(&nexus_sandbox::Error::Unsupported))
        };
        // Asked how things stand, not to wait until they are well.
        let toolchain = match self.inner.builder.standing().await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(CheckError(format!(
                "{}; templates work without it, the modes source and model need it",
                error_chain(&error)
            ))),
            None => Err(CheckError(
                "the libraries for agents are being prepared".to_owned(),
            )),
        };
        let model = match self.inner.model {
            Some(_) => Ok(()),
            None => Err(failed(&model::Error::NotConfigured)),
        };
        vec![
            ("sandbox", sandbox),
            ("toolchain", toolchain),
            ("model", model),
        ]
    }
}

impl std::fmt::Debug for Forge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Forge")
            .field("builder", &self.inner.builder)
            .field("model", &self.inner.model)
            .finish_non_exhaustive()
    }
}

/// What the first forges would otherwise wait for: machine code of the templates, and the libraries
/// of what is compiled here.
async fn prepare(forge: Arc<Inner>, templates: bool) {
    if templates {
        for template in forge.prebuilt.templates() {
            if let Err(error) = forge.prebuilt.compiled(template, &forge.runtime).await {
                tracing::warn!(
                    error = error_chain(&error),
                    template,
                    "no agent can be made from it yet"
                );
            }
        }
    }
    if let Err(error) = forge.builder.warm().await {
        tracing::warn!(
            error = error_chain(&error),
            "sources can't be compiled yet; templates can be used"
        );
    }
}

impl Inner {
    /// What waited for a person when the last host died: its approval is
    /// cancelled, and nobody would publish it.
    async fn refuse_leftovers(&self) -> Result<(), OpenError> {
        let store = &self.runtime.services().store;
        let all = records::list(&**store, None, usize::MAX)
            .await
            .map_err(OpenError::Records)?;
        let mut commit = nexus_store::Commit::new();
        let waiting = all
            .into_iter()
            .filter(|forged| forged.state == ForgedState::Review);
        let mut any = false;
        for mut forged in waiting {
            forged.state = ForgedState::Refused;
            records::put_forged(&mut commit, &forged);
            any = true;
        }
        if any {
            store.commit(commit).await.map_err(OpenError::Commit)?;
        }
        Ok(())
    }
}
