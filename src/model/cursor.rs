//! Reads MessagePack.
//!
//! In:  bytes, in any valid encoding: the shortest one or not
//! Out: tokens that borrow from those bytes, or where and why they cannot be read
//!
//! [`Reader`] is for bytes that are all there. [`Scanner`] finds where a value ends while its
//! bytes are still arriving, and looks at each of them once. Neither copies, and neither
//! believes a length before the bytes behind it are there.

/// How deep arrays and maps may be nested: a value inside 64 of them is still read.
pub const MAX_DEPTH: usize = 64;

/// The longest header, in bytes: marker, and a number of eight.
pub const LONGEST_HEADER: usize = 9;

/// One MessagePack value; of an array or a map, only its header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// Nil.
    Nil,
    /// True or false.
    Bool(bool),
    /// An integer of any width that is not negative.
    Unsigned(u64),
    /// An integer of any width that is negative.
    Negative(i64),
    /// A float of 32 bits.
    F32(f32),
    /// A float of 64 bits.
    F64(f64),
    /// A str. Peers put bytes into it that are not UTF-8 (forward protocol, nonces of Fluent
    /// Bit), so it stays bytes.
    Str(&'a [u8]),
    /// A bin.
    Bin(&'a [u8]),
    /// An extension: its type and its bytes.
    Ext(i8, &'a [u8]),
    /// An array of so many values, which follow.
    Array(u32),
    /// A map of so many pairs, which follow.
    Map(u32),
}

impl Token<'_> {
    /// What people call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a boolean",
            Self::Unsigned(_) | Self::Negative(_) => "an integer",
            Self::F32(_) | Self::F64(_) => "a float",
            Self::Str(_) => "a str",
            Self::Bin(_) => "a bin",
            Self::Ext(..) => "an extension",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
        }
    }
}

/// Why bytes are not MessagePack, or not the MessagePack that is due here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// More bytes could make it whole. All others stay wrong whatever follows.
    #[error("the bytes end inside a value")]
    Incomplete,
    /// The byte `c1`.
    #[error("0xc1 begins no MessagePack value")]
    NeverUsed,
    /// More than [`MAX_DEPTH`] arrays and maps inside each other.
    #[error("values are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What would be right.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
}

/// A [`Fault`] and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {fault}")]
pub struct ReadError {
    /// Bytes before the value that cannot be read.
    pub at: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// A cursor over MessagePack bytes. After an error it stands where it stood before the call.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The bytes between two places this reader stood at.
    pub fn between(&self, from: usize, to: usize) -> &'a [u8] {
        &self.bytes[from..to]
    }

    /// What is not yet read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Reads one token: a scalar with its bytes, or the header of an array or a map.
    pub fn token(&mut self) -> Result<Token<'a>, ReadError> {
        let rest = self.rest();
        let header = Header::of(rest).map_err(|fault| ReadError { at: self.at, fault })?;
        if rest.len() < header.length.saturating_add(header.payload) {
            return Err(ReadError { at: self.at, fault: Fault::Incomplete });
        }
        self.at += header.length + header.payload;
        Ok(header.token(rest))
    }

    /// The next token, left where it is.
    pub fn peek(&self) -> Result<Token<'a>, ReadError> {
        let mut ahead = *self;
        ahead.token()
    }

    /// What stands here, by its header: of a str, a bin or an extension only as many bytes as there
    /// are.
    pub fn look(&self) -> Result<Token<'a>, ReadError> {
        let header = Header::of(self.rest()).map_err(|fault| ReadError { at: self.at, fault })?;
        Ok(header.token(self.rest()))
    }

    /// Reads a whole value, whatever is inside, and returns its bytes.
    pub fn skip(&mut self) -> Result<&'a [u8], ReadError> {
        self.skip_inside(0)
    }

    /// Reads a whole value that lies inside `outer` arrays and maps, which count towards
    /// [`MAX_DEPTH`].
    pub fn skip_inside(&mut self, outer: usize) -> Result<&'a [u8], ReadError> {
        let from = self.at;
        let mut scanner = Scanner::inside(outer);
        match scanner.scan(self.rest()) {
            Ok(Some(length)) => {
                self.at += length;
                Ok(&self.bytes[from..self.at])
            }
            Ok(None) => Err(ReadError { at: from, fault: Fault::Incomplete }),
            Err(error) => Err(ReadError { at: from + error.at, fault: error.fault }),
        }
    }

    /// Reads a str or a bin: peers use both for text and for bytes.
    pub fn text(&mut self, expected: &'static str) -> Result<&'a [u8], ReadError> {
        match self.peek()? {
            Token::Str(bytes) | Token::Bin(bytes) => self.step_over(bytes),
            other => Err(self.unexpected(expected, other)),
        }
    }

    /// Reads the header of an array: how many values follow.
    pub fn array(&mut self, expected: &'static str) -> Result<u32, ReadError> {
        match self.look()? {
            Token::Array(values) => self.step_over(values),
            other => Err(self.unexpected(expected, other)),
        }
    }

    /// Reads the header of a map: how many pairs follow.
    pub fn map(&mut self, expected: &'static str) -> Result<u32, ReadError> {
        match self.look()? {
            Token::Map(pairs) => self.step_over(pairs),
            other => Err(self.unexpected(expected, other)),
        }
    }

    /// The error for a token that stands here and is not `expected`.
    pub fn unexpected(&self, expected: &'static str, found: Token<'_>) -> ReadError {
        ReadError { at: self.at, fault: Fault::Unexpected { expected, found: found.name() } }
    }

    fn step_over<T>(&mut self, value: T) -> Result<T, ReadError> {
        self.token().map(|_| value)
    }
}

/// Finds the end of a value whose bytes are still arriving, without reading any of them twice.
///
/// Its own memory is a few bytes an open array or map, so [`MAX_DEPTH`] bounds it.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// Where the next header begins; beyond the bytes at hand while a long str is arriving.
    at: usize,
    /// How many values are still due in each open array and map, the outermost first.
    open: Vec<u64>,
    /// How many arrays and maps lie around the value.
    outer: usize,
    begun: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// Stands before the first byte of a value.
    pub fn new() -> Self {
        Self::inside(0)
    }

    fn inside(outer: usize) -> Self {
        Self { at: 0, open: Vec::new(), outer, begun: false }
    }

    /// Goes on with `bytes`: the value from its first byte, with what has come since the last
    /// call at the end. `Some` is the length of the value, once it is all there.
    ///
    /// Start over with a new scanner after `Some` or an error.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, ReadError> {
        self.scan_until(bytes, Self::is_done)
    }

    /// The same, but stops before the last element of the outermost array or map: `Some` is how
    /// many bytes lie before it. After that, [`Scanner::scan`] goes on.
    pub fn scan_to_last(&mut self, bytes: &[u8]) -> Result<Option<usize>, ReadError> {
        self.scan_until(bytes, |scanner| scanner.open[..] == [1] || scanner.is_done())
    }

    fn scan_until(
        &mut self,
        bytes: &[u8],
        is_there: impl Fn(&Self) -> bool,
    ) -> Result<Option<usize>, ReadError> {
        while !is_there(self) {
            let Some(rest) = bytes.get(self.at..) else {
                return Ok(None);
            };
            let header = match Header::of(rest) {
                Ok(header) => header,
                Err(Fault::Incomplete) => return Ok(None),
                Err(fault) => return Err(ReadError { at: self.at, fault }),
            };
            self.enter(header)?;
        }
        Ok((self.at <= bytes.len()).then_some(self.at))
    }

    /// The first bytes of the value are no longer at hand, as many of the first `count` as were
    /// scanned: that many are answered. From now on bytes and places count from behind them.
    pub fn forget(&mut self, count: usize) -> usize {
        let forgotten = self.at.min(count);
        self.at -= forgotten;
        forgotten
    }

    /// How many bytes the value has at least, by what was seen of it so far.
    pub fn least_length(&self) -> usize {
        self.at
    }

    /// Whether only one value at most is due behind the scalar at hand, besides what is inside of
    /// it: in a frame whose entries are one str or bin, its option.
    pub fn is_before_last(&self) -> bool {
        match self.open[..] {
            [] => true,
            [due] => due <= 1,
            _ => false,
        }
    }

    fn is_done(&self) -> bool {
        self.begun && self.open.is_empty()
    }

    fn enter(&mut self, header: Header) -> Result<(), ReadError> {
        self.begun = true;
        if let Some(due) = self.open.last_mut() {
            *due -= 1;
        }
        if header.values > 0 {
            if self.outer + self.open.len() >= MAX_DEPTH {
                return Err(ReadError { at: self.at, fault: Fault::TooDeep });
            }
            self.open.push(header.values);
        }
        self.at = self.at.saturating_add(header.length).saturating_add(header.payload);
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        Ok(())
    }
}

/// The first bytes of a value.
#[derive(Clone, Copy, Debug)]
struct Header {
    kind: Kind,
    /// How many bytes the header itself has.
    length: usize,
    /// How many bytes of a str, bin or extension follow it.
    payload: usize,
    /// How many values of an array or a map follow it.
    values: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Str,
    Bin,
    Ext(i8),
    Array(u32),
    Map(u32),
}

impl Header {
    /// The header at the start of `bytes`. Reads no more than [`LONGEST_HEADER`] of them.
    fn of(bytes: &[u8]) -> Result<Self, Fault> {
        let Some((&marker, rest)) = bytes.split_first() else {
            return Err(Fault::Incomplete);
        };
        let rest = &rest[..rest.len().min(LONGEST_HEADER - 1)];
        Ok(match marker {
            0x00..=0x7f => Self::scalar(1, Kind::Unsigned(u64::from(marker))),
            0x80..=0x8f => Self::map(1, u32::from(marker & 0x0f)),
            0x90..=0x9f => Self::array(1, u32::from(marker & 0x0f)),
            0xa0..=0xbf => Self::bytes(1, Kind::Str, u32::from(marker & 0x1f)),
            0xc0 => Self::scalar(1, Kind::Nil),
            0xc1 => return Err(Fault::NeverUsed),
            0xc2 => Self::scalar(1, Kind::Bool(false)),
            0xc3 => Self::scalar(1, Kind::Bool(true)),
            0xc4 => Self::bytes(2, Kind::Bin, u32::from(u8::from_be_bytes(first(rest)?))),
            0xc5 => Self::bytes(3, Kind::Bin, u32::from(u16::from_be_bytes(first(rest)?))),
            0xc6 => Self::bytes(5, Kind::Bin, u32::from_be_bytes(first(rest)?)),
            0xc7 => {
                let [length, kind] = first(rest)?;
                Self::bytes(3, Kind::Ext(i8::from_be_bytes([kind])), u32::from(length))
            }
            0xc8 => {
                let [a, b, kind] = first(rest)?;
                let length = u16::from_be_bytes([a, b]);
                Self::bytes(4, Kind::Ext(i8::from_be_bytes([kind])), u32::from(length))
            }
            0xc9 => {
                let [a, b, c, d, kind] = first(rest)?;
                let length = u32::from_be_bytes([a, b, c, d]);
                Self::bytes(6, Kind::Ext(i8::from_be_bytes([kind])), length)
            }
            0xca => Self::scalar(5, Kind::F32(f32::from_be_bytes(first(rest)?))),
            0xcb => Self::scalar(9, Kind::F64(f64::from_be_bytes(first(rest)?))),
            0xcc => Self::scalar(2, Kind::Unsigned(u8::from_be_bytes(first(rest)?).into())),
            0xcd => Self::scalar(3, Kind::Unsigned(u16::from_be_bytes(first(rest)?).into())),
            0xce => Self::scalar(5, Kind::Unsigned(u32::from_be_bytes(first(rest)?).into())),
            0xcf => Self::scalar(9, Kind::Unsigned(u64::from_be_bytes(first(rest)?))),
            0xd0 => Self::scalar(2, Kind::Signed(i8::from_be_bytes(first(rest)?).into())),
            0xd1 => Self::scalar(3, Kind::Signed(i16::from_be_bytes(first(rest)?).into())),
            0xd2 => Self::scalar(5, Kind::Signed(i32::from_be_bytes(first(rest)?).into())),
            0xd3 => Self::scalar(9, Kind::Signed(i64::from_be_bytes(first(rest)?))),
            0xd4..=0xd8 => {
                let [kind] = first(rest)?;
                Self::bytes(2, Kind::Ext(i8::from_be_bytes([kind])), 1 << (marker - 0xd4))
            }
            0xd9 => Self::bytes(2, Kind::Str, u32::from(u8::from_be_bytes(first(rest)?))),
            0xda => Self::bytes(3, Kind::Str, u32::from(u16::from_be_bytes(first(rest)?))),
            0xdb => Self::bytes(5, Kind::Str, u32::from_be_bytes(first(rest)?)),
            0xdc => Self::array(3, u32::from(u16::from_be_bytes(first(rest)?))),
            0xdd => Self::array(5, u32::from_be_bytes(first(rest)?)),
            0xde => Self::map(3, u32::from(u16::from_be_bytes(first(rest)?))),
            0xdf => Self::map(5, u32::from_be_bytes(first(rest)?)),
            0xe0..=0xff => Self::scalar(1, Kind::Signed(i8::from_be_bytes([marker]).into())),
        })
    }

    fn scalar(length: usize, kind: Kind) -> Self {
        Self { kind, length, payload: 0, values: 0 }
    }

    fn bytes(length: usize, kind: Kind, payload: u32) -> Self {
        Self { kind, length, payload: payload as usize, values: 0 }
    }

    fn array(length: usize, values: u32) -> Self {
        Self { kind: Kind::Array(values), length, payload: 0, values: u64::from(values) }
    }

    fn map(length: usize, pairs: u32) -> Self {
        Self { kind: Kind::Map(pairs), length, payload: 0, values: 2 * u64::from(pairs) }
    }

    /// The token that `bytes` begin with, and as much of its own bytes as is there.
    fn token(self, bytes: &[u8]) -> Token<'_> {
        let payload = bytes.get(self.length..).unwrap_or_default();
        let payload = &payload[..payload.len().min(self.payload)];
        match self.kind {
            Kind::Nil => Token::Nil,
            Kind::Bool(value) => Token::Bool(value),
            Kind::Unsigned(value) => Token::Unsigned(value),
            Kind::Signed(value) => match u64::try_from(value) {
                Ok(value) => Token::Unsigned(value),
                Err(_) => Token::Negative(value),
            },
            Kind::F32(value) => Token::F32(value),
            Kind::F64(value) => Token::F64(value),
            Kind::Str => Token::Str(payload),
            Kind::Bin => Token::Bin(payload),
            Kind::Ext(kind) => Token::Ext(kind, payload),
            Kind::Array(values) => Token::Array(values),
            Kind::Map(pairs) => Token::Map(pairs),
        }
    }
}

fn first<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.first_chunk().copied().ok_or(Fault::Incomplete)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_encoding_of_a_value_reads_as_that_value() {
        let cases: &[(&[u8], Token<'_>)] = &[
            (&[0xc0], Token::Nil),
            (&[0xc2], Token::Bool(false)),
            (&[0xc3], Token::Bool(true)),
            (&[0x7f], Token::Unsigned(127)),
            (&[0xcc, 5], Token::Unsigned(5)),
            (&[0xcd, 0, 5], Token::Unsigned(5)),
            (&[0xce, 0, 0, 0, 5], Token::Unsigned(5)),
            (&[0xcf, 0, 0, 0, 0, 0, 0, 0, 5], Token::Unsigned(5)),
            (&[0xcf, 255, 255, 255, 255, 255, 255, 255, 255], Token::Unsigned(u64::MAX)),
            (&[0xd0, 5], Token::Unsigned(5)),
            (&[0xd1, 0, 5], Token::Unsigned(5)),
            (&[0xd2, 0, 0, 0, 5], Token::Unsigned(5)),
            (&[0xd3, 0, 0, 0, 0, 0, 0, 0, 5], Token::Unsigned(5)),
            (&[0xff], Token::Negative(-1)),
            (&[0xe0], Token::Negative(-32)),
            (&[0xd0, 0x80], Token::Negative(-128)),
            (&[0xd1, 0x80, 0], Token::Negative(-32_768)),
            (&[0xd2, 0x80, 0, 0, 0], Token::Negative(i64::from(i32::MIN))),
            (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], Token::Negative(i64::MIN)),
            (&[0xca, 0x3f, 0x80, 0, 0], Token::F32(1.0)),
            (&[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0], Token::F64(1.0)),
            (&[0xa1, b'x'], Token::Str(b"x")),
            (&[0xd9, 1, b'x'], Token::Str(b"x")),
            (&[0xda, 0, 1, b'x'], Token::Str(b"x")),
            (&[0xdb, 0, 0, 0, 1, b'x'], Token::Str(b"x")),
            (&[0xc4, 1, 9], Token::Bin(&[9])),
            (&[0xc5, 0, 1, 9], Token::Bin(&[9])),
            (&[0xc6, 0, 0, 0, 1, 9], Token::Bin(&[9])),
            (&[0xd4, 5, 9], Token::Ext(5, &[9])),
            (&[0xd5, 5, 9, 9], Token::Ext(5, &[9, 9])),
            (&[0xd6, 5, 9, 9, 9, 9], Token::Ext(5, &[9; 4])),
            (&[0xd7, 0xff, 9, 9, 9, 9, 9, 9, 9, 9], Token::Ext(-1, &[9; 8])),
            (&[0xc7, 1, 5, 9], Token::Ext(5, &[9])),
            (&[0xc8, 0, 1, 5, 9], Token::Ext(5, &[9])),
            (&[0xc9, 0, 0, 0, 1, 5, 9], Token::Ext(5, &[9])),
            (&[0x92], Token::Array(2)),
            (&[0xdc, 0, 2], Token::Array(2)),
            (&[0xdd, 0, 0, 0, 2], Token::Array(2)),
            (&[0x82], Token::Map(2)),
            (&[0xde, 0, 2], Token::Map(2)),
            (&[0xdf, 0, 0, 0, 2], Token::Map(2)),
        ];
        for (bytes, expected) in cases {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.token(), Ok(*expected), "{bytes:02x?}");
            assert!(reader.is_at_end(), "{bytes:02x?}");
            for cut in 0..bytes.len() {
                let error = Reader::new(&bytes[..cut]).token().unwrap_err();
                assert_eq!(error.fault, Fault::Incomplete, "{bytes:02x?} cut to {cut}");
            }
        }
    }

    fn arrays(depth: usize) -> Vec<u8> {
        let mut bytes = vec![0x91; depth];
        bytes.push(0xc0);
        bytes
    }

    #[test]
    fn nesting_ends_at_64_for_what_is_read_and_for_what_is_around_it() {
        assert!(Reader::new(&arrays(MAX_DEPTH)).skip().is_ok());
        let error = Reader::new(&arrays(MAX_DEPTH + 1)).skip().unwrap_err();
        assert_eq!(error, ReadError { at: MAX_DEPTH, fault: Fault::TooDeep });
        assert!(Reader::new(&arrays(MAX_DEPTH - 2)).skip_inside(2).is_ok());
        assert!(Reader::new(&arrays(MAX_DEPTH - 1)).skip_inside(2).is_err());
    }

    #[test]
    fn a_claimed_length_costs_nothing_until_its_bytes_are_there() {
        for bytes in
            [[0xdb, 255, 255, 255, 255], [0xdd, 255, 255, 255, 255], [0xdf, 255, 255, 255, 255]]
        {
            let mut scanner = Scanner::new();
            assert_eq!(scanner.scan(&bytes), Ok(None), "{bytes:02x?}");
            assert!(scanner.least_length() >= 5, "{bytes:02x?}");
            assert!(scanner.open.capacity() <= MAX_DEPTH, "{bytes:02x?}");
        }
        let mut scanner = Scanner::new();
        assert_eq!(scanner.scan(&[0xdb, 255, 255, 255, 255]), Ok(None));
        assert_eq!(scanner.least_length(), 5 + 0xffff_ffff, "said before the bytes come");
    }

    #[test]
    fn the_never_used_byte_is_an_error_at_its_place() {
        let error = Reader::new(&[0x92, 0x01, 0xc1]).skip().unwrap_err();
        assert_eq!(error, ReadError { at: 2, fault: Fault::NeverUsed });
    }

    proptest! {
        #[test]
        fn a_value_ends_at_the_same_place_however_its_bytes_arrive(
            bytes: Vec<u8>, cuts in prop::collection::vec(0_usize..64, 0..8),
        ) {
            let at_once = Scanner::new().scan(&bytes);
            let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
            cuts.sort_unstable();
            let mut scanner = Scanner::new();
            let mut found = None;
            for cut in cuts {
                match scanner.scan(&bytes[..cut]) {
                    Ok(None) => {}
                    done => { found = Some(done); break; }
                }
            }
            prop_assert_eq!(found.unwrap_or_else(|| scanner.scan(&bytes)), at_once);
        }

        #[test]
        fn skipping_agrees_with_reading_token_by_token(bytes: Vec<u8>) {
            let mut by_token = Reader::new(&bytes);
            let mut due = 1_u64;
            let mut outcome = Ok(());
            while due > 0 {
                due -= 1;
                match by_token.token() {
                    Ok(Token::Array(values)) => due += u64::from(values),
                    Ok(Token::Map(pairs)) => due += 2 * u64::from(pairs),
                    Ok(_) => {}
                    Err(error) => { outcome = Err(error.fault); break; }
                }
            }
            let mut skipping = Reader::new(&bytes);
            let skipped = skipping.skip().map(|_| ()).map_err(|error| error.fault);
            if skipped == Err(Fault::TooDeep) {
                return Ok(());
            }
            prop_assert_eq!(skipped, outcome);
            if outcome.is_ok() {
                prop_assert_eq!(skipping.at(), by_token.at());
            }
        }
    }
}
