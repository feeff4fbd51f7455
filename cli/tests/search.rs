//! The search, with a study of a few tiny candidates.

#[cfg(unix)]
use crate::cluster;
use crate::kit::{self, STUDY, bad, good, json};
use std::collections::BTreeSet;
#[cfg(unix)]
use std::io::{BufRead as _, BufReader};
use std::path::Path;
#[cfg(unix)]
use std::process::Stdio;

const STORE: [&str; 2] = ["--store", "sqlite:study.db"];
fn run(folder: &Path, store: [&str; 2], candidates: &str) -> serde_json::Value {
    let args = ["search", "run", "--corpus", "text.txt", "--device", "cpu", "--json", "--candidates", candidates];
    json(folder, &[&args[..], &store, &STUDY].concat())
}

#[test]
fn a_search_runs_goes_on_and_can_be_looked_at() {
    let folder = kit::folder_with_text();
    a_search(folder.path(), STORE);
}

#[cfg(unix)]
#[test]
fn a_search_on_a_server_is_the_same() {
    let folder = kit::folder_with_text();
    let (url, _) = cluster::shared().schema();
    a_search(folder.path(), ["--store", &url]);
}

fn a_search(path: &Path, store: [&str; 2]) {
    let first = run(path, store, "6");
    assert_eq!(first["status"]["counts"]["pending"], 0);
    assert!(first["finished"].as_u64().unwrap() >= 7, "{first}");
    let more = run(path, store, "9");
    assert_eq!(more["finished"].as_u64().unwrap(), 3, "the finished ones were done again: {more}");

    let status = json(path, &[&["search", "status", "--json"], &store[..]].concat());
    assert_eq!(status["status"]["counts"], more["status"]["counts"]);
    assert!(good(path, &[&["search", "status"], &store[..]].concat()).stdout.contains("best"));
    let top = json(path, &[&["search", "top", "--count", "3", "--json"], &store[..]].concat());
    let losses: Vec<f64> =
        top["candidates"].as_array().unwrap().iter().map(|c| c["fitness"].as_f64().unwrap()).collect();
    assert!(!losses.is_empty() && losses.is_sorted(), "{losses:?}");
    let shown = good(path, &[&["search", "show", "0"], &store[..]].concat());
    assert!(shown.stdout.contains("the seed program") && shown.stdout.contains("S0"), "{}", shown.stdout);
    let shown = json(path, &[&["search", "show", "0", "--json"], &store[..]].concat());
    // Two runs of the seed program with a loss at t, 3t and the end.
    assert_eq!(shown["marks"].as_array().unwrap().len(), 6, "{shown}");
    assert!(shown["resolved"].as_str().unwrap().contains("T_MAT_MUL("));
    for child in 1..=9 {
        let child = child.to_string();
        let lineage = json(path, &[&["search", "lineage", &child, "--json"], &store[..]].concat());
        let lineage = lineage["lineage"].as_array().unwrap();
        let (youngest, last) = (&lineage[0], lineage.last().unwrap());
        assert_eq!((&last["child_no"], &last["mutation"]), (&0.into(), &serde_json::Value::Null));
        // What made it is there in words and as data.
        let (words, mutations) = (&youngest["mutation"]["text"], &youngest["mutation"]["mutations"]);
        assert!(!words.as_str().unwrap().is_empty() && !mutations.as_array().unwrap().is_empty(), "{youngest}");
        let diff = good(path, &[&["search", "diff", &child], &store[..]].concat()).stdout;
        assert!(diff.lines().any(|line| line.starts_with("+ ") && !line.contains("candidate")), "{diff}");
    }
    good(path, &[&["search", "report", "--out", "report"], &store[..]].concat());
    let page = std::fs::read_to_string(path.join("report/report.html")).unwrap();
    assert!(page.contains("Was it luck?") && !page.contains("NaN") && !page.contains("<script"), "{page}");
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path.join("report/report.json")).unwrap()).unwrap();
    let typed = report["command"].as_str().unwrap();
    assert!(typed.starts_with("primer search report --out report --store "), "{typed}");
    #[cfg(unix)]
    assert!(!typed.contains(cluster::PASSWORD), "{typed}");
    assert_eq!(report["search"]["candidates"].as_array().unwrap().len(), 10, "{report}");
    // Every child that was measured reached the first of the three marks; each further one is reached by those that
    // passed.
    let hurdles = report["hurdles"].as_array().unwrap();
    let count = |i: usize, key: &str| hurdles[i][key].as_u64().unwrap();
    assert_eq!((hurdles.len(), hurdles[2]["units"].as_u64()), (3, Some(7)));
    assert!(count(0, "reached") >= count(0, "passed") && count(0, "passed") >= count(1, "reached"), "{hurdles:?}");
    assert_eq!(report["odds"][1]["draws"], 20_000);
    assert!(report["spent"][0]["flops"].as_f64().unwrap() > 0.0, "{report}");
    bad(path, &[&["search", "report", "--out", "report"], &store[..]].concat(), 2, &["not empty", "--force"]);
    good(path, &[&["export", "--best", "--format", "dna", "--out", "best.dna"], &store[..]].concat());
    good(path, &[&["export", "--id", "0", "--format", "dot", "--out", "seed.dot"], &store[..]].concat());
    good(path, &[&["export", "--best", "--format", "rust", "--out", "best.rs"], &store[..]].concat());
    let rust = std::fs::read_to_string(path.join("best.rs")).unwrap();
    assert!(rust.contains("belongs to the study") && rust.contains("pub fn block("), "{rust}");
    bad(path, &[&["export", "--id", "99", "--format", "dna", "--out", "x.dna"], &store[..]].concat(), 2, &["99"]);
    bad(path, &[&["export", "--format", "dna", "--out", "x.dna"], &store[..]].concat(), 2, &["--best", "--id"]);
    // What was exported can be searched from.
    let from = ["--from", "best.dna", "--store", "sqlite:next.db"];
    good(path, &[&["search", "init", "--corpus", "text.txt"], &STUDY[..], &from].concat());
    let same = good(path, &[&["search", "diff", "3", "3"], &store[..]].concat()).stdout;
    assert!(same.contains("the same"), "{same}");
    let verified = good(path, &[&["search", "verify"], &store[..]].concat());
    assert!(verified.stdout.contains("all 9 candidates"), "{}", verified.stdout);
    // The store may come from the environment.
    for args in [&["search", "top"][..], &["export", "--best", "--format", "dna", "--out", "again.dna"]] {
        let out = kit::command(path, args).env("PRIMER_STORE", store[1]).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    // It doesn't stand in the way of what needs none.
    let args = ["export", "--arch", "dna:primer", "--format", "dna", "--out", "-"];
    assert!(kit::command(path, &args).env("PRIMER_STORE", store[1]).output().unwrap().status.success());

    // The study stays what it was made as.
    let other = ["search", "run", "--corpus", "text.txt", "--set", "population=5"];
    bad(path, &[&other[..], &store].concat(), 2, &["population", "4", "5"]);
    std::fs::write(path.join("other.txt"), "another text\n".repeat(500)).unwrap();
    let other = ["search", "run", "--corpus", "other.txt"];
    bad(path, &[&other[..], &store].concat(), 2, &["another text"]);
    for command in ["show", "lineage", "diff"] {
        bad(path, &[&["search", command, "999"], &store[..]].concat(), 2, &["no candidate 999"]);
    }
    bad(path, &[&["search", "diff", "0"], &store[..]].concat(), 2, &["no parent"]);
    bad(path, &[&["search", "show", "x"], &store[..]].concat(), 2, &["a candidate's number is 0, 1, 2"]);
    let again = ["search", "init", "--corpus", "text.txt", "--preset", "small"];
    bad(path, &[&again[..], &store].concat(), 2, &["already there"]);
}

#[test]
fn init_and_workers_share_a_study() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let init = ["search", "init", "--corpus", "text.txt", "--set", "limits.children=4"];
    let made = good(path, &[&init[..], &STORE, &STUDY].concat());
    assert!(!made.stderr.contains("can't be had again"), "{}", made.stderr);
    assert!(made.stderr.contains("the first hurdle comes after 2 steps of the seed program"), "{}", made.stderr);
    let random = ["--from", "random", "--set", "fitness.unit=70", "--store", "sqlite:random.db"];
    let made = good(path, &[&init[..], &STUDY, &random].concat());
    assert!(!made.stderr.contains("the first hurdle"), "{}", made.stderr);
    bad(path, &[&init[..], &STUDY, &["--store", "sqlite:no/study.db"]].concat(), 2, &["no folder no", "--store"]);
    bad(path, &["search", "status", "--store", "sqlite:."], 2, &["can't be used", "--store"]);
    let seconds = ["--store", "sqlite:seconds.db", "--budget", "seconds"];
    let made = good(path, &[&init[..], &STUDY, &seconds].concat());
    assert!(made.stderr.contains("can't be had again"), "{}", made.stderr);
    let status = good(path, &["search", "status", "--store", "sqlite:seconds.db"]);
    assert!(status.stdout.contains("can't be had again"), "{}", status.stdout);
    let worker = ["search", "worker", "--workers", "2", "--corpus", "text.txt", "--device", "cpu", "--json"];
    let done = json(path, &[&worker[..], &STORE].concat());
    assert_eq!((&done["finished"], &done["end"]), (&5.into(), &"limit".into()), "{done}");
    let run = ["search", "run", "--workers", "2", "--corpus", "text.txt", "--device", "cpu", "--json"];
    assert_eq!(json(path, &[&run[..], &STORE].concat())["finished"], 0);
    let told = good(path, &[&run[..], &STORE].concat()).stderr;
    assert_eq!(told.matches("tokens are held out; losses at the end are measured on these").count(), 1, "{told}");
}

/// Byte pairs are learned when a study is made, and by whoever works on it again.
#[test]
fn a_search_of_byte_pairs_keeps_its_tokens() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let init = ["search", "init", "--corpus", "text.txt"];
    let tokens = ["--tokenizer", "bpe:300"];
    let small = [&init[..], &STORE, &STUDY].concat();
    bad(path, &[&small[..], &["--tokenizer", "bpe:12"]].concat(), 2, &["--tokenizer", "257"]);
    bad(path, &[&small[..], &tokens, &["--set", "model.vocab=256"]].concat(), 2, &["model.vocab", "300 kinds"]);
    let made = good(path, &[&small[..], &tokens].concat());
    assert!(made.stderr.contains("training the tokenizer bpe:300"), "{}", made.stderr);

    let run = ["search", "run", "--corpus", "text.txt", "--device", "cpu", "--json"];
    good(path, &[&run[..], &STORE, &["--candidates", "2"]].concat());
    let more = json(path, &[&run[..], &STORE, &STUDY, &tokens, &["--candidates", "4"]].concat());
    assert_eq!(more["status"]["counts"]["failed"], 0, "{more}");
    bad(path, &[&run[..], &STORE, &STUDY].concat(), 2, &["model.vocab = 300, not 256"]);
    bad(path, &[&run[..], &STORE, &["--tokenizer", "bytes", "--set", "model.vocab=300"]].concat(), 2, &["tokenizer"]);
    bad(path, &[&run[..], &STORE, &["--set", "tokenizer=bytes"]].concat(), 2, &["no study option"]);
    good(path, &[&["search", "report", "--out", "report"], &STORE[..]].concat());
    let page = std::fs::read_to_string(path.join("report/report.html")).unwrap();
    assert!(page.contains("bpe:300 (sha256 "), "{page}");
    let like = ["--like", STORE[1], "--store", "sqlite:control.db", "--strategy", "none"];
    good(path, &[&init[..], &like].concat());

    let paper = good(path, &[&init[..], &["--preset", "paper", "--store", "sqlite:paper.db"]].concat());
    assert!(paper.stderr.contains("bpe:32768"), "{}", paper.stderr);
}

/// The controls run under the same loop: same hurdles, same budget, same replay.
#[test]
fn controls_are_searches_with_less_in_them() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    for strategy in ["random-1", "drift", "none"] {
        let store = ["--store", &format!("sqlite:{strategy}.db")];
        let args = ["search", "run", "--corpus", "text.txt", "--device", "cpu", "--json", "--candidates", "5"];
        let done = json(path, &[&args[..], &store, &STUDY, &["--strategy", strategy]].concat());
        assert_eq!(done["finished"], 6, "{strategy}: {done}");
        good(path, &[&["search", "verify"], &store[..]].concat());
        let seed = json(path, &[&["search", "show", "0", "--json"], &store[..]].concat());
        let of_seed = seed["marks"].as_array().unwrap().iter().filter(|mark| mark["mark"] == 0);
        let mut losses: BTreeSet<String> = of_seed.map(|mark| mark["loss"].to_string()).collect();
        assert_eq!(losses.len(), 2, "{seed}");
        for child in ["1", "2", "3", "4", "5"] {
            let shown = json(path, &[&["search", "show", child, "--json"], &store[..]].concat());
            let candidate = &shown["candidate"];
            match strategy {
                "drift" => {}
                _ => assert_eq!(candidate["parent"], 0, "{strategy}: {shown}"),
            }
            if strategy == "none" {
                assert_eq!(candidate["state"], "done", "{shown}");
                // The same program each time, with another seed than the seed program's runs and each other.
                let at_first_mark = &shown["marks"][0]["loss"];
                assert!(losses.insert(at_first_mark.to_string()), "twice {at_first_mark}");
            }
        }
        let twice = [&args[..], &store, &STUDY, &["--strategy", "evolution"]].concat();
        bad(path, &twice, 2, &["strategy", strategy, "evolution"]);
    }
}

/// A control has the search's options and roofline, and may spend what the search has.
#[test]
fn a_control_is_made_like_its_search() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let init = ["search", "init", "--corpus", "text.txt"];
    let like = ["--like", STORE[1], "--store", "sqlite:control.db", "--strategy", "random-1"];
    bad(path, &[&init[..], &like].concat(), 2, &["study.db", "primer search init"]);
    good(path, &[&init[..], &STORE, &STUDY].concat());
    bad(path, &[&init[..], &like].concat(), 1, &["spent nothing"]);
    let run = ["search", "run", "--corpus", "text.txt", "--device", "cpu"];
    good(path, &[&run[..], &STORE, &["--candidates", "6"]].concat());
    bad(path, &[&init[..], &like, &["--preset", "small"]].concat(), 2, &["--like", "--preset"]);
    bad(path, &[&init[..], &like, &["--set", "limits.cots=3"]].concat(), 2, &["limits.cost"]);
    std::fs::write(path.join("other.txt"), "another text\n".repeat(500)).unwrap();
    bad(path, &[&["search", "init", "--corpus", "other.txt"], &like[..]].concat(), 2, &["another text"]);
    good(path, &[&["search", "init"], &like[..]].concat());
    let named = ["--like", STORE[1], "--store", "sqlite:named.db", "--seed", "5"];
    good(path, &[&init[..], &named].concat());
    bad(path, &[&run[..], &like].concat(), 2, &["--like"]);

    let study = |store: &str| json(path, &["search", "status", "--json", "--store", store]);
    let spent = |status: &serde_json::Value| -> f64 {
        let predicted = |kind: &str| status["status"][kind]["predicted_seconds"].as_f64().unwrap();
        predicted("useful") + predicted("wasted")
    };
    let search = study(STORE[1]);
    assert_eq!(study("sqlite:control.db")["limits"]["cost"].as_f64().unwrap(), spent(&search));
    good(path, &[&run[..], &["--store", "sqlite:control.db"]].concat());
    let control = study("sqlite:control.db");
    assert!(spent(&control) >= spent(&search), "{control}");
    let child = json(path, &["search", "show", "1", "--json", "--store", "sqlite:control.db"]);
    let own = json(path, &["search", "show", "1", "--json", STORE[0], STORE[1]]);
    assert_ne!(child["candidate"]["program"], own["candidate"]["program"], "both have the same seed");
}

#[test]
fn stores_that_cannot_be_used_are_refused_and_left_as_they_are() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    for command in ["status", "top", "verify", "report", "worker"] {
        bad(path, &[&["search", command], &STORE[..]].concat(), 2, &["study.db", "primer search init"]);
        assert!(!path.join("study.db").exists(), "{command} made a store");
    }
    std::fs::write(path.join("study.db"), "this is a letter to a friend, not a database").unwrap();
    for command in ["status", "worker", "run"] {
        let mut args = vec!["search", command, STORE[0], STORE[1]];
        if command != "status" {
            args.extend(["--corpus", "text.txt"]);
        }
        bad(path, &args, 1, &["study.db"]);
    }
    assert!(std::fs::read_to_string(path.join("study.db")).unwrap().starts_with("this is a letter"));

    std::fs::remove_file(path.join("study.db")).unwrap();
    let init = ["search", "init", "--corpus", "text.txt"];
    good(path, &[&init[..], &STORE, &STUDY].concat());
    // A store of another version: SQLite keeps the user version big-endian at byte 60.
    let mut bytes = std::fs::read(path.join("study.db")).unwrap();
    bytes[60..64].copy_from_slice(&9999u32.to_be_bytes());
    std::fs::write(path.join("study.db"), &bytes).unwrap();
    bad(path, &[&["search", "status"], &STORE[..]].concat(), 1, &["version 9999"]);
    assert_eq!(std::fs::read(path.join("study.db")).unwrap(), bytes);
}

#[test]
fn wrong_search_options_name_what_is_right() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let init = |more: &[&str]| {
        let base = ["search", "init", "--corpus", "text.txt", "--store", "sqlite:new.db"];
        [&base[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let cases: [(&[&str], &[&str]); 10] = [
        (&[], &["--preset"]),
        (&["--preset", "small", "--set", "model.layers=4294967295"], &["model.layers", "1024"]),
        (&["--preset", "tiny"], &["small"]),
        (&["--preset", "small", "--set", "popluation=4"], &["population"]),
        (&["--preset", "small", "--set", "population=few"], &["population"]),
        (&["--preset", "small", "--set", "tournament=500"], &["tournament"]),
        (&["--preset", "small", "--set", "fitness.unit=0"], &["fitness.unit"]),
        (&["--preset", "small", "--set", "fitness.unit=69"], &["fitness.unit", "69", "70", "--candidates"]),
        (&["--preset", "small", "--strategy", "luck"], &["random-1"]),
        (&["--preset", "small", "--budget", "luck"], &["cost"]),
    ];
    for (more, words) in cases {
        let args = init(more);
        bad(path, &args.iter().map(String::as_str).collect::<Vec<_>>(), 2, words);
        assert!(!path.join("new.db").exists(), "{more:?} left a store");
    }
    bad(path, &["search", "status", "--store", "mysql://host/db"], 2, &["sqlite:PATH", "postgres://"]);
    bad(path, &["search", "status"], 2, &["--store"]);
    // Seed programs whose shapes can't be resolved: no such branching, and a width that 16 heads can't share.
    let args = ["search", "run", "--corpus", "text.txt", "--device", "cpu", "--candidates", "1", "--preset", "small"];
    let three = ["--set", "model.heads=3", "--store", "sqlite:three.db"];
    bad(path, &[&args[..], &three].concat(), 2, &["model.heads = 3", "branching"]);
    assert!(!path.join("three.db").exists());
    let odd = ["--set", "model.heads=16", "--set", "model.unit=1", "--store", "sqlite:odd.db"];
    bad(path, &[&args[..], &odd].concat(), 1, &["no unit"]);
}

/// A cluster that wants its machine back sends SIGTERM: the candidate in hand waits for the next worker, at no attempt
/// lost.
#[cfg(unix)]
#[test]
fn a_worker_told_to_go_puts_its_candidate_back() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let long = ["search", "init", "--corpus", "text.txt", "--budget", "tokens", "--set", "fitness.unit=100000"];
    good(path, &[&long[..], &STUDY[..6], &STUDY[8..], &STORE].concat());
    let worker = ["search", "worker", "--corpus", "text.txt", "--device", "cpu"];
    let mut command = kit::command(path, &[&worker[..], &STORE].concat());
    let mut worker = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let counts = || json(path, &[&["search", "status", "--json"], &STORE[..]].concat())["status"]["counts"].clone();
    while counts()["leased"] != 1 {
        assert!(worker.try_wait().unwrap().is_none(), "it ended by itself");
    }
    // Meanwhile the study can be read.
    let seed = good(path, &[&["export", "--id", "0", "--format", "dna", "--out", "-"], &STORE[..]].concat()).stdout;
    assert!(seed.contains("CONV_1X1(") && worker.try_wait().unwrap().is_none(), "{seed}");
    kit::signal("TERM", worker.id());
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    assert_eq!((&counts()["pending"], &counts()["leased"]), (&1.into(), &0.into()));
}

#[cfg(unix)]
#[test]
fn a_watched_status_is_shown_again_until_it_is_interrupted() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let init = ["search", "init", "--corpus", "text.txt", "--budget", "tokens"];
    good(path, &[&init[..], &STUDY, &STORE].concat());
    let mut command = kit::command(path, &[&["search", "status", "--watch"], &STORE[..]].concat());
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Open to the end: who writes to a closed pipe ends.
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let shown = lines.by_ref().map_while(Result::ok).filter(|line| line.starts_with("candidates ")).take(2).count();
    assert_eq!(shown, 2, "it ended by itself");
    kit::signal("INT", watch.id());
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

/// What is wrong with a server is said in one sentence with what to do, and never with the password.
#[cfg(unix)]
#[test]
fn servers_that_cannot_be_used_are_refused() {
    let folder = kit::folder_with_text();
    let path = folder.path();
    let (empty, _) = cluster::shared().schema();
    let (login, database) = {
        let cluster = cluster::shared();
        (cluster.url("primer", "wrong-word", "postgres"), cluster.url("primer", cluster::PASSWORD, "nowhere"))
    };
    let unreachable = format!("postgres://ann:{}@127.0.0.1:1/db", cluster::PASSWORD);
    let tls = format!("{database}?sslmode=require");
    let nonsense = format!("postgres://ann:{}@host:port/db", cluster::PASSWORD);
    let cases: [(&str, i32, &[&str]); 6] = [
        (&empty, 2, &["no study", "primer search init"]),
        (&login, 1, &["refuses the login", "PGPASSWORD"]),
        (&database, 2, &["\"nowhere\" does not exist", "createdb"]),
        (&unreachable, 1, &["postgres://ann@127.0.0.1:1/db", "can't be reached", "Check the address"]),
        (&tls, 1, &["TLS", "tunnel"]),
        (&nonsense, 2, &["invalid port", "postgres://USER@HOST"]),
    ];
    for (url, code, words) in cases {
        bad(path, &["search", "status", "--store", url], code, words);
        let said = kit::run(path, &["search", "verify", "--store", url]).stderr;
        assert!(!said.contains(cluster::PASSWORD) && !said.contains("wrong-word"), "{said}");
    }
    let help = kit::command(path, &["search", "top", "--help"]).env("PRIMER_STORE", &login).output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("wrong-word"));
}
