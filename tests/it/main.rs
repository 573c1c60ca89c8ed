//! The shells together, for real.

<<<<<<< HEAD
mod mesh;
=======
#[cfg(test)]
mod apt;
>>>>>>> wt-apt
