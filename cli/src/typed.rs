//! Command lines as text: the one that was typed, and one to type next.

use primer_search::store::Location;

/// The command line as it was typed, without passwords.
pub fn typed() -> String {
    command_line(std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()))
}

/// `primer` with these arguments, as a shell takes them; the passwords of servers' URLs are left out.
pub fn command_line<T: AsRef<str>>(arguments: impl IntoIterator<Item = T>) -> String {
    let arguments = arguments.into_iter().map(|argument| quoted(&without_password(argument.as_ref())));
    std::iter::once("primer".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// An argument that is a store's URL, or an option with one behind `=`, without its password.
fn without_password(argument: &str) -> String {
    let value = argument.split_once('=').filter(|_| argument.starts_with("--")).map_or(argument, |(_, value)| value);
    value.parse().map_or_else(|_| argument.to_owned(), |location: Location| location.hide_password(argument))
}

/// An argument in quotes where a shell would take it for something else.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_the_line_as_it_was() {
        assert_eq!(command_line(["train", "--out", "runs/a"]), "primer train --out runs/a");
        assert_eq!(command_line(["logits", "--text", "it's here", ""]), r"primer logits --text 'it'\''s here' ''");
        assert_eq!(command_line(["--set", "a=1;b", "$HOME"]), "primer --set 'a=1;b' '$HOME'");
    }

    #[test]
    fn a_password_is_never_in_it() {
        for argument in ["postgres://ann:secret@host/db", "--store=postgres://ann:secret@host/db"] {
            let line = command_line(["search", "report", argument]);
            assert!(!line.contains("secret") && line.contains("postgres://ann@host/db"), "{line}");
        }
    }
}
