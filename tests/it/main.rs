//! The shells together, for real.

#[cfg(test)]
mod apt;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod wave;
