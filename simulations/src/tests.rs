//! The simulator under test: reference scenarios worked out by hand, old failures, determinism, short
//! sweeps, every sabotage.

mod caught;
mod poison;
mod postponed;
mod reference;
mod regressions;
mod shown;
mod sweeps;
