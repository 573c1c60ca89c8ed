//! Debian's version order.
