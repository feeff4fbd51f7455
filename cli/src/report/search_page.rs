//! The page's part about the search.

use super::chart::Ink;
use super::data::{Best, Search};
use super::derive::Derived;
use super::figures;
use super::html::escape;
use primer_search::dna::diff::{Change, diff};

/// The section, from its heading on.
///
/// # Errors
/// Passes on what the charts report.
pub fn section(search: &Search, derived: &Derived) -> Result<String, String> {
    let mut html = String::from("<h2>Search</h2>\n");
    html += &format!("<p>From the seed program: {}.</p>\n", escape(&search.rules));
    html += &format!(
        "<figure>{}<figcaption class=\"small\">The best program so far against what the search had \
         spent.</figcaption></figure>\n",
        figures::best_so_far(search, derived).svg()?
    );
    html += &format!(
        "<figure><div class=\"key\"><span><i class=\"dot\" style=\"background:{}\"></i>better than \
         the seed</span><span><i class=\"dot\" style=\"background:{}\"></i>not better</span></div>{}\
         <figcaption class=\"small\">Every measured candidate, in the order of finishing. The worst \
         lie on the upper edge.</figcaption></figure>\n",
        Ink::Series(1).css(),
        Ink::Series(0).css(),
        figures::population(search).svg()?
    );
    if !search.states.is_empty() {
        html += "<h3>What became of the candidates</h3>\n<table>\n";
        for (state, count) in &search.states {
            html += &format!("<tr><th>{}</th><td class=\"n\">{count}</td></tr>\n", escape(state));
        }
        html += "</table>\n";
    }
    if let Some(best) = &search.best {
        html += &program(best, search.seed_loss);
    }
    Ok(html)
}

/// The best program: how it came about, and what it changes in the seed.
fn program(best: &Best, seed_loss: Option<f64>) -> String {
    let mut html = format!("<h3>The best program: candidate {}</h3>\n", best.id);
    if best.is_lucky_seed() {
        html += "<p>It is the seed itself, trained with another seed: how far luck alone gets.</p>\n";
    } else if best.is_seed_program() {
        html += "<p>It is the seed itself: no candidate was better.</p>\n";
    } else if let Some(seed) = seed_loss {
        html += &format!(
            "<p>Loss {:.3} against the seed's {seed:.3}, with one seed: the best of many is partly the luckiest, and \
             <code>primer search retest</code> tells how much holds. Below: what it computes, without calls and dead code; \
             the mutations that led to it; and its listing with what differs from the seed.</p>\n",
            best.loss
        );
    }
    if best.lineage.len() > 1 {
        if let Ok(resolved) = best.program.inline_live() {
            html += &format!("<pre>{}</pre>\n", escape(resolved.to_string().trim_end()));
        }
        html += "<h3>How it came about</h3>\n<div class=\"scroll\"><table><thead><tr><th>candidate</th><th>mutation</th>\
                 <th class=\"n\">loss</th></tr></thead>\n";
        for step in &best.lineage {
            let what = if step.mutation.is_empty() { "the seed program" } else { &step.mutation };
            html += &format!(
                "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>\n",
                step.id,
                escape(what),
                step.loss.map_or("n/a".into(), |l| format!("{l:.3}"))
            );
        }
        html += "</table></div>\n<h3>Its listing</h3>\n";
    }
    html += "<pre class=\"diff\">";
    for (change, line) in diff(&best.seed_program, &best.program).listing() {
        let (class, sign) = match change {
            Change::Added => (" class=\"a\"", '+'),
            Change::Removed => (" class=\"r\"", '-'),
            Change::Same | Change::Changed => ("", ' '),
        };
        html += &format!("<span{class}>{sign} {}</span>", escape(&line));
    }
    html + "</pre>\n"
}
