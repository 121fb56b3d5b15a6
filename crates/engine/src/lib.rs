//! trunkline-engine
