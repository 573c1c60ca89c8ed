//! Counts and percentages. Rounding is written here and nowhere else.
