//! nexus-vault
