//! Builds the rooms, runs them, drains them. The one file that names every room.

mod alert;
mod commit;
mod files;
mod keep;
mod landmarks;
mod threads;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use highwater_alerting::Desk;
use highwater_api::{About, Access, ApiState, Clusters, Events, Marks, Rooms, Services, Sparks};
use highwater_deadletters::{DeadLetters, MappedTopic};
use highwater_lag::LagEngine;
use highwater_model::UnixNanos;
use highwater_model::names::TopicKind;
use highwater_model::normalise::Rules;
use highwater_receivers::{ReceiverContext, serve_grpc, serve_http};
use highwater_shared::status::Listeners;
use highwater_store::{Options as StoreOptions, Store};
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::units::Size;
use commit::Committer;
use landmarks::Landmarks;
use watch::Watch;

/// Aggregates and lag history outlive spans.
const HISTORY_RETENTION: Duration = Duration::from_secs(90 * 86_400);
/// What is under way when Ctrl-C comes has this long.
const DRAIN: Duration = Duration::from_secs(10);

/// The wall clock, for the rooms that take time as an argument.
pub(crate) fn now() -> UnixNanos {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixNanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}

/// Runs until Ctrl-C or a termination signal, then drains.
pub(crate) fn run(settings: Settings) -> Result<()> {
    let (ingest, pages) = threads::start()?;
    ingest.block_on(serve(settings, pages.handle().clone()))
}

async fn serve(settings: Settings, pages: Handle) -> Result<()> {
    let started = now();
    // Ports first: what is taken is said before anything else is touched.
    let dashboard = pages
        .spawn(bind("listen", settings.listen_address()?))
        .await
        .context("the dashboard panicked")??;
    let grpc = bind("otlp-grpc", settings.otlp_grpc_address()?).await?;
    let http = bind("otlp-http", settings.otlp_http_address()?).await?;
    let listeners = Listeners {
        dashboard: url(&dashboard)?,
        otlp_grpc: url(&grpc)?,
        otlp_http: url(&http)?,
    };

    let rules = rules(&settings);
    let store = open_store(&settings, rules.clone()).await?;
    let services = Arc::new(Services::default());
    let flow = keep::restore_flow(&store, watch::flow_config(&settings), &services).await?;
    let flow = Arc::new(RwLock::new(flow));
    let lag = keep::restore_lag(&store, watch::lag_config(&settings)).await?;
    let lag = Arc::new(RwLock::new(lag));
    let sparks = Arc::new(Sparks::default());
    keep::restore_sparks(&store, &settings, &sparks, started).await;
    let events = Arc::new(Events::default());
    let landmarks = Arc::new(Landmarks::open(&store, started).await?);
    let clusters = Arc::new(Clusters::default());
    let dead_letters = Arc::new(DeadLetters::new(dead_letter_config(&settings)));

    let shutdown = CancellationToken::new();
    let connections = files::connections_within_limit(settings.receiver.max_connections);
    let (sender, writer) = highwater_pipeline::pipeline(settings.receiver.queue_spans);
    let stats = Arc::clone(sender.stats());
    let committer = Committer {
        store: store.clone(),
        flow: Arc::clone(&flow),
        services: Arc::clone(&services),
        landmarks: Arc::clone(&landmarks),
    };
    let mut tasks = tokio::task::JoinSet::new();
    // Among those that are watched: without it every request would be told to come again, for ever.
    tasks.spawn(async move {
        writer.run(committer).await;
        Ok(())
    });
    let receiver = Arc::new(ReceiverContext::new(
        sender,
        rules,
        receiver_options(&settings, connections.otlp),
    ));
    let counters = Arc::clone(receiver.counters());
    let in_flight = receiver.in_flight();

    let watch = Watch {
        flow: Arc::clone(&flow),
        lag: Arc::clone(&lag),
        clusters: Arc::clone(&clusters),
        dead_letters: Arc::clone(&dead_letters),
        sparks: Arc::clone(&sparks),
        events: Arc::clone(&events),
        landmarks,
        store: store.clone(),
    };
    let pollers = watch
        .start(&settings, &shutdown)
        .context("cannot start reading clusters")?;

    let desk = open_desk(&settings, &store, &sparks, &listeners.dashboard).await?;
    let state = ApiState::new(Rooms {
        store: store.clone(),
        flow: Arc::clone(&flow),
        lag: Arc::clone(&lag),
        sparks,
        marks: marks(&settings),
        clusters: Arc::clone(&clusters),
        dead_letters: Arc::clone(&dead_letters),
        desk: Arc::clone(&desk),
        services: Arc::clone(&services),
        events: Arc::clone(&events),
        pipeline: Arc::clone(&stats),
        counters: Arc::clone(&counters),
        in_flight,
        access: Access {
            token: settings.auth_token.clone(),
            loopback: dashboard.local_addr()?.ip().is_loopback(),
        },
        about: About {
            version: env!("CARGO_PKG_VERSION"),
            started,
            listeners: listeners.clone(),
            data_dir: settings.data_dir.display().to_string(),
            retention_ms: settings.retention.0.as_millis() as u64,
            retention_bytes: settings.retention_size.0,
            poll_interval_ms: settings.poll_interval.0.as_millis() as u64,
        },
        shutdown: shutdown.clone(),
        clock: now,
    });

    let stop = || shutdown.clone();
    tasks.spawn({
        let (context, stop) = (Arc::clone(&receiver), stop());
        async move {
            serve_grpc(grpc, context, stop)
                .await
                .context("OTLP over gRPC ended")
        }
    });
    tasks.spawn({
        let (context, stop) = (receiver, stop());
        async move {
            serve_http(http, context, stop)
                .await
                .context("OTLP over HTTP ended")
        }
    });
    tasks.spawn({
        let serving = pages.spawn(highwater_api::serve(
            dashboard,
            state,
            connections.pages,
            stop(),
        ));
        async move { serving.await.context("the dashboard panicked") }
    });
    tasks.spawn(keep::checkpoints(
        store.clone(),
        Arc::clone(&flow),
        Arc::clone(&lag),
        stop(),
    ));
    let sources = alert::Sources {
        flow: Arc::clone(&flow),
        lag: Arc::clone(&lag),
        clusters,
        dead_letters: Arc::clone(&dead_letters),
        services,
        counters,
    };
    tasks.spawn(alert::watch(
        Arc::clone(&desk),
        sources,
        Arc::clone(&events),
        settings.poll_interval.0,
        stop(),
    ));
    tasks.spawn({
        let (desk, stop) = (desk, stop());
        async move {
            desk.deliver(now, stop.cancelled_owned()).await;
            Ok(())
        }
    });
    tasks.spawn(keep::retention(store.clone(), stop()));
    tasks.spawn(keep::clustering(store.clone(), stop()));
    tasks.spawn(watch::tell(Arc::clone(&stats), Arc::clone(&events), stop()));
    tasks.spawn({
        let (dead_letters, stop) = (dead_letters, stop());
        async move {
            dead_letters.run(now, stop.cancelled_owned()).await;
            Ok(())
        }
    });

    println!("dashboard  {}", listeners.dashboard);
    println!("otlp-grpc  {}", listeners.otlp_grpc);
    println!("otlp-http  {}", listeners.otlp_http);
    println!("data       {}", settings.data_dir.display());

    let mut outcome = tokio::select! {
        signal = interrupted() => signal,
        Some(ended) = tasks.join_next() => ended.context("a task panicked").flatten(),
    };
    let before = stats.committed_spans();
    shutdown.cancel();
    drop(pollers);
    let drained = tokio::time::timeout(DRAIN, async {
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.context("a task panicked").flatten();
            // The first failure is the one to tell.
            if outcome.is_ok() {
                outcome = ended;
            }
        }
    })
    .await;
    // A panic may have left the flow within a block: what was kept before counts, and the next start replays what came after.
    if !outcome
        .as_ref()
        .is_err_and(|error| error.is::<tokio::task::JoinError>())
    {
        keep::checkpoint(&store, &flow, &lag).await?;
    }
    store.close().await;
    outcome?;
    if drained.is_err() {
        anyhow::bail!(
            "did not drain in {} s; what was acknowledged is stored",
            DRAIN.as_secs()
        );
    }
    let committed = stats.committed_spans();
    println!(
        "drained    {} spans that waited; {committed} committed since the start, {} resends recognised",
        committed - before,
        stats.duplicate_spans()
    );
    Ok(())
}

/// The desk where alerts are worked on.
async fn open_desk(
    settings: &Settings,
    store: &Store,
    sparks: &Arc<Sparks>,
    dashboard: &str,
) -> Result<Arc<Desk>> {
    const HOUR: Duration = Duration::from_secs(3_600);
    let sparks = Arc::clone(sparks);
    let options = highwater_alerting::Options {
        rules: settings.rules.clone(),
        channels: settings.channels()?,
        public_url: settings
            .public_url
            .clone()
            .unwrap_or_else(|| dashboard.to_owned()),
        hour_of_group: Arc::new(move |cluster, group, now| {
            sparks.points(cluster, group, now - HOUR, now)
        }),
        engine: highwater_alerts::Options {
            longest_gap: (settings.poll_interval.0 * 3)
                .max(highwater_alerts::Options::default().longest_gap),
            ..highwater_alerts::Options::default()
        },
    };
    Desk::open(store.history().clone(), options)
        .await
        .context("cannot take up the alerts")
}

async fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "--{flag} {address} is taken by another program: stop it, or choose another address (port 0 takes any)"
        ),
        _ => anyhow::anyhow!("cannot listen on --{flag} {address}: {error}"),
    })
}

fn url(listener: &TcpListener) -> Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

async fn interrupted() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        signal = tokio::signal::ctrl_c() => signal?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn open_store(settings: &Settings, rules: Rules) -> Result<Store> {
    let options = StoreOptions {
        rules,
        retention: settings.retention.0,
        retention_bytes: settings.retention_size.0,
        min_free_bytes: settings.store.min_free.map(|size| size.0),
        history_bytes: settings.store.history_size.0,
        history_retention: HISTORY_RETENTION,
        ..StoreOptions::default()
    };
    Ok(Store::open(&settings.data_dir, options, now()).await?)
}

fn rules(settings: &Settings) -> Rules {
    let mut rules = Rules {
        correlation_attributes: settings.correlation.attributes.clone(),
        ..Rules::default()
    };
    rules
        .correlation_headers
        .extend(settings.correlation.headers.iter().cloned());
    rules
}

fn receiver_options(settings: &Settings, connections: usize) -> highwater_receivers::Options {
    let bytes = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
    highwater_receivers::Options {
        max_request_bytes: bytes(settings.receiver.max_request),
        max_in_flight_bytes: bytes(settings.receiver.max_in_flight),
        max_connections: connections,
        auth_token: settings.auth_token.clone(),
        cors_origins: settings.receiver.cors_origins.clone(),
        ..highwater_receivers::Options::default()
    }
}

fn marks(settings: &Settings) -> Marks {
    Marks {
        default: settings.lag.mark.0,
        globs: settings
            .lag
            .marks
            .iter()
            .map(|(glob, mark)| (glob.clone(), mark.0))
            .collect(),
    }
}

fn dead_letter_config(settings: &Settings) -> highwater_deadletters::Config {
    let mapping = settings
        .dead_letters
        .topics
        .iter()
        .map(|topic| MappedTopic {
            cluster: None,
            topic: topic.clone(),
            kind: TopicKind::DeadLetterTopic,
            origins: Vec::new(),
            groups: Vec::new(),
        });
    highwater_deadletters::Config {
        mapping: mapping.collect(),
        ..highwater_deadletters::Config::default()
    }
}

/// Lag with the settings' window; shared by the start and the restore.
pub(crate) type SharedLag = Arc<RwLock<LagEngine>>;
