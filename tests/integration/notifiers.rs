//! Messages about alerts, received by real counterparts.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use highwater_model::UnixNanos;
use highwater_notifiers::{
    Channel, ChannelSettings, DeliveryError, Item, Kind, Message, Notifier, Severity,
};
use highwater_tests::fetched;
use highwater_tests::process::{Process, eventually};
use serde_json::Value;

const KEY: &str = "whsec-not-to-be-seen";
const SOON: Duration = Duration::from_secs(30);

fn now() -> UnixNanos {
    UnixNanos(crate::stage::now().0)
}

fn item(id: &str) -> Item {
    Item {
        id: id.to_owned(),
        rule: "Time lag over 1 m".to_owned(),
        rule_id: "time-lag".to_owned(),
        severity: Severity::Critical,
        sentence: "billing is 12,400 messages (3\u{a0}m 20\u{a0}s) behind on <orders> & grows."
            .to_owned(),
        since: now() - Duration::from_secs(60),
        resolved_at: None,
        url: "http://127.0.0.1:8844/groups/prod/billing?range=1h".to_owned(),
        runbook: Some("https://runbooks.example/lag".to_owned()),
        labels: BTreeMap::from([
            ("cluster".to_owned(), "prod".to_owned()),
            ("group".to_owned(), id.to_owned()),
        ]),
        last_hour: Some("12,400 ▁▂▅▇ over the last hour, from 0".to_owned()),
    }
}

fn message(kind: Kind, key: &str, mut alerts: Vec<Item>) -> Message {
    if kind == Kind::Resolved {
        for alert in &mut alerts {
            alert.resolved_at = Some(now());
        }
    }
    Message {
        key: key.to_owned(),
        kind,
        at: now(),
        alerts,
        omitted: 0,
    }
}

fn open_channel(toml: &str, secret: &str) -> Result<Notifier> {
    let settings: ChannelSettings = toml::from_str(toml)?;
    let channel =
        Channel::from_settings(settings, |name| (name == "KEY").then(|| secret.to_owned()))?;
    Ok(Notifier::new([channel])?)
}

/// What came to the sink: path, headers, body.
type Received = Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>;

/// A server that answers by path: `/429` with that status, anything else with 200.
async fn sink() -> Result<(String, Received)> {
    let received = Received::default();
    let taken = Arc::clone(&received);
    let answer = move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let status = uri.path().trim_start_matches('/').parse().unwrap_or(200);
        let status = StatusCode::from_u16(status).unwrap();
        let said = [("retry-after", "7"), ("location", "/elsewhere")];
        let repeated = String::from_utf8_lossy(&body).into_owned();
        let text = format!("you sent {repeated} {KEY} {}", "x".repeat(1 << 20));
        let path = uri.path().to_owned();
        taken.lock().unwrap().push((path, headers, body));
        std::future::ready((status, said, text))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let app = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok((address, received))
}

/// HMAC-SHA256 by Python's standard library.
fn hmac_by_python(key: &str, bytes: &[u8]) -> Result<String> {
    const SCRIPT: &str = "import hmac,sys;print(hmac.new(sys.argv[1].encode(),sys.stdin.buffer.read(),'sha256').hexdigest())";
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT, key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    python.stdin.take().context("no stdin")?.write_all(bytes)?;
    let output = python.wait_with_output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_over_its_time_and_body() -> Result<()> {
    let (address, received) = sink().await?;
    let settings =
        format!("name = 'hook'\nkind = 'webhook'\nurl = '{address}/alerts'\nsecret_env = 'KEY'");
    let notifier = open_channel(&settings, KEY)?;
    let message = message(Kind::Fired, "fired/1", vec![item("billing")]);
    let delivered = notifier.deliver("hook", &message).await?;
    assert_eq!(delivered.status, "200 OK");
    let (path, headers, body) = received.lock().unwrap().remove(0);
    assert_eq!(path, "/alerts");
    assert_eq!(headers["x-highwater-delivery"], "fired/1");
    let signature = headers["x-highwater-signature"].to_str()?;
    let (time, code) = signature
        .strip_prefix("t=")
        .and_then(|rest| rest.split_once(",v1="))
        .context("no signature")?;
    let age = now().0 / 1_000_000_000 - time.parse::<u64>()?;
    ensure!(age < 60, "{signature}");
    let signed = [time.as_bytes(), b".", &body].concat();
    assert_eq!(code, hmac_by_python(KEY, &signed)?);
    assert_ne!(code, hmac_by_python("another", &signed)?);
    let body: Value = serde_json::from_slice(&body)?;
    assert_eq!(body["version"], 1);
    assert_eq!(body["alerts"][0]["sentence"], message.alerts[0].sentence);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_whether_to_try_again_and_shows_no_secret() -> Result<()> {
    let (address, received) = sink().await?;
    let message = message(Kind::Fired, "fired/1", vec![item("billing")]);
    for (status, retryable) in [(400, false), (308, false), (429, true), (503, true)] {
        let settings = format!(
            "name = 'pager'\nkind = 'pagerduty'\nurl = '{address}/{status}'\nsecret_env = 'KEY'"
        );
        let error = open_channel(&settings, KEY)?
            .deliver("pager", &message)
            .await
            .unwrap_err();
        assert_eq!(error.retryable(), retryable, "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        // The server repeats the routing key, in its answer and before a megabyte of it.
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(&status.to_string()), "{shown}");
        assert!(!shown.contains(KEY), "{shown}");
        assert!(shown.len() < 2_000, "{}", shown.len());
    }
    let paths: Vec<_> = received
        .lock()
        .unwrap()
        .iter()
        .map(|(path, ..)| path.clone())
        .collect();
    assert_eq!(paths, ["/400", "/308", "/429", "/503"], "nothing follows");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_or_silent_is_tried_again_and_its_address_stays_secret() -> Result<()>
{
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let away = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        listener.local_addr()?
    };
    for (address, said) in [
        (silent.local_addr()?, "no answer in 300ms"),
        (away, "refused"),
    ] {
        let settings = "name = 'chat'\nkind = 'slack'\nurl_env = 'KEY'\ntimeout = '300ms'";
        let notifier = open_channel(settings, &format!("http://{address}/services/{KEY}"))?;
        let message = message(Kind::Test, "test/1", vec![item("billing")]);
        let error = notifier.deliver("chat", &message).await.unwrap_err();
        assert!(error.retryable(), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(said) && !shown.contains(KEY), "{shown}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_lists_what_fires_and_forgets_what_is_resolved() -> Result<()> {
    tokio::task::spawn_blocking(fetched::alertmanager).await??;
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("alertmanager.yml");
    std::fs::write(
        &config,
        "route: {receiver: none}\nreceivers: [{name: none}]\n",
    )?;
    let mut command = fetched::alertmanager()?;
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", dir.path().display()))
        .args([
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
        ]);
    let process = Process::start("alertmanager", &command)?;
    let address = eventually("alertmanager's address", SOON, || async {
        let lines = process.output();
        let told = lines
            .iter()
            .find_map(|line| line.split_once("msg=\"Listening on\" address="));
        let (_, address) = told.with_context(|| lines.join("\n"))?;
        Ok(address.trim().to_owned())
    })
    .await?;
    let notifier = open_channel(
        &format!("name = 'am'\nkind = 'alertmanager'\nurl = 'http://{address}'"),
        KEY,
    )?;
    let listed = async || -> Result<Vec<Value>> {
        let url = format!("http://{address}/api/v2/alerts");
        Ok(reqwest::get(url).await?.json().await?)
    };
    let mut odd = item("odd");
    odd.labels.insert("1st.name".to_owned(), "ü".to_owned());
    let fired = message(Kind::Fired, "fired/1", vec![item("billing"), odd.clone()]);
    notifier.deliver("am", &fired).await?;
    let alerts = eventually("both alerts", SOON, || async {
        let alerts = listed().await?;
        ensure!(alerts.len() == 2, "{alerts:?}");
        Ok(alerts)
    })
    .await?;
    let billing = alerts
        .iter()
        .find(|alert| alert["labels"]["group"] == "billing")
        .context("no billing")?;
    let labels = serde_json::json!({
        "alertname": "Time lag over 1 m", "severity": "critical", "cluster": "prod", "group": "billing",
    });
    assert_eq!(billing["labels"], labels);
    assert_eq!(billing["status"]["state"], "active");
    assert_eq!(billing["annotations"]["summary"], fired.alerts[0].sentence);
    assert_eq!(billing["generatorURL"], fired.alerts[0].url);
    assert!(
        alerts
            .iter()
            .any(|alert| alert["labels"]["_1st_name"] == "ü")
    );

    let resolved = message(Kind::Resolved, "resolved/1", vec![item("billing")]);
    notifier.deliver("am", &resolved).await?;
    eventually("billing to be gone, and odd to stay", SOON, || async {
        let alerts = listed().await?;
        ensure!(alerts.len() == 1, "{alerts:?}");
        ensure!(alerts[0]["labels"]["group"] == "odd", "{alerts:?}");
        Ok(())
    })
    .await
}

/// A real SMTP server, and its port.
async fn smtp(arguments: &[&str]) -> Result<(Process, String)> {
    let python = tokio::task::spawn_blocking(fetched::smtp_python).await??;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/data/smtp_server.py");
    let mut command = Command::new(python);
    command.arg(script).args(arguments);
    let mut process = Process::start("the SMTP server", &command)?;
    let port = process.line_after("port ", SOON).await?;
    Ok((process, port))
}

fn mails(process: &Process) -> Result<Vec<Value>> {
    let lines = process.output();
    let mails = lines.iter().filter_map(|line| line.strip_prefix("mail "));
    mails.map(|mail| Ok(serde_json::from_str(mail)?)).collect()
}

fn mail_channel(port: &str, to: &str, more: &str) -> String {
    format!(
        "name = 'mail'\nkind = 'email'\nsmtp = '127.0.0.1:{port}'\nfrom = 'Highwater <hw@example.com>'\nto = [{to}]\n{more}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_read_back_as_it_was_meant_and_its_answers_are_one_conversation() -> Result<()> {
    let (process, port) = smtp(&["auth"]).await?;
    let to = "'Ops Ü <ops@example.com>', 'b@example.com'";
    let login = "security = 'none'\nusername = 'hw'\nsecret_env = 'KEY'";
    let channel = mail_channel(&port, to, login);
    let notifier = open_channel(&channel, "sesame")?;
    let mut evil = item("billing");
    evil.sentence
        .push_str("\r\nBcc: all@example.com\r\n\r\n.\r\nQUIT");
    let fired = message(Kind::Fired, "fired/1", vec![evil]);
    let delivered = notifier.deliver("mail", &fired).await?;
    assert!(delivered.status.starts_with("250"), "{delivered:?}");
    let resolved = message(Kind::Resolved, "resolved/1", vec![item("billing")]);
    notifier.deliver("mail", &resolved).await?;
    let [first, second] = eventually("two mails", SOON, || async {
        let mails = mails(&process)?;
        <[Value; 2]>::try_from(mails).map_err(|mails| anyhow::anyhow!("{mails:?}"))
    })
    .await?;
    assert_eq!(first["from"], "hw@example.com");
    assert_eq!(
        first["to"],
        serde_json::json!(["ops@example.com", "b@example.com"])
    );
    assert_eq!(first["login"], "hw");
    let subject = first["subject"].as_str().context("no subject")?;
    assert!(
        subject.starts_with(
            "Critical: billing is 12,400 messages (3\u{a0}m 20\u{a0}s) behind on <orders> & grows."
        ),
        "{subject}"
    );
    let header = |mail: &Value, wanted: &str| -> Vec<String> {
        let headers = mail["headers"].as_array().cloned().unwrap_or_default();
        let of = |pair: &Value| {
            pair[0]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case(wanted))
        };
        let found = headers.iter().filter(|pair| of(pair));
        found
            .map(|pair| pair[1].as_str().unwrap_or("").to_owned())
            .collect()
    };
    assert_eq!(header(&first, "Bcc"), [""; 0]);
    assert_eq!(header(&first, "References"), header(&second, "References"));
    assert_eq!(header(&first, "References").len(), 1);
    assert_ne!(header(&first, "Message-ID"), header(&second, "Message-ID"));
    let (text, html) = (
        first["text"].as_str().unwrap_or(""),
        first["html"].as_str().unwrap_or(""),
    );
    assert!(
        text.contains("Last hour: 12,400 ▁▂▅▇ over the last hour, from 0"),
        "{text}"
    );
    assert!(
        text.contains("Why: http://127.0.0.1:8844/groups/prod/billing?range=1h"),
        "{text}"
    );
    assert!(
        html.contains("behind on &lt;orders&gt; &amp; grows."),
        "{html}"
    );

    let wrong = open_channel(&channel, "open-please")?;
    let error = wrong.deliver("mail", &fired).await.unwrap_err();
    assert!(!error.retryable(), "{error}");
    assert!(
        !format!("{error} {error:?}").contains("open-please"),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_says_whether_to_try_again_and_is_never_talked_to_in_the_clear_unasked()
-> Result<()> {
    let (process, port) = smtp(&[]).await?;
    let message = message(Kind::Fired, "fired/1", vec![item("billing")]);
    let send = async |to: &str, security: &str| -> Result<Result<_, DeliveryError>> {
        let channel = mail_channel(&port, to, &format!("security = '{security}'"));
        Ok(open_channel(&channel, KEY)?.deliver("mail", &message).await)
    };
    let nobody = send("'nobody@example.com'", "none").await?.unwrap_err();
    assert!(!nobody.retryable(), "{nobody}");
    assert!(nobody.to_string().contains("no such mailbox"), "{nobody}");
    let busy = send("'busy@example.com'", "none").await?.unwrap_err();
    assert!(busy.retryable(), "{busy}");
    // It offers no STARTTLS, as somebody in between would make it look.
    assert!(send("'ops@example.com'", "starttls").await?.is_err());
    assert!(send("'ops@example.com'", "tls").await?.is_err());
    assert_eq!(mails(&process)?.len(), 0);
    send("'busy@example.com'", "none").await??;
    Ok(())
}
