//! Dates as numbers: the proleptic Gregorian calendar.
//!
//! In:  year, month, day, and a zone as text
//! Out: days since 1970-01-01, seconds east of UTC

/// Days from 1970-01-01 to the given date. A day beyond the end of its month counts on, so that
/// 30 February is 1 or 2 March.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the leap day is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468 + day - 1
}

/// Year, month and day of so many days since 1970-01-01.
pub(super) fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// A zone as `%z` has it: `Z`, `UTC`, `GMT`, `UT`, `+hh`, `+hhmm`, `+hh:mm`, and the four of
/// North America with their summer times, whatever follows them. The seconds east of UTC, and
/// what is left of the text.
pub(super) fn offset(text: &[u8]) -> Option<(i64, &[u8])> {
    match text {
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let (seconds, rest) = hours_and_minutes(rest)?;
            Some((if *sign == b'-' { -seconds } else { seconds }, rest))
        }
        _ => NORTH_AMERICA.iter().find_map(|(name, quarters)| {
            let (start, rest) = text.split_at_checked(name.len())?;
            name.as_bytes().eq_ignore_ascii_case(start).then_some((quarters * 900, rest))
        }),
    }
}

/// A zone as `%Z` has it: a well-known abbreviation or a letter of the armed forces, in any case.
pub(super) fn zone(text: &[u8]) -> Option<(i64, &[u8])> {
    named(text, &NORTH_AMERICA).or_else(|| named(text, &ELSEWHERE)).or_else(|| letter(text))
}

/// `A` to `M` without `J` are one to twelve hours east, `N` to `Y` one to twelve hours west.
fn letter(text: &[u8]) -> Option<(i64, &[u8])> {
    let (letter, rest) = text.split_first()?;
    if rest.first().is_some_and(u8::is_ascii_alphabetic) {
        return None;
    }
    let hours = match letter.to_ascii_uppercase() {
        east @ b'A'..=b'I' => i64::from(east - b'A') + 1,
        east @ b'K'..=b'M' => i64::from(east - b'K') + 10,
        west @ b'N'..=b'Y' => -i64::from(west - b'N') - 1,
        _ => return None,
    };
    Some((hours * 3600, rest))
}

fn hours_and_minutes(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hours, rest) = two_digits(text)?;
    let behind = rest.strip_prefix(b":").unwrap_or(rest);
    let (minutes, rest) = two_digits(behind).unwrap_or((0, rest));
    (hours <= 23 && minutes <= 59).then_some((hours * 3600 + minutes * 60, rest))
}

/// A number of two digits.
pub(super) fn two_digits(text: &[u8]) -> Option<(i64, &[u8])> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] => {
            Some((i64::from(a - b'0') * 10 + i64::from(b - b'0'), rest))
        }
        _ => None,
    }
}

/// The zone whose name is the whole word at the start of the text.
fn named<'a>(text: &'a [u8], zones: &[(&str, i64)]) -> Option<(i64, &'a [u8])> {
    let length = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (word, rest) = text.split_at(length);
    let known = zones.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
    known.map(|(_, quarters)| (quarters * 900, rest))
}

/// Names, and quarters of an hour east of UTC.
const NORTH_AMERICA: [(&str, i64); 12] = [
    ("UTC", 0),
    ("UT", 0),
    ("GMT", 0),
    ("Z", 0),
    ("EST", -20),
    ("EDT", -16),
    ("CST", -24),
    ("CDT", -20),
    ("MST", -28),
    ("MDT", -24),
    ("PST", -32),
    ("PDT", -28),
];

const ELSEWHERE: [(&str, i64); 37] = [
    ("AKST", -36),
    ("AKDT", -32),
    ("HST", -40),
    ("AST", -16),
    ("ADT", -12),
    ("NST", -14),
    ("NDT", -10),
    ("BRT", -12),
    ("ART", -12),
    ("CLT", -16),
    ("COT", -20),
    ("PET", -20),
    ("WET", 0),
    ("WEST", 4),
    ("BST", 4),
    ("IST", 22),
    ("CET", 4),
    ("CEST", 8),
    ("MET", 4),
    ("MEST", 8),
    ("WAT", 4),
    ("CAT", 8),
    ("SAST", 8),
    ("EET", 8),
    ("EEST", 12),
    ("MSK", 12),
    ("TRT", 12),
    ("EAT", 12),
    ("GST", 16),
    ("PKT", 20),
    ("ICT", 28),
    ("WIB", 28),
    ("HKT", 32),
    ("SGT", 32),
    ("AWST", 32),
    ("JST", 36),
    ("KST", 36),
];

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};

    use super::*;

    #[test]
    fn days_and_dates_are_those_of_the_calendar() {
        let start = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for date_of_year in start.iter_days().step_by(7).take(160_000) {
            let (year, month, day) = (
                i64::from(date_of_year.year()),
                i64::from(date_of_year.month()),
                i64::from(date_of_year.day()),
            );
            let expected = (date_of_year - epoch).num_days();
            assert_eq!(days(year, month, day), expected, "{date_of_year}");
            assert_eq!(date(expected), (year, month, day), "{date_of_year}");
        }
    }

    #[test]
    fn a_day_beyond_its_month_counts_on() {
        assert_eq!(days(2026, 2, 30), days(2026, 3, 2));
        assert_eq!(days(2024, 2, 30), days(2024, 3, 1));
    }

    #[test]
    fn zones_are_offsets_or_names() {
        for (text, expected) in [
            ("Z", Some((0, ""))),
            ("+02:00", Some((7200, ""))),
            ("+0200x", Some((7200, "x"))),
            ("-0530", Some((-19_800, ""))),
            ("+02", Some((7200, ""))),
            ("+02:", Some((7200, ":"))),
            ("EST", Some((-18_000, ""))),
            ("utc]", Some((0, "]"))),
            ("Ztrailing", Some((0, "trailing"))),
            ("UTX", Some((0, "X"))),
            ("CET", None),
            ("+2", None),
            ("+2500", None),
            ("", None),
        ] {
            let expected = expected.map(|(seconds, rest): (i64, &str)| (seconds, rest.as_bytes()));
            assert_eq!(offset(text.as_bytes()), expected, "{text}");
        }
        for (text, seconds) in [
            ("cest ", Some(7200)),
            ("a", Some(3600)),
            ("M]", Some(43_200)),
            ("j", None),
            ("Y", Some(-43_200)),
            ("ab", None),
        ] {
            assert_eq!(zone(text.as_bytes()).map(|(seconds, _)| seconds), seconds, "{text}");
        }
    }
}
