//! The integration tests of the crate, in one binary.

mod block;
mod canonical;
#[cfg(unix)]
mod cluster;
mod costs;
mod devices;
mod dna;
mod dump;
mod engines;
mod export;
mod faults;
mod fuzz;
mod hurdles;
mod kill;
mod leak;
mod leases;
mod lower;
mod many;
mod mutate;
mod naive;
mod resume;
mod rng;
#[cfg(unix)]
mod server;
mod shortlist;
#[path = "../../autodiff/tests/support/mod.rs"]
#[allow(dead_code)] // the tests of gradients do more with it
mod support;
mod synthetic;
mod twin;
mod twins;
mod verify;
