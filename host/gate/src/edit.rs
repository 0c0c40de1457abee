//! What a person puts in the place of what an agent asked for.

use nexus_audit::EventKind;
use nexus_manifest::Digest;
use nexus_store::Commit;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::approval::{Approval, State};
use crate::book::End;
use crate::errors::{DecideError, Refusal};
use crate::gate::Inner;
use crate::kind::Kind;
use crate::payload::Part;
use crate::permit::Grant;
use crate::records::Stored;
use crate::settle::Step;
use crate::{Action, ApprovalId, Decision, Principal, Verdict, Vote, events};

/// An action with some of it replaced. What is absent stays as the agent asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// Another verb of the same kind.
    pub verb: Option<String>,
    /// Another target.
    pub target: Option<String>,
    /// Other fields, all of them.
    pub fields: Option<Value>,
    /// Other bytes, all of them.
    pub parts: Option<Vec<Part>>,
}

/// What became of a question whose approver changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edited {
    /// The approval of what happens instead.
    pub approval: ApprovalId,
    /// The digest of the change, so that a repeat of it is known as one.
    pub edit: Digest,
}

/// Whether an edited action can be carried out as it is written. Known to those who carry it out.
pub trait Shapes: Send + Sync + 'static {
    /// The error says what about the edited action is wrong.
    fn check(&self, asked: &Action, edited: &Action) -> Result<(), String>;
}

/// Nothing can be edited.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed;

impl Shapes for Fixed {
    fn check(&self, _: &Action, _: &Action) -> Result<(), String> {
        Err("this host edits no actions".to_owned())
    }
}

/// A question to be put in the place of another: the action has passed the whole gate again.
pub(crate) struct Replacement {
    pub(crate) grant: Grant,
    pub(crate) required: u32,
    pub(crate) id: ApprovalId,
    /// The question whose place it takes.
    pub(crate) from: ApprovalId,
    /// The word of the one who edited it.
    pub(crate) vote: Vote,
    /// Told when it is on disk, or why not.
    pub(crate) landed: oneshot::Sender<Result<(), String>>,
}

/// Takes an edit past the whole gate, for the kind of action that was asked about.
pub(crate) type Regate = dyn Fn(&Inner, &Edit) -> Result<(Grant, u32), String> + Send + Sync;

impl Edit {
    fn apply(&self, asked: &Action) -> Action {
        let mut edited = asked.clone();
        if let Some(verb) = &self.verb {
            edited.verb.clone_from(verb);
        }
        if let Some(target) = &self.target {
            edited.target.clone_from(target);
        }
        if let Some(fields) = &self.fields {
            edited.payload.fields.clone_from(fields);
        }
        if let Some(parts) = &self.parts {
            edited.payload.parts.clone_from(parts);
        }
        edited
    }

    /// What tells one edit from another.
    pub(crate) fn digest(&self) -> Digest {
        let parts = self.parts.as_ref().map(|parts| {
            let part = |part: &Part| json!([part.name, part.media_type, part.digest().to_hex()]);
            parts.iter().map(part).collect::<Vec<_>>()
        });
        let whole = json!([self.verb, self.target, self.fields, parts]);
        Digest::of(whole.to_string().as_bytes())
    }
}

impl Inner {
    /// The edited action before the whole gate: kind, class, manifest, floor, policy. Its class is the
    /// host's anew; at least one person stands behind it.
    pub(crate) fn regate<K: Kind>(
        &self,
        asked: &Action,
        edit: &Edit,
    ) -> Result<(Grant, u32), String> {
        let mut action = edit.apply(asked);
        if (&action.verb, &action.target, &action.payload)
            == (&asked.verb, &asked.target, &asked.payload)
        {
            return Err("it changes nothing; approve the action as it is".to_owned());
        }
        self.shapes.check(asked, &action)?;
        let gate = self.this.upgrade().ok_or("the host is stopping")?;
        let policy = self.policy();
        let judged = self
            .judge::<K>(&policy, &mut action)
            .map_err(|refusal: Refusal| refusal.to_string())?;
        let required = judged.approvals.max(1);
        let grant = Grant::new(gate, action, policy.version(), judged);
        grant.fits_a_person().map(|()| (grant, required))
    }

    /// Puts an edited action in the place of a question. `None` if somebody else was quicker.
    pub(crate) async fn edit(
        &self,
        stored: &Stored,
        edit: &Edit,
        decision: &Decision,
        principal: &Principal,
        time_ms: u64,
    ) -> Result<Option<Approval>, DecideError> {
        let refuse = |why: &str| Err(DecideError::EditRefused(why.to_owned()));
        if decision.verdict == Verdict::Deny {
            return refuse("only a yes goes with an edit");
        }
        if decision.remember.is_some() {
            return refuse("what is remembered is the action as it was asked");
        }
        let id = stored.row.id;
        let Some(regate) = self.book().regate(id) else {
            return refuse("nobody waits for it any more");
        };
        let (grant, required) = regate(self, edit).map_err(DecideError::EditRefused)?;
        let (landed, on_disk) = oneshot::channel();
        let instead = ApprovalId::new();
        let mut vote = Vote {
            principal: principal.clone(),
            approved: true,
            reason: decision.reason.clone(),
            edited: None,
            grant: None,
            time_ms,
        };
        let replacement = Replacement {
            grant,
            required,
            id: instead,
            from: id,
            vote: vote.clone(),
            landed,
        };
        vote.edited = Some(Edited {
            approval: instead,
            edit: edit.digest(),
        });
        let mut next = stored.row.clone();
        next.state = State::Cancelled;
        next.cancel_reason = Some(format!("edited by {principal}, see {instead}"));
        next.decisions.push(vote);
        let mut event = events::of_row(EventKind::ApprovalDecided, &stored.row)
            .principal(principal.as_str())
            .outcome("approve edited")
            .detail(serde_json::json!({ "edited_as": instead.to_string() }));
        if let Some(reason) = &decision.reason {
            event.detail["reason"] = reason.as_str().into();
        }
        let row = next.clone();
        let step = Step {
            next,
            event: Some(event),
            end: Some(End::Edited(Box::new(replacement))),
            urgent: false,
            also: Commit::new(),
        };
        let unavailable = DecideError::Unavailable;
        if !self
            .replace(stored, step, None)
            .await
            .map_err(unavailable)?
        {
            return Ok(None);
        }
        match on_disk.await {
            Ok(Ok(())) => self.opened(row).await.map(Some),
            Ok(Err(error)) => Err(DecideError::Unavailable(error)),
            // The one who waited has gone in between: nothing happens in its place.
            Err(_) => Err(DecideError::Closed(Box::new(self.opened(row).await?))),
        }
    }
}
