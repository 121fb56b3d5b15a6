//! trunkline-rest
