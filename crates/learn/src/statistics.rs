//! Statistics of evaluations: intervals of a success rate, paired comparison, bootstrap over episodes.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// z of a two-sided 95 % interval.
pub const Z95: f64 = 1.959_963_984_540_054;

/// Wilson's score interval of a proportion (Wilson 1927), without continuity correction; (0, 1) for
/// no trials.
pub fn wilson(successes: u64, trials: u64, z: f64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (s, n) = (successes.min(trials) as f64, trials as f64);
    let p = s / n;
    let z2 = z * z;
    let centre = p + z2 / (2.0 * n);
    let spread = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    let low = if successes == 0 { 0.0 } else { ((centre - spread) / scale).max(0.0) };
    let high = if successes >= trials { 1.0 } else { ((centre + spread) / scale).min(1.0) };
    (low, high)
}

/// 95 % interval of a proportion that may be looked at after every trial: whatever the moment at which
/// one stops, and why, it holds the true rate in 95 of 100 such evaluations. It is where the mixture of
/// likelihood ratios over a uniform prior stays below 20 (Robbins 1970, Ville's inequality;
/// doi:10.1214/aoms/1177696786); wider than Wilson's, which is only good at a moment chosen before.
pub fn anytime_interval(successes: u64, trials: u64) -> (f64, f64) {
    let (s, n) = (successes.min(trials) as f64, trials as f64);
    let factorial = |k: u64| (1..=k).map(|i| (i as f64).ln()).sum::<f64>();
    let few = successes.min(trials);
    let mixture = factorial(few) + factorial(trials - few) - factorial(trials + 1);
    let limit = (1.0f64 / 0.05).ln();
    let term = |count: f64, p: f64| if count == 0.0 { 0.0 } else { count * p.ln() };
    let excess = |p: f64| mixture - term(s, p) - term(n - s, 1.0 - p) - limit;
    // The excess falls towards the observed rate from both sides.
    let rate = if trials == 0 { 0.5 } else { s / n };
    let cross = |mut outside: f64| {
        let mut inside = rate;
        if excess(outside) < 0.0 {
            return outside;
        }
        for _ in 0..60 {
            let middle = 0.5 * (inside + outside);
            if excess(middle) < 0.0 { inside = middle } else { outside = middle }
        }
        inside
    };
    (cross(0.0), cross(1.0))
}

/// Two-sided exact McNemar test: the probability, were both policies equally good, of discordant
/// pairs at least as uneven as `only_a` against `only_b`.
pub fn mcnemar_exact(only_a: u64, only_b: u64) -> f64 {
    let n = only_a + only_b;
    let few = only_a.min(only_b);
    // Binomial(n, 1/2) at most `few`, in logarithms so that large n do not underflow.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=few {
        tail += log_term.exp();
        log_term += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// 95 % percentile interval of Σ sum / Σ count over groups (episodes), by resampling whole groups
/// 2,000 times; frames of an episode are not independent, episodes are.
pub(crate) fn bootstrap_ratio(groups: &[(f64, f64)], seed: u64) -> (f64, f64) {
    if groups.is_empty() {
        return (f64::NAN, f64::NAN);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || {
        let (mut sum, mut count) = (0.0, 0.0);
        for _ in groups {
            let (s, c) = groups[rng.random_range(0..groups.len() as u64) as usize];
            sum += s;
            count += c;
        }
        sum / f64::max(count, 1e-300)
    };
    let mut means: Vec<f64> = (0..2000).map(|_| draw()).collect();
    means.sort_by(f64::total_cmp);
    (means[50], means[1949])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() < tolerance, "{a} is not {b}");
    }

    /// Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3 (score, without
    /// continuity correction): 81/263, 15/148, 0/20, 1/29, to four digits.
    #[test]
    fn wilson_matches_newcombe_1998() {
        for (s, n, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let (l, h) = wilson(s, n, Z95);
            close(l, low, 5.1e-5);
            close(h, high, 5.1e-5);
        }
        assert_eq!(wilson(20, 20, Z95).1, 1.0);
        assert_eq!(wilson(0, 0, Z95), (0.0, 1.0));
    }

    #[test]
    fn the_anytime_interval_covers_whenever_one_stops() {
        assert_eq!(anytime_interval(0, 0), (0.0, 1.0));
        // No success in n: the interval ends where (1 − p)ⁿ = 1 / (20 (n + 1)).
        let (low, high) = anytime_interval(0, 10);
        assert_eq!(low, 0.0);
        close(high, 1.0 - (1.0f64 / (20.0 * 11.0)).powf(0.1), 1e-9);
        let (low, high) = anytime_interval(160, 200);
        let (inner_low, inner_high) = wilson(160, 200, Z95);
        assert!(low < inner_low && high > inner_high && low > 0.68 && high < 0.89);
        // Of 400 evaluations that stop as soon as the interval misses the truth, 5 % at most may.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut missed = 0;
        for _ in 0..400 {
            let mut successes = 0;
            for n in 1..=300 {
                successes += u64::from(rng.random_range(0.0..1.0) < 0.7);
                let (low, high) = anytime_interval(successes, n);
                if low > 0.7 || high < 0.7 {
                    missed += 1;
                    break;
                }
            }
        }
        assert!(missed <= 20, "{missed} of 400 missed");
    }

    /// Binomial tails in closed form: 2 · P(X ≤ k), X ~ B(n, 1/2).
    #[test]
    fn mcnemar_matches_exact_binomials() {
        close(mcnemar_exact(0, 5), 2.0 / 32.0, 1e-12);
        close(mcnemar_exact(2, 8), 2.0 * (1.0 + 10.0 + 45.0) / 1024.0, 1e-12);
        close(mcnemar_exact(8, 2), 112.0 / 1024.0, 1e-12);
        assert_eq!(mcnemar_exact(0, 0), 1.0);
        assert_eq!(mcnemar_exact(7, 7), 1.0);
        // n = 207: small enough for f64 only through logarithms near 0.5^207.
        assert!(mcnemar_exact(86, 121) > 0.017 && mcnemar_exact(86, 121) < 0.019);
    }

    #[test]
    fn a_bootstrap_of_equal_groups_is_a_point() {
        let (low, high) = bootstrap_ratio(&[(2.0, 4.0); 5], 1);
        close(low, 0.5, 1e-12);
        close(high, 0.5, 1e-12);
        let (low, high) = bootstrap_ratio(&[(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, 1.0)], 1);
        assert!(low < 1.0 && high > 1.0);
    }
}
