//! Fluent Bit's literals for sizes, times, booleans and integers.
//!
//! In:  the text of a value, trimmed
//! Out: bytes, a [`Duration`], a `bool` or a number; `None` when the text is none
//!
//! Where Fluent Bit 5.1 reads a text other than a person would, there are two functions: one says
//! what the text plainly says, one what Fluent Bit makes of it. `config` obeys the first and warns
//! when the second differs.

use std::time::Duration;

/// `true`, `on`, `yes`, `false`, `off`, `no`, in any case. Nothing else: `1` is not a boolean.
pub fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => Some(true),
        "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// A size in bytes as Fluent Bit has it: a number and at most `K`, `M` or `G`, with or without a
/// `B`, always decimal (`5MB` is 5,000,000). `false` is 0.
pub fn parse_size(text: &str) -> Option<usize> {
    if text.eq_ignore_ascii_case("false") {
        return Some(0);
    }
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit()).len();
    let (number, suffix) = text.split_at(digits);
    if let Some(hex) = number.strip_prefix("0x")
        && suffix.is_empty()
    {
        return usize::from_str_radix(hex, 16).ok();
    }
    let factor = match suffix.to_ascii_uppercase().as_str() {
        "" => 1.0,
        "K" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        _ => return None,
    };
    whole_bytes(parse_number(number)? * factor)
}

/// A size in bytes as a person reads it: what [`parse_size`] takes, and `1MiB`, `5 MB` or `1TB`.
pub fn parse_size_plainly(text: &str) -> Option<usize> {
    parse_size(text).or_else(|| {
        let size: bytesize::ByteSize = text.parse().ok()?;
        usize::try_from(size.as_u64()).ok()
    })
}

/// A size in bytes in binary units: a number and at most `K`, `M` or `G`, `B` or `iB` behind it or
/// not (`2M` is 2,097,152).
pub fn parse_binary_size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit()).len();
    let (number, suffix) = text.split_at(digits);
    let shift = match suffix.trim_start().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift).filter(|size| *size > 0)
}

/// A time as a person reads it: a number, which may have a fraction, and `ms`, `s`, `m`, `h`, `d`
/// or nothing, which is seconds.
pub fn parse_time(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = parse_number(&text[..text.len() - unit.len()])?;
    let seconds = match unit.to_ascii_lowercase().as_str() {
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        "d" => number * 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// What Fluent Bit 5.1 makes of a time: the leading integer, times what the last character says.
/// `1.5m` is 60 seconds and `200ms` 200 of them.
pub fn time_in_fluent_bit(text: &str) -> Duration {
    let factor = match text.chars().last() {
        Some('d' | 'D') => 86_400,
        Some('h' | 'H') => 3_600,
        Some('m' | 'M') => 60,
        _ => 1,
    };
    let seconds = u64::try_from(leading_integer(text).unwrap_or(0)).unwrap_or(0);
    Duration::from_secs(seconds.saturating_mul(factor))
}

/// What Fluent Bit 5.1 makes of `seconds.nanoseconds`: behind the dot it expects an integer count,
/// so `0.5` is 5 nanoseconds. A unit is ignored.
pub fn seconds_and_nanos_in_fluent_bit(text: &str) -> Duration {
    let (seconds, nanos) = text.split_once('.').unwrap_or((text, ""));
    let [seconds, nanos] =
        [seconds, nanos].map(|part| u64::try_from(leading_integer(part).unwrap_or(0)).unwrap_or(0));
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos))
}

/// A whole number and nothing else.
pub fn parse_integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// The whole number a text begins with, as C's `atoi` finds it. `None`: it begins with none.
pub fn leading_integer(text: &str) -> Option<i64> {
    let sign = usize::from(text.starts_with(['+', '-']));
    let digits = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    text[..sign + digits].parse().ok()
}

/// A finite number with or without fraction and exponent.
pub fn parse_number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// The whole bytes in `bytes`; a part of one is cut off, as in Fluent Bit.
fn whole_bytes(bytes: f64) -> Option<usize> {
    // Above 2^53 a float no longer counts single bytes, and nobody has that much memory.
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    if !(0.0..=LARGEST).contains(&bytes) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "compared with both ends above"
    )]
    usize::try_from(bytes as u64).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn binary_sizes_are_powers_of_two() {
        for (text, expected) in [
            ("2M", Some(2 << 20)),
            ("2MB", Some(2 << 20)),
            ("2 MiB", Some(2 << 20)),
            ("10k", Some(10_240)),
            ("1GiB", Some(1 << 30)),
            ("100", Some(100)),
            ("0", None),
            ("M", None),
            ("2T", None),
            ("2.5M", None),
        ] {
            assert_eq!(parse_binary_size(text), expected, "{text}");
        }
    }

    #[test]
    fn booleans_are_six_words_in_any_case() {
        for (text, expected) in [
            ("true", Some(true)),
            ("On", Some(true)),
            ("YES", Some(true)),
            ("False", Some(false)),
            ("off", Some(false)),
            ("no", Some(false)),
            ("1", None),
            ("0", None),
            ("enabled", None),
            ("", None),
        ] {
            assert_eq!(parse_boolean(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_decimal() {
        for (text, expected) in [
            ("1000", Some(1_000)),
            ("1e6", Some(1_000_000)),
            ("0x10", Some(16)),
            ("5K", Some(5_000)),
            ("5k", Some(5_000)),
            ("10kb", Some(10_000)),
            ("5KB", Some(5_000)),
            ("5M", Some(5_000_000)),
            ("5MB", Some(5_000_000)),
            ("5mb", Some(5_000_000)),
            ("1.5M", Some(1_500_000)),
            ("5G", Some(5_000_000_000)),
            ("5GB", Some(5_000_000_000)),
            ("false", Some(0)),
            ("0", Some(0)),
            ("5 M", None),
            ("5 MB", None),
            ("5MiB", None),
            ("5T", None),
            ("5B", None),
            ("off", None),
            ("none", None),
            ("abc", None),
            ("-1", None),
            ("", None),
            ("MB", None),
            ("1e300", None),
            ("inf", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }

    #[test]
    fn a_size_fluent_bit_cannot_read_still_says_something() {
        for (text, expected) in [
            ("1MiB", Some(1_048_576)),
            ("5 MB", Some(5_000_000)),
            ("2TB", Some(2_000_000_000_000)),
            ("5MB", Some(5_000_000)),
            ("none", None),
            ("-1", None),
        ] {
            assert_eq!(parse_size_plainly(text), expected, "{text}");
        }
    }

    #[test]
    fn times_are_a_number_and_a_unit_and_fluent_bit_reads_some_of_them_oddly() {
        let [millis, seconds] = [Duration::from_millis, Duration::from_secs];
        for (text, plain, there) in [
            ("10", Some(seconds(10)), seconds(10)),
            ("10s", Some(seconds(10)), seconds(10)),
            ("2m", Some(seconds(120)), seconds(120)),
            ("2H", Some(seconds(7_200)), seconds(7_200)),
            ("1d", Some(seconds(86_400)), seconds(86_400)),
            ("1.5m", Some(seconds(90)), seconds(60)),
            ("0.2", Some(millis(200)), seconds(0)),
            ("200ms", Some(millis(200)), seconds(200)),
            ("-1", None, seconds(0)),
            ("five", None, seconds(0)),
            ("5 minutes", None, seconds(5)),
            ("", None, seconds(0)),
            ("9999999999999999999999d", None, seconds(0)),
        ] {
            assert_eq!(parse_time(text), plain, "{text}");
            assert_eq!(time_in_fluent_bit(text), there, "{text} in Fluent Bit");
        }
    }

    proptest! {
        #[test]
        fn a_size_in_whole_kilobytes_is_read_as_it_was_written(kilobytes in 0_usize..1_000_000) {
            for unit in ["k", "KB"] {
                prop_assert_eq!(parse_size(&format!("{kilobytes}{unit}")), Some(kilobytes * 1_000));
            }
        }

        #[test]
        fn any_text_is_a_literal_or_none(text in "[-+.0-9eEkKmMsx é]{0,8}|.{0,8}") {
            if let Some(bytes) = parse_size(&text) {
                prop_assert_eq!(parse_size_plainly(&text), Some(bytes), "the two never disagree");
            }
            if let Some(number) = parse_integer(&text) {
                prop_assert_eq!(leading_integer(&text), Some(number));
            }
            parse_time(&text);
            time_in_fluent_bit(&text);
            seconds_and_nanos_in_fluent_bit(&text);
        }
    }

    #[test]
    fn behind_the_dot_fluent_bit_counts_nanoseconds() {
        for (text, expected) in [
            ("5", Duration::from_secs(5)),
            ("0.5", Duration::from_nanos(5)),
            ("0.500000000", Duration::from_millis(500)),
            ("10s", Duration::from_secs(10)),
            ("1m", Duration::from_secs(1)),
            ("", Duration::ZERO),
        ] {
            assert_eq!(seconds_and_nanos_in_fluent_bit(text), expected, "{text}");
        }
    }

    #[test]
    fn a_text_may_begin_with_a_number_without_being_one() {
        for (text, whole, leading) in [
            ("24224", Some(24_224), Some(24_224)),
            ("-1", Some(-1), Some(-1)),
            ("5s", None, Some(5)),
            ("abc", None, None),
            ("", None, None),
            ("-", None, None),
        ] {
            assert_eq!(parse_integer(text), whole, "{text}");
            assert_eq!(leading_integer(text), leading, "{text}");
        }
    }
}
