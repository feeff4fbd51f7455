//! Looking at a study while it runs: `status`, `top`, `show`, `diff`, `lineage`, `verify`.

use super::{describe, open, summary};
use crate::args::{SearchDiff, SearchShow, SearchStatus, SearchTop, SearchVerify};
use crate::failure::{Failure, Outcome};
use crate::report::spread::measured_over_predicted;
use crate::stop::Stop;
use crate::terminal;
use primer_search::dna::diff;
use primer_search::evolve::{self, Verification};
use primer_search::store::{Candidate, Store};
use primer_search::study::Budget;
use serde_json::{Value, json};
use std::time::Duration;

/// `primer search status`
///
/// # Errors
/// A store that can't be read.
pub fn status(args: &SearchStatus) -> Outcome {
    let store = open(&args.store.store)?;
    let stop = Stop::on_ctrl_c();
    loop {
        let status = store.status()?;
        if args.json {
            return terminal::json(&json!({
                "store": args.store.store,
                "study": store.spec_sha256(),
                "status": status,
                "limits": store.spec().limits,
            }));
        }
        let c = &status.counts;
        let best = status.best.map_or("none yet".into(), |b| format!("{:.4} (candidate {})", b.fitness, b.child_no));
        let seed = status.seed_fitness.map_or("not measured yet".into(), |f| format!("{f:.4}"));
        terminal::line(&format!("study      {:.12} in {}", store.spec_sha256(), args.store.store))?;
        terminal::line(&format!("budget     {}", summary::budget(store.spec().fitness.budget)))?;
        terminal::line(&format!(
            "candidates {} finished: {} evaluated, {} cached, {} rejected, {} failed; {} running, {} waiting",
            c.finished(),
            c.done,
            c.cached,
            c.rejected,
            c.failed,
            c.leased,
            c.pending
        ))?;
        terminal::line(&format!("best       {best}; the seed program {seed}"))?;
        terminal::line(&format!(
            "spent      {:.0} s useful, {:.0} s wasted; {} tokens",
            status.useful.seconds, status.wasted.seconds, status.useful.tokens
        ))?;
        if !args.watch {
            return Ok(());
        }
        terminal::line("")?;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100));
            if stop.asked() {
                return Ok(());
            }
        }
    }
}

/// `primer search top`
///
/// # Errors
/// A store that can't be read.
pub fn top(args: &SearchTop) -> Outcome {
    let store = open(&args.store.store)?;
    let best = store.top(args.count)?;
    let seed = store.candidate(0)?.map(|seed| seed.cost).unwrap_or_default();
    let measured = |candidate: &Candidate| candidate.cost.measured_over_predicted(&seed);
    if args.json {
        let mut candidates = with_mutations(&best)?;
        for (value, candidate) in candidates.iter_mut().zip(&best) {
            value["measured_over_predicted"] = json!(measured(candidate));
        }
        return terminal::json(&json!({ "candidates": candidates }));
    }
    if best.is_empty() {
        terminal::note("no candidate has been measured yet");
        return Ok(());
    }
    // Under another budget nothing depends on what was predicted.
    let column = |cell: &str| match store.spec().fitness.budget {
        Budget::Cost => format!("  {cell:>13}"),
        _ => String::new(),
    };
    terminal::line(&format!("candidate      loss{}  parent  mutation", column("measured cost")))?;
    for candidate in &best {
        terminal::line(&format!(
            "{:>9}  {:>8}{}  {:>6}  {}",
            candidate.child_no,
            fitness(candidate),
            column(&measured_over_predicted(measured(candidate))),
            candidate.parent.map_or("-".into(), |p| p.to_string()),
            describe::origin(candidate)?
        ))?;
    }
    Ok(())
}

fn fitness(candidate: &Candidate) -> String {
    candidate.fitness.map_or("-".into(), |f| format!("{f:.4}"))
}

/// A candidate as data, with what made it: in words, and as the mutations themselves; null for the seed program.
fn with_mutation(candidate: &Candidate) -> Outcome<Value> {
    let mut value = json!(candidate);
    value["mutation"] = match candidate.parent {
        None => Value::Null,
        Some(_) => json!({ "text": describe::origin(candidate)?, "mutations": candidate.mutations()?.mutations }),
    };
    Ok(value)
}

fn with_mutations(candidates: &[Candidate]) -> Outcome<Vec<Value>> {
    candidates.iter().map(with_mutation).collect()
}

/// `primer search show`
///
/// # Errors
/// A store that can't be read, a number that isn't there.
pub fn show(args: &SearchShow) -> Outcome {
    let store = open(&args.store.store)?;
    let candidate = existing(&store, args.id)?;
    let marks = store.marks(args.id)?;
    let resolved = candidate.dna()?.inline_live().map(|program| program.to_string());
    if args.json {
        let resolved = resolved.as_ref().ok();
        return terminal::json(
            &json!({ "candidate": with_mutation(&candidate)?, "marks": marks, "resolved": resolved }),
        );
    }
    terminal::line(&format!("candidate {}: {}, loss {}", candidate.child_no, candidate.state, fitness(&candidate)))?;
    if let Some(reason) = &candidate.error {
        terminal::line(&format!("reason: {reason}"))?;
    }
    for mark in &marks {
        let bar = candidate.bars.get(mark.mark as usize).copied().flatten();
        let bar = bar.map_or(String::new(), |bar| format!(", bar {bar:.4}"));
        let loss = mark.loss.map_or("not finite".into(), |loss| format!("{loss:.4}"));
        terminal::line(&format!("run {}, mark {}: loss {loss}{bar}", mark.run + 1, mark.mark + 1))?;
    }
    terminal::line(&format!("made by: {}", describe::origin(&candidate)?))?;
    terminal::line(&format!("\n{}", candidate.program.trim_end()))?;
    match resolved {
        Ok(resolved) => terminal::line(&format!("\nresolved, without calls and dead code:\n{}", resolved.trim_end())),
        Err(reason) => terminal::line(&format!("\nit is not resolved: {reason}")),
    }
}

/// `primer search lineage`
///
/// # Errors
/// A store that can't be read, a number that isn't there.
pub fn lineage(args: &SearchShow) -> Outcome {
    let store = open(&args.store.store)?;
    existing(&store, args.id)?;
    let lineage = store.lineage(args.id)?;
    if args.json {
        return terminal::json(&json!({ "lineage": with_mutations(&lineage)? }));
    }
    terminal::line("candidate      loss  mutation, youngest first")?;
    for step in &lineage {
        terminal::line(&format!("{:>9}  {:>8}  {}", step.child_no, fitness(step), describe::origin(step)?))?;
    }
    Ok(())
}

/// `primer search diff`
///
/// # Errors
/// A store that can't be read, a number that isn't there.
pub fn diff(args: &SearchDiff) -> Outcome {
    let store = open(&args.store.store)?;
    let new = existing(&store, args.id)?;
    let Some(with) = args.with.or(new.parent) else {
        return Err(
            Failure::usage("the seed program has no parent").hint("Name a second candidate to compare it with.")
        );
    };
    let old = existing(&store, with)?;
    let diff = diff::diff(&old.dna()?, &new.dna()?);
    if args.json {
        let text = diff.to_string();
        return terminal::json(&json!({ "old": old.child_no, "new": new.child_no, "diff": text }));
    }
    terminal::line(&format!("- candidate {} (loss {})", old.child_no, fitness(&old)))?;
    terminal::line(&format!("+ candidate {} (loss {})\n", new.child_no, fitness(&new)))?;
    match diff.is_empty() {
        true => terminal::line("The programs are the same."),
        false => terminal::line(diff.to_string().trim_end()),
    }
}

/// A candidate that must be there.
///
/// # Errors
/// A number that isn't there.
pub fn existing(store: &Store, id: u64) -> Outcome<Candidate> {
    store.candidate(id)?.ok_or_else(|| {
        Failure::usage(format!("the study has no candidate {id}")).hint("`primer search top` lists the best ones.")
    })
}

/// `primer search verify`
///
/// # Errors
/// A store that can't be read, or one whose replay differs.
pub fn verify(args: &SearchVerify) -> Outcome {
    let store = open(&args.store.store)?;
    let verification = evolve::verify(&store)?;
    if args.json {
        terminal::json(&json!({ "verification": verification }))?;
    }
    match verification {
        Verification::Same { .. } if args.json => Ok(()),
        Verification::Same { children } => {
            terminal::line(&format!("all {children} candidates come out of the replay as they are stored"))
        }
        Verification::Different(difference) => Err(Failure::new(format!("the replay differs: {difference}"))
            .hint("The store was changed from outside, or another version wrote it.")),
    }
}
