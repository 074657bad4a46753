//! `Time_Format`: the part of `strptime` that Fluent Bit has, and `%L` for fractions.
//!
//! In:  a format, compiled once; the text of a time
//! Out: the time
//!
//! The format must fit from the beginning of the text; what the text has behind it is ignored.
//! Blanks in the format stand for any number of blanks. Better than Fluent Bit 5.1 in three
//! things: fractions are decimals, digits beyond the ninth are cut off, and a zone before `%L`
//! counts.

use std::fmt;

use super::{TimeFound, at, civil, plain};
use crate::model::EventTime;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Format {
    items: Vec<Item>,
    /// The shape that has a fast path.
    iso: Option<Iso>,
    /// For texts without a zone, in seconds east of UTC.
    offset: i64,
    problem: Option<FormatProblem>,
}

/// `%Y-%m-%d?%H:%M:%S`, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Iso {
    separator: u8,
    has_fraction: bool,
    zone: IsoZone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IsoZone {
    None,
    /// A literal `Z`.
    Utc,
    /// `%z`.
    Offset,
}

/// A specifier that Fluent Bit 5.1 does not know, so that no line fits the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatProblem {
    specifier: Option<char>,
}

impl fmt::Display for FormatProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.specifier {
            Some(letter @ ('f' | 'N' | 'Q' | '1'..='9')) => write!(
                f,
                "%{letter} is not known, so no time fits the format; write %L for fractions, as in %S.%L"
            ),
            Some(letter) => write!(f, "%{letter} is not known, so no time fits the format"),
            None => {
                write!(f, "it ends with a single %, so no time fits the format; write %% for one")
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Literal(u8),
    /// A `Z` behind the seconds or their fraction: the text is in UTC.
    Utc,
    Blanks,
    Year,
    YearOfCentury,
    Century,
    Month,
    MonthName,
    Day,
    DayOfYear,
    Hour,
    HourOfHalf,
    Half,
    Minute,
    Second,
    Epoch,
    Fraction,
    Offset,
    Zone,
    WeekdayName,
    /// A number of at most so many digits that means nothing to us: a week, a weekday.
    Ignored(u8),
    /// What no text fits.
    Unknown,
}

/// What has been read so far.
#[derive(Default)]
struct Parts {
    year: Option<i64>,
    year_of_century: Option<i64>,
    century: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    hour_of_half: Option<i64>,
    is_afternoon: bool,
    minute: i64,
    second: i64,
    epoch: Option<i64>,
    nanos: u32,
    offset: Option<i64>,
}

impl Format {
    /// Compiles a format. One with an unknown specifier compiles, and no text fits it.
    pub(super) fn compile(format: &str, offset: i32) -> Self {
        let mut items = Vec::new();
        let problem = compile_into(format, &mut items).err();
        if problem.is_some() {
            items.push(Item::Unknown);
        }
        Self { iso: Iso::of(&items), items, offset: i64::from(offset), problem }
    }

    /// Why no text fits, if so.
    pub(super) fn problem(&self) -> Option<FormatProblem> {
        self.problem
    }

    /// Reads a time. `read_at` gives the date to a format that has none.
    pub(super) fn read(&self, text: &[u8], read_at: EventTime) -> TimeFound {
        if let Some(found) = self.iso.and_then(|iso| iso.read(text, self.offset)) {
            return found;
        }
        self.read_slowly(text, read_at).unwrap_or(TimeFound::Unreadable)
    }

    fn read_slowly(&self, text: &[u8], read_at: EventTime) -> Option<TimeFound> {
        let mut parts = Parts::default();
        let mut rest = text;
        for item in &self.items {
            rest = parts.take(*item, rest)?;
        }
        Some(parts.time(self.offset, read_at))
    }
}

impl Iso {
    fn of(items: &[Item]) -> Option<Self> {
        use Item::{Day, Fraction, Hour, Literal, Minute, Month, Offset, Second, Utc, Year};
        let [Year, Literal(b'-'), Month, Literal(b'-'), Day, rest @ ..] = items else {
            return None;
        };
        let [separator, Hour, Literal(b':'), Minute, Literal(b':'), Second, rest @ ..] = rest
        else {
            return None;
        };
        let separator = match separator {
            Literal(byte) => *byte,
            Item::Blanks => b' ',
            _ => return None,
        };
        let (has_fraction, rest) = match rest {
            [Literal(b'.'), Fraction, rest @ ..] => (true, rest),
            _ => (false, rest),
        };
        let zone = match rest {
            [] => IsoZone::None,
            [Utc] => IsoZone::Utc,
            [Offset] => IsoZone::Offset,
            _ => return None,
        };
        Some(Self { separator, has_fraction, zone })
    }

    /// `None`: ask the slow path.
    fn read(self, text: &[u8], offset: i64) -> Option<TimeFound> {
        let (seconds, rest) = plain::iso_seconds(text, &[self.separator])?;
        let (nanos, rest) = match (self.has_fraction, rest) {
            (false, _) => (0, rest),
            (true, [b'.', digits @ ..]) => plain::fraction(digits)?,
            (true, _) => return None,
        };
        let offset = match (self.zone, rest) {
            (IsoZone::None, _) => offset,
            (IsoZone::Utc | IsoZone::Offset, [b'Z', ..]) => 0,
            (IsoZone::Utc, _) => return None,
            (IsoZone::Offset, _) => civil::offset(rest)?.0,
        };
        Some(at(seconds - offset, nanos))
    }
}

fn compile_into(format: &str, items: &mut Vec<Item>) -> Result<(), FormatProblem> {
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character.is_ascii_whitespace() {
            items.push(Item::Blanks);
            continue;
        }
        if character != '%' {
            if character == 'Z' && matches!(items.last(), Some(Item::Second | Item::Fraction)) {
                items.push(Item::Utc);
                continue;
            }
            let mut bytes = [0; 4];
            items.extend(character.encode_utf8(&mut bytes).bytes().map(Item::Literal));
            continue;
        }
        let mut specifier = characters.next();
        while let Some('E' | 'O') = specifier {
            specifier = characters.next();
        }
        compile_specifier(specifier, items)?;
    }
    Ok(())
}

fn compile_specifier(specifier: Option<char>, items: &mut Vec<Item>) -> Result<(), FormatProblem> {
    let item = match specifier {
        Some('Y') => Item::Year,
        Some('y') => Item::YearOfCentury,
        Some('C') => Item::Century,
        Some('m') => Item::Month,
        Some('b' | 'B' | 'h') => Item::MonthName,
        Some('d' | 'e') => Item::Day,
        Some('j') => Item::DayOfYear,
        Some('H' | 'k') => Item::Hour,
        Some('I' | 'l') => Item::HourOfHalf,
        Some('p') => Item::Half,
        Some('M') => Item::Minute,
        Some('S') => Item::Second,
        Some('s') => Item::Epoch,
        Some('L') => Item::Fraction,
        Some('z') => Item::Offset,
        Some('Z') => Item::Zone,
        Some('a' | 'A') => Item::WeekdayName,
        Some('u' | 'w') => Item::Ignored(1),
        Some('U' | 'W' | 'V' | 'g') => Item::Ignored(2),
        Some('G') => Item::Ignored(4),
        Some('n' | 't') => Item::Blanks,
        Some('%') => Item::Literal(b'%'),
        Some('D' | 'x') => return compile_into("%m/%d/%y", items),
        Some('F') => return compile_into("%Y-%m-%d", items),
        Some('R') => return compile_into("%H:%M", items),
        Some('r') => return compile_into("%I:%M:%S %p", items),
        Some('T' | 'X') => return compile_into("%H:%M:%S", items),
        Some('c') => return compile_into("%a %b %e %H:%M:%S %Y", items),
        specifier => return Err(FormatProblem { specifier }),
    };
    items.push(item);
    Ok(())
}

impl Parts {
    /// Takes one item from the start of the text, and gives what is left of it.
    fn take<'a>(&mut self, item: Item, text: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = text;
        match item {
            Item::Literal(byte) => rest = text.strip_prefix(&[byte])?,
            Item::Utc => {
                rest = text.strip_prefix(b"Z")?;
                self.offset = Some(0);
            }
            Item::Blanks => rest = text.trim_ascii_start(),
            Item::Year => self.year = Some(number(&mut rest, 4, 0..=9999)?),
            Item::YearOfCentury => self.year_of_century = Some(number(&mut rest, 2, 0..=99)?),
            Item::Century => self.century = Some(number(&mut rest, 2, 0..=99)?),
            Item::Month => self.month = Some(number(&mut rest, 2, 1..=12)?),
            Item::MonthName => self.month = Some(name(&mut rest, &MONTHS)? + 1),
            Item::Day => {
                rest = text.strip_prefix(b" ").unwrap_or(text);
                self.day = Some(number(&mut rest, 2, 1..=31)?);
            }
            Item::DayOfYear => self.day_of_year = Some(number(&mut rest, 3, 1..=366)?),
            Item::Hour => {
                rest = text.strip_prefix(b" ").unwrap_or(text);
                self.hour = number(&mut rest, 2, 0..=23)?;
            }
            Item::HourOfHalf => {
                rest = text.strip_prefix(b" ").unwrap_or(text);
                self.hour_of_half = Some(number(&mut rest, 2, 1..=12)?);
            }
            Item::Half => {
                self.is_afternoon = name(&mut rest, &["AM", "PM"])? == 1;
                let hour = self.hour_of_half.unwrap_or(self.hour);
                self.hour_of_half = Some(hour).filter(|hour| *hour <= 12);
                self.hour_of_half?;
            }
            Item::Minute => self.minute = number(&mut rest, 2, 0..=59)?,
            Item::Second => self.second = number(&mut rest, 2, 0..=60)?,
            Item::Epoch => self.epoch = Some(number(&mut rest, 18, 0..=i64::MAX)?),
            Item::Fraction => (self.nanos, rest) = plain::fraction(text)?,
            Item::Offset => {
                let (offset, behind) = civil::offset(text.trim_ascii_start())?;
                (self.offset, rest) = (Some(offset), behind);
            }
            Item::Zone => {
                let (offset, behind) = civil::zone(text)?;
                (self.offset, rest) = (Some(offset), behind);
            }
            Item::WeekdayName => {
                name(&mut rest, &WEEKDAYS)?;
            }
            Item::Ignored(digits) => {
                number(&mut rest, usize::from(digits), 0..=9999)?;
            }
            Item::Unknown => return None,
        }
        Some(rest)
    }

    fn time(&self, default_offset: i64, read_at: EventTime) -> TimeFound {
        if let Some(epoch) = self.epoch {
            return at(epoch, self.nanos);
        }
        let offset = self.offset.unwrap_or(default_offset);
        let days = self.days(offset, read_at);
        let hour = match self.hour_of_half {
            Some(hour) => hour % 12 + if self.is_afternoon { 12 } else { 0 },
            None => self.hour,
        };
        let seconds = days * 86_400 + hour * 3600 + self.minute * 60 + self.second;
        at(seconds - offset, self.nanos)
    }

    /// The date. What a format without a year does not say is today's.
    fn days(&self, offset: i64, read_at: EventTime) -> i64 {
        let today = (i64::from(read_at.seconds) + offset).div_euclid(86_400);
        let (this_year, this_month, this_day) = civil::date(today);
        let year = self.full_year();
        let missing = |of_today: i64| if year.is_some() { 1 } else { of_today };
        if let Some(day_of_year) = self.day_of_year {
            return civil::days(year.unwrap_or(this_year), 1, 1) + day_of_year - 1;
        }
        let month = self.month.unwrap_or_else(|| missing(this_month));
        let day =
            self.day.unwrap_or_else(|| if self.month.is_some() { 1 } else { missing(this_day) });
        civil::days(year.unwrap_or(this_year), month, day)
    }

    fn full_year(&self) -> Option<i64> {
        let in_century = |year: i64| match self.century {
            Some(century) => century * 100 + year,
            None if year <= 68 => 2000 + year,
            None => 1900 + year,
        };
        self.year
            .or_else(|| self.year_of_century.map(in_century))
            .or_else(|| self.century.map(|century| century * 100))
    }
}

/// A number of at most `digits` digits, within a range.
fn number(text: &mut &[u8], digits: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let length = text.iter().take(digits).take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(length);
    let value = number.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    *text = rest;
    (length > 0 && range.contains(&value)).then_some(value)
}

/// One of several names, whole or its first three letters, in any case: its index.
fn name(text: &mut &[u8], names: &[&str]) -> Option<i64> {
    let starts = |word: &str| {
        text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    for (index, whole) in names.iter().enumerate() {
        let short = &whole[..whole.len().min(3)];
        if let Some(word) = [*whole, short].into_iter().find(|word| starts(word)) {
            *text = &text[word.len()..];
            return i64::try_from(index).ok();
        }
    }
    None
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-24T08:26:13Z.
    const READ_AT: EventTime = crate::parse::oracle::READ_AT;

    fn time(seconds: i64, nanos: u32) -> TimeFound {
        TimeFound::At(EventTime::new(seconds, nanos).unwrap())
    }

    fn read(format: &str, text: &str) -> TimeFound {
        Format::compile(format, 0).read(text.as_bytes(), READ_AT)
    }

    #[test]
    fn times_are_read_as_their_format_says() {
        let at = 1_767_323_045;
        for (format, text, expected) in [
            ("%Y-%m-%dT%H:%M:%S.%L", "2026-01-02T03:04:05.678", time(at, 678_000_000)),
            ("%Y-%m-%dT%H:%M:%S.%L", "2026-01-02T03:04:05.678Ztrailing", time(at, 678_000_000)),
            ("%Y-%m-%dT%H:%M:%S.%L%z", "2026-01-02T05:04:05.1+02:00", time(at, 100_000_000)),
            ("%Y-%m-%dT%H:%M:%S%z", "2026-01-02T03:04:05Z", time(at, 0)),
            ("%Y-%m-%dT%H:%M:%S%z", "2026-01-02T03:04:05 GMT", time(at, 0)),
            ("%Y-%m-%dT%H:%M:%S.%LZ", "2026-01-02T03:04:05.001001Z", time(at, 1_001_000)),
            ("%Y-%m-%dT%H:%M:%S.%L", "2026-01-02T03:04:05.1234567891Z", time(at, 123_456_789)),
            ("%Y-%m-%dT%H:%M:%S%z.%L", "2026-01-02T05:04:05+0200.5", time(at, 500_000_000)),
            ("%d/%b/%Y:%H:%M:%S %z", "02/Jan/2026:05:04:05 +0200", time(at, 0)),
            ("%d/%B/%Y:%H:%M:%S %Z", "02/january/2026:04:04:05 CET", time(at, 0)),
            ("%a %b %e %T %Y", "Fri Jan  2 03:04:05 2026", time(at, 0)),
            ("%c", "Fri Jan  2 03:04:05 2026", time(at, 0)),
            ("%D %r", "01/02/26 03:04:05 AM", time(at, 0)),
            ("%D %I:%M:%S %p", "01/02/26 03:04:05 pm", time(at + 12 * 3600, 0)),
            ("%F %R", "2026-01-02 03:04", time(at - 5, 0)),
            ("%s", "1767323045", time(at, 0)),
            ("%s.%L", "1767323045.25", time(at, 250_000_000)),
            ("%Y-%j", "2026-002", time(1_767_312_000, 0)),
            ("%y%m%d", "260102", time(1_767_312_000, 0)),
            ("%y%m%d", "690102", TimeFound::OutOfRange),
            ("%H:%M:%S", "10:00:01", time(1_795_514_401, 0)),
            ("%b %d %H:%M:%S", "Jan  2 03:04:05", time(at, 0)),
            ("%Y-%m-%d %H:%M:%S", "2026-02-30 00:00:00", time(1_772_409_600, 0)),
            ("%Y-%m-%dT%H:%M:%S", "2026-01-02T03:04:60", time(at + 55, 0)),
            ("%Y-%m-%dT%H:%M:%S", "1970-01-01T00:00:00", time(0, 0)),
            ("%Y-%m-%dT%H:%M:%S", "1969-12-31T23:59:59", TimeFound::OutOfRange),
            ("%%%Y", "%2026", time(1_767_225_600, 0)),
            ("%Y-%m-%dT%H:%M:%S.%L%z", "2026-01-02T03:04:05Z", TimeFound::Unreadable),
            ("%Y-%m-%dT%H:%M:%S.%L", "2026-01-02T03:04:05", TimeFound::Unreadable),
            ("%Y-%m-%dT%H:%M:%S", "2026-01-02 03:04:05", TimeFound::Unreadable),
            ("%Y-%m-%dT%H:%M:%S", "2026-01-02T03:04", TimeFound::Unreadable),
            ("%Y-%m-%d", "2026-13-02", TimeFound::Unreadable),
            ("%d/%b/%Y:%H:%M:%S %z", "2026-01-02T03:04:05Z", TimeFound::Unreadable),
            ("%Y %f", "2026 5", TimeFound::Unreadable),
        ] {
            assert_eq!(read(format, text), expected, "{format} on {text}");
        }
    }

    /// A line of `formats.jsonl`.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        format: String,
        text: String,
        #[serde(default)]
        offset: i32,
        time: String,
    }

    impl Case {
        fn expected(&self) -> TimeFound {
            match self.time.as_str() {
                "unreadable" => TimeFound::Unreadable,
                "out of range" => TimeFound::OutOfRange,
                time_text => {
                    let stamp = DateTime::parse_from_rfc3339(time_text).unwrap();
                    time(stamp.timestamp(), stamp.timestamp_subsec_nanos())
                }
            }
        }
    }

    #[test]
    fn the_fixture_is_read_as_it_says_by_both_paths() {
        let mut wrong = Vec::new();
        for line in include_str!("../../../fixtures/parse/time/formats.jsonl").lines() {
            let case: Case = serde_json::from_str(line).unwrap();
            let format = Format::compile(&case.format, case.offset);
            let slowly = format.read_slowly(case.text.as_bytes(), READ_AT);
            let both = [
                format.read(case.text.as_bytes(), READ_AT),
                slowly.unwrap_or(TimeFound::Unreadable),
            ];
            if both != [case.expected(); 2] {
                wrong.push(format!("{line}: {both:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn an_offset_is_used_only_where_the_text_has_no_zone() {
        let format = Format::compile("%Y-%m-%dT%H:%M:%S", 7200);
        assert_eq!(format.read(b"2026-01-02T05:04:05", READ_AT), time(1_767_323_045, 0));
        let format = Format::compile("%Y-%m-%dT%H:%M:%S%z", 7200);
        assert_eq!(format.read(b"2026-01-02T03:04:05Z", READ_AT), time(1_767_323_045, 0));
    }

    #[test]
    fn a_specifier_that_nobody_knows_is_named() {
        for (format, expected) in [
            ("%Y.%f", "%f is not known, so no time fits the format; write %L for fractions"),
            ("%S.%3N", "%3 is not known"),
            ("%Y%", "it ends with a single %"),
        ] {
            let problem = Format::compile(format, 0).problem().unwrap().to_string();
            assert!(problem.starts_with(expected), "{problem}");
        }
        assert_eq!(Format::compile("%Ey-%Om", 0).problem(), None);
    }

    proptest! {
        #[test]
        fn the_fast_path_answers_as_the_slow_one_and_as_the_calendar(
            seconds in 0_i64..0xffff_fffd,
            nanos in 0_u32..1_000_000_000,
            digits in 1_usize..10,
            zone in prop::sample::select(vec!["", "Z", "+02:00", "-0530", "+01", " GMT"]),
        ) {
            let stamp = DateTime::from_timestamp(seconds, nanos).unwrap();
            let fraction = &format!("{nanos:09}")[..digits];
            let text = format!("{}.{fraction}{zone}", stamp.format("%Y-%m-%dT%H:%M:%S"));
            for format in ["%Y-%m-%dT%H:%M:%S.%L", "%Y-%m-%dT%H:%M:%S.%L%z", "%Y-%m-%dT%H:%M:%S.%LZ", "%Y-%m-%dT%H:%M:%S"] {
                let format = Format::compile(format, 3600);
                let slow = format.read_slowly(text.as_bytes(), READ_AT);
                prop_assert!(format.iso.is_some());
                let expected = slow.unwrap_or(TimeFound::Unreadable);
                prop_assert_eq!(format.read(text.as_bytes(), READ_AT), expected, "{}", text);
            }
            if zone.is_empty() {
                let cut = fraction.parse::<u32>().unwrap() * 10_u32.pow(9 - u32::try_from(digits).unwrap());
                prop_assert_eq!(read("%Y-%m-%dT%H:%M:%S.%L", &text), time(seconds, cut));
            }
        }

        #[test]
        fn nearly_right_stamps_are_read_alike_by_both_paths(
            at in 0_usize..26,
            byte in any::<u8>(),
        ) {
            let mut text = b"2026-01-02T03:04:05.678Z+02".to_vec();
            text[at] = byte;
            for format in ["%Y-%m-%dT%H:%M:%S.%L", "%Y-%m-%dT%H:%M:%S.%L%z", "%Y-%m-%d %H:%M:%S%z"] {
                let format = Format::compile(format, 0);
                let slow = format.read_slowly(&text, READ_AT).unwrap_or(TimeFound::Unreadable);
                prop_assert_eq!(format.read(&text, READ_AT), slow);
            }
        }

        #[test]
        fn no_text_and_no_format_makes_it_panic(format: String, text: Vec<u8>) {
            Format::compile(&format, 0).read(&text, READ_AT);
        }
    }
}
