//! Facts of settings.

use super::*;

const HIDDEN: &str = "hunter2-is-hidden";

fn env(name: &str) -> Option<String> {
    match name {
        "KEY" => Some(HIDDEN.to_owned()),
        "SLACK" => Some(format!("https://hooks.slack.example/services/{HIDDEN}")),
        "EMPTY" => Some("\n".to_owned()),
        _ => None,
    }
}

fn channel(toml: &str) -> Result<Channel, ChannelError> {
    Channel::from_settings(toml::from_str(toml).unwrap(), env)
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(chain).unwrap_or_default();
    format!("{error}\n{error:?}\n{source}")
}

const MAIL: &str = "name = 'm'\nkind = 'email'\nsmtp = 'mail.example:587'\nfrom = 'Highwater <hw@example.com>'\nto = ['ops@example.com']\n";

#[test]
fn every_kind_can_be_set_and_none_shows_its_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, format!("{HIDDEN}\n")).unwrap();
    let by_file = format!(
        "name = 'w'\nkind = 'webhook'\nurl = 'http://127.0.0.1:9/x'\nsecret_file = '{}'",
        file.display()
    );
    let mail = format!("{MAIL}username = 'hw'\nsecret_env = 'KEY'");
    for (toml, destination) in [
        (by_file.as_str(), Some("127.0.0.1:9")),
        (
            "name = 'a'\nkind = 'alertmanager'\nurl = 'https://am.example/root'\ntimeout = '3s'",
            Some("am.example"),
        ),
        ("name = 's'\nkind = 'slack'\nurl_env = 'SLACK'", None),
        (
            "name = 'p'\nkind = 'pagerduty'\nsecret_env = 'KEY'",
            Some("events.pagerduty.com"),
        ),
        (mail.as_str(), Some("ops@example.com")),
    ] {
        let channel = channel(toml).unwrap();
        assert_eq!(channel.destination().as_deref(), destination, "{toml}");
        assert!(!format!("{channel:?}").contains(HIDDEN), "{channel:?}");
    }
}

#[test]
fn what_does_not_work_is_named_by_channel_and_key_without_the_secret() {
    let slack = format!("name = 's'\nkind = 'slack'\nurl = 'https://hooks.example/{HIDDEN}'");
    let userinfo =
        format!("name = 'w'\nkind = 'webhook'\nurl = 'https://u:{HIDDEN}@h/'\nsecret_env = 'KEY'");
    let clear = format!("{MAIL}username = 'hw'\nsecret_env = 'KEY'\nsecurity = 'none'");
    let cases = [
        (slack.as_str(), "channel s: url of Slack is a secret"),
        (userinfo.as_str(), "channel w: url has a password in it"),
        (
            clear.as_str(),
            "channel m: security = \"none\": would send the password in the clear",
        ),
        (
            "name = 'a b'\nkind = 'slack'",
            "channel a b: name = \"a b\"",
        ),
        (
            "name = 'w'\nkind = 'webhook'\nurl = 'http://h/'",
            "channel w: secret_env or secret_file is missing",
        ),
        (
            "name = 'w'\nkind = 'webhook'\nsecret_env = 'KEY'",
            "channel w: url, url_env or url_file is missing",
        ),
        (
            "name = 'w'\nkind = 'webhook'\nurl = 'ftp://h/'\nsecret_env = 'KEY'",
            "channel w: url is not an http://",
        ),
        (
            "name = 'w'\nkind = 'webhook'\nurl = 'http://h/'\nsecret_env = 'NONE'",
            "secret_env = \"NONE\": this variable is not set",
        ),
        (
            "name = 'w'\nkind = 'webhook'\nurl = 'http://h/'\nsecret_env = 'EMPTY'",
            "secret_env = \"EMPTY\": this variable is not set",
        ),
        (
            "name = 'w'\nkind = 'webhook'\nurl = 'http://h/'\nsecret_file = '/nowhere'",
            "channel w: secret_file = \"/nowhere\"",
        ),
        (
            "name = 'w'\nkind = 'webhook'\nurl = 'http://h/'\nto = ['a@b.c']\nsecret_env = 'KEY'",
            "channel w: to is not for a channel of this kind",
        ),
        (
            "name = 's'\nkind = 'slack'\nurl_env = 'KEY'",
            "channel s: url_env or url_file does not hold",
        ),
        (
            "name = 'a'\nkind = 'alertmanager'\nurl = 'http://h'\ntimeout = '9h'",
            "channel a: timeout = \"9h\": a duration",
        ),
        (
            "name = 'a'\nkind = 'alertmanager'\nurl = 'http://h'\nusername = 'u'",
            "channel a: secret_env or secret_file is missing",
        ),
        (
            "name = 'm'\nkind = 'email'\nsmtp = 'mail'\nfrom = 'a@b.c'\nto = ['a@b.c']",
            "channel m: smtp = \"mail\": host:port",
        ),
        (
            "name = 'm'\nkind = 'email'\nsmtp = 'm:25'\nfrom = 'a@b.c'",
            "channel m: to is missing",
        ),
        (
            "name = 'm'\nkind = 'email'\nsmtp = 'm:25'\nfrom = \"a@b.c\\r\\nBcc: x@y.z\"\nto = ['a@b.c']",
            "channel m: from = \"a@b.c  Bcc: x@y.z\"",
        ),
    ];
    for (toml, expected) in cases {
        let error = channel(toml).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!chain(&error).contains(HIDDEN), "{error:?}");
    }
}

#[test]
fn a_key_that_is_misspelt_is_an_error() {
    let settings = "name = 'w'\nkind = 'webhook'\nurll = 'http://h/'";
    let error = toml::from_str::<ChannelSettings>(settings).unwrap_err();
    assert!(
        error.to_string().contains("unknown field `urll`"),
        "{error}"
    );
}

#[test]
fn a_file_is_read_each_time_so_that_a_secret_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "old\r\n").unwrap();
    let source = Source::File(file.clone());
    assert_eq!(source.read().unwrap().expose(), "old");
    std::fs::write(&file, "new").unwrap();
    assert_eq!(source.read().unwrap().expose(), "new");
    for wrong in [String::new(), "x".repeat(70_000)] {
        std::fs::write(&file, wrong).unwrap();
        assert!(source.read().is_err());
    }
    std::fs::remove_file(&file).unwrap();
    assert!(source.read().is_err());
}
