//! One live Neo4j database on disk, read only
