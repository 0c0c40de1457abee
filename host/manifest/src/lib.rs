//! nexus-manifest
