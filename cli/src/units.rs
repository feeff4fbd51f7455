//! Numbers as people write them: `30s`, `5m`, `2h`, `1.5M`.

use std::time::Duration;

/// Splits `1.5M` into 1.5 and `M`.
fn split(text: &str) -> Result<(f64, &str), String> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    match number.replace('_', "").parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((value, unit)),
        _ => Err(format!("{text:?} does not begin with a number")),
    }
}

/// A duration: `30s`, `5m`, `2h`, `1.5h`, `500ms`; a bare number is seconds.
///
/// # Errors
/// One clause that says what is accepted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (value, unit) = split(text.trim())?;
    let seconds = match unit {
        "ms" => value / 1000.0,
        "" | "s" => value,
        "m" | "min" => value * 60.0,
        "h" => value * 3600.0,
        "d" => value * 86_400.0,
        _ => return Err(format!("{unit:?} is not a unit of time; write 30s, 5m or 2h")),
    };
    if !(0.001..=31_536_000.0).contains(&seconds) {
        return Err("a time lies between 1 ms and 365 days".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A count: `1000`, `64k`, `1.5M`, `2G`.
///
/// # Errors
/// One clause that says what is accepted.
pub fn count(text: &str) -> Result<u64, String> {
    let (value, unit) = split(text.trim())?;
    let scale = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" | "B" => 1e9,
        _ => return Err(format!("{unit:?} is not a unit; write 1000, 64k or 1.5M")),
    };
    let whole = value * scale;
    if !(1.0..=1e15).contains(&whole) || whole.fract() != 0.0 {
        return Err("a whole number from 1 on is needed".into());
    }
    Ok(whole as u64)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, seconds) in
            [("30s", 30.0), ("5m", 300.0), ("2h", 7200.0), ("1.5m", 90.0), ("12", 12.0), ("250ms", 0.25)]
        {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for bad in ["", "s", "5 parsecs", "-3s", "0s", "1e99h", "nan", "400d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_as_people_write_them() {
        for (text, n) in [("1000", 1000), ("64k", 64_000), ("1.5M", 1_500_000), ("1_000", 1000)] {
            assert_eq!(count(text).unwrap(), n, "{text}");
        }
        for bad in ["", "0", "1.5", "-1", "1T", "1e3", "9999999G"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seeds_fit_every_store() {
        assert_eq!(seed("7"), Ok(7));
        assert!(seed("18446744073709551615").is_err() && seed("-1").is_err());
    }
}
