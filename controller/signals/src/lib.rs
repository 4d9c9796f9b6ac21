//! Metric sources: turns questions into requests and answers into samples.
