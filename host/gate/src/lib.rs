//! The gate: what may happen.
//!
//! Everything an agent does to the world is an [`Action`], complete and canonical. [`Gate::check`]
//! takes it past the manifest, the deny floor, the policy (Cedar) and, where the policy says so, a
//! person, and answers with a [`Permit`] or a [`Refusal`]. A permit is for one action, once, and only
//! the gate can make one; the crate `nexus-effects` takes permits by value, so an effect without a
//! permit does not compile. When the effect starts, the action's digest is computed again from the
//! bytes that are about to be sent, and the approval is consumed in the transaction that opens the
//! audit record.
//!
//! ```
//! use nexus_gate::Policy;
//!
//! let policy = Policy::parse(r#"
//!     @id("reads-are-free")
//!     permit (principal, action == Action::"read", resource);
//! "#)?;
//! assert_ne!(policy.version(), Policy::shipped().version());
//! # Ok::<(), nexus_gate::PolicyError>(())
//! ```

mod action;
mod approval;
mod ask;
mod book;
mod case;
mod class;
mod context;
mod decision;
mod edit;
mod entropy;
mod errors;
mod events;
mod explain;
mod gate;
mod grants;
mod ids;
mod in_force;
mod judge;
pub mod kind;
mod known;
mod lock;
mod nonce;
mod observer;
mod payload;
mod permit;
mod policy;
mod question;
mod raise;
mod rates;
mod receipt;
mod records;
mod rendering;
mod settle;
mod shadow;
mod shape;
mod show;
mod sight;
mod sketch;
mod standing;
mod timer;
mod unfinished;

pub use action::{Action, ActionKind};
pub use approval::{Approval, Filter, Page, State, StateError};
pub use book::SHOWN_PER_AGENT;
pub use case::{Case, Expect, Missed};
pub use class::{class_of, permissions_are_free};
pub use context::{Context, EffectClass, Label, LabelError, RootOrigin};
pub use decision::{Decision, Verdict, Vote};
pub use edit::{Edit, Edited, Fixed, Shapes};
pub use errors::{
    DecideError, FinishError, OpenError, QueryError, Refusal, RevokeError, SetPolicyError,
    StartError,
};
pub use explain::Explanation;
pub use gate::{Gate, MAX_ASKED_BYTES, Options, REHEARSAL};
pub use ids::{ApprovalId, GrantId, IdError, InvocationId, Principal};
pub use in_force::{InForce, PolicyChange, PolicySource};
pub use judge::{LABELLED_EGRESS, REVEAL, SHADOW_RUN, WIDENED_PERMISSIONS};
pub use kind::Kind;
pub use known::{Callee, Introductions};
pub use lock::{Engaged, Lock, Locked, Pass};
pub use nonce::Nonce;
pub use observer::{Anyone, Approvers, Floor, Observer, OpenFloor, SelfApproval};
pub use payload::{EncodingError, Part, Payload};
pub use permit::Permit;
pub use policy::{
    Answer, MAX_APPROVALS, Policy, PolicyError, PolicyVersion, SCHEMA, SHIPPED, Step,
};
pub use question::{Facts, Question, SHADOW_RUNS, WIDENS};
pub use rates::Company;
pub use receipt::{Finish, Receipt};
pub use rendering::{escape, is_hidden, render, wrap};
pub use sketch::{Sketch, SketchError};
pub use standing::{
    BodyScope, DEFAULT_GRANT_MS, DEFAULT_GRANT_USES, GrantFilter, MAX_GRANT_MS, MAX_GRANT_USES,
    Remember, Scope, StandingGrant, TargetScope,
};
