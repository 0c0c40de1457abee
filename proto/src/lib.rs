//! nexus-proto
