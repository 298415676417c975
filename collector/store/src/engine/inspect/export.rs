//! The spans of one trace, as they were sent.

use std::collections::HashMap;

use bytes::Bytes;
use highwater_model::TraceId;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::{BODY, Finding, HEAD, Inspection, blob, metas, segments};
use crate::block::Corrupt;
use crate::block::body::Body;
use crate::block::bytes::decompress;
use crate::block::fingerprint::{self, Kind};
use crate::block::head::Head;
use crate::block::recent::IdentitySet;
use crate::block::runs::find_packed;
use crate::engine::sqlite::{self, unsigned};
use crate::error::{Result, StoreError};

/// Rows of `meta` read by one statement.
const METAS_AT_ONCE: i64 = 256;

/// Spans of one resource and scope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TracePart {
    /// The resource, scope and schema: an encoded [`highwater_model::otlp::OriginMessage`].
    pub origin: Bytes,
    /// Encoded OTLP spans, as they were sent.
    pub spans: Vec<Bytes>,
}

/// A trace as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Exported {
    /// Its spans, each stored one once.
    pub parts: Vec<TracePart>,
    /// Blocks that could not be read, and so may hold more of it.
    pub damaged: Vec<u64>,
    /// Files of which the blocks could not be found, and so may hold more of it.
    pub findings: Vec<Finding>,
}

#[derive(Default)]
struct Collected {
    exported: Exported,
    part_of: HashMap<Bytes, usize>,
    seen: IdentitySet,
}

impl Inspection {
    /// Finds the spans of a trace. Reads the index of sealed segments and the heads of the open one, which is up to
    /// half a million spans.
    ///
    /// # Errors
    /// When the catalog cannot be read. A damaged block, or file, is in the answer instead.
    pub async fn trace(&self, id: TraceId) -> Result<Exported> {
        let mut collected = Collected::default();
        // Those in order of arrival first: what is moved meanwhile is then found where it was moved to.
        let mut partitions = self.list().await?.partitions;
        partitions.sort_by_key(|listed| (listed.settled, listed.id));
        for listed in partitions {
            let file = self.partition(&listed);
            let found = async {
                let (mut connection, _) = sqlite::open_reader(&file, sqlite::PARTITION).await?;
                collect(&mut connection, id, &mut collected)
                    .await
                    .map_err(|source| StoreError::Read {
                        what: "the spans of a trace",
                        source,
                    })
            };
            if let Err(error) = found.await {
                let finding = self.unread(&listed, error).await?;
                collected.exported.findings.extend(finding);
            }
        }
        Ok(collected.exported)
    }
}

async fn collect(
    connection: &mut SqliteConnection,
    id: TraceId,
    collected: &mut Collected,
) -> sqlx::Result<()> {
    // The file as of one moment: segments may be merged meanwhile.
    let connection = &mut *connection.begin().await?;
    for block in candidates(connection, id).await? {
        let (head, body) = (
            blob(connection, HEAD, block).await,
            blob(connection, BODY, block).await,
        );
        let read = match (head, body) {
            (Ok(Some(head)), Ok(Some(body))) => collected.add(id, &head, &body).is_ok(),
            // Not there any more.
            (Ok(None), _) | (_, Ok(None)) => true,
            (Err(error), _) | (_, Err(error)) => {
                if !sqlite::is_damage(&error) {
                    return Err(error);
                }
                false
            }
        };
        if !read {
            collected.exported.damaged.push(block);
        }
    }
    Ok(())
}

/// The blocks that may hold the trace.
async fn candidates(connection: &mut SqliteConnection, id: TraceId) -> sqlx::Result<Vec<u64>> {
    let key = fingerprint::trace(id);
    let mut blocks = Vec::new();
    let mut sealed = 0;
    for segment in segments(connection).await? {
        sealed = sealed.max(segment.last_block);
        let bucket = sqlx::query(
            "SELECT entries FROM ix WHERE segment = ?1 AND kind = ?2 AND bucket = \
             (SELECT max(bucket) FROM ix WHERE segment = ?1 AND kind = ?2 AND bucket <= ?3)",
        )
        .bind(segment.id)
        .bind(Kind::Trace as u8)
        .bind(key)
        .fetch_optional(&mut *connection)
        .await;
        let found = bucket.and_then(|row| {
            let Some(row) = row else { return Ok(true) };
            let entries: Vec<u8> = row.try_get(0)?;
            Ok(find_packed(&entries, key, segment.first_block, &mut blocks).is_ok())
        });
        match found {
            Ok(true) => {}
            Err(error) if !sqlite::is_damage(&error) => return Err(error),
            // A damaged index: every block of the segment is looked at instead.
            _ => {
                blocks_between(
                    connection,
                    segment.first_block,
                    segment.last_block,
                    &mut blocks,
                )
                .await?
            }
        }
    }
    blocks_between(connection, sealed + 1, u64::MAX, &mut blocks).await?;
    blocks.sort_unstable();
    blocks.dedup();
    Ok(blocks)
}

async fn blocks_between(
    connection: &mut SqliteConnection,
    first: u64,
    last: u64,
    out: &mut Vec<u64>,
) -> sqlx::Result<()> {
    let mut after = first.saturating_sub(1);
    loop {
        let page = metas(connection, after, METAS_AT_ONCE).await?;
        let numbers = page.iter().map(|row| unsigned(row.get(0)));
        out.extend(numbers.take_while(|block| *block <= last));
        match page.last() {
            Some(row) if unsigned(row.get(0)) < last => after = unsigned(row.get(0)),
            _ => return Ok(()),
        }
    }
}

impl Collected {
    fn add(&mut self, id: TraceId, head: &[u8], body: &[u8]) -> Result<(), Corrupt> {
        let head = Head::decode(&decompress(head)?)?;
        if !head.rows().any(|row| row.trace() == id) {
            return Ok(());
        }
        let body = Body::decode(decompress(body)?, &head)?;
        for row in head.rows().filter(|row| row.trace() == id) {
            let origin = body.origin_blob(row)?;
            let span = Bytes::from(body.bytes(row)?);
            if !self.seen.insert(row.identity()) {
                continue;
            }
            let parts = &mut self.exported.parts;
            let part = *self.part_of.entry(origin.clone()).or_insert_with(|| {
                parts.push(TracePart {
                    origin: origin.clone(),
                    spans: Vec::new(),
                });
                parts.len() - 1
            });
            parts[part].spans.push(span);
        }
        Ok(())
    }
}
