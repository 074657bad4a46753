//! `model::cursor`: what reads MessagePack, and cuts a stream into values.

use log_ambassador::model::cursor::{Fault, ReadError, Reader, Scanner, Token};
use rmpv::ValueRef;

use super::memory::within;
use super::pieces;

/// A scanner remembers 64 levels, 8 bytes each; while it grows it has them twice.
const SCANNER: usize = 1024;

/// - A value ends where another reader says, and every token is the one that it read.
/// - Values and errors do not depend on how the bytes arrive.
/// - Nothing is held but the scanner, whatever lengths are claimed.
/// - A place is inside of the bytes, and what a scanner foretells comes true.
pub fn check(bytes: &[u8]) {
    let at_once = within(SCANNER, || Reader::new(bytes).skip().map(<[u8]>::len));
    check_against_another(bytes, at_once);
    let [whole, single, anyhow] = pieces::ways(bytes).map(|pieces| cut(&pieces));
    assert_eq!(single, whole, "byte for byte");
    assert_eq!(anyhow, whole, "in some pieces");
    check_foretold(bytes);
}

fn check_against_another(bytes: &[u8], at_once: Result<usize, ReadError>) {
    let mut rest = bytes;
    match at_once {
        Ok(length) => {
            let value = rmpv::decode::read_value_ref(&mut rest).expect("another reader takes it");
            assert_eq!(bytes.len() - rest.len(), length, "another reader ends elsewhere");
            let mut reader = Reader::new(&bytes[..length]);
            check_tokens(&mut reader, &value);
            assert!(reader.is_at_end());
        }
        Err(ReadError { at, fault }) => {
            assert!(at <= bytes.len(), "{at} is outside");
            // The other takes c1 for nil, and a thousand levels.
            if fault == Fault::Incomplete {
                rmpv::decode::read_value_ref(&mut rest).expect_err("another reader refuses it");
            }
        }
    }
}

fn check_tokens(reader: &mut Reader<'_>, value: &ValueRef<'_>) {
    check_kinds(*reader);
    let token = reader.token().expect("the value was read before");
    match (token, value) {
        (Token::Nil, ValueRef::Nil) => {}
        (Token::Bool(ours), ValueRef::Boolean(theirs)) => assert_eq!(ours, *theirs),
        (Token::Unsigned(ours), ValueRef::Integer(theirs)) => {
            assert_eq!(Some(ours), theirs.as_u64());
        }
        (Token::Negative(ours), ValueRef::Integer(theirs)) => {
            assert!(ours < 0 && Some(ours) == theirs.as_i64());
        }
        (Token::F32(ours), ValueRef::F32(theirs)) => assert_eq!(ours.to_bits(), theirs.to_bits()),
        (Token::F64(ours), ValueRef::F64(theirs)) => assert_eq!(ours.to_bits(), theirs.to_bits()),
        (Token::Str(ours), ValueRef::String(theirs)) => assert_eq!(ours, theirs.as_bytes()),
        (Token::Bin(ours), ValueRef::Binary(theirs)) => assert_eq!(ours, *theirs),
        (Token::Ext(kind, ours), ValueRef::Ext(their_kind, theirs)) => {
            assert_eq!((kind, ours), (*their_kind, *theirs));
        }
        (Token::Array(values), ValueRef::Array(theirs)) => {
            assert_eq!(values as usize, theirs.len());
            theirs.iter().for_each(|value| check_tokens(reader, value));
        }
        (Token::Map(pairs), ValueRef::Map(theirs)) => {
            assert_eq!(pairs as usize, theirs.len());
            for (key, value) in theirs {
                check_tokens(reader, key);
                check_tokens(reader, value);
            }
        }
        (ours, theirs) => panic!("{ours:?} is {theirs:?} to another reader"),
    }
}

/// Whoever asks for a kind gets it and is behind it, or stays where it was.
fn check_kinds(reader: Reader<'_>) {
    let token = reader.peek().expect("the value was read before");
    let (mut text, mut array, mut map) = (reader, reader, reader);
    let is_text = matches!(token, Token::Str(_) | Token::Bin(_));
    assert_eq!(text.text("a str").is_ok(), is_text);
    assert_eq!(array.array("an array").is_ok(), matches!(token, Token::Array(_)));
    assert_eq!(map.map("a map").is_ok(), matches!(token, Token::Map(_)));
    let moved = [text, array, map].iter().filter(|after| after.at() > reader.at()).count();
    assert_eq!(moved, usize::from(is_text || matches!(token, Token::Array(_) | Token::Map(_))));
}

/// The lengths of the values in a stream, and how it ends, as a receiver cuts it.
fn cut(pieces: &[&[u8]]) -> (Vec<usize>, Result<usize, ReadError>) {
    let (mut lengths, mut held, mut scanner) = (Vec::new(), Vec::new(), Scanner::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        while !held.is_empty() {
            let least = scanner.least_length();
            match within(SCANNER, || scanner.scan(&held)) {
                Ok(Some(length)) => {
                    assert!(least <= length && length <= held.len(), "{least} {length}");
                    lengths.push(length);
                    held.drain(..length);
                    scanner = Scanner::new();
                }
                Ok(None) => {
                    assert!(least <= scanner.least_length(), "it shrinks");
                    break;
                }
                Err(error) => return (lengths, Err(error)),
            }
        }
    }
    (lengths, Ok(held.len()))
}

/// Behind the place where only the last value is due, there is no more than one.
fn check_foretold(bytes: &[u8]) {
    let mut scanner = Scanner::new();
    let mut last_begins = Vec::new();
    for end in 0..=bytes.len() {
        match scanner.scan(&bytes[..end]) {
            Ok(None) if scanner.is_before_last() => last_begins.push(scanner.least_length()),
            Ok(None) => {}
            Ok(Some(length)) => {
                for begin in last_begins {
                    let last = &bytes[begin..length];
                    let read = Reader::new(last).skip();
                    assert!(last.is_empty() || read == Ok(last), "{begin} is not before the last");
                }
                return;
            }
            Err(_) => return,
        }
    }
}
