//! The shells together, for real: everything lives in the integration binary `it`.
