//! Facts of what is kept of alerts.

use std::time::Duration;

use highwater_model::UnixNanos;

use super::alerts::{MAX_ALERT_EVENTS, MAX_DELIVERIES};
use super::{
    AlertEvent, AlertEventCount, DeliveryOutcome, DeliveryState, History, NewDelivery,
    StoredAlertEvent,
};
use crate::engine::Store;
use crate::options::Options;
use crate::testing::at;

const DAY: u64 = 24 * 3600;

async fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), Options::default(), at(0))
        .await
        .unwrap()
}

fn event(seconds: u64, kind: &str, rule: &str) -> AlertEvent {
    AlertEvent {
        at: at(seconds),
        alert: format!("{rule}/billing/1"),
        kind: kind.into(),
        rule: rule.into(),
        cluster: Some("prod".into()),
        subject: "billing".into(),
        severity: "critical".into(),
        sentence: "billing is 12,400 messages behind on orders.".into(),
        by_whom: None,
    }
}

fn message(channel: &str, seconds: u64, text: &str) -> NewDelivery {
    NewDelivery {
        channel: channel.into(),
        created_at: at(seconds),
        kind: "fired".into(),
        message: text.into(),
        alerts: 2,
    }
}

fn retry(seconds: u64) -> DeliveryOutcome {
    DeliveryOutcome::Retry {
        at: at(seconds),
        detail: "503 Service Unavailable".into(),
    }
}

fn delivered() -> DeliveryOutcome {
    DeliveryOutcome::Delivered {
        detail: "200 OK".into(),
    }
}

async fn due(history: &History, seconds: u64) -> Vec<i64> {
    let due = history.due_deliveries(at(seconds), 100).await.unwrap();
    due.iter().map(|due| due.id).collect()
}

#[tokio::test]
async fn a_restart_finds_the_memory_the_events_and_what_is_still_to_be_told() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(&dir).await;
    let history = first.history();
    assert!(history.load_alerts().await.unwrap().memory.is_empty());
    let events = [event(1, "fired", "stopped"), event(2, "fired", "time-lag")];
    let messages = [message("oncall", 2, "one"), message("audit", 2, "two")];
    let memory: [(&str, &[u8]); 2] = [("engine", b"old"), ("rules", b"[]")];
    let ids = history
        .save_alerts(&memory, &events, &messages)
        .await
        .unwrap();
    assert_eq!(ids, [1, 2]);
    let changed: [(&str, &[u8]); 1] = [("engine", b"new")];
    let nothing: Vec<i64> = history.save_alerts(&changed, &[], &[]).await.unwrap();
    assert!(nothing.is_empty());
    assert!(history.note_delivery(1, &delivered(), at(3)).await.unwrap());
    first.close().await;

    let second = store(&dir).await;
    let history = second.history();
    let memory = history.load_alerts().await.unwrap().memory;
    let expected = [("engine", &b"new"[..]), ("rules", b"[]")];
    assert!(
        memory
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .eq(expected)
    );
    let kept = history.alert_events(at(0), at(10), 10, None).await.unwrap();
    let [first, second] = events;
    let expected = [
        StoredAlertEvent {
            id: 2,
            event: second,
        },
        StoredAlertEvent {
            id: 1,
            event: first,
        },
    ];
    assert_eq!(kept, expected);
    let still = history.due_deliveries(at(3), 100).await.unwrap();
    assert_eq!(still.len(), 1, "what was told is not told again");
    assert_eq!((still[0].id, &*still[0].channel), (2, "audit"));
    assert_eq!((&*still[0].message, still[0].attempts), (&b"two"[..], 0));
    // An empty value takes the name away.
    history
        .save_alerts(&[("rules", b"")], &[], &[])
        .await
        .unwrap();
    let memory = history.load_alerts().await.unwrap().memory;
    assert_eq!(memory.keys().collect::<Vec<_>>(), ["engine"]);
}

#[tokio::test]
async fn what_cannot_be_saved_whole_is_not_saved_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let history = store.history();
    history
        .save_alerts(&[("engine", b"before")], &[], &[])
        .await
        .unwrap();
    // The last statement of the transaction fails: the table it writes to is away.
    let rename = async |from: &str, to: &str| {
        let sql = sqlx::AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"));
        history
            .write("a test", async |connection, _| {
                sqlx::query(sql).execute(connection).await
            })
            .await
            .unwrap();
    };
    rename("alert_delivery", "away").await;
    let saved = history
        .save_alerts(
            &[("engine", b"after")],
            &[event(1, "fired", "stopped")],
            &[message("oncall", 1, "one")],
        )
        .await;
    let error = saved.unwrap_err().chain();
    assert!(
        error.starts_with("cannot write alerts to history.db: "),
        "{error}"
    );
    rename("away", "alert_delivery").await;
    let memory = history.load_alerts().await.unwrap().memory;
    assert_eq!(memory["engine"], b"before");
    let events = history.alert_events(at(0), at(9), 9, None).await.unwrap();
    assert_eq!(events, []);
    // The next one is saved as if nothing had been.
    let saved = history
        .save_alerts(&[], &[], &[message("oncall", 2, "one")])
        .await;
    assert_eq!(saved.unwrap(), [1]);
}

#[tokio::test]
async fn a_delivery_is_due_until_it_is_over_and_says_what_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let history = store.history();
    let messages = [message("oncall", 10, "a"), message("audit", 10, "b")];
    history.save_alerts(&[], &[], &messages).await.unwrap();
    assert_eq!(due(history, 9).await, [0_i64; 0]);
    assert_eq!(due(history, 10).await, [1, 2]);
    assert_eq!(history.due_deliveries(at(10), 1).await.unwrap().len(), 1);
    let row = &history.deliveries(Some("oncall"), 9).await.unwrap()[0];
    assert_eq!((row.state, row.attempts), (DeliveryState::Pending, 0));
    assert_eq!((row.last_at, &row.detail), (None, &None), "never tried");

    history.note_delivery(1, &retry(15), at(10)).await.unwrap();
    assert_eq!(due(history, 14).await, [2]);
    assert_eq!(due(history, 15).await, [1, 2]);
    let failed = DeliveryOutcome::Failed {
        detail: "ä".repeat(5_000),
    };
    assert!(history.note_delivery(2, &failed, at(11)).await.unwrap());
    assert!(
        history
            .note_delivery(1, &delivered(), at(15))
            .await
            .unwrap()
    );
    assert_eq!(due(history, 99).await, [0_i64; 0]);
    // What is over stays as it was; what was never there is not made up.
    for id in [1, 2, 3] {
        let noted = history.note_delivery(id, &retry(99), at(20)).await.unwrap();
        assert!(!noted, "{id}");
    }
    let rows = history.deliveries(None, 9).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(rows[0].state, DeliveryState::Failed);
    let detail = rows[0].detail.as_ref().unwrap();
    assert_eq!(detail.chars().count(), 1_000, "an answer is bounded");
    assert_eq!((rows[0].attempts, rows[0].alerts), (1, 2));
    assert_eq!((rows[0].last_at, rows[0].next_at), (Some(at(11)), None));
    assert_eq!(rows[1].state, DeliveryState::Delivered);
    assert_eq!((rows[1].attempts, rows[1].next_at), (2, None));
    assert_eq!(rows[1].detail.as_deref(), Some("200 OK"));
    assert_eq!(&*rows[1].kind, "fired");
    assert_eq!(history.deliveries(None, 1).await.unwrap().len(), 1);
    assert_eq!(history.deliveries(Some("none"), 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_message_that_was_sent_before_it_was_kept_is_never_due() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let history = store.history();
    let test = message("oncall", 1, "a test");
    let id = history.record_delivery(&test, &delivered(), at(2)).await;
    let id = id.unwrap();
    assert!(due(history, 100).await.is_empty());
    let rows = history.deliveries(Some("oncall"), 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].id, rows[0].attempts), (id, 1));
    assert_eq!(rows[0].message, test.message);
    store.close().await;
}

#[tokio::test]
async fn a_resolved_waits_for_its_fired_but_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let history = store.history();
    let messages = [message("oncall", 0, "fired"), message("audit", 0, "fired")];
    history.save_alerts(&[], &[], &messages).await.unwrap();
    history.note_delivery(1, &retry(60), at(1)).await.unwrap();
    let later = [message("oncall", 2, "resolved")];
    assert_eq!(history.save_alerts(&[], &[], &later).await.unwrap(), [3]);
    assert_eq!(due(history, 2).await, [2], "another channel does not wait");
    assert_eq!(due(history, 60).await, [1, 2, 3], "in their order");
    // A server that takes everything but the first message.
    for attempt in 2..=4 {
        history.note_delivery(1, &retry(900), at(60)).await.unwrap();
        assert_eq!(due(history, 61).await, [2], "after {attempt} attempts");
    }
    history.note_delivery(1, &retry(900), at(60)).await.unwrap();
    assert_eq!(due(history, 61).await, [2, 3]);
}

#[tokio::test]
async fn events_are_paged_back_in_time_and_counted_by_rule() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let history = store.history();
    let mut events: Vec<_> = (0..7).map(|n| event(n, "fired", "stopped")).collect();
    events.push(AlertEvent {
        cluster: None,
        by_whom: Some("ada".into()),
        ..event(7, "acknowledged", "no-data")
    });
    events.push(event(8, "resolved", "stopped"));
    history.save_alerts(&[], &events, &[]).await.unwrap();
    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let page = history.alert_events(at(1), at(8), 3, before).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        paged.extend(page.into_iter().map(|stored| stored.event));
    }
    let expected: Vec<_> = events[1..8].iter().rev().cloned().collect();
    assert_eq!(paged, expected);
    let counts = history.count_alert_events(at(3)).await.unwrap();
    let count = |rule: &str, kind: &str, events| AlertEventCount {
        rule: rule.into(),
        kind: kind.into(),
        events,
    };
    let expected = [
        count("no-data", "acknowledged", 1),
        count("stopped", "fired", 4),
        count("stopped", "resolved", 1),
    ];
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn events_go_with_the_history_and_messages_after_a_month() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let history = store.history();
    let days = [0, 59, 61, 89, 95].map(|day| day * DAY);
    let events = days.map(|at| event(at, "fired", "stopped"));
    let messages = days.map(|at| message("oncall", at, "one"));
    let ids = history
        .save_alerts(&[("engine", b"kept")], &events, &messages)
        .await
        .unwrap();
    for id in ids {
        history
            .note_delivery(id, &delivered(), at(0))
            .await
            .unwrap();
    }
    store.retain(at(90 * DAY + 1)).await.unwrap();
    let all = history
        .alert_events(at(0), at(999 * DAY), 99, None)
        .await
        .unwrap();
    let kept: Vec<_> = all.iter().rev().map(|stored| stored.event.at).collect();
    assert_eq!(kept, days[1..].iter().map(|s| at(*s)).collect::<Vec<_>>());
    let rows = history.deliveries(None, 99).await.unwrap();
    let kept: Vec<UnixNanos> = rows.iter().rev().map(|row| row.created_at).collect();
    assert_eq!(kept, days[2..].iter().map(|s| at(*s)).collect::<Vec<_>>());
    assert_eq!(history.load_alerts().await.unwrap().memory.len(), 1);
}

#[tokio::test]
async fn too_many_are_cut_to_the_newest_and_none_that_waits_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let history = store.history();
    let events = vec![event(1, "fired", "stopped"); MAX_ALERT_EVENTS as usize + 5];
    let messages = vec![message("oncall", 1, "one"); MAX_DELIVERIES as usize + 5];
    history.save_alerts(&[], &events, &messages).await.unwrap();
    // All are over but the very first.
    history
        .write("a test", async |connection, _| {
            sqlx::query("UPDATE alert_delivery SET state = 1 WHERE id > 1")
                .execute(connection)
                .await
        })
        .await
        .unwrap();
    store.retain(at(2)).await.unwrap();
    let kept = history
        .alert_events(at(0), at(9), u32::MAX, None)
        .await
        .unwrap();
    assert_eq!(kept.len(), MAX_ALERT_EVENTS as usize);
    assert_eq!(kept.last().unwrap().id, 6);
    let kept = history.deliveries(None, u32::MAX).await.unwrap();
    assert_eq!(kept.len(), MAX_DELIVERIES as usize + 1);
    assert_eq!(kept.last().unwrap().id, 1);
    assert_eq!(kept[kept.len() - 2].id, 6);
    // Numbers go on, whatever was removed.
    store.retain(at(400 * DAY)).await.unwrap();
    assert_eq!(history.deliveries(None, 9).await.unwrap(), []);
    let next = history
        .save_alerts(&[], &[], &[message("oncall", 400 * DAY, "one")])
        .await;
    assert_eq!(next.unwrap(), [i64::from(MAX_DELIVERIES) + 6]);
}

#[tokio::test]
async fn a_history_of_the_first_format_gets_room_for_alerts_and_keeps_what_it_has() {
    let dir = crate::suite::of_format("v1");
    let options = Options {
        retention: Duration::from_secs(1 << 31),
        ..Options::default()
    };
    let store = Store::open(dir.path(), options, at(0)).await.unwrap();
    let history = store.history();
    assert_eq!(history.load_flow(0).await.unwrap().rows.len(), 1);
    assert!(history.load_alerts().await.unwrap().memory.is_empty());
    history
        .save_alerts(
            &[("engine", b"state")],
            &[event(1, "fired", "stopped")],
            &[message("oncall", 1, "one")],
        )
        .await
        .unwrap();
    assert_eq!(due(history, 1).await, [1]);
    store.close().await;
}
