//! Gunzip that never holds more than the limit allows, and holds nothing of what exceeds it.

use std::io::{ErrorKind, Read};

use flate2::read::MultiGzDecoder;

use crate::admission::Share;
use crate::ingest::Failure;

/// Deflate cannot expand further than this, so a larger promise is a lie.
const MOST_EXPANSION: usize = 1032;

/// Decompresses `compressed` into at most `limit` bytes.
///
/// The buffer is made once, of the size that the stream's last four bytes promise (its length, modulo 2^32), after
/// `share` has taken it. Where the output goes on beyond the promise (several members, or a lie) the stream is first
/// run through a small buffer and counted. So a bomb is refused having cost 16 KiB.
pub(crate) fn gunzip(
    compressed: &[u8],
    limit: usize,
    share: &mut Share,
) -> Result<Vec<u8>, Failure> {
    let Some(promised) = compressed
        .last_chunk::<4>()
        .and_then(|tail| usize::try_from(u32::from_le_bytes(*tail)).ok())
    else {
        return Err(corrupt());
    };
    if promised > limit {
        // Too large, or not gzip at all: what stands at the end then means nothing.
        count(compressed, limit)?;
        return Err(corrupt());
    }
    let promised = promised.min(compressed.len().saturating_mul(MOST_EXPANSION));
    share.grow(promised)?;
    if let Some(out) = fill(compressed, promised)? {
        return Ok(out);
    }
    let counted = count(compressed, limit)?;
    share.grow(counted.saturating_sub(promised))?;
    fill(compressed, counted)?.ok_or_else(corrupt)
}

/// Decompresses exactly `length` bytes; `None` when there are more.
fn fill(compressed: &[u8], length: usize) -> Result<Option<Vec<u8>>, Failure> {
    let mut decoder = MultiGzDecoder::new(compressed);
    let mut out = Vec::with_capacity(length);
    (&mut decoder)
        .take(length as u64)
        .read_to_end(&mut out)
        .map_err(|_| corrupt())?;
    // Reading on also checks the trailer: a stream that was cut off ends here.
    match read_some(&mut decoder, &mut [0])? {
        0 if out.len() == length => Ok(Some(out)),
        0 => Err(corrupt()),
        _ => Ok(None),
    }
}

fn count(compressed: &[u8], limit: usize) -> Result<usize, Failure> {
    let mut decoder = MultiGzDecoder::new(compressed);
    let mut buffer = vec![0; 16 << 10];
    let mut total = 0;
    loop {
        match read_some(&mut decoder, &mut buffer)? {
            0 => return Ok(total),
            read => total += read,
        }
        if total > limit {
            return Err(Failure::TooLarge { limit });
        }
    }
}

fn read_some(decoder: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Failure> {
    loop {
        match decoder.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other.map_err(|_| corrupt()),
        }
    }
}

fn corrupt() -> Failure {
    Failure::Bad("the body is not valid gzip".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::gunzip;
    use crate::admission::Budget;
    use crate::ingest::Failure;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    const LIMIT: usize = 1 << 20;

    fn run(data: &[u8]) -> Result<Vec<u8>, Failure> {
        gunzip(data, LIMIT, &mut Budget::new(8 << 20).share())
    }

    #[test]
    fn the_limit_itself_is_allowed_and_one_byte_more_is_not() {
        assert_eq!(run(&gzip(&vec![7; LIMIT])).unwrap().len(), LIMIT);
        assert!(matches!(
            run(&gzip(&vec![7; LIMIT + 1])),
            Err(Failure::TooLarge { .. })
        ));
    }

    #[test]
    fn a_bomb_that_lies_about_its_length_is_counted_not_held() {
        let mut bomb = gzip(&vec![0; 64 << 20]);
        let end = bomb.len() - 4;
        bomb[end..].copy_from_slice(&1000_u32.to_le_bytes());
        // The budget has room for the promise and nothing else, so holding the output would fail otherwise.
        let budget = Budget::new(1024);
        assert!(matches!(
            gunzip(&bomb, LIMIT, &mut budget.share()),
            Err(Failure::TooLarge { .. })
        ));
    }

    #[test]
    fn members_are_joined_and_bounded_together() {
        let joined = [gzip(b"one, "), gzip(b"two, "), gzip(b"three")].concat();
        assert_eq!(run(&joined).unwrap(), b"one, two, three");
        let half = gzip(&vec![1; LIMIT / 2 + 1]);
        assert!(matches!(
            run(&[half.clone(), half].concat()),
            Err(Failure::TooLarge { .. })
        ));
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_bad_data() {
        let good = gzip(b"a body that is long enough to be cut somewhere in the middle");
        for end in 0..good.len() {
            assert!(matches!(run(&good[..end]), Err(Failure::Bad(_))), "{end}");
        }
        let mut damaged = good.clone();
        let middle = good.len() / 2;
        damaged[middle] ^= 0xff;
        assert!(matches!(run(&damaged), Err(Failure::Bad(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_and_any_body_comes_back(data in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let _ = run(&data);
            prop_assert_eq!(run(&gzip(&data)).unwrap(), data);
        }
    }
}
