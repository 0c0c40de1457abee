//! The audit trail of a NEXUS host: what was done, by whom, on whose word.
//!
//! Events are records of one hash-chained log of the store, so that an event commits together with
//! what it tells of ([`Audit::append`]), on its own ([`Audit::write`]), or, for reads, soon after
//! ([`Audit::note`]). An event that can't be written is an error, and its caller does nothing.
//!
//! [`Checkpoint`]s sign the head of the chain, by default every 1,000 events and at the latest
//! 60 seconds after a new one. [`verify`] needs the records, the public key and, against cutting
//! the end off, a checkpoint that its holder has seen; it then finds every change before that
//! checkpoint, whoever made it without the signing key. [`Audit::prune`] lets go of old records and
//! signs that it did, so that a trail without its beginning still verifies.
//!
//! ```
//! # async fn example(store: std::sync::Arc<dyn nexus_store::Store>) -> Result<(), Box<dyn std::error::Error>> {
//! use nexus_audit::{Audit, Event, EventKind, SigningKey, verify_store};
//!
//! let key = SigningKey::load_or_create("data/audit.key")?;
//! let audit = Audit::open(store.clone(), key).await?;
//! audit
//!     .write(Event::new(EventKind::SecretSet).principal("operator").outcome("set"))
//!     .await?;
//! let checkpoint = audit.checkpoint().await?;
//! let report = verify_store(&*store, &audit.verifying_key(), Some(&checkpoint)).await?;
//! assert!(report.is_sound());
//! # Ok(())
//! # }
//! ```

mod checkpoint;
mod error;
mod event;
mod keeper;
mod key;
mod prune;
mod trail;
mod verify;

pub use checkpoint::Checkpoint;
pub use error::{AuditError, KeyError};
pub use event::{Event, EventKind, UnknownKind};
pub use key::{SigningKey, VerifyingKey};
pub use prune::Retain;
pub use trail::{Audit, LOG, Record};
pub use verify::{Fault, Report, Verifier, read_store, verify, verify_store};
