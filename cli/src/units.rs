//! Numbers as people write them: `30s`, `1h30m`, `1:50:31`, `2e3`, `1.5M`.

use std::time::Duration;

/// Splits `1.5M` into 1.5 and `M`: a number, with or without an exponent, and what follows it.
fn split(text: &str) -> Result<(f64, &str), String> {
    let mut end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let digits = exponent[sign..].bytes().take_while(u8::is_ascii_digit).count();
        end += if digits > 0 { 1 + sign + digits } else { 0 };
    }
    let (number, unit) = text.split_at(end);
    match number.replace('_', "").parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((value, unit)),
        _ => Err(format!("{text:?} does not begin with a number")),
    }
}

/// A duration: `30s`, `5m`, `2h`, `1h30m`, `1.5h`, `500ms`, `1:50:31` as progress shows it; a bare number is seconds.
///
/// # Errors
/// One clause that says what is accepted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let seconds = if text.contains(':') { clock(text)? } else { parts(text)? };
    if !(0.001..=31_536_000.0).contains(&seconds) {
        return Err("a time lies between 1 ms and 365 days".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Seconds of `M:SS` or `H:MM:SS`.
fn clock(text: &str) -> Result<f64, String> {
    let fields: Option<Vec<u32>> = text
        .split(':')
        .map(|field| field.bytes().all(|b| b.is_ascii_digit()).then(|| field.parse().ok()).flatten())
        .collect();
    match fields {
        Some(fields) if matches!(fields.len(), 2 | 3) && fields[1..].iter().all(|&field| field < 60) => {
            Ok(fields.into_iter().fold(0.0, |seconds, field| seconds * 60.0 + f64::from(field)))
        }
        _ => Err(format!("{text:?} is no time; write 5:00 or 1:30:00")),
    }
}

/// Seconds of `30s` or `1h30m`: parts with smaller and smaller units. One without a unit stands alone.
fn parts(text: &str) -> Result<f64, String> {
    let (mut seconds, mut rest, mut larger) = (0.0, text, f64::INFINITY);
    loop {
        let (value, after) = split(rest)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "" if rest.len() == text.len() => 1.0,
            _ => return Err(format!("{unit:?} is not a unit of time; write 30s, 5m or 1h30m")),
        };
        if scale >= larger {
            return Err(format!("{text:?} is no time; write the larger unit first, as 1h30m"));
        }
        seconds += value * scale;
        if next.is_empty() {
            return Ok(seconds);
        }
        (rest, larger) = (next, scale);
    }
}

/// A number with what multiplies it: `1000`, `64k`, `1.5M`, `2G`, `1T`, `1e12`.
fn scaled(text: &str) -> Result<f64, String> {
    let (value, unit) = split(text.trim())?;
    let scale = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" | "B" => 1e9,
        "T" => 1e12,
        _ => return Err(format!("{unit:?} is not a unit; write 1000, 64k, 1.5M or 2e3")),
    };
    Ok(value * scale)
}

/// A count: a whole number, written in any of these ways: `1000`, `64k`, `1.5M`, `2G`, `1T`, `2e3`.
///
/// # Errors
/// One clause that says what is accepted.
pub fn count(text: &str) -> Result<u64, String> {
    let whole = scaled(text)?;
    if !(1.0..=1e15).contains(&whole) || whole.fract() != 0.0 {
        return Err("a whole number from 1 on is needed".into());
    }
    Ok(whole as u64)
}

/// A number above 0, written as a count may be.
///
/// # Errors
/// One clause that says what is accepted.
pub fn positive(text: &str) -> Result<f64, String> {
    match scaled(text)? {
        value if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a number above 0 is needed".into()),
    }
}

/// A seed: any u64 that TOML and SQLite can hold too.
///
/// # Errors
/// One clause that says what is accepted.
pub fn seed(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(seed) if i64::try_from(seed).is_ok() => Ok(seed),
        _ => Err("a seed is a whole number from 0 to 2^63 - 1".into()),
    }
}

/// The number of a study's candidate.
///
/// # Errors
/// One clause that says what is accepted.
pub fn candidate(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a candidate's number is 0, 1, 2, ...".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, seconds) in [
            ("30s", 30.0),
            ("5m", 300.0),
            ("2h", 7200.0),
            ("1.5m", 90.0),
            ("12", 12.0),
            ("2e2", 200.0),
            ("250ms", 0.25),
            ("1h30m", 5400.0),
            ("1d2h3m4s", 93_784.0),
            ("5:00", 300.0),
            ("1:50:31", 6631.0),
        ] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for bad in [
            "",
            "s",
            "5 parsecs",
            "-3s",
            "0s",
            "1e99h",
            "nan",
            "400d",
            "1h30",
            "30m1h",
            "1m1m",
            "5:",
            ":30",
            "1:60",
            "1:2:3:4",
            "1:+5",
            "1:30s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_as_people_write_them() {
        for (text, n) in [
            ("1000", 1000),
            ("64k", 64_000),
            ("1.5M", 1_500_000),
            ("1_000", 1000),
            ("2e3", 2000),
            ("1.5e3k", 1_500_000),
            ("1T", 1_000_000_000_000),
        ] {
            assert_eq!(count(text).unwrap(), n, "{text}");
        }
        for bad in ["", "0", "1.5", "-1", "1e-3", "2e", "1e99", "9999999G", "1kk"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn positive_numbers_as_people_write_them() {
        for (text, value) in [("0.003", 0.003), ("3e-3", 0.003), ("1e13", 1e13), ("1T", 1e12), ("1.5G", 1.5e9)] {
            assert_eq!(positive(text).unwrap(), value, "{text}");
        }
        for bad in ["", "0", "-1", "inf", "nan", "1e300T", "1x"] {
            assert!(positive(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seeds_fit_every_store() {
        assert_eq!(seed("7"), Ok(7));
        assert!(seed("18446744073709551615").is_err() && seed("-1").is_err());
    }
}
