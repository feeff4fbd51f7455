//! The integration tests of the crate, in one binary.

mod block;
mod canonical;
mod costs;
mod dna;
mod export;
mod faults;
mod fuzz;
mod hurdles;
mod kill;
mod leak;
mod leases;
mod lower;
mod mutate;
mod naive;
mod resume;
mod rng;
mod synthetic;
mod twin;
mod twins;
mod verify;
