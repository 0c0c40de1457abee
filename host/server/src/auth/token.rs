//! Bearer tokens, stored as hashes.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nexus_audit::{Audit, Event, EventKind};
use nexus_gate::{Approvers, Principal};
use nexus_manifest::Digest;
use nexus_store::{Commit, CommitError, ReadError, Scan, Store, Table, landed, now_ms, to_the_end};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::role::Role;
use crate::doors::Share;

const TOKENS: Table = Table("tokens");
/// Which token a request made, by who asked and the id they chose.
const REQUESTS: Table = Table("token_requests");
const MAX_REQUEST_ID: usize = 128;
/// Tells a token from other secrets where one turns up by mistake.
const PREFIX: &str = "nexus_";

/// An authenticated caller, found in the extensions of every request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whom the token belongs to.
    pub principal: Principal,
    /// What the token is for.
    pub role: Role,
    /// When the token ends, in milliseconds since the epoch; changes if it is revoked.
    pub(crate) life: Arc<watch::Sender<Option<u64>>>,
    /// What the principal takes up of the host, with all its tokens.
    pub(crate) share: Arc<Share>,
}

/// What is known of a token. The token itself is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its id.
    pub id: String,
    /// Whom it belongs to.
    pub principal: String,
    /// What it is for.
    pub role: Role,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: u64,
    /// When it ends by itself.
    pub expires_ms: Option<u64>,
    /// When it was revoked.
    pub revoked_ms: Option<u64>,
}

/// A token that was just made; `secret` is shown this once.
pub struct NewToken {
    /// What is kept of it.
    pub info: TokenInfo,
    /// The bearer token.
    pub secret: String,
}

/// Why a token could not be made, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No token of this id.
    #[error("no token has the id {0:?}; `nexus tokens list` shows them")]
    NotFound(String),
    /// The last token that can make others must stay.
    #[error(
        "{0} is the last operator token; create another one first, or nobody can run this host"
    )]
    LastOperator(String),
    /// The request was answered before, and its secret was not kept.
    #[error(
        "the request {0:?} has made its token; create another one under another request_id, as the secret was shown once"
    )]
    Repeated(String),
    /// The request's id is too long.
    #[error("keep it to {MAX_REQUEST_ID} bytes")]
    BadRequestId,
    /// The principal's name breaks its rule.
    #[error("{0:?} is not a principal: use 1 to 64 letters, digits and `.`, `_`, `@`, `-`")]
    BadPrincipal(String),
    /// The store did not answer.
    #[error("failed to read the tokens")]
    Read(#[from] ReadError),
    /// The store did not take the change.
    #[error("failed to store the token")]
    Commit(#[from] CommitError),
    /// A stored row does not read.
    #[error("a stored token does not read")]
    Corrupt(#[source] serde_json::Error),
    /// No randomness.
    #[error("the system gave no random bytes")]
    Random,
    /// The token file could not be written.
    #[error("failed to write the operator token file")]
    File(#[source] io::Error),
}

/// All tokens of this host.
#[derive(Clone)]
pub struct Tokens {
    store: Arc<dyn Store>,
    audit: Audit,
    by_hash: Arc<RwLock<HashMap<[u8; 32], Arc<Known>>>>,
    /// Held while a token is revoked, so that two can't each leave the other as the last.
    revoking: Arc<tokio::sync::Mutex<()>>,
}

struct Known {
    info: TokenInfo,
    caller: Caller,
    /// Whether the store has it as it is here.
    stored: bool,
}

impl Tokens {
    /// Reads all tokens.
    pub async fn open(store: Arc<dyn Store>, audit: Audit) -> Result<Self, TokenError> {
        let mut by_hash: HashMap<[u8; 32], Arc<Known>> = HashMap::new();
        let mut after = None;
        loop {
            let scan = Scan {
                after,
                limit: 500,
                ..Scan::default()
            };
            let rows = store.scan(TOKENS, scan).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            for (key, row) in rows {
                let info: TokenInfo = serde_json::from_slice(&row).map_err(TokenError::Corrupt)?;
                if let Ok(hash) = <[u8; 32]>::try_from(key.as_slice()) {
                    let known = Known::new(info, &by_hash, &hash, true);
                    by_hash.insert(hash, Arc::new(known));
                }
            }
        }
        Ok(Self {
            store,
            audit,
            by_hash: Arc::new(RwLock::new(by_hash)),
            revoking: Arc::default(),
        })
    }

    /// On the first start, and if no operator's token works any more, makes one and writes it to
    /// `path`, readable by its owner alone. The file comes first: a token that works is one that
    /// somebody can read.
    pub async fn ensure_operator(&self, path: &Path) -> Result<(), TokenError> {
        let now = now_ms();
        let works = |info: &TokenInfo| info.end().is_none_or(|end| end > now);
        if self
            .list()
            .iter()
            .any(|info| info.role == Role::Operator && works(info))
        {
            return Ok(());
        }
        let token = Self::draw("operator", Role::Operator, None)?;
        write_private(path, token.secret.as_bytes()).map_err(TokenError::File)?;
        self.enter_new(token, "host", "").await.map(drop)
    }

    /// Whose token this is, if it is known, neither expired nor revoked.
    pub fn authenticate(&self, token: &str) -> Option<Caller> {
        let hash = *Digest::of(token.as_bytes()).as_bytes();
        let known = self.read().get(&hash).cloned()?;
        let ended = known.info.end().is_some_and(|end| end <= now_ms());
        (!ended).then(|| known.caller.clone())
    }

    /// Makes a token for `principal`. Unless `request_id` is empty, a repeat of it by the same
    /// principal makes no second one and is refused. Goes to its end though the caller leaves.
    pub async fn create(
        &self,
        principal: &str,
        role: Role,
        ttl: Option<Duration>,
        by: &str,
        request_id: &str,
    ) -> Result<NewToken, TokenError> {
        if request_id.len() > MAX_REQUEST_ID {
            return Err(TokenError::BadRequestId);
        }
        let made = Self::draw(principal, role, ttl)?;
        let (tokens, by, request_id) = (self.clone(), by.to_owned(), request_id.to_owned());
        to_the_end(async move { tokens.enter_new(made, &by, &request_id).await }).await?
    }

    /// A token that is not in force yet.
    fn draw(principal: &str, role: Role, ttl: Option<Duration>) -> Result<NewToken, TokenError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
        if principal.is_empty() || principal.len() > 64 || !principal.chars().all(allowed) {
            return Err(TokenError::BadPrincipal(
                principal.chars().take(100).collect(),
            ));
        }
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|_| TokenError::Random)?;
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let created_ms = now_ms();
        let info = TokenInfo {
            id: token_id(&secret),
            principal: principal.to_owned(),
            role,
            created_ms,
            expires_ms: ttl.map(|ttl| created_ms.saturating_add(ttl.as_millis() as u64)),
            revoked_ms: None,
        };
        Ok(NewToken { info, secret })
    }

    async fn enter_new(
        &self,
        made: NewToken,
        by: &str,
        request_id: &str,
    ) -> Result<NewToken, TokenError> {
        let hash = *Digest::of(made.secret.as_bytes()).as_bytes();
        let mut commit = Commit::new();
        if !request_id.is_empty() {
            // No principal has a line break in its name.
            let key = format!("{by}\n{request_id}").into_bytes();
            commit.expect_absent(REQUESTS, key.clone());
            commit.put(REQUESTS, key, made.info.id.clone().into_bytes());
        }
        let (row, kind) = (encode(&made.info)?, EventKind::TokenCreated);
        let saved = self.save(commit, hash, &row, &made.info, kind, by).await;
        if let Err(error) = &saved
            && !landed(&*self.store, error, TOKENS, &hash, Some(&row)).await
        {
            return Err(match error {
                CommitError::Conflict { .. } => TokenError::Repeated(request_id.to_owned()),
                error => TokenError::Commit(error.clone()),
            });
        }
        // One that is in the store although its maker is told of an error can be listed and revoked.
        self.enter(hash, made.info.clone(), true);
        saved?;
        Ok(made)
    }

    /// Ends a token at once, and the streams that it has opened; or after `grace`, if there is any,
    /// so that its holder can change over to another. Doing so twice is the same. Goes to its end though
    /// the caller leaves, and holds from the first moment: after an error the token has ended here, and
    /// whether that outlasts a restart shows when it is revoked again.
    pub async fn revoke(
        &self,
        id: &str,
        grace: Duration,
        by: &str,
    ) -> Result<TokenInfo, TokenError> {
        let (tokens, id, by) = (self.clone(), id.to_owned(), by.to_owned());
        to_the_end(async move { tokens.revoke_now(&id, grace, &by).await }).await?
    }

    async fn revoke_now(
        &self,
        id: &str,
        grace: Duration,
        by: &str,
    ) -> Result<TokenInfo, TokenError> {
        let _revoking = self.revoking.lock().await;
        let found = self
            .read()
            .iter()
            .find(|(_, k)| k.info.id == id)
            .map(|(h, k)| (*h, k.clone()));
        let (hash, known) =
            found.ok_or_else(|| TokenError::NotFound(id.chars().take(100).collect()))?;
        let mut info = known.info.clone();
        if info.revoked_ms.is_some() && known.stored {
            return Ok(info);
        }
        let usable = |i: &TokenInfo| i.role == Role::Operator && i.end().is_none();
        if usable(&info) && self.list().iter().filter(|i| usable(i)).count() == 1 {
            return Err(TokenError::LastOperator(id.to_owned()));
        }
        let now = now_ms();
        if grace.is_zero() {
            info.revoked_ms.get_or_insert(now);
        } else {
            let end = now.saturating_add(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
            // It is never made to last longer than it would have.
            info.expires_ms = Some(info.expires_ms.map_or(end, |before| before.min(end)));
        }
        self.enter(hash, info.clone(), false);
        let mut commit = Commit::new();
        // What only takes away goes through on a full disk.
        commit.urgent();
        let (row, kind) = (encode(&info)?, EventKind::TokenRevoked);
        let saved = self.save(commit, hash, &row, &info, kind, by).await;
        let stored = match &saved {
            Ok(()) => true,
            Err(error) => landed(&*self.store, error, TOKENS, &hash, Some(&row)).await,
        };
        if stored {
            self.enter(hash, info.clone(), true);
        }
        saved?;
        Ok(info)
    }

    /// All tokens, the oldest first.
    pub fn list(&self) -> Vec<TokenInfo> {
        let mut all: Vec<_> = self
            .read()
            .values()
            .map(|known| known.info.clone())
            .collect();
        all.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        all
    }

    async fn save(
        &self,
        mut commit: Commit,
        hash: [u8; 32],
        row: &[u8],
        info: &TokenInfo,
        kind: EventKind,
        by: &str,
    ) -> Result<(), CommitError> {
        commit.put(TOKENS, hash, row);
        let detail = serde_json::json!({
            "token": info.id, "for": info.principal, "role": info.role, "expires_ms": info.expires_ms,
        });
        self.audit
            .append(&mut commit, Event::new(kind).principal(by).detail(detail));
        self.store.commit(commit).await.map(drop)
    }

    /// Goes by what is known of a token now. `stored` says whether the store has it, too.
    fn enter(&self, hash: [u8; 32], info: TokenInfo, stored: bool) {
        let mut all = self
            .by_hash
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = Arc::new(Known::new(info, &all, &hash, stored));
        all.insert(hash, Arc::clone(&known));
        drop(all);
        // Whoever has a stream open by this token hears of its new end.
        known.caller.life.send_replace(known.info.end());
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<[u8; 32], Arc<Known>>> {
        self.by_hash
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Approvers for Tokens {
    /// Whether a token that may decide is in the principal's hands now.
    fn may_decide(&self, principal: &Principal) -> bool {
        let now = now_ms();
        self.read().values().any(|known| {
            known.caller.principal == *principal
                && known.info.role.decides()
                && known.info.end().is_none_or(|end| end > now)
        })
    }

    fn may_another(&self, principal: &Principal) -> bool {
        let now = now_ms();
        self.read().values().any(|known| {
            known.caller.principal != *principal
                && known.info.role.decides()
                && known.info.end().is_none_or(|end| end > now)
        })
    }
}

impl TokenInfo {
    /// When it ends, or has ended, if it does.
    fn end(&self) -> Option<u64> {
        self.revoked_ms.or(self.expires_ms)
    }
}

impl Known {
    /// A token among all others: its principal's calls are counted together, and its streams stay
    /// with it when something of it changes.
    fn new(
        info: TokenInfo,
        all: &HashMap<[u8; 32], Arc<Known>>,
        hash: &[u8; 32],
        stored: bool,
    ) -> Self {
        let life = all.get(hash).map(|known| Arc::clone(&known.caller.life));
        let of_principal = all.values().find(|k| k.info.principal == info.principal);
        let caller = Caller {
            principal: Principal::new(&info.principal),
            role: info.role,
            life: life.unwrap_or_else(|| Arc::new(watch::Sender::new(info.end()))),
            share: of_principal.map_or_else(Arc::default, |known| Arc::clone(&known.caller.share)),
        };
        Self {
            info,
            caller,
            stored,
        }
    }
}

fn encode(info: &TokenInfo) -> Result<Vec<u8>, TokenError> {
    serde_json::to_vec(info).map_err(TokenError::Corrupt)
}

fn id_of(hash: &[u8; 32]) -> String {
    format!("tok-{}", hex::encode(&hash[..8]))
}

/// The id of the token with this secret.
pub(crate) fn token_id(secret: &str) -> String {
    id_of(Digest::of(secret.as_bytes()).as_bytes())
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    // A temporary file is made with mode 0600 and keeps it.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The name, too, has to outlast the machine's power.
    std::fs::File::open(dir)?.sync_all()
}
