//! The page: one self-contained file, without scripts and without anything fetched.

use super::chart::{Ink, short};
use super::data::{Arm, Origin, Report};
use super::derive::{Comparison, Derived};
use super::figures;
use super::search_page;
use primer_models::analysis::Speedup;

const STYLE: &str = include_str!("style.css");

/// Text made safe for HTML; control characters, which a model may well write, become visible.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{00B7}'),
            c => out.push(c),
        }
    }
    out
}

/// An architecture's name as people write it.
pub fn pretty(arch: &str) -> String {
    match arch {
        "vanilla" => "Vanilla Transformer".into(),
        "gelu" => "GELU".into(),
        "swish" => "Swish".into(),
        "reglu" => "ReGLU".into(),
        "swiglu" => "SwiGLU".into(),
        "squared_relu" => "Squared ReLU".into(),
        "transformer_plusplus" => "Transformer++".into(),
        "mdha" => "MDHA".into(),
        "sep_conv" => "Sep Conv".into(),
        "primer" => "Primer".into(),
        "primer_ez" => "Primer-EZ".into(),
        "evolved_transformer" => "Evolved Transformer".into(),
        "switch_transformer" => "Switch Transformer".into(),
        "switch_primer" => "Switch Primer".into(),
        "synthesizer" => "Synthesizer".into(),
        "synthesizer_squared_relu" => "Synthesizer, squared ReLU".into(),
        other => other.into(),
    }
}

/// The whole page.
///
/// # Errors
/// Passes on what the charts report.
pub fn page(report: &Report, derived: &Derived) -> Result<String, String> {
    let mut body = String::new();
    body += &heading(&report.origin);
    body += &cards(report, derived);
    body += &training(report, derived)?;
    if let Some(search) = &report.search {
        body += &search_page::section(search, derived)?;
    }
    body += &details(&report.origin);
    Ok(document(&report.origin.title, &body))
}

/// The page's heading, and why the run ended before its time, if it did.
pub fn heading(origin: &Origin) -> String {
    let mut html = format!(
        "<h1>{}</h1>\n<p class=\"soft\"><code>{}</code> · {} · {}</p>\n",
        escape(&origin.title),
        escape(&origin.command),
        escape(&origin.device.name),
        duration(origin.wall_seconds)
    );
    if let Some(why) = &origin.stopped_early {
        html += &format!(
            "<p class=\"notice\">This run ended early ({}); what follows is what it had reached.</p>\n",
            escape(why)
        );
    }
    html
}

/// A page of its own around `body`.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(title)
    )
}

/// The colour of a series.
pub fn ink(series: usize) -> Ink {
    Ink::Series(u8::try_from(series % 256).unwrap_or_default())
}

/// Which colour is whose.
pub fn key(names: impl IntoIterator<Item = String>) -> String {
    let one = |(i, name): (usize, String)| {
        format!("<span><i style=\"background:{}\"></i>{}</span>", ink(i).css(), escape(&name))
    };
    names.into_iter().enumerate().map(one).collect()
}

/// A table of numbers under a head; cells are text that is safe already.
pub fn grid(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut html = String::from("<div class=\"scroll\"><table><thead><tr>");
    for (i, name) in head.iter().enumerate() {
        html += &if i == 0 { format!("<th>{name}</th>") } else { format!("<th class=\"n\">{name}</th>") };
    }
    html += "</tr></thead>\n";
    for row in rows {
        html += "<tr>";
        for (i, cell) in row.iter().enumerate() {
            html += &if i == 0 { format!("<th>{cell}</th>") } else { format!("<td class=\"n\">{cell}</td>") };
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}

/// A table of numbers whose last column is text; cells are safe already.
pub fn wordy(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let cell = |(i, text): (usize, String)| match i {
        0 => format!("<th>{text}</th>"),
        i if i + 1 == head.len() => format!("<td>{text}</td>"),
        _ => format!("<td class=\"n\">{text}</td>"),
    };
    let names = head.iter().enumerate().map(|(i, name)| {
        let class = if i > 0 && i + 1 < head.len() { " class=\"n\"" } else { "" };
        format!("<th{class}>{name}</th>")
    });
    let mut html = format!("<div class=\"scroll\"><table><thead><tr>{}</tr></thead>\n", names.collect::<String>());
    for row in rows {
        html += &format!("<tr>{}</tr>\n", row.into_iter().enumerate().map(cell).collect::<String>());
    }
    html + "</table></div>\n"
}

/// A number that stands out.
pub fn card(what: &str, number: &str, note: &str) -> String {
    format!(
        "<div class=\"card\"><span class=\"what\">{}</span><b>{}</b><span>{}</span></div>\n",
        escape(what),
        escape(number),
        escape(note)
    )
}

/// A speedup factor as text: the number, and what it says.
pub fn speedup_text(speedup: Speedup, unit: &str) -> (String, String) {
    match speedup {
        Speedup::Reached { factor, at, at_least } => {
            let sign = if at_least { "≥ " } else { "" };
            let at =
                if unit == "s" { duration(at) } else { format!("{} {unit}", short((at / 1000.0).round() * 1000.0)) };
            (format!("{sign}{factor:.2}×"), format!("reached after {at}"))
        }
        Speedup::NotReached => ("not reached".into(), "the baseline's final loss was not reached in this run".into()),
        Speedup::NoData => ("n/a".into(), "no evaluation to compare".into()),
    }
}

/// Seconds as people say them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {:02} s", (s / 60.0) as u64, (s % 60.0) as u64),
        s => format!("{} h {:02} min", (s / 3600.0) as u64, (s % 3600.0 / 60.0) as u64),
    }
}

/// The best loss that an arm reached.
fn best_loss(arm: &Arm) -> Option<f64> {
    let finite = arm.points.iter().map(|p| p.validation_loss).filter(|l| l.is_finite());
    finite.fold(None, |best: Option<f64>, l| Some(best.map_or(l, |b| b.min(l))))
}

fn number(value: Option<f64>) -> String {
    value.map_or("n/a".into(), |v| format!("{v:.3}"))
}

fn cards(report: &Report, derived: &Derived) -> String {
    let mut html = String::from("<div class=\"cards\">\n");
    for comparison in &derived.comparisons {
        let (factor, _) = speedup_text(comparison.time, "s");
        let note = match comparison.time {
            Speedup::Reached { at, .. } => format!(
                "{} reaches the baseline's final loss after {} of training",
                pretty(&comparison.arch),
                duration(at)
            ),
            _ => speedup_text(comparison.time, "s").1,
        };
        html += &card("Speedup factor", &factor, &note);
        let slow = comparison.step_slowdown;
        html += &card(
            "Cost of a step",
            &slow.map_or("n/a".into(), |s| format!("{s:.2}×")),
            &format!("{} against the baseline", pretty(&comparison.arch)),
        );
    }
    if report.arms.len() > 1 {
        let losses: Vec<String> = report.arms.iter().map(|arm| number(best_loss(arm))).collect();
        let names: Vec<String> = report.arms.iter().map(|arm| pretty(&arm.arch)).collect();
        html += &card(
            "Held-out loss",
            &losses.join(" | "),
            &format!("nats a token, {}; lower is better", names.join(" | ")),
        );
    }
    if let Some(search) = &report.search {
        let finished = search.candidates.len();
        let (value, note) = match (&search.best, search.seed_loss) {
            (Some(best), Some(seed)) if !best.is_seed_program() => {
                let note = format!("seed program {seed:.3}; {finished} candidates, one seed each: partly luck");
                (format!("{:.3}", best.loss), note)
            }
            (_, Some(seed)) => {
                (format!("{seed:.3}"), format!("the seed itself: none of {finished} candidates beat it"))
            }
            _ => ("n/a".into(), format!("{finished} candidates finished")),
        };
        html += &card("Best program found", &value, &note);
    }
    html + "</div>\n"
}

fn training(report: &Report, derived: &Derived) -> Result<String, String> {
    let Some(base) = report.arms.first() else {
        return Ok(String::new());
    };
    let mut html = String::from("<h2>Training</h2>\n");
    if let Some(c) = derived.comparisons.first() {
        html += &format!("<p>{}</p>\n", escape(&sentence(base, c)));
    }
    let key = key(report.arms.iter().map(|arm| pretty(&arm.arch)));
    for (svg, caption) in [
        (
            figures::loss_by_time(report, derived).svg()?,
            "Held-out loss against seconds of training compute, on a logarithmic axis: the \
             horizontal distance between two curves is the speedup. Evaluation is not counted.",
        ),
        (
            figures::loss_by_tokens(report).svg()?,
            "The same against tokens read: what each model makes of the same text, whatever a \
             step costs.",
        ),
    ] {
        html += &format!(
            "<figure><div class=\"key\">{key}</div>{svg}<figcaption class=\"small\">{caption}\
             </figcaption></figure>\n"
        );
    }
    html += &table(report, derived);
    if report.arms.iter().any(|arm| !arm.samples.is_empty()) {
        html += "<h3>What they write</h3>\n<div class=\"pair\">\n";
        for arm in &report.arms {
            html += &format!("<div><h3>{}</h3>\n", escape(&pretty(&arm.arch)));
            for sample in &arm.samples {
                html += &format!(
                    "<pre><span class=\"prompt\">{}</span>{}</pre>\n",
                    escape(&sample.prompt),
                    escape(&sample.text)
                );
            }
            html += "</div>\n";
        }
        html += "</div>\n";
    }
    Ok(html)
}

/// The outcome of the comparison in words.
fn sentence(base: &Arm, c: &Comparison) -> String {
    let (arm, base) = (pretty(&c.arch), pretty(&base.arch));
    let target = number(c.target_loss);
    match c.time {
        Speedup::Reached { factor, .. } if factor >= 1.0 => format!(
            "{arm} needs {:.0}% of the time that {base} took to come to a held-out loss of \
             {target} nats a token.",
            100.0 / factor
        ),
        Speedup::Reached { factor, .. } => format!(
            "{arm} needs {:.2} times as long as {base} to come to a held-out loss of {target} \
             nats a token.",
            1.0 / factor
        ),
        Speedup::NotReached => format!(
            "{arm} did not come to {base}'s final held-out loss of {target} nats a token in this \
             run, so there is no speedup factor; nothing is extrapolated."
        ),
        Speedup::NoData => "The run ended before both models were evaluated.".into(),
    }
}

fn table(report: &Report, derived: &Derived) -> String {
    let mut html = String::from(
        "<div class=\"scroll\"><table><thead><tr><th>model</th><th class=\"n\">parameters</th>\
         <th class=\"n\">steps</th><th class=\"n\">tokens</th><th class=\"n\">seconds</th>\
         <th class=\"n\">tokens/s</th><th class=\"n\">best loss</th>\
         <th class=\"n\">speedup, time</th><th class=\"n\">speedup, tokens</th></tr></thead>\n",
    );
    for (i, arm) in report.arms.iter().enumerate() {
        let comparison = i.checked_sub(1).and_then(|i| derived.comparisons.get(i));
        let factors = match comparison {
            None => ("1".into(), "1".into()),
            Some(c) => (speedup_text(c.time, "s").0, speedup_text(c.tokens, "tokens").0),
        };
        let rate = if arm.seconds > 0.0 { short((arm.tokens as f64 / arm.seconds).round()) } else { "n/a".into() };
        html += &format!("<tr><th>{}</th>", escape(&pretty(&arm.arch)));
        for cell in [
            short(arm.parameters as f64),
            arm.steps.to_string(),
            short(arm.tokens as f64),
            format!("{:.1}", arm.seconds),
            rate,
            number(best_loss(arm)),
            factors.0,
            factors.1,
        ] {
            html += &format!("<td class=\"n\">{cell}</td>");
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n<p class=\"small soft\">Speedup: the baseline's whole budget over what \
            a model needs to reach the baseline's final loss, interpolated in the logarithm of \
            the budget on the running minimum (section 4 of the paper). One run of minutes on a \
            small model says little; the paper's figures are from days of training.</p>\n"
}

/// Where, on what and with which settings it was made.
pub fn details(origin: &Origin) -> String {
    let Origin { device, corpus, settings, versions, .. } = origin;
    let mut rows = vec![
        ("device".to_owned(), device.name.clone()),
        ("why this device".into(), device.why.clone()),
        ("corpus".into(), corpus.name.clone()),
        (
            "corpus size".into(),
            format!(
                "{} bytes to train on, {} held out, {} documents",
                short(corpus.train_bytes as f64),
                short(corpus.validation_bytes as f64),
                corpus.documents
            ),
        ),
        ("corpus SHA-256".into(), corpus.sha256.clone()),
    ];
    rows.extend(settings.iter().cloned());
    rows.extend(versions.iter().cloned());
    let mut html = String::from("<h2>How it was made</h2>\n<table>\n");
    for (name, value) in rows {
        html += &format!("<tr><th>{}</th><td class=\"hash\">{}</td></tr>\n", escape(&name), escape(&value));
    }
    html + "</table>\n<p class=\"small soft\">Every number of this page is in \
            <code>report.json</code> beside it.</p>\n"
}
