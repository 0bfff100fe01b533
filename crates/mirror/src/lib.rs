//! A backup kept as a plain directory in Neo4j's own layout
