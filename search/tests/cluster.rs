//! A Postgres server of the tests' own, in a folder that goes when they end.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

#[path = "../../xtask/src/postgres.rs"]
mod programs;

/// The password of the server's one user, which no message may show.
pub const PASSWORD: &str = "tiger-lily-407";

/// Run by a shell that lives as long as its standard input: however the tests end, nothing stays behind. Each
/// line that it reads is a command, each answer ends with a line `done STATUS`.
const SCRIPT: &str = r#"
folder=$(mktemp -d /tmp/primer-pg.XXXXXX) || exit 1
cd "$folder" && echo "$PGPASSWORD" > password || exit 1
"$bin/initdb" -D data -U primer -A scram-sha-256 --pwfile=password -E UTF8 --no-locale --no-sync > log 2>&1
cat >> data/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '$folder'
fsync = off
END
"$bin/pg_ctl" -D data -l log -s -w start >> log 2>&1
status=$?
[ $status = 0 ] || cat log
echo "$folder"
echo "done $status"
while read -r line; do
    case $line in
        restart) "$bin/pg_ctl" -D data -l log -s -w -m immediate restart ;;
        *) "$bin/psql" -h "$folder" -U primer -d postgres -qAtX -v ON_ERROR_STOP=1 -c "$line" 2>&1 ;;
    esac
    echo "done $?"
done
"$bin/pg_ctl" -D data -s -m immediate stop
rm -rf "$folder"
"#;

/// A running server.
pub struct Cluster {
    input: Option<ChildStdin>,
    shell: Child,
    output: Lines<BufReader<ChildStdout>>,
    folder: String,
    schemas: u32,
}

/// The server that the tests of one binary share, each in a schema of its own.
pub fn shared() -> MutexGuard<'static, Cluster> {
    static SHARED: OnceLock<Mutex<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| Mutex::new(Cluster::start())).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Makes and starts a server that listens in its folder only.
    pub fn start() -> Cluster {
        let bin = programs::folder().expect(
            "the tests need a Postgres server's programs (initdb, pg_ctl, psql) on PATH or in /usr/lib/postgresql; \
             `cargo xtask test` says how to install them",
        );
        let script = format!("bin='{}' PGPASSWORD='{PASSWORD}'; export PGPASSWORD\n{SCRIPT}", bin.display());
        // A server refuses to be the system's administrator.
        let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let mut command = Command::new(if root { "su" } else { "/bin/sh" });
        match root {
            true => command.args(["postgres", "-s", "/bin/sh", "-c", &script]),
            false => command.args(["-c", &script]),
        };
        // Settings of the user's for another server.
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGDATA", "PGSSLMODE"] {
            command.env_remove(name);
        }
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = shell.stdin.take().unwrap();
        let output = BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut cluster = Cluster { input: Some(input), shell, output, folder: String::new(), schemas: 0 };
        let said = cluster.answer().unwrap_or_else(|said| panic!("no Postgres server starts: {said}"));
        cluster.folder = said.trim().to_owned();
        cluster
    }

    /// Stops the server at once, in the midst of whatever it does, and starts it again.
    pub fn restart(&mut self) {
        self.tell("restart");
    }

    /// Runs a statement as the server's administrator; its answer.
    pub fn sql(&mut self, statement: &str) -> String {
        self.tell(&statement.replace('\n', " "))
    }

    /// The URL of a new, empty schema, and its name.
    pub fn schema(&mut self) -> (String, String) {
        self.schemas += 1;
        let name = format!("s{}", self.schemas);
        self.sql(&format!("CREATE SCHEMA {name}"));
        (format!("{}?options[search_path]={name}", self.url("primer", PASSWORD, "postgres")), name)
    }

    /// A URL of the server.
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@{}/{database}", self.folder.replace('/', "%2F"))
    }

    fn tell(&mut self, command: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
        self.answer().unwrap_or_else(|said| panic!("{command}: {said}"))
    }

    fn answer(&mut self) -> Result<String, String> {
        let mut said = String::new();
        for line in self.output.by_ref() {
            let line = line.unwrap();
            match line.strip_prefix("done ") {
                Some("0") => return Ok(said),
                Some(_) => return Err(said),
                None => said += &format!("{line}\n"),
            }
        }
        Err(said)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.shell.wait();
    }
}
