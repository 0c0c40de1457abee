//! nexus-server
