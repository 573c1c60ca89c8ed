//! The shells together, for real.

#[cfg(test)]
mod apt;
#[cfg(test)]
mod audited;
#[cfg(test)]
mod baselines;
#[cfg(test)]
mod compliance;
#[cfg(test)]
mod decoders;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod replans;
#[cfg(test)]
mod rings;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod services;
#[cfg(test)]
mod slots;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod told;
#[cfg(test)]
mod troubles;
#[cfg(test)]
mod victims;
#[cfg(test)]
mod wave;
#[cfg(test)]
mod windows;

/// A folder of `tests`, where cargo runs tests or at the root of a copy of the tree: the tree that this was built in may be out of
/// reach.
#[cfg(test)]
fn own(folder: &str) -> std::path::PathBuf {
    let places = [folder.to_owned(), format!("tests/{folder}")];
    places.into_iter().map(std::path::PathBuf::from).find(|place| place.is_dir()).unwrap()
}
