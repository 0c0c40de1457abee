//! nexus-agent
