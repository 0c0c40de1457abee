//! Resources as text for people, one module each. JSON needs none of this: see [`super::json`].

pub(crate) mod agent;
pub(crate) mod approval;
pub(crate) mod audit;
pub(crate) mod forge;
pub(crate) mod grant;
pub(crate) mod invocation;
pub(crate) mod lock;
pub(crate) mod policy;
pub(crate) mod secret;
pub(crate) mod stages;
pub(crate) mod token;
