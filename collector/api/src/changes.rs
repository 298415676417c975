//! What changed: the landmarks and the alerts of every group and service, in one list.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_shared::Instant;
use highwater_shared::lag as wire;
use highwater_shared::lag::GroupEventKind;
use serde::Deserialize;

use crate::ApiState;
use crate::landmark::{self, Subject};
use crate::problem::ApiError;
use crate::range::{Range, RangeParams};
use crate::respond::json;
use crate::topology::{instant, list};

/// Changes given when no limit is asked for.
const CHANGES: u32 = 50;
/// Changes given at most.
const MOST_CHANGES: u32 = 500;
/// So many of each kind of record are looked at, the newest: those of other environments are among them.
const LOOKED_AT: u32 = 2_000;

#[derive(Debug, Deserialize)]
pub(crate) struct ChangesParams {
    #[serde(flatten)]
    range: RangeParams,
    env: Option<String>,
    cluster: Option<String>,
    limit: Option<u32>,
}

/// What a record of history calls what happened; `None` for what is no change to tell.
pub(crate) fn kind(recorded: &str) -> Option<GroupEventKind> {
    Some(match recorded {
        landmark::DEPLOYED => GroupEventKind::Deployed,
        landmark::REBALANCED => GroupEventKind::Rebalanced,
        landmark::REWOUND => GroupEventKind::Rewound,
        "fired" => GroupEventKind::Fired,
        "resolved" => GroupEventKind::Resolved,
        _ => return None,
    })
}

pub(crate) async fn changes(
    State(state): State<ApiState>,
    Query(params): Query<ChangesParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let range = params.range.resolve(state.now())?;
    let limit = params.limit.unwrap_or(CHANGES).clamp(1, MOST_CHANGES);
    let environment = state.environment(params.env.as_deref());
    let clusters = list(params.cluster.as_deref());
    let wanted = |cluster: &str| {
        state.in_environment(cluster, &environment)
            && (clusters.is_empty() || clusters.iter().any(|name| name == cluster))
    };
    // A few of each are enough where most are of this environment: what was asked for, and one that tells of more.
    let few = limit.saturating_mul(4).min(LOOKED_AT);
    let mut read = Read::of(&state, range, few, &environment, wanted).await?;
    if read.surely() <= limit as usize && few < LOOKED_AT {
        read = Read::of(&state, range, LOOKED_AT, &environment, wanted).await?;
    }
    let Read { mut changes, upto } = read;
    let more = changes.len() > limit as usize || upto.is_some();
    changes.truncate(limit as usize);
    json(&headers, &wire::Changes { changes, more })
}

/// What was read of history, the newest first.
struct Read {
    changes: Vec<wire::ChangeRecord>,
    /// Where not all was looked at: at this instant and before, some are missing.
    upto: Option<Instant>,
}

impl Read {
    /// Looks at so many of each kind of record.
    async fn of(
        state: &ApiState,
        range: Range,
        look_at: u32,
        environment: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, ApiError> {
        let failed = || ApiError::internal("reading what changed");
        let history = state.store.history();
        let landmarks = history
            .newest_landmarks(range.from, range.to, look_at)
            .await
            .map_err(failed())?;
        let alerts = history
            .alert_events(range.from, range.to, look_at, None)
            .await
            .map_err(failed())?;
        let full = |looked_at: usize| looked_at >= look_at as usize;
        let cuts = [
            landmarks
                .last()
                .filter(|_| full(landmarks.len()))
                .map(|last| last.at),
            alerts
                .last()
                .filter(|_| full(alerts.len()))
                .map(|last| last.event.at),
        ];
        let mut changes: Vec<wire::ChangeRecord> = landmarks
            .into_iter()
            .filter_map(|landmark| {
                let (cluster, subject) = match Subject::read(&landmark.subject)? {
                    Subject::Group { cluster, group } if wanted(cluster) => (Some(cluster), group),
                    Subject::Service {
                        environment: of,
                        service,
                    } if of == environment => (None, service),
                    Subject::Group { .. } | Subject::Service { .. } => return None,
                };
                Some(wire::ChangeRecord {
                    at: instant(landmark.at),
                    kind: kind(&landmark.kind)?,
                    cluster: cluster.map(str::to_owned),
                    subject: subject.to_owned(),
                    text: landmark.text,
                })
            })
            .collect();
        changes.extend(alerts.into_iter().filter_map(|stored| {
            let alert = stored.event;
            let kind = kind(&alert.kind)?;
            // The alerts of the collector itself are of no cluster.
            let ours = alert.cluster.as_deref().is_none_or(&wanted);
            ours.then(|| wire::ChangeRecord {
                at: instant(alert.at),
                kind,
                cluster: alert.cluster,
                subject: alert.subject,
                text: state.desk.rule_name(&alert.rule).unwrap_or(alert.rule),
            })
        }));
        changes.sort_by(|a, b| (b.at, &a.subject, &a.text).cmp(&(a.at, &b.subject, &b.text)));
        Ok(Self {
            changes,
            upto: cuts.into_iter().flatten().max().map(instant),
        })
    }

    /// So many are the newest for sure; all, where all was looked at.
    fn surely(&self) -> usize {
        let Some(upto) = self.upto else {
            return usize::MAX;
        };
        let sure = self.changes.iter().take_while(|change| change.at > upto);
        sure.count()
    }
}
