//! Is the simulated mesh the real one? A few dozen real daemons' meshes on loopback, over links as slow as a wide network's, and
//! the same number of simulated hosts: news must take as many hops to as many of them, and come as often.

#[cfg(test)]
mod copies;
#[cfg(test)]
mod link;
#[cfg(test)]
mod news;
#[cfg(test)]
mod shell;
