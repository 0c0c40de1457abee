//! nexus-forge
