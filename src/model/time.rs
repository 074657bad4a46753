//! The time of an event, as the forward protocol has it.

/// Seconds and nanoseconds since 1970 in UTC, each an unsigned 32-bit number on the wire
/// (forward protocol, `EventTime`): good from 1970 until 2106-02-07.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub seconds: u32,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl EventTime {
    /// How many bytes [`EventTime::encode`] gives.
    pub const ENCODED: usize = 10;

    /// The two highest seconds mark groups in Fluent Bit's streams (`0xffff_fffe`,
    /// `0xffff_ffff`), so no event may carry them.
    const LAST_SECOND: i64 = 0xffff_fffd;

    /// `None` outside of what the wire can carry: before 1970, after 2106, or nanoseconds of a
    /// whole second and more.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        if !(0..=Self::LAST_SECOND).contains(&seconds) || nanos >= 1_000_000_000 {
            return None;
        }
        Some(Self { seconds: u32::try_from(seconds).ok()?, nanos })
    }

    /// MessagePack extension type 0 of 8 bytes, in its shortest form (`d7 00`).
    pub fn encode(self) -> [u8; Self::ENCODED] {
        let mut bytes = [0; Self::ENCODED];
        bytes[0] = 0xd7;
        bytes[2..6].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[6..].copy_from_slice(&self.nanos.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nanosecond_time_is_extension_zero_with_two_big_endian_numbers() {
        let time = EventTime::new(1, 2).unwrap();
        assert_eq!(time.encode(), [0xd7, 0x00, 0, 0, 0, 1, 0, 0, 0, 2]);
    }

    #[test]
    fn a_time_the_wire_cannot_carry_is_none() {
        for (seconds, nanos, fits) in [
            (0, 0, true),
            (-1, 0, false),
            (0xffff_fffd, 999_999_999, true),
            (0xffff_fffe, 0, false),
            (i64::from(u32::MAX) + 1, 0, false),
            (0, 1_000_000_000, false),
        ] {
            assert_eq!(EventTime::new(seconds, nanos).is_some(), fits, "{seconds}.{nanos}");
        }
    }
}
