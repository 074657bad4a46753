//! Times that need no format: RFC 3339 in its common forms, and epochs.
//!
//! In:  the whole text, or the number as written
//! Out: the time; decimals are exact, never a float

use super::civil;
use super::{TimeFound, at};

/// RFC 3339: `T` or a blank between date and time, any fraction behind `.` or `,`, any `%z` zone
/// or none, which is UTC. A text that is a number is an epoch.
pub(super) fn read(text: &[u8]) -> TimeFound {
    let text = text.trim_ascii();
    date_and_time(text).or_else(|| epoch(text)).unwrap_or(TimeFound::Unreadable)
}

/// A number of seconds, milli-, micro- or nanoseconds since 1970; its magnitude says which.
pub(super) fn read_epoch(number: &[u8]) -> TimeFound {
    epoch(number).unwrap_or(TimeFound::Unreadable)
}

fn date_and_time(text: &[u8]) -> Option<TimeFound> {
    let (seconds, rest) = iso_seconds(text, b"Tt _")?;
    let (nanos, rest) = match rest {
        [b'.' | b',', digits @ ..] => fraction(digits)?,
        _ => (0, rest),
    };
    let rest = rest.trim_ascii_start();
    let (offset, rest) = match rest {
        [] => (0, rest),
        [b'z', rest @ ..] => (0, rest),
        _ => civil::offset(rest)?,
    };
    rest.is_empty().then(|| at(seconds - offset, nanos))
}

/// `YYYY-MM-DD?hh:mm:ss` with one of the given separators, as seconds since 1970 without a zone,
/// and what follows it. `None`: the text does not have this shape, or a part is out of its range.
pub(super) fn iso_seconds<'a>(text: &'a [u8], separators: &[u8]) -> Option<(i64, &'a [u8])> {
    let (stamp, rest) = text.split_at_checked(19)?;
    let digit = |index: usize| {
        let value = stamp[index].wrapping_sub(b'0');
        (value < 10).then_some(i64::from(value))
    };
    let two = |index: usize| Some(digit(index)? * 10 + digit(index + 1)?);
    let marks = [stamp[4], stamp[7], stamp[13], stamp[16]];
    if marks != *b"--::" || !separators.contains(&stamp[10]) {
        return None;
    }
    let year = two(0)? * 100 + two(2)?;
    let (month, day) = (two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    let seconds = || civil::days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    in_range.then(|| (seconds(), rest))
}

/// Digits behind a point, as nanoseconds. Digits beyond the ninth are read and cut off.
pub(super) fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    if digits.is_empty() {
        return None;
    }
    Some((scaled(digits, 9), rest))
}

/// The first `places` digits as a number, as if followed by zeros.
fn scaled(digits: &[u8], places: usize) -> u32 {
    let digit = |index: usize| digits.get(index).map_or(0, |byte| u32::from(byte - b'0'));
    (0..places).fold(0, |number, index| number * 10 + digit(index))
}

fn epoch(text: &[u8]) -> Option<TimeFound> {
    if let Some(positive) = text.strip_prefix(b"-") {
        return epoch(positive).map(|_| TimeFound::OutOfRange);
    }
    let (whole, part) = split_at_point(text)?;
    if whole.is_empty() || ![whole, part].concat().iter().all(u8::is_ascii_digit) {
        return with_exponent(text);
    }
    let Some(number) = number(whole) else {
        return Some(TimeFound::OutOfRange);
    };
    // Until the year 5138 these ranges cannot be mistaken for each other.
    let (units_a_second, places) = match number {
        0..100_000_000_000 => (1, 9),
        100_000_000_000..100_000_000_000_000 => (1_000, 6),
        100_000_000_000_000..100_000_000_000_000_000 => (1_000_000, 3),
        _ => (1_000_000_000, 0),
    };
    let nanos_a_unit = 1_000_000_000 / units_a_second;
    let nanos = number % units_a_second * nanos_a_unit + u64::from(scaled(part, places));
    let seconds = i64::try_from(number / units_a_second).ok()?;
    Some(at(seconds, u32::try_from(nanos).ok()?))
}

fn split_at_point(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let point = text.iter().position(|&byte| byte == b'.');
    match point {
        None => Some((text, &[])),
        Some(at) if at + 1 < text.len() => Some((&text[..at], &text[at + 1..])),
        Some(_) => None,
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `1.7e9`: written by no logger we know, and readable. As many whole zeros are appended as the
/// exponent asks for; a negative exponent is no time.
fn with_exponent(text: &[u8]) -> Option<TimeFound> {
    let at = text.iter().position(|byte| byte.eq_ignore_ascii_case(&b'e'))?;
    let (mantissa, exponent) = (&text[..at], &text[at + 1..]);
    let exponent = exponent.strip_prefix(b"+").unwrap_or(exponent);
    let exponent = usize::try_from(number(exponent)?).ok().filter(|&exponent| exponent <= 18)?;
    let (whole, part) = split_at_point(mantissa)?;
    let mut digits = whole.to_vec();
    digits.extend((0..exponent).map(|index| part.get(index).copied().unwrap_or(b'0')));
    if part.len() > exponent {
        digits.push(b'.');
        digits.extend_from_slice(&part[exponent..]);
    }
    let is_plain = digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if is_plain { epoch(&digits) } else { None }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
    use proptest::prelude::*;

    use super::*;
    use crate::model::EventTime;

    fn time(seconds: i64, nanos: u32) -> TimeFound {
        TimeFound::At(EventTime::new(seconds, nanos).unwrap())
    }

    #[test]
    fn rfc_3339_is_read_in_every_common_form() {
        let at = 1_767_323_045;
        for (text, expected) in [
            ("2026-01-02T03:04:05Z", time(at, 0)),
            ("2026-01-02t03:04:05z", time(at, 0)),
            ("2026-01-02 03:04:05", time(at, 0)),
            ("2026-01-02T03:04:05.678Z", time(at, 678_000_000)),
            ("2026-01-02T03:04:05,678+00:00", time(at, 678_000_000)),
            ("2026-01-02T03:04:05.123456789", time(at, 123_456_789)),
            ("2026-01-02T03:04:05.1234567891234Z", time(at, 123_456_789)),
            ("2026-01-02T05:04:05+02:00", time(at, 0)),
            ("2026-01-02T05:04:05+0200", time(at, 0)),
            ("2026-01-02T05:04:05+02", time(at, 0)),
            ("2026-01-01 22:04:05.5 -0500", time(at, 500_000_000)),
            ("2026-01-02 03:04:05 UTC", time(at, 0)),
            ("  2026-01-02T03:04:05Z  ", time(at, 0)),
            ("1970-01-01T00:00:00Z", time(0, 0)),
            ("1969-12-31T23:59:59Z", TimeFound::OutOfRange),
            ("2106-02-07T06:28:16Z", TimeFound::OutOfRange),
            ("2026-01-02T03:04:05.Z", TimeFound::Unreadable),
            ("2026-01-02T03:04:05Zjunk", TimeFound::Unreadable),
            ("2026-13-02T03:04:05Z", TimeFound::Unreadable),
            ("2026-01-02T24:04:05Z", TimeFound::Unreadable),
            ("2026-01-02", TimeFound::Unreadable),
            ("yesterday", TimeFound::Unreadable),
            ("", TimeFound::Unreadable),
        ] {
            assert_eq!(read(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn epochs_are_exact_and_their_magnitude_says_the_unit() {
        for (number, expected) in [
            ("1700000000", time(1_700_000_000, 0)),
            ("1700000000.5", time(1_700_000_000, 500_000_000)),
            ("1700000000.123456789", time(1_700_000_000, 123_456_789)),
            ("1700000000.1234567899", time(1_700_000_000, 123_456_789)),
            ("1700000000123", time(1_700_000_000, 123_000_000)),
            ("1700000000123.456", time(1_700_000_000, 123_456_000)),
            ("1700000000123456", time(1_700_000_000, 123_456_000)),
            ("1700000000123456.7", time(1_700_000_000, 123_456_700)),
            ("1700000000123456789", time(1_700_000_000, 123_456_789)),
            ("0", time(0, 0)),
            ("1.7e9", time(1_700_000_000, 0)),
            ("17000000005e-1", TimeFound::Unreadable),
            ("-5", TimeFound::OutOfRange),
            ("4294967294", TimeFound::OutOfRange),
            ("99999999999999999999999", TimeFound::OutOfRange),
            ("1.", TimeFound::Unreadable),
            (".5", TimeFound::Unreadable),
            ("12a", TimeFound::Unreadable),
        ] {
            assert_eq!(read_epoch(number.as_bytes()), expected, "{number}");
            assert_eq!(read(number.as_bytes()), expected, "{number} as a text");
        }
    }

    proptest! {
        #[test]
        fn every_stamp_is_read_to_the_nanosecond(
            seconds in 0_i64..0xffff_fffd,
            nanos in 0_u32..1_000_000_000,
            quarters in -48_i32..56,
        ) {
            let utc: DateTime<Utc> = DateTime::from_timestamp(seconds, nanos).unwrap();
            let there = utc.with_timezone(&FixedOffset::east_opt(quarters * 900).unwrap());
            let stamp = there.to_rfc3339_opts(SecondsFormat::Nanos, true);
            prop_assert_eq!(read(stamp.as_bytes()), time(seconds, nanos), "{}", stamp);
        }

        #[test]
        fn no_text_makes_it_panic(text: Vec<u8>) {
            read(&text);
            read_epoch(&text);
        }
    }
}
