//! A browser does the four jobs by clicking, as a user would.

use anyhow::{Context, Result, ensure};
use highwater_shared::dead_letters::DeadLetters;
use highwater_shared::lag::State;
use highwater_shop::dials::Mode;
use highwater_tests::browser::Browser;
use highwater_tests::highwater::Highwater;
use highwater_tests::process::eventually;

use crate::stage::{PATIENCE, Stage};

/// Every page, for the pictures: name and path.
fn pages(trace: &str, order: &str) -> [(&'static str, String); 11] {
    [
        ("overview", "/".to_owned()),
        ("flow-map", "/map".to_owned()),
        ("flow-map-panel", "/map?sel=group:demo/billing".to_owned()),
        ("flow-map-table", "/map?view=table".to_owned()),
        ("traces", "/traces".to_owned()),
        ("trace", format!("/traces/{trace}")),
        ("journey", format!("/journeys/correlation/{order}")),
        ("lag", "/lag".to_owned()),
        ("lag-group", "/lag/demo/billing".to_owned()),
        (
            "dead-letters",
            "/dead-letters/demo/orders.billing.dlt".to_owned(),
        ),
        ("health", "/settings/health".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_does_the_four_jobs_by_clicking() -> Result<()> {
    let stage = Stage::alone(|config| config.rate = 30.0).await?;
    // Failing, billing gives records up; slow, it falls behind.
    stage.open_doors();
    stage.shop.turn("billing", Mode::Failing)?;
    eventually("dead letters", PATIENCE, || async {
        let dead: DeadLetters = stage.highwater.get("/api/v1/dead-letters").await?;
        ensure!(
            dead.topics.iter().any(|topic| topic.retained > Some(5)),
            "{dead:?}"
        );
        Ok(())
    })
    .await?;
    stage.shop.turn("billing", Mode::Slow)?;
    stage
        .until("billing", "falls behind", |group| {
            group.state != State::Ok && group.time_lag_ms > Some(6_000)
        })
        .await?;
    let browser = Browser::start().await?;
    let base = stage.highwater.dashboard.clone();
    browser.driver.goto(&base).await?;

    reads_the_map(&browser).await?;
    let trace = finds_the_group_that_is_behind(&browser).await?;
    let order = follows_one_order(&browser, &stage).await?;
    opens_a_dead_letter(&browser).await?;
    browser.no_errors().await?;

    for (name, path) in pages(&trace, &order) {
        browser.driver.goto(format!("{base}{path}")).await?;
        // The page sets its own theme as it starts: only then it can be given another.
        browser.settled().await.with_context(|| name.to_owned())?;
        for theme in ["dark", "light"] {
            browser.theme(theme).await?;
            browser
                .settled()
                .await
                .with_context(|| format!("{name}, {theme}"))?;
            browser.screenshot(&format!("{name}-{theme}")).await?;
        }
        browser.no_errors().await.with_context(|| name.to_owned())?;
    }
    browser.quit().await?;
    stage.close().await
}

/// The first job: what flows where, and what stands at the group that hurts.
async fn reads_the_map(browser: &Browser) -> Result<()> {
    browser.click("[data-testid=nav-map]").await?;
    for node in [
        "service:shop/storefront",
        "topic:demo/orders",
        "topic:demo/orders.billing.dlt",
        "group:demo/billing",
        "group:demo/orders-audit",
    ] {
        browser
            .css(&format!("[data-testid=map-node][data-id='{node}']"))
            .await?;
    }
    let edge = "delivers topic:demo/orders>group:demo/billing";
    browser
        .css(&format!("[data-testid=map-edge][data-id='{edge}']"))
        .await?;
    browser
        .click("[data-testid=map-node][data-id='group:demo/billing']")
        .await?;
    let panel = browser.find("panel").await?.text().await?;
    ensure!(
        panel.contains("billing") && panel.contains("orders"),
        "{panel}"
    );
    // The same as a table.
    browser.click("[data-testid=map-table]").await?;
    browser.says("storefront").await?;
    Ok(())
}

/// The second: the worst group stands first; its page leads to its slowest traces. Returns the trace it opened.
async fn finds_the_group_that_is_behind(browser: &Browser) -> Result<String> {
    browser.click("[data-testid=nav-lag]").await?;
    eventually("the worst group to stand first", PATIENCE, || async {
        let first = browser.find("group-row").await?.text().await?;
        ensure!(
            first.contains("billing") && first.to_lowercase().contains("behind"),
            "{first}"
        );
        Ok(())
    })
    .await?;
    browser
        .click("[data-testid=group-row] a[href*='/lag/demo/billing']")
        .await?;
    browser.says("Slowest traces").await?;
    browser.says("orders").await?;
    browser.click("[data-testid=slow-trace] a").await?;
    browser.find("span-row").await?;
    browser.says("in broker").await?;
    let address = browser.driver.current_url().await?;
    let trace = address.path().rsplit('/').next().unwrap_or_default();
    ensure!(trace.len() == 32, "{address}");
    Ok(trace.to_owned())
}

/// The third: one order by its correlation id, over several traces. Returns the order.
async fn follows_one_order(browser: &Browser, stage: &Stage) -> Result<String> {
    // One that came through: charged, packed, told.
    let ledger = stage.shop.ledger().await?;
    let passed = ledger.orders_detail.iter().find(|(_, stories)| {
        let read = |topic: &str| {
            let story = stories.iter().find(|story| story.place.topic == topic);
            story.is_some_and(|story| !story.deliveries.is_empty())
        };
        read("shipments") && read("stock.reserved")
    });
    let order = passed.context("no order has been shipped")?.0.clone();
    let search = browser.find("search").await?;
    search.click().await?;
    search.send_keys(order.as_str()).await?;
    browser
        .click("[data-testid=search-hit][href*='/journeys/']")
        .await?;
    browser.find("journey-step").await?;
    browser.says(&order).await?;
    let steps = browser.count("[data-testid=journey-step]").await?;
    ensure!(
        steps >= 8,
        "an order passes at least eight steps, the page shows {steps}"
    );
    browser.says("shipping").await?;
    let sentence = browser.find("journey-sentence").await?.text().await?;
    ensure!(!sentence.is_empty(), "where does it stand?");
    Ok(order)
}

/// The fourth: a dead letter, its cause, its trace.
async fn opens_a_dead_letter(browser: &Browser) -> Result<()> {
    browser.click("[data-testid=nav-dead-letters]").await?;
    browser
        .click("[data-testid=dlq-row][data-topic='orders.billing.dlt']")
        .await?;
    browser.find("cause-row").await?;
    browser.click("[data-testid=record-row] td").await?;
    // The class that the shop's header names, and where the record was read before it died.
    browser.says("ConnectException").await?;
    browser.find("record-value").await?;
    browser.click("[data-testid=record-trace-link]").await?;
    browser.find("span-row").await?;
    browser.says("orders.billing.dlt").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn before_any_data_the_first_page_says_what_to_do() -> Result<()> {
    let data = tempfile::tempdir()?;
    let highwater = Highwater::start(data.path(), &[]).await?;
    let browser = Browser::start().await?;
    browser.driver.goto(&highwater.dashboard).await?;
    browser.says("OTEL_EXPORTER_OTLP_ENDPOINT").await?;
    browser
        .says(highwater.otlp_http.trim_start_matches("http://"))
        .await?;
    browser.says("--kafka").await?;
    for theme in ["dark", "light"] {
        browser.theme(theme).await?;
        browser.screenshot(&format!("first-run-{theme}")).await?;
    }
    // It changes by itself when the first span comes.
    crate::stage::send_json(
        &highwater.otlp_http,
        &crate::stage::span_json("first", 1, 1),
    )
    .await?;
    browser.says("Needs attention").await?;
    browser.no_errors().await?;
    browser.quit().await
}

/// A browser opens six connections to a host. What holds one for as long as it is open leaves fewer for the rest.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_were_left_hold_no_connection() -> Result<()> {
    let data = tempfile::tempdir()?;
    let highwater = Highwater::start(data.path(), &[]).await?;
    crate::stage::send_json(
        &highwater.otlp_http,
        &crate::stage::span_json("first", 1, 1),
    )
    .await?;
    let browser = Browser::start().await?;
    let paths = ["/", "/map", "/traces", "/lag", "/dead-letters", "/alerts"];
    for path in paths.into_iter().chain(paths).chain(["/settings/health"]) {
        browser
            .driver
            .goto(format!("{}{path}", highwater.dashboard))
            .await?;
        browser.settled().await.with_context(|| path.to_owned())?;
    }
    // Back to one that the browser kept alive: it hears of what comes.
    for _ in ["/alerts", "/dead-letters", "/lag", "/traces"] {
        browser.driver.back().await?;
    }
    browser.says("first").await?;
    crate::stage::send_json(
        &highwater.otlp_http,
        &crate::stage::span_json("second", 2, 2),
    )
    .await?;
    browser.says("second").await?;
    browser.no_errors().await?;
    browser.quit().await
}
