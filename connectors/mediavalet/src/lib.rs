//! mediavalet
