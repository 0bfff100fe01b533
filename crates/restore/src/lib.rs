//! A backup to a directory that real Neo4j starts on
