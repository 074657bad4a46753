//! Cuts bytes as a network might.
//!
//! In:  bytes
//! Out: the same in pieces: all at once, byte for byte, and at places that depend on the bytes alone,
//!      so that an input always does the same

/// Three ways to cut `bytes`.
pub fn ways(bytes: &[u8]) -> [Vec<&[u8]>; 3] {
    [vec![bytes], bytes.chunks(1).collect(), anyhow(bytes)]
}

/// Pieces of up to 32 bytes, empty ones among them.
fn anyhow(bytes: &[u8]) -> Vec<&[u8]> {
    let mut dice = dice(bytes);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(dice(33).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// Numbers below the one asked for, the same for the same bytes.
pub fn dice(bytes: &[u8]) -> impl FnMut(usize) -> usize {
    // FNV-1a to begin with, and then xorshift.
    let hash = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut state: u64 = bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits") % below
    }
}
