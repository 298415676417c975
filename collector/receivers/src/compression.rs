//! Decompression that never holds more than the limit allows, and holds nothing of what exceeds it.
//!
//! Every buffer is taken from the request's share before it is made. Where the compressed form tells its length the
//! buffer is made once, of that size, and only if the input could possibly become so long; where it does not, the
//! output grows by doubling, in the share. So a bomb costs what the limit allows one request, and is refused.

use std::io::{ErrorKind, Read};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use libdeflater::DecompressionError;

use crate::admission::Share;
use crate::ingest::Failure;

/// How a body is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compression {
    Identity,
    Gzip,
    /// The zlib format, as HTTP means it; without its header too, as some clients do.
    Deflate,
    Zstd,
    /// The block format; the framed one is told by its first bytes, as the Collector does, which sent it for years.
    Snappy,
}

/// What `Content-Encoding` may be.
pub(crate) const HTTP_ENCODINGS: &str = "identity, gzip, zstd, deflate, snappy";
/// What `grpc-encoding` may be.
pub(crate) const GRPC_ENCODINGS: &str = "identity,gzip,zstd";

impl Compression {
    pub(crate) fn of_http(header: Option<&[u8]>) -> Option<Self> {
        match header.unwrap_or_default().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Some(Self::Identity),
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            b"deflate" | b"zlib" => Some(Self::Deflate),
            b"zstd" => Some(Self::Zstd),
            b"snappy" | b"x-snappy-framed" => Some(Self::Snappy),
            _ => None,
        }
    }

    pub(crate) fn of_grpc(header: Option<&[u8]>) -> Option<Self> {
        match header {
            None | Some(b"identity") => Some(Self::Identity),
            Some(b"gzip") => Some(Self::Gzip),
            Some(b"zstd") => Some(Self::Zstd),
            Some(_) => None,
        }
    }

    /// A body's usual length after decompression, roughly: only the choice of a thread depends on it.
    pub(crate) fn usual_length(self, compressed: usize) -> usize {
        match self {
            Self::Identity => compressed,
            Self::Gzip | Self::Deflate | Self::Zstd | Self::Snappy => compressed.saturating_mul(8),
        }
    }

    /// No stream becomes longer than this, so a larger promise is a lie. Deflate's is 1032 to 1; snappy's longest
    /// copy is 64 bytes out of 3; zstd repeats a byte up to 128 KiB in a block of 4, and its frames need not tell.
    fn longest(self, compressed: usize) -> usize {
        let times = match self {
            Self::Identity => 1,
            Self::Gzip | Self::Deflate => 1032,
            Self::Zstd => 128 << 10,
            Self::Snappy => 22,
        };
        compressed.saturating_mul(times)
    }

    fn corrupt(self) -> Failure {
        let name = match self {
            Self::Identity => "a body",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        };
        Failure::Bad(format!("the body is not valid {name}"))
    }
}

/// Decompressors, which are kept for one request after the other.
pub(crate) struct Decompressors {
    deflate: libdeflater::Decompressor,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Decompressors {
    pub(crate) fn new() -> Self {
        Self {
            deflate: libdeflater::Decompressor::new(),
            zstd: zstd::bulk::Decompressor::new().ok(),
        }
    }

    /// Decompresses `body` into at most `limit` bytes.
    pub(crate) fn run(
        &mut self,
        compression: Compression,
        body: Bytes,
        limit: usize,
        share: &mut Share,
    ) -> Result<Bytes, Failure> {
        let read = |reader: &mut dyn Read, share: &mut Share| {
            read_within(reader, compression, limit, share).map(Bytes::from)
        };
        match compression {
            Compression::Identity => Ok(body),
            Compression::Gzip => self.gunzip(&body, limit, share).map(Bytes::from),
            Compression::Deflate if has_zlib_header(&body) => {
                read(&mut ZlibDecoder::new(&*body), share)
            }
            Compression::Deflate => read(&mut DeflateDecoder::new(&*body), share),
            Compression::Zstd => self.unzstd(&body, limit, share).map(Bytes::from),
            // A framed stream's writer writes its header with the first byte: of nothing, it writes nothing.
            Compression::Snappy if body.is_empty() => Ok(body),
            Compression::Snappy if body.starts_with(SNAPPY_FRAMED) => {
                read(&mut snap::read::FrameDecoder::new(&*body), share)
            }
            Compression::Snappy => unsnap(&body, limit, share).map(Bytes::from),
        }
    }

    /// A gzip stream's last four bytes are its length, and the four before its checksum. libdeflate reads one member
    /// into a buffer of that length, faster than zlib-rs does; where the two do not agree with what it read, there
    /// are several members, or the stream is broken, and zlib-rs goes through all of it. Members that all hold the
    /// very same are read once: they are the same request, and the same spans are stored once.
    fn gunzip(
        &mut self,
        compressed: &[u8],
        limit: usize,
        share: &mut Share,
    ) -> Result<Vec<u8>, Failure> {
        let gzip = Compression::Gzip;
        let Some([c0, c1, c2, c3, l0, l1, l2, l3]) = compressed.last_chunk::<8>().copied() else {
            return Err(gzip.corrupt());
        };
        let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
        let promised = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if promised > limit {
            // Too large, or not gzip at all: what stands at the end then means nothing.
            return Err(skim(&mut MultiGzDecoder::new(compressed), gzip, limit));
        }
        if promised <= gzip.longest(compressed.len()) {
            share.grow(promised)?;
            let mut out = vec![0; promised];
            match self.deflate.gzip_decompress(compressed, &mut out) {
                Ok(read) if read == promised && libdeflater::crc32(&out) == checksum => {
                    return Ok(out);
                }
                Ok(_) | Err(DecompressionError::InsufficientSpace) => share.shrink(promised),
                Err(DecompressionError::BadData) => return Err(gzip.corrupt()),
            }
        }
        read_within(&mut MultiGzDecoder::new(compressed), gzip, limit, share)
    }

    /// A frame may tell its length. One that does not is streamed, with a window of at most 8 MiB, which the format's
    /// specification asks every decoder to support.
    fn unzstd(
        &mut self,
        compressed: &[u8],
        limit: usize,
        share: &mut Share,
    ) -> Result<Vec<u8>, Failure> {
        const LARGEST_WINDOW_LOG: u32 = 23;
        let zstd = Compression::Zstd;
        let told = zstd::zstd_safe::get_frame_content_size(compressed)
            .map_err(|_| zstd.corrupt())?
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= zstd.longest(compressed.len()));
        if let Some(length) = told {
            if length > limit {
                return Err(Failure::TooLarge { limit });
            }
            let one = zstd::zstd_safe::find_frame_compressed_size(compressed)
                .is_ok_and(|frame| frame == compressed.len());
            if let (true, Some(decompressor)) = (one, &mut self.zstd) {
                share.grow(length)?;
                return decompressor
                    .decompress(compressed, length)
                    .map_err(|_| zstd.corrupt());
            }
        }
        let mut decoder =
            zstd::stream::read::Decoder::with_buffer(compressed).map_err(|_| zstd.corrupt())?;
        decoder
            .window_log_max(LARGEST_WINDOW_LOG)
            .map_err(|_| zstd.corrupt())?;
        read_within(&mut decoder, zstd, limit, share)
    }
}

const SNAPPY_FRAMED: &[u8] = b"\xff\x06\x00\x00sNaPpY";

fn has_zlib_header(body: &[u8]) -> bool {
    // Method 8, and both bytes together a multiple of 31.
    matches!(body, [cmf, flags, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flags)).is_multiple_of(31))
}

fn unsnap(compressed: &[u8], limit: usize, share: &mut Share) -> Result<Vec<u8>, Failure> {
    let snappy = Compression::Snappy;
    let length = snap::raw::decompress_len(compressed).map_err(|_| snappy.corrupt())?;
    if length > snappy.longest(compressed.len()) {
        return Err(snappy.corrupt());
    }
    if length > limit {
        return Err(Failure::TooLarge { limit });
    }
    share.grow(length)?;
    snap::raw::Decoder::new()
        .decompress_vec(compressed)
        .map_err(|_| snappy.corrupt())
}

/// Tells what is wrong with a stream that promises too much, in a small buffer.
fn skim(reader: &mut dyn Read, compression: Compression, limit: usize) -> Failure {
    let (mut buffer, mut total) = (vec![0; 16 << 10], 0);
    while total <= limit {
        match reader.read(&mut buffer) {
            Ok(read) if read > 0 => total += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // It is not as long as it says.
            Ok(_) | Err(_) => return compression.corrupt(),
        }
    }
    Failure::TooLarge { limit }
}

/// Reads all of a stream, in a buffer that doubles and is in `share` before it does.
fn read_within(
    reader: &mut dyn Read,
    compression: Compression,
    limit: usize,
    share: &mut Share,
) -> Result<Vec<u8>, Failure> {
    let (mut out, mut filled) = (Vec::new(), 0);
    loop {
        if filled == out.len() {
            if filled > limit {
                return Err(Failure::TooLarge { limit });
            }
            // One byte above the limit tells that it was exceeded.
            let length = (out.len() * 2).clamp(16 << 10, limit.saturating_add(1).max(1));
            share.grow(length - out.len())?;
            out.resize(length, 0);
        }
        match reader.read(&mut out[filled..]) {
            Ok(0) => {
                out.truncate(filled);
                return Ok(out);
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(compression.corrupt()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::io::Write;

    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::{Compression, Decompressors};
    use crate::admission::Budget;
    use crate::ingest::Failure;

    const LIMIT: usize = 1 << 20;
    const BEST: flate2::Compression = flate2::Compression::best();

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), BEST);
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), BEST);
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), BEST);
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// With its length told.
    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 1).unwrap()
    }

    /// Without.
    fn zstd_streamed(data: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn snappy(data: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(data).unwrap()
    }

    fn snappy_framed(data: &[u8]) -> Vec<u8> {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(data).unwrap();
        encoder.into_inner().unwrap()
    }

    type Compress = fn(&[u8]) -> Vec<u8>;

    const FORMS: [(Compression, Compress); 7] = [
        (Compression::Gzip, gzip),
        (Compression::Deflate, zlib),
        (Compression::Deflate, deflate),
        (Compression::Zstd, zstd),
        (Compression::Zstd, zstd_streamed),
        (Compression::Snappy, snappy),
        (Compression::Snappy, snappy_framed),
    ];

    fn run(compression: Compression, data: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut share = Budget::new(8 << 20).share([127, 0, 0, 1].into());
        let body = data.to_vec().into();
        Decompressors::new()
            .run(compression, body, LIMIT, &mut share)
            .map(Vec::from)
    }

    #[test]
    fn the_limit_itself_is_allowed_and_one_byte_more_is_not() {
        for (compression, compress) in FORMS {
            let body = compress(&vec![7; LIMIT]);
            assert_eq!(run(compression, &body).unwrap().len(), LIMIT);
            let body = compress(&vec![7; LIMIT + 1]);
            let outcome = run(compression, &body);
            assert!(
                matches!(outcome, Err(Failure::TooLarge { .. })),
                "{compression:?}"
            );
        }
    }

    #[test]
    fn a_bomb_holds_no_more_than_the_limit() {
        let zeros = vec![0; 64 << 20];
        for (compression, compress) in FORMS {
            let bomb = compress(&zeros);
            // A budget that is twice the limit is enough for any step on the way to the refusal.
            let budget = Budget::new(2 * LIMIT);
            let mut share = budget.share([127, 0, 0, 1].into());
            // Something else is in flight: only a request that is alone may go beyond the budget.
            let mut other = budget.share([127, 0, 0, 2].into());
            other.grow(1).unwrap();
            let outcome = Decompressors::new().run(compression, bomb.into(), LIMIT, &mut share);
            assert!(
                matches!(outcome, Err(Failure::TooLarge { .. })),
                "{compression:?}"
            );
        }
    }

    #[test]
    fn a_gzip_bomb_that_lies_about_its_length_is_too_large_all_the_same() {
        let mut bomb = gzip(&vec![0; 64 << 20]);
        let end = bomb.len() - 4;
        bomb[end..].copy_from_slice(&1000_u32.to_le_bytes());
        let outcome = run(Compression::Gzip, &bomb);
        assert!(matches!(outcome, Err(Failure::TooLarge { .. })));
    }

    #[test]
    fn members_and_frames_are_joined_and_bounded_together() {
        for (compression, compress) in [FORMS[0], FORMS[3], FORMS[4]] {
            let joined = [compress(b"one, "), compress(b"two, "), compress(b"three")].concat();
            assert_eq!(
                run(compression, &joined).unwrap(),
                b"one, two, three",
                "{compression:?}"
            );
            let halves = [1, 2].map(|byte| compress(&vec![byte; LIMIT / 2 + 1]));
            assert!(matches!(
                run(compression, &halves.concat()),
                Err(Failure::TooLarge { .. })
            ));
        }
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_bad_data() {
        let data = b"a body that is long enough to be cut somewhere in the middle";
        for (compression, compress) in FORMS {
            let good = compress(data);
            for end in 1..good.len() {
                match run(compression, &good[..end]) {
                    Err(Failure::Bad(_)) => {}
                    // The formats without a checksum at their end: what was cut off is missed by the decoder of spans.
                    Ok(out) => assert!(
                        compression != Compression::Gzip && data.starts_with(&out),
                        "{compression:?} {end}"
                    ),
                    other => panic!("{compression:?} {end}: {other:?}"),
                }
            }
            let mut damaged = good.clone();
            damaged[0] ^= 0xff;
            assert!(
                matches!(run(compression, &damaged), Err(Failure::Bad(_))),
                "{compression:?}"
            );
        }
    }

    #[test]
    fn nothing_comes_back_as_nothing() {
        for (compression, compress) in FORMS {
            assert_eq!(
                run(compression, &compress(b"")).unwrap(),
                b"",
                "{compression:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_and_any_body_comes_back(data in proptest::collection::vec(any::<u8>(), 0..4096)) {
            for (compression, compress) in FORMS {
                let _ = run(compression, &data);
                prop_assert_eq!(&run(compression, &compress(&data)).unwrap(), &data);
            }
        }
    }
}
