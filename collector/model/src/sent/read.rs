//! One walk over a span's bytes.

use super::{EXCEPTION, Known, Sent, ValueRef, correlates, value::Items};
use crate::ids::{SpanId, TraceId};
use crate::normalise::{MAX_LINKS, Rules, link_place};
use crate::otlp::DecodeError;
use crate::otlp::wire::{Field, Fields, Malformed};
use crate::raw::{SpanKind, StatusCode};
use crate::span::Link;
use crate::time::UnixNanos;

type Result<T> = std::result::Result<T, Malformed>;

/// See [`Sent::read`]; `sent` is empty.
pub(super) fn span<'a>(
    sent: &mut Sent<'a>,
    bytes: &'a [u8],
    rules: &Rules,
) -> std::result::Result<bool, DecodeError> {
    let mut reader = Reader { joined: false };
    let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields::new(bytes);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => trace_id = field.bytes()?,
            2 => span_id = field.bytes()?,
            // Trace state.
            3 => {
                field.text_bytes()?;
            }
            // A parent that is no id is no parent: the span itself is good.
            4 => sent.parent = SpanId::from_bytes(field.bytes()?),
            5 => sent.name = field.text()?,
            6 => sent.kind = kind(enumeration(field)?),
            7 => sent.start = UnixNanos(field.fixed64()?),
            8 => sent.end = UnixNanos(field.fixed64()?),
            9 => {
                let (key, value) = reader.pair(fields.nested(field)?)?;
                sent.attributes.add(key, || value.into());
                if correlates(key, rules) {
                    sent.correlating.push((text(key), value.into()));
                }
            }
            // Dropped counts.
            10 | 12 | 14 => {
                field.varint()?;
            }
            11 => {
                if let Some(exception) = reader.event(fields.nested(field)?)? {
                    sent.exception = Some(exception);
                }
            }
            13 => {
                let link = reader.link(fields.nested(field)?)?;
                if sent.links.len() < MAX_LINKS {
                    sent.links.extend(link);
                }
            }
            15 => status(fields.nested(field)?, sent)?,
            // Flags.
            16 => {
                field.fixed32()?;
            }
            _ => fields.unknown()?,
        }
    }
    sent.trace_id = TraceId::from_bytes(trace_id).ok_or(DecodeError::TraceId)?;
    sent.span_id = SpanId::from_bytes(span_id).ok_or(DecodeError::SpanId)?;
    Ok(!reader.joined)
}

/// Of bytes that were found to be text.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A value that was read and is not yet known to be wanted: only then its text is made a `str`.
#[derive(Clone, Copy)]
enum Read<'a> {
    Text(&'a [u8]),
    Other(ValueRef<'a>),
}

impl<'a> From<Read<'a>> for ValueRef<'a> {
    fn from(value: Read<'a>) -> Self {
        match value {
            Read::Text(bytes) => Self::Str(text(bytes)),
            Read::Other(value) => value,
        }
    }
}

fn kind(number: i32) -> SpanKind {
    match number {
        1 => SpanKind::Internal,
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

/// An enum is an `int32`, whose upper bits protobuf ignores.
#[expect(
    clippy::cast_possible_truncation,
    reason = "as protobuf reads an int32"
)]
fn enumeration(field: Field<'_>) -> Result<i32> {
    Ok(field.varint()? as i32)
}

struct Reader {
    /// An array came in parts, so the slice of any of them is not the whole.
    joined: bool,
}

impl Reader {
    #[inline]
    fn pair<'a>(&mut self, mut fields: Fields<'a>) -> Result<(&'a [u8], Read<'a>)> {
        let (mut key, mut value): (&[u8], _) = (&[], Read::Other(ValueRef::Other));
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => key = field.text_bytes()?,
                2 => self.value(fields.nested(field)?, &mut value)?,
                // A reference into a profile's string table.
                3 => {
                    field.varint()?;
                }
                _ => fields.unknown()?,
            }
        }
        Ok((key, value))
    }

    /// Reads an `AnyValue` into `value`. A value that comes in parts merges: the last field wins, arrays join.
    #[inline]
    fn value<'a>(&mut self, mut fields: Fields<'a>, value: &mut Read<'a>) -> Result<()> {
        while let Some((number, field)) = fields.next()? {
            *value = Read::Other(match number {
                1 => {
                    *value = Read::Text(field.text_bytes()?);
                    continue;
                }
                2 => ValueRef::Bool(field.varint()? != 0),
                #[expect(clippy::cast_possible_wrap, reason = "as protobuf reads an int64")]
                3 => ValueRef::Int(field.varint()? as i64),
                4 => ValueRef::Double(f64::from_bits(field.fixed64()?)),
                5 => {
                    self.array(fields.nested(field)?)?;
                    self.joined |= matches!(value, Read::Other(ValueRef::Array(_)));
                    ValueRef::Array(Items::Wire(field.bytes()?))
                }
                6 => {
                    self.pairs(fields.nested(field)?)?;
                    ValueRef::Other
                }
                7 => {
                    field.bytes()?;
                    ValueRef::Other
                }
                // A reference into a profile's string table: OTLP asks other signals to treat it as absent.
                8 => {
                    field.varint()?;
                    ValueRef::Other
                }
                _ => {
                    fields.unknown()?;
                    continue;
                }
            });
        }
        Ok(())
    }

    /// Reads all of an `ArrayValue`, so that [`next_item`] meets no error.
    fn array(&mut self, mut items: Fields<'_>) -> Result<()> {
        while let Some((number, field)) = items.next()? {
            match number {
                1 => self.value(items.nested(field)?, &mut Read::Other(ValueRef::Other))?,
                _ => items.unknown()?,
            }
        }
        Ok(())
    }

    fn pairs(&mut self, mut pairs: Fields<'_>) -> Result<()> {
        while let Some((number, field)) = pairs.next()? {
            match number {
                1 => {
                    self.pair(pairs.nested(field)?)?;
                }
                _ => pairs.unknown()?,
            }
        }
        Ok(())
    }

    /// An event's attributes, if it is an exception.
    fn event<'a>(&mut self, mut fields: Fields<'a>) -> Result<Option<Known<'a>>> {
        let (mut exception, mut known) = (false, Known::default());
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => {
                    field.fixed64()?;
                }
                2 => exception = field.text_bytes()? == EXCEPTION.as_bytes(),
                3 => {
                    let (key, value) = self.pair(fields.nested(field)?)?;
                    known.add(key, || value.into());
                }
                4 => {
                    field.varint()?;
                }
                _ => fields.unknown()?,
            }
        }
        Ok(exception.then_some(known))
    }

    /// `None` when its ids are invalid.
    fn link(&mut self, mut fields: Fields<'_>) -> Result<Option<Link>> {
        let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
        let mut known = Known::default();
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => trace_id = field.bytes()?,
                2 => span_id = field.bytes()?,
                3 => {
                    field.text_bytes()?;
                }
                4 => {
                    let (key, value) = self.pair(fields.nested(field)?)?;
                    known.add(key, || value.into());
                }
                5 => {
                    field.varint()?;
                }
                6 => {
                    field.fixed32()?;
                }
                _ => fields.unknown()?,
            }
        }
        let ids = TraceId::from_bytes(trace_id).zip(SpanId::from_bytes(span_id));
        Ok(ids.map(|(trace_id, span_id)| link_place(trace_id, span_id, &known)))
    }
}

fn status<'a>(mut fields: Fields<'a>, sent: &mut Sent<'a>) -> Result<()> {
    while let Some((number, field)) = fields.next()? {
        match number {
            2 => sent.status_message = field.text()?,
            3 => {
                sent.status = match enumeration(field)? {
                    1 => StatusCode::Ok,
                    2 => StatusCode::Error,
                    _ => StatusCode::Unset,
                }
            }
            _ => fields.unknown()?,
        }
    }
    Ok(())
}

/// The next item of an `ArrayValue` that was read before, so that it has no errors.
pub(super) fn next_item<'a>(rest: &mut &'a [u8]) -> Option<ValueRef<'a>> {
    let mut items = Fields::new(rest);
    loop {
        let (number, field) = items.next().ok()??;
        if number == 1 {
            let mut value = Read::Other(ValueRef::Other);
            let fields = items.nested(field).ok()?;
            Reader { joined: false }.value(fields, &mut value).ok()?;
            *rest = items.rest();
            return Some(value.into());
        }
    }
}
