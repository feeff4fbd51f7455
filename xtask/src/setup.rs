//! What the tests need from the system, and the one command that installs it.

use crate::vulkan::{self, Vulkan};
use std::process::{Command, Stdio};

/// How to install a software Vulkan driver here.
#[derive(Debug, PartialEq, Eq)]
struct Install {
    /// The command, as a person would paste it.
    shown: String,
    /// The same as programs and arguments, where `--setup` may run it itself (Debian and its kin).
    steps: Option<Vec<Vec<String>>>,
}

/// The fields of os-release that tell the package manager.
fn install_for(os_release: &str, root: bool, has_sudo: bool) -> Install {
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

    if is(&["debian", "ubuntu"]) {
        let commands = ["apt-get update", "apt-get install -y mesa-vulkan-drivers"];
        let prefixed = commands.map(|c| format!("{sudo}{c}"));
        let steps = prefixed.iter().map(|c| c.split(' ').map(str::to_owned).collect()).collect();
        return Install { shown: prefixed.join(" && "), steps: (root || has_sudo).then_some(steps) };
    }
    let command = if is(&["fedora", "rhel", "centos"]) {
        "dnf install -y mesa-vulkan-drivers vulkan-loader"
    } else if is(&["arch"]) {
        "pacman -S --needed vulkan-swrast vulkan-icd-loader"
    } else if is(&["suse", "opensuse"]) {
        "zypper install -y libvulkan_lvp libvulkan1"
    } else if is(&["alpine"]) {
        "apk add mesa-vulkan-swrast vulkan-loader"
    } else {
        return Install {
            shown: "(with this system's package manager: Mesa's software Vulkan driver, \
                    \"lavapipe\", and the Vulkan loader)"
                .into(),
            steps: None,
        };
    };
    Install { shown: format!("{sudo}{command}"), steps: None }
}

/// Makes sure that the GPU tests will find an adapter; `setup` allows installing one.
///
/// # Errors
/// Says what is missing and the exact command that brings it.
pub fn ensure(setup: bool) -> Result<(), String> {
    let why = match vulkan::find() {
        Vulkan::NotNeeded => return Ok(()),
        Vulkan::Adapters(names) => {
            println!("Vulkan adapters: {}", names.join(", "));
            return Ok(());
        }
        Vulkan::Missing(why) => why,
    };
    let os_release = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let install = install_for(&os_release, is_root(), runs("sudo", &["-V"]));

    if !setup {
        let alternative = if install.steps.is_some() { "\n(or let `cargo xtask test --setup` run it)" } else { "" };
        return Err(format!(
            "{why}, and the GPU tests need one (a software driver will do). Install it with\n\n    \
             {}\n{alternative}",
            install.shown
        ));
    }
    let Some(steps) = install.steps else {
        return Err(format!(
            "{why}, and the GPU tests need one. Install it with\n\n    {}\n\nand run this again.",
            install.shown
        ));
    };
    println!("{why}. Installing one:\n\n    {}\n", install.shown);
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
    match vulkan::find() {
        Vulkan::Missing(why) => Err(format!("the driver was installed, and yet {why}")),
        Vulkan::Adapters(names) => {
            println!("\nVulkan adapters: {}", names.join(", "));
            Ok(())
        }
        Vulkan::NotNeeded => Ok(()),
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
            let install = install_for(text, true, false);
            assert_eq!(install.shown, "apt-get update && apt-get install -y mesa-vulkan-drivers");
            assert_eq!(install.steps.unwrap()[1][0], "apt-get");
        }
    }

    #[test]
    fn an_ordinary_user_goes_through_sudo_if_there_is_one() {
        let install = install_for("ID=debian", false, true);
        assert!(install.shown.starts_with("sudo apt-get update && sudo apt-get install"));
        assert_eq!(install.steps.unwrap()[0], ["sudo", "apt-get", "update"]);
        assert_eq!(install_for("ID=debian", false, false).steps, None);
    }

    #[test]
    fn elsewhere_one_command_is_shown_and_nothing_is_run() {
        for (id, tool) in [("fedora", "dnf"), ("arch", "pacman"), ("alpine", "apk")] {
            let install = install_for(&format!("ID={id}"), true, true);
            assert!(install.shown.starts_with(tool), "{install:?}");
            assert_eq!(install.steps, None);
        }
        let unknown = install_for("", false, true);
        assert!(unknown.shown.contains("lavapipe") && unknown.steps.is_none());
    }
}
