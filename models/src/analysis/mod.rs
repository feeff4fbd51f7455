//! What follows from measured curves: spread over seeds, the speedup factor, power laws. Pure functions of numbers,
//! without files and without printing; definitions and sources are in `docs/analysis.md`.

mod frontier;
mod power_law;
mod speedup;
mod statistics;

pub use frontier::{Frontier, FrontierPoint, NoFrontier, Saving, SizeCurves, saving};
pub use power_law::{PowerLaw, RESAMPLES};
pub use speedup::{Speedup, Speedups, running_minimum, speedup};
pub use statistics::{Summary, differences, holm, median, quantile, t_quantile};
