//! What the tests need from the system, and the one command that installs it.

use crate::postgres;
use crate::vulkan::{self, Vulkan};
use std::process::{Command, Stdio};

/// Something that the tests need and this machine lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Vulkan,
    Postgres,
}

impl Need {
    /// Its packages for apt, dnf, pacman, zypper and apk.
    fn packages(self) -> [&'static str; 5] {
        match self {
            Need::Vulkan => [
                "mesa-vulkan-drivers",
                "mesa-vulkan-drivers vulkan-loader",
                "vulkan-swrast vulkan-icd-loader",
                "libvulkan_lvp libvulkan1",
                "mesa-vulkan-swrast vulkan-loader",
            ],
            Need::Postgres => ["postgresql", "postgresql-server", "postgresql", "postgresql-server", "postgresql"],
        }
    }

    /// For a system whose package manager is unknown.
    fn described(self) -> &'static str {
        match self {
            Need::Vulkan => "Mesa's software Vulkan driver, \"lavapipe\", and the Vulkan loader",
            Need::Postgres => "a Postgres server with initdb, pg_ctl and psql on PATH",
        }
    }
}

/// How to install what is missing here.
#[derive(Debug, PartialEq, Eq)]
struct Install {
    /// The command, as a person would paste it.
    shown: String,
    /// The same as programs and arguments, where `--setup` may run it itself (Debian and its kin).
    steps: Option<Vec<Vec<String>>>,
}

/// The fields of os-release that tell the package manager.
fn install_for(needs: &[Need], os_release: &str, root: bool, has_sudo: bool) -> Install {
    let field = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches(['"', '\'']).to_lowercase())
            .unwrap_or_default()
    };
    let ids = format!("{} {}", field("ID"), field("ID_LIKE"));
    let is = |names: &[&str]| ids.split_whitespace().any(|id| names.contains(&id));
    let sudo = if root { "" } else { "sudo " };
    let packages = |manager: usize| needs.iter().map(|need| need.packages()[manager]).collect::<Vec<_>>().join(" ");

    if is(&["debian", "ubuntu"]) {
        let commands = ["apt-get update".to_owned(), format!("apt-get install -y {}", packages(0))];
        let prefixed = commands.map(|c| format!("{sudo}{c}"));
        let steps = prefixed.iter().map(|c| c.split(' ').map(str::to_owned).collect()).collect();
        return Install { shown: prefixed.join(" && "), steps: (root || has_sudo).then_some(steps) };
    }
    let command = if is(&["fedora", "rhel", "centos"]) {
        format!("dnf install -y {}", packages(1))
    } else if is(&["arch"]) {
        format!("pacman -S --needed {}", packages(2))
    } else if is(&["suse", "opensuse"]) {
        format!("zypper install -y {}", packages(3))
    } else if is(&["alpine"]) {
        format!("apk add {}", packages(4))
    } else {
        let what: Vec<&str> = needs.iter().map(|need| need.described()).collect();
        let shown = format!("(with this system's package manager: {})", what.join("; "));
        return Install { shown, steps: None };
    };
    Install { shown: format!("{sudo}{command}"), steps: None }
}

/// What is missing, each with why; says what is there.
fn missing() -> Vec<(Need, String)> {
    let mut missing = Vec::new();
    match vulkan::find() {
        Vulkan::NotNeeded => {}
        Vulkan::Adapters(names) => println!("Vulkan adapters: {}", names.join(", ")),
        Vulkan::Missing(why) => missing.push((Need::Vulkan, format!("{why}, and the GPU tests need one"))),
    }
    // On Windows the tests of the search do without: the server's socket is one of Unix.
    if cfg!(unix) {
        match postgres::folder() {
            Some(folder) => println!("Postgres: {}", folder.display()),
            None => {
                let why = "no Postgres server is installed, and the tests of the search start one of their own";
                missing.push((Need::Postgres, why.into()));
            }
        }
    }
    missing
}

/// Makes sure that the tests will find an adapter and a database server; `setup` allows installing them.
///
/// # Errors
/// Says what is missing and the exact command that brings it.
pub fn ensure(setup: bool) -> Result<(), String> {
    let (needs, reasons): (Vec<Need>, Vec<String>) = missing().into_iter().unzip();
    if needs.is_empty() {
        return Ok(());
    }
    let why = reasons.join(";\n");
    let os_release = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let install = install_for(&needs, &os_release, is_root(), runs("sudo", &["-V"]));

    if !setup {
        let alternative = if install.steps.is_some() { "\n(or let `cargo xtask test --setup` run it)" } else { "" };
        return Err(format!("{why}. Install what is missing with\n\n    {}\n{alternative}", install.shown));
    }
    let Some(steps) = install.steps else {
        let shown = install.shown;
        return Err(format!("{why}. Install what is missing with\n\n    {shown}\n\nand run this again."));
    };
    println!("{why}. Installing what is missing:\n\n    {}\n", install.shown);
    for step in &steps {
        let status = Command::new(&step[0])
            .args(&step[1..])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .status()
            .map_err(|e| format!("`{}` could not be started: {e}", step.join(" ")))?;
        if !status.success() {
            return Err(format!("`{}` failed ({status})", step.join(" ")));
        }
    }
    let still: Vec<String> = missing().into_iter().map(|(_, why)| why).collect();
    match still.is_empty() {
        true => Ok(()),
        false => Err(format!("the packages were installed, and yet {}", still.join("; "))),
    }
}

fn runs(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).stdin(Stdio::null()).output().is_ok_and(|out| out.status.success())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| String::from_utf8_lossy(&out.stdout).trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_kin_are_installed_by_apt() {
        for text in ["ID=debian\n", "NAME=X\nID=mint\nID_LIKE=\"ubuntu debian\"\n"] {
            let install = install_for(&[Need::Vulkan], text, true, false);
            assert_eq!(install.shown, "apt-get update && apt-get install -y mesa-vulkan-drivers");
            assert_eq!(install.steps.unwrap()[1][0], "apt-get");
        }
    }

    #[test]
    fn an_ordinary_user_goes_through_sudo_if_there_is_one() {
        let install = install_for(&[Need::Postgres], "ID=debian", false, true);
        assert_eq!(install.shown, "sudo apt-get update && sudo apt-get install -y postgresql");
        assert_eq!(install.steps.unwrap()[0], ["sudo", "apt-get", "update"]);
        assert_eq!(install_for(&[Need::Vulkan], "ID=debian", false, false).steps, None);
    }

    #[test]
    fn elsewhere_one_command_is_shown_and_nothing_is_run() {
        for (id, tool) in [("fedora", "dnf"), ("arch", "pacman"), ("alpine", "apk")] {
            let install = install_for(&[Need::Vulkan, Need::Postgres], &format!("ID={id}"), true, true);
            assert!(install.shown.starts_with(tool) && install.shown.contains(" postgresql"), "{install:?}");
            assert_eq!(install.steps, None);
        }
        let unknown = install_for(&[Need::Vulkan, Need::Postgres], "", false, true);
        assert!(unknown.shown.contains("lavapipe") && unknown.shown.contains("initdb") && unknown.steps.is_none());
    }
}
