//! How the programs of a study are told apart.

use crate::Rejection;
use crate::canonical::{CanonicalHash, canonical_hash, planned_hash};
use crate::dna::Dna;
use crate::error::{Error, Result};
use crate::lower::{self, Limits, Sizes};
use crate::probe;
use crate::study::StudySpec;

/// What a fingerprint begins with where a canonical form could stand.
const PROBED: &str = "probe ";

/// Whether [`Forms::identity`] is that of a probe.
pub fn is_probed(identity: &str) -> bool {
    identity.starts_with(PROBED)
}

/// What the forms of programs depend on in a study.
#[derive(Debug, Clone)]
pub struct Forms {
    canonical_version: u32,
    is_probing: bool,
    unit: u64,
    sizes: Sizes,
    limits: Limits,
}

impl Forms {
    /// # Errors
    ///
    /// As [`StudySpec::program_limits`].
    pub fn of(spec: &StudySpec) -> Result<Forms> {
        Ok(Forms {
            canonical_version: spec.canonical_version,
            is_probing: spec.probe_hits > 0,
            unit: spec.model.unit.into(),
            sizes: spec.sizes(),
            limits: spec.program_limits()?,
        })
    }

    /// What programs have in common that are the same computation at the study's sizes. One that is rejected there has
    /// no sizes, so its dimensions are relative.
    ///
    /// # Errors
    ///
    /// The reason for which the program can't be inlined.
    pub fn computation(&self, dna: &Dna) -> std::result::Result<CanonicalHash, Rejection> {
        match lower::plan(dna, self.sizes, &self.limits) {
            Ok(plan) => Ok(planned_hash(&plan)),
            Err(_) => canonical_hash(dna),
        }
    }

    /// What twins of the program have in common, in the study's version of the canonical form.
    ///
    /// # Errors
    ///
    /// The engine's, of the probe.
    pub fn identity(&self, dna: &Dna) -> Result<Result<String, Rejection>> {
        let canonical = match self.canonical_version {
            1 => canonical_hash(dna),
            _ => self.computation(dna),
        };
        let canonical = canonical.map(|hash| hash.to_string());
        if !self.is_probing || canonical.is_err() {
            return Ok(canonical);
        }
        match probe::fingerprint(dna, self.unit) {
            Ok(Some(fingerprint)) => Ok(Ok(format!("{PROBED}{fingerprint}"))),
            // Of it nothing is known, or it will be rejected.
            Ok(None) | Err(Error::Rejected(_)) => Ok(canonical),
            Err(error) => Err(error),
        }
    }
}
