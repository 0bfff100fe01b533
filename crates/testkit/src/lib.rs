//! Real Neo4j servers, a load with an invariant, and a checker
