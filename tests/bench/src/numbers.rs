//! Medians, ratios, and how numbers are written.

/// The one in the middle; of an even number, the lower one. Zero for none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// To two decimals, as ratios are written and judged.
pub(crate) fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Whole, with commas.
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in a fitting unit.
pub(crate) fn bytes(value: f64) -> String {
    if value >= f64::from(1 << 20) {
        format!("{:.1} MiB", value / f64::from(1 << 20))
    } else {
        format!("{:.1} KiB", value / 1024.0)
    }
}

/// Microseconds in a fitting unit.
pub(crate) fn time(microseconds: f64) -> String {
    if microseconds >= 10_000.0 {
        format!("{:.0} ms", microseconds / 1000.0)
    } else if microseconds >= 1000.0 {
        format!("{:.2} ms", microseconds / 1000.0)
    } else {
        format!("{microseconds:.0} µs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_value_that_was_measured() {
        assert_eq!(median([3.0, 1.0, 2.0]).to_bits(), 2f64.to_bits());
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]).to_bits(), 2f64.to_bits());
        assert_eq!(median([]).to_bits(), 0f64.to_bits());
    }

    #[test]
    fn numbers_are_written_for_readers() {
        assert_eq!([whole(5.0), whole(1234.4), whole(1_234_567.0)], ["5", "1,234", "1,234,567"]);
        assert_eq!([bytes(512.0), bytes(3e6)], ["0.5 KiB", "2.9 MiB"]);
        assert_eq!([time(12.3), time(1234.0), time(12_345.0)], ["12 µs", "1.23 ms", "12 ms"]);
    }
}
