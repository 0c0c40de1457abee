//! nexus-effects
