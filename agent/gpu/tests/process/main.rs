//! The shipped program at the end of a socket pair, with the simulated driver under it.

mod campaign;
mod ends;
mod faults;
mod proof;
mod sound;
mod support;
