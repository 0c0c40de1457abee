use std::sync::Arc;
use std::time::Duration;

use nexus_gate::ApprovalId;
use nexus_manifest::{Digest, Manifest};
use nexus_runtime::{Generation, Succession};

use crate::build::Diagnostic;
use crate::failure::Reason;
use crate::selftest::Tested;
use crate::shadow::Shadowed;
use crate::template::NeedsParameters;

/// A stage of a forge begins, tells something, or ends.
#[derive(Debug, Clone)]
pub struct Event {
    /// Counts the events of this forge from 1.
    pub sequence: u64,
    /// Which stage.
    pub stage: Stage,
    /// Where it stands.
    pub state: StageState,
    /// When the stage began, in milliseconds since the epoch.
    pub started_ms: u64,
    /// How long it took, waiting for people left out. `None` while it runs.
    pub duration: Option<Duration>,
    /// What there is to tell.
    pub detail: Option<Detail>,
    /// What the forge failed over, if this is where it failed.
    pub failed: Option<Reason>,
    /// Whether it is the forge's last event, which says how it ended.
    pub last: bool,
}

/// The stages, in their order. Those that a mode does not need are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Words become a name, a schema, permissions.
    Spec,
    /// The permissions are weighed: whether a person will be asked.
    Review,
    /// The source comes about.
    Source,
    /// The compiler runs, in its sandbox.
    Build,
    /// The component is checked against its manifest, compiled and linked.
    Proof,
    /// The component is instantiated, and answers the examples that there are.
    SelfTest,
    /// The component runs with real reads and planned writes, if that was asked for.
    Shadow,
    /// The component becomes the live generation.
    Publish,
}

/// Where a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StageState {
    /// It has begun, or tells of its progress.
    Running,
    /// It has ended well.
    Succeeded,
    /// It has ended badly, and the forge with it unless an earlier stage begins
    /// anew.
    Failed,
    /// A person or the caller has to act first; the detail says how. After an
    /// approval the stage runs on.
    Stopped,
    /// Somebody cancelled the forge. Nothing of it is left.
    Cancelled,
}

/// What an event tells.
#[derive(Debug, Clone)]
pub enum Detail {
    /// What the agent will be.
    Spec {
        /// Its manifest.
        manifest: Arc<Manifest>,
        /// The template that is used, if one is.
        template: Option<String>,
    },
    /// What the compiler or a check found, errors first, bounded.
    Diagnostics(Vec<Diagnostic>),
    /// The template needs more. Nothing was built.
    NeedsParameters(NeedsParameters),
    /// A person has to accept the permissions. Approving publishes.
    NeedsReview {
        /// What to decide.
        approval: ApprovalId,
        /// What the component asks for.
        manifest: Arc<Manifest>,
        /// Names exactly these permissions.
        permissions_digest: Digest,
        /// What it comes after, and how the permissions differ from that.
        succession: Box<Succession>,
        /// What it would have done in the examples, one line each.
        planned: Vec<String>,
    },
    /// The component is built and checked.
    Component {
        /// Of its bytes.
        digest: Digest,
        /// Its length in bytes.
        size: usize,
        /// What it imports.
        imports: Vec<String>,
    },
    /// The component has answered every example.
    Tested(Tested),
    /// What the component did in its shadow runs. A person decides what becomes of it.
    Shadow(Vec<Shadowed>),
    /// The component is live.
    Published(Arc<Generation>),
    /// Built and not published.
    NotPublished {
        /// Why.
        reason: NotPublished,
        /// Of the component. The host keeps it if hot reload is off.
        digest: Digest,
    },
    /// A line of progress for people.
    Log(String),
    /// The next piece of the model's answer. An answer of more than 256 KiB is not told in full.
    ModelText(String),
    /// The forge ended for another reason, in a sentence that says what to do.
    Failure(String),
}

/// Why a good component is not live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPublished {
    /// Hot reload is off.
    HotReloadOff,
    /// The request said so.
    ValidateOnly,
}
