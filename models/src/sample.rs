//! Drawing a token from a model's logits.

/// How text is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleOptions {
    /// Tokens to draw.
    pub tokens: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Only that many likeliest tokens take part; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together have this probability take part (Holtzman et al. 2020); 1 for all.
    pub top_p: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self { tokens: 200, temperature: 0.8, top_k: 0, top_p: 1.0, seed: 0 }
    }
}

/// One token from a row of logits; `u` is uniform in [0, 1).
pub(crate) fn draw(row: &[f32], options: &SampleOptions, u: f64) -> u32 {
    let mut order: Vec<usize> = (0..row.len()).collect();
    // Not-a-numbers come last, and ties fall to the smaller id, so that a draw never depends on the sort.
    let logit = |i: usize| if row[i].is_nan() { f32::NEG_INFINITY } else { row[i] };
    order.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
    if options.temperature == 0.0 {
        return order.first().map_or(0, |&i| i as u32);
    }
    let keep = if options.top_k == 0 { order.len() } else { options.top_k.min(order.len()) };
    let best = order.first().map_or(0.0, |&i| f64::from(logit(i)));
    let mut weights: Vec<f64> =
        order[..keep].iter().map(|&i| ((f64::from(logit(i)) - best) / options.temperature).exp()).collect();
    if options.top_p < 1.0 {
        let enough = options.top_p * weights.iter().sum::<f64>();
        let mut sum = 0.0;
        let before = weights.iter().take_while(|&&weight| {
            sum += weight;
            sum < enough
        });
        let count = before.count() + 1;
        weights.truncate(count);
    }
    let mut left = u * weights.iter().sum::<f64>();
    for (&i, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return i as u32;
        }
    }
    order.first().map_or(0, |&i| i as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(temperature: f64, top_k: usize) -> SampleOptions {
        SampleOptions { temperature, top_k, ..SampleOptions::default() }
    }

    #[test]
    fn a_token_without_a_number_is_never_drawn() {
        let row = [f32::NAN, -2.0, -f32::NAN, -0.5];
        assert_eq!(draw(&row, &options(0.0, 0), 0.0), 3);
        for u in [0.0, 0.5, 0.999] {
            assert!([1, 3].contains(&draw(&row, &options(1.0, 0), u)), "{u}");
        }
    }

    #[test]
    fn zero_temperature_takes_the_likeliest() {
        let row = [-2.0, -0.5, -0.5, -3.0];
        assert_eq!(draw(&row, &options(0.0, 0), 0.99), 1);
    }

    #[test]
    fn top_k_leaves_the_rest_out() {
        let row: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
        let drawn: Vec<u32> = (0..100).map(|i| draw(&row, &options(1.0, 2), f64::from(i) / 100.0)).collect();
        assert!(drawn.iter().all(|&t| t >= 2));
        assert_eq!(drawn.iter().filter(|&&t| t == 3).count(), 58, "0.4 / 0.7 of the draws");
    }

    #[test]
    fn top_p_keeps_the_likeliest_that_reach_it() {
        let row: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
        let kept = |top_p: f64| {
            let options = SampleOptions { top_p, ..options(1.0, 0) };
            let mut drawn: Vec<u32> = (0..100).map(|i| draw(&row, &options, f64::from(i) / 100.0)).collect();
            drawn.sort_unstable();
            drawn.dedup();
            drawn
        };
        assert_eq!(
            [0.01, 0.39, 0.5, 0.75, 0.95, 1.0].map(kept),
            [vec![3], vec![3], vec![2, 3], vec![1, 2, 3], vec![0, 1, 2, 3], vec![0, 1, 2, 3]]
        );
        let nothing = SampleOptions { top_p: 0.5, ..options(1.0, 0) };
        assert!(draw(&[f32::NAN; 4], &nothing, 0.5) < 4);
    }

    #[test]
    fn a_row_that_is_no_number_still_gives_a_token() {
        assert!(draw(&[f32::NAN; 4], &options(1.0, 0), 0.5) < 4);
    }
}
