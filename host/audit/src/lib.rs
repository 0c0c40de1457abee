//! nexus-audit
