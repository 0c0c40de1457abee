//! nexus-gate
