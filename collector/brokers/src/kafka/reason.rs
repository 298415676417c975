//! Sentences for what goes wrong with a cluster: what happened, and what to do.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Says why a cluster cannot be reached, from the last thing its client heard.
pub(crate) fn unreachable(
    bootstrap: &str,
    heard: Option<&(RDKafkaErrorCode, String)>,
    call: &str,
) -> String {
    let Some((code, text)) = heard else {
        return format!(
            "cannot read {bootstrap}: {call}; is the broker overloaded, or a firewall in between?"
        );
    };
    let (detail, state) = detail(text);
    match code {
        RDKafkaErrorCode::Resolve => {
            format!("cannot resolve {bootstrap}: {detail}; check the host name")
        }
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => format!(
            "{bootstrap} refused the login: {detail}; check the sasl.* properties of this cluster"
        ),
        _ if *code == RDKafkaErrorCode::SSL
            || detail.contains("SSL")
            || state == "SSL_HANDSHAKE" =>
        {
            format!(
                "no TLS session with {bootstrap}: {detail}; check security.protocol and the ssl.* properties of this cluster"
            )
        }
        _ if state.starts_with("APIVERSION") || state.starts_with("AUTH_") => format!(
            "{bootstrap} closed the connection: {detail}; does this port expect TLS or SASL? Check security.protocol"
        ),
        _ if detail.to_ascii_lowercase().contains("refused") => format!(
            "cannot reach {bootstrap}: connection refused; is the broker running, and is this its address?"
        ),
        _ => format!(
            "cannot reach {bootstrap}: {detail}; is the broker running, and can this machine reach it?"
        ),
    }
}

/// Says which setting librdkafka refuses. The value is left out: it may be a password.
pub(crate) fn refused_setting(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, key, _) => {
            format!("librdkafka does not accept the setting {key}; check its name and value")
        }
        KafkaError::ClientCreation(text) => {
            format!("cannot make a client: {text}; check this cluster's properties")
        }
        other => format!("cannot make a client: {other}"),
    }
}

/// What a broker answered, in words for a page: without the library's own story of the call, and with the missing right
/// where it is a refusal. Whatever the probe asks of groups and offsets needs no more than DESCRIBE.
pub(crate) fn answer(text: &str) -> String {
    // `LISTCONSUMERGROUPOFFSETS worker failed to parse response: ...Response response failure: Broker: ...`
    let words = match text.find("Broker: ") {
        Some(at) if text.contains("worker failed to parse response") => &text[at..],
        _ => text,
    };
    let kinds = [
        ("Topic authorization failed", "topic"),
        ("Group authorization failed", "group"),
        ("Cluster authorization failed", "cluster"),
    ];
    match kinds.iter().find(|(refusal, _)| words.contains(refusal)) {
        Some((_, kind)) => {
            format!("{words}; the probe's user needs the right to DESCRIBE the {kind}")
        }
        None => words.to_owned(),
    }
}

/// The part of librdkafka's text that says what happened, and the state of the connection it happened in:
/// `127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in state CONNECT)`
/// is `Connection refused` and `CONNECT`.
fn detail(text: &str) -> (&str, &str) {
    let after_thread = match text.split_once("]: ") {
        Some((thread, rest)) if thread.starts_with("[thrd:") => rest,
        _ => text,
    };
    let after_broker = match after_thread.split_once(": ") {
        Some((broker, rest)) if !broker.contains(' ') => rest,
        _ => after_thread,
    };
    let after_connect = match after_broker.split_once(" failed: ") {
        Some((connect, rest)) if connect.starts_with("Connect to ") => rest,
        _ => after_broker,
    };
    match after_connect.rsplit_once(" (after ") {
        Some((what, rest)) => {
            let state = rest.split_once("in state ").map_or("", |(_, state)| state);
            let end = state.find([',', ')']).unwrap_or(state.len());
            (what, &state[..end])
        }
        None => (after_connect, ""),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode as Code;

    use super::{answer, unreachable};

    #[test]
    fn a_refused_connection_says_so_and_what_to_do() {
        let heard = (
            Code::BrokerTransportFailure,
            "127.0.0.1:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)".to_owned(),
        );
        assert_eq!(
            unreachable("127.0.0.1:9092", Some(&heard), "all brokers are down"),
            "cannot reach 127.0.0.1:9092: connection refused; is the broker running, and is this its address?"
        );
    }

    #[test]
    fn a_wrong_protocol_points_at_security_protocol() {
        let heard = (
            Code::BrokerTransportFailure,
            "127.0.0.1:9093/bootstrap: Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?) or broker version is < 0.10 (see api.version.request) (after 3ms in state APIVERSION_QUERY)".to_owned(),
        );
        let said = unreachable("127.0.0.1:9093", Some(&heard), "");
        assert!(said.contains("security.protocol"), "{said}");
    }

    #[test]
    fn a_certificate_that_is_not_trusted_points_at_the_ssl_properties() {
        let heard = (
            Code::BrokerTransportFailure,
            "ssl://127.0.0.1:9094/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 19ms in state SSL_HANDSHAKE)".to_owned(),
        );
        let said = unreachable("127.0.0.1:9094", Some(&heard), "");
        assert!(
            said.starts_with("no TLS session with 127.0.0.1:9094"),
            "{said}"
        );
        assert!(said.contains("certificate verify failed; check"), "{said}");
    }

    #[test]
    fn a_failed_login_points_at_the_sasl_properties() {
        let heard = (
            Code::Authentication,
            "sasl_plaintext://b:9092/bootstrap: SASL authentication error: Authentication failed (after 5ms in state AUTH_REQ)".to_owned(),
        );
        let said = unreachable("b:9092", Some(&heard), "");
        assert!(said.starts_with("b:9092 refused the login: SASL authentication error"));
        assert!(said.contains("sasl.*"), "{said}");
    }

    #[test]
    fn a_refusal_names_the_right_that_is_missing_and_other_words_stay() {
        assert_eq!(
            answer(
                "LISTCONSUMERGROUPOFFSETS worker failed to parse response: ListConsumerGroupOffsetsResponse response failure: Broker: Group authorization failed"
            ),
            "Broker: Group authorization failed; the probe's user needs the right to DESCRIBE the group"
        );
        assert_eq!(
            answer("Broker: Leader not available"),
            "Broker: Leader not available"
        );
    }

    #[test]
    fn silence_is_said_as_silence() {
        let said = unreachable("b:9092", None, "no answer within the time allowed");
        assert!(said.contains("no answer within the time allowed"), "{said}");
    }
}
