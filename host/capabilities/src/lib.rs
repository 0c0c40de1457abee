//! nexus-capabilities
