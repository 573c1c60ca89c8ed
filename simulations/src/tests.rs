//! The simulator under test: reference scenarios worked out by hand, the disk model against real journals, determinism, short
//! sweeps, every sabotage.

mod caught;
mod disk;
mod reference;
mod regressions;
mod sweeps;
