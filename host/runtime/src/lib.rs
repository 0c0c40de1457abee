//! Components in, invocations out.
//!
//! A component becomes a [`Generation`] in two steps: [`Runtime::prepare`]
//! reads it, proves that it can do no more than its manifest says, compiles it
//! in a sandboxed child and tries it out; [`Runtime::publish`] makes it durable
//! and swaps one pointer. [`Runtime::invoke`] runs it: a fresh instance for
//! every invocation, under limits, on the generation that was current when the
//! invocation began. How it ended is an [`Outcome`], whose kinds are never mixed.
//!
//! Capabilities are linked from outside, over [`State`]. The runtime itself has
//! no effect on anything but its own registry.
//!
//! ```no_run
//! # async fn example(runtime: nexus_runtime::Runtime, component: bytes::Bytes)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use nexus_gate::{Principal, RootOrigin};
//! use nexus_runtime::{Invoke, Outcome, Publish};
//!
//! let me = Principal::new("me");
//! let prepared = runtime.prepare(component).await?;
//! let generation = runtime.publish(prepared, Publish::by(me.clone())).await?;
//! let running = runtime
//!     .invoke(Invoke {
//!         agent: generation.agent().clone(),
//!         input: r#"{"say":"hello"}"#.to_owned(),
//!         principal: me,
//!         root: RootOrigin::Interactive,
//!         chain: None,
//!         request_id: None,
//!         timeout: None,
//!     })
//!     .await?;
//! if let Outcome::Success(output) = &*running.outcome().await {
//!     assert_eq!(output, r#"{"say":"hello"}"#);
//! }
//! # Ok(())
//! # }
//! ```

mod ahead;
mod aside;
mod cache;
mod chain;
mod clock;
mod collect;
mod compile;
mod engine;
mod generation;
mod held;
mod invocation;
mod invoke;
mod judge;
mod kept;
mod limits;
mod listing;
mod live;
mod log;
mod meter;
mod outcome;
mod padded;
mod prepare;
mod proof;
mod publication;
mod publish;
mod registry;
mod rehearsal;
mod reload;
mod rows;
mod runtime;
mod shape;
mod state;
mod stored;
mod succession;
mod texts;
mod wasi;

pub use aside::aside;
pub use chain::{Chain, ChainError};
pub use compile::{COMPILE_MODE, CompileError, Compiler, compile_main};
pub use generation::Generation;
pub use held::Held;
pub use invocation::{Event, InvocationState, Progress, Record, Running};
pub use invoke::{Invoke, InvokeError};
pub use kept::let_go;
pub use limits::{HostLimits, Limit};
pub use listing::{Listed, Wanted};
pub use log::{Level, LogLine, escape};
pub use outcome::Outcome;
pub use prepare::{PrepareError, Prepared, check};
pub use proof::ProofError;
pub use publish::{Publish, PublishError};
pub use registry::{AgentChange, Change, GenerationInfo};
pub use rehearsal::{Example, Recorded, Rehearsal, Rehearsed, Remembered, Shadow};
pub use runtime::{OpenError, Options, Runtime, Services};
pub use shape::ShapeError;
pub use state::{Labeller, State};
pub use stored::ForgetError;
pub use succession::Succession;
