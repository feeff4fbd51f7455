//! `cargo xtask deps-check`: what must not be in the dependency tree.
//!
//! Each of these needs a system library or a long C build, which a fresh machine with only Rust and
//! a C compiler doesn't have.

use crate::cargo;
use std::collections::BTreeSet;

const FORBIDDEN: [&str; 4] = ["fontconfig", "onig", "openssl", "aws-lc"];

/// The forbidden packages among the lines of `cargo tree --prefix none`.
fn forbidden_in(tree: &str) -> BTreeSet<&str> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| {
            let words = name.replace('_', "-");
            FORBIDDEN.iter().any(|bad| {
                // A whole word of the name, so that `onig_sys` is found and `ironige` is not.
                format!("-{words}-").contains(&format!("-{bad}-"))
            })
        })
        .collect()
}

/// Looks through the tree of every target and every kind of dependency.
///
/// # Errors
/// Names the forbidden packages, or says why cargo gave no tree.
pub fn run() -> Result<(), String> {
    let out = cargo()
        .args(["tree", "--workspace", "--locked", "--target", "all"])
        .args(["--edges", "normal,build,dev", "--prefix", "none"])
        .output()
        .map_err(|e| format!("cargo could not be started: {e}"))?;
    if !out.status.success() {
        return Err(format!("`cargo tree` failed:\n{}", String::from_utf8_lossy(&out.stderr)));
    }
    let tree = String::from_utf8_lossy(&out.stdout);
    let found = forbidden_in(&tree);
    if found.is_empty() {
        println!("deps-check: none of {} in the tree", FORBIDDEN.join(", "));
        return Ok(());
    }
    let found: Vec<&str> = found.into_iter().collect();
    Err(format!(
        "the dependency tree holds {}; see who asks for it with `cargo tree --target all -i {}`",
        found.join(", "),
        found[0]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_packages_are_found_under_all_their_names() {
        let tree = "primer-cli v0.1.0 (/x)\nyeslogic-fontconfig-sys v6.0.0\nonig_sys v69.8\n\
                    openssl-sys v0.9\naws-lc-rs v1.13 (*)\nserde v1.0";
        assert_eq!(
            forbidden_in(tree).into_iter().collect::<Vec<_>>(),
            ["aws-lc-rs", "onig_sys", "openssl-sys", "yeslogic-fontconfig-sys"]
        );
    }

    #[test]
    fn names_that_only_resemble_them_pass() {
        let tree = "serde v1.0\nfancy-regex v0.16\nironige v1.0\nfont v1\nopensslike v0.1";
        assert!(forbidden_in(tree).is_empty());
    }
}
