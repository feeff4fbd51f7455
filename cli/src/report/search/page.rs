//! The page of a study.

use super::data::{Odds, Study};
use crate::report::chart::short;
use crate::report::derive::of_search;
use crate::report::html::{card, document, escape, grid, wordy};
use crate::report::search_page;
use crate::report::spread::{measured_over_predicted, with_sd};
use primer_models::analysis::Summary;

/// The whole page.
///
/// # Errors
/// Passes on what the charts report.
pub fn page(study: &Study) -> Result<String, String> {
    let title = "Primer: a search over programs";
    let mut body = format!(
        "<h1>{title}</h1>\n<p class=\"soft\"><code>{}</code> · study {:.12}</p>\n",
        escape(&study.command),
        study.study_sha256
    );
    body += &cards(study);
    body += &search_page::section(&study.search, &of_search(&study.search))?;
    body += &hurdles(study);
    body += &top(study);
    body += &odds(study);
    body += &spent(study);
    body += &settings(study);
    Ok(document(title, &body))
}

fn cards(study: &Study) -> String {
    let search = &study.search;
    let loss = |loss: Option<f64>| loss.map_or("n/a".into(), |loss| format!("{loss:.3}"));
    let best = search.best.as_ref();
    let mut html = String::from("<div class=\"cards\">\n");
    let note = match (best, search.seed_loss) {
        (Some(best), _) if best.is_lucky_seed() => "the seed program with another seed".into(),
        (Some(best), Some(seed)) if !best.is_seed_program() => {
            format!("{:.3} below the seed program", seed - best.loss)
        }
        (Some(_), _) => "none is better than the seed program".into(),
        (None, _) => "nothing is measured yet".into(),
    };
    html += &card("best loss, nats a token", &loss(best.map(|best| best.loss)), &note);
    let runs = Summary::of(&search.seed_runs).map_or(String::new(), |runs| {
        format!("with the candidates' seed; {} in {} runs", with_sd(Some(&runs), 3), search.seed_runs.len())
    });
    html += &card("the seed program", &loss(search.seed_loss), &runs);
    let measured = search.candidates.iter().filter(|candidate| candidate.loss.is_some()).count();
    html += &card("candidates", &search.candidates.len().to_string(), &format!("{measured} with a loss"));
    html + "</div>\n"
}

fn hurdles(study: &Study) -> String {
    if study.hurdles.len() < 2 {
        return String::new();
    }
    let last = study.hurdles.len() - 1;
    let rows = study.hurdles.iter().enumerate().map(|(i, hurdle)| {
        let share = |n: u64| {
            if hurdle.reached == 0 { "n/a".into() } else { format!("{:.0}%", 100.0 * n as f64 / hurdle.reached as f64) }
        };
        vec![
            if i == last { format!("{}t, the end", hurdle.units) } else { format!("{}t", hurdle.units) },
            hurdle.reached.to_string(),
            if i == last { String::new() } else { format!("{} ({})", hurdle.passed, share(hurdle.passed)) },
            hurdle.bar.map_or(String::new(), |bar| format!("{bar:.3}")),
        ]
    });
    "<h3>Hurdles</h3>\n".to_owned()
        + &grid(&["mark", "measured there", "went on", "bar now, nats a token"], rows)
        + "<p class=\"small\">A candidate stops at a mark where its loss lies above the bar, the lower median of the last \
           losses there. Losses of candidates that stopped at different marks are of different amounts of training.</p>\n"
}

fn top(study: &Study) -> String {
    let rows = study.top.iter().map(|top| {
        let measured = measured_over_predicted(top.measured_over_predicted);
        let mut cells = vec![top.id.to_string(), format!("{:.4}", top.loss), top.passed.to_string()];
        if study.predicted {
            cells.extend([format!("{:.2}", top.predicted_step), measured]);
        }
        cells.push(escape(&top.mutation));
        cells
    });
    let head: &[&str] = if study.predicted {
        &["candidate", "loss", "hurdles", "step's cost", "measured", "made by"]
    } else {
        &["candidate", "loss", "hurdles", "made by"]
    };
    let mut html = "<h3>The best programs</h3>\n".to_owned() + &wordy(head, rows);
    html += "<p class=\"small\">Each program once, with one seed: see them again with others before you believe their \
             order.";
    if study.predicted {
        html += " <i>Step's cost</i> is predicted, the seed program's is 1; <i>measured</i> is what training took over \
                 what was predicted, the seed program's again 1. On a CPU that is processor time, which what else the \
                 machine did lengthens a little, through caches and clocks: where it lies outside 0.8 to 1.25, <code>primer search retest</code> times the programs in turns, and tests \
                 none that stays there.";
    }
    html + "</p>\n"
}

fn odds(study: &Study) -> String {
    if study.odds.is_empty() {
        return String::new();
    }
    let rows = study.odds.iter().map(|odds: &Odds| {
        let once = match odds.count {
            0 => format!("not once in {}", short(odds.draws as f64)),
            count => format!("once in {:.0}", odds.draws as f64 / count as f64),
        };
        vec![
            escape(&odds.what),
            once,
            odds.found.to_string(),
            odds.first.map_or(String::new(), |id| id.to_string()),
            odds.best.map_or(String::new(), |(id, loss)| format!("{id} ({loss:.3})")),
        ]
    });
    "<h3>Was it luck?</h3>\n".to_owned()
        + &grid(
            &["what helps, by the paper", "by one mutation of the seed", "candidates with it", "the first", "the best"],
            rows,
        )
        + "<p class=\"small\">The odds are counted on the mutator itself.</p>\n"
}

fn spent(study: &Study) -> String {
    let rows = study.spent.iter().map(|spent| {
        let mut cells = vec![spent.kind.clone(), short(spent.tokens as f64), format!("{:.2e}", spent.flops)];
        if study.predicted {
            cells.push(format!("{:.0} s", spent.predicted_seconds));
        }
        cells.extend([format!("{:.0} s", spent.training_seconds), format!("{:.0} s", spent.seconds)]);
        cells
    });
    let head: &[&str] = if study.predicted {
        &["attempts", "tokens", "FLOPs", "predicted training", "training", "in all"]
    } else {
        &["attempts", "tokens", "FLOPs", "training", "in all"]
    };
    "<h3>What it cost</h3>\n".to_owned() + &grid(head, rows)
}

fn settings(study: &Study) -> String {
    let own = [("study SHA-256", &study.study_sha256), ("corpus SHA-256", &study.corpus_sha256)];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.clone()));
    let mut html = String::from("<h2>How it was made</h2>\n<table>\n");
    for (name, value) in own.chain(study.settings.iter().cloned()) {
        html += &format!("<tr><th>{}</th><td class=\"hash\">{}</td></tr>\n", escape(&name), escape(&value));
    }
    html + "</table>\n"
}
