//! The node's processes, for real.

#[cfg(test)]
mod daemon;
#[cfg(test)]
mod patcher;
#[cfg(test)]
mod runner;
