#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::{Comparison, Condition, Expr, Field, Test, parse};

fn shown(expr: &Expr) -> String {
    let list = |parts: &[Expr], word: &str| {
        let parts: Vec<_> = parts.iter().map(shown).collect();
        format!("({})", parts.join(word))
    };
    match expr {
        Expr::All(parts) => list(parts, " and "),
        Expr::Any(parts) => list(parts, " or "),
        Expr::Not(inner) => format!("not {}", shown(inner)),
        Expr::Text(words) => format!("{words:?}"),
        Expr::Is(Condition { field, test }) => {
            let test = match test {
                Test::OneOf(values) => values
                    .iter()
                    .map(|value| format!("={}", value.text))
                    .collect::<String>(),
                Test::Not(value) => format!("!={}", value.text),
                Test::Order(comparison, number) => format!("{comparison:?} {number}"),
                Test::Matches(regex) => format!("~{regex}"),
            };
            format!("{field:?} {test}")
        }
    }
}

#[test]
fn expressions_mean_what_they_say() {
    for (text, meaning) in [
        ("service = billing", "Service =billing"),
        (
            "topic in (orders, \"order lines\")",
            "Topic =orders=order lines",
        ),
        (
            "a = 1 and b = 2 or c = 3",
            "((Attribute(\"a\") =1 and Attribute(\"b\") =2) or Attribute(\"c\") =3)",
        ),
        (
            "a = 1 and (b = 2 or c = 3)",
            "(Attribute(\"a\") =1 and (Attribute(\"b\") =2 or Attribute(\"c\") =3))",
        ),
        ("not group = billing", "not Group =billing"),
        ("!(group=billing)", "not Group =billing"),
        ("group!=billing", "Group !=billing"),
        ("duration > 1m30s", "Duration More 90000000000"),
        ("duration<=1.5ms", "Duration AtMost 1500000"),
        ("in_broker >= 200us", "InBroker AtLeast 200000"),
        ("spans > 10 errors = 0", "(Spans More 10 and Errors =0)"),
        ("operation ~ ^GET", "Operation ~^GET"),
        ("name =~ 'a b'", "Operation ~a b"),
        (
            "declined \"card payment\"",
            "(\"declined\" and \"card payment\")",
        ),
        ("\"service\" = x", "Attribute(\"service\") =x"),
        (
            "STATUS = Error && env = prod",
            "(Status =error and Environment =prod)",
        ),
        (
            "http.status_code >= 500 || exception",
            "(Attribute(\"http.status_code\") AtLeast 500 or \"exception\")",
        ),
        (
            "trace = 4F2C9D1BE07A00000000000000000001",
            "Trace =4f2c9d1be07a00000000000000000001",
        ),
    ] {
        let expr = parse(text).unwrap().unwrap();
        assert_eq!(shown(&expr), meaning, "{text}");
    }
    assert!(parse("  \n").unwrap().is_none());
}

#[test]
fn a_wrong_expression_says_where_and_why() {
    for (text, at, message) in [
        ("service =", 9..9, "a value is missing here"),
        ("service = = x", 10..11, "a value is expected here"),
        ("(service = x", 12..12, "a closing bracket is missing here"),
        ("service = x)", 11..12, "no bracket open"),
        ("a = 1 and", 9..9, "a name or a word is missing here"),
        ("or b", 0..2, "a name or a word is expected here"),
        ("topic in orders", 9..15, "a list in brackets"),
        ("topic in (orders", 16..16, "a comma or a closing bracket"),
        ("duration > 5", 11..12, "a duration with its unit"),
        ("duration > 5x", 11..13, "a duration with its unit"),
        ("spans > many", 8..12, "a whole number"),
        ("size > many", 7..11, "a number is expected"),
        ("status = bad", 9..12, "one of ok, error, unset"),
        ("service > 5", 0..7, "no order"),
        ("spans ~ 5", 0..5, "no regular expression"),
        (
            "operation ~ \"(\"",
            12..15,
            "not a regular expression: unclosed group",
        ),
        ("trace = 12", 8..10, "32 hexadecimal digits"),
        ("a = \"open", 4..9, "the closing \" is missing"),
        ("\"\"", 0..2, "nothing in the quotes"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
    }
}

#[test]
fn depth_length_and_number_of_conditions_are_bounded() {
    assert!(
        parse(&"(".repeat(4_000))
            .unwrap_err()
            .message
            .contains("deep")
    );
    assert!(
        parse(&"!".repeat(4_000))
            .unwrap_err()
            .message
            .contains("deep")
    );
    assert!(
        parse(&"a ".repeat(300))
            .unwrap_err()
            .message
            .contains("conditions")
    );
    assert!(
        parse(&"é".repeat(4_000))
            .unwrap_err()
            .message
            .contains("bytes")
    );
    assert!(
        parse(&"a ~ b ".repeat(17))
            .unwrap_err()
            .message
            .contains("16 regular expressions")
    );
    assert!(parse(&"a ~ b ".repeat(16)).is_ok());
    assert!(
        parse("a ~ \"(a{1000}){1000}\"")
            .unwrap_err()
            .message
            .contains("size limit")
    );
}

#[test]
fn required_conditions_are_those_joined_by_and_at_the_top() {
    let expr =
        parse("service = a and (duration > 1s and not group = b) and (topic = c or topic = d)")
            .unwrap()
            .unwrap();
    let required = expr.required();
    assert_eq!(required.len(), 2);
    assert_eq!(required[0].only(), Some("a"));
    assert_eq!(required[1].field, Field::Duration);
    assert!(matches!(required[1].test, Test::Order(Comparison::More, _)));
}

proptest! {
    #[test]
    fn any_text_is_an_expression_or_an_error_within_it(text in "[a-c =!<>~()\"',&|\\\\0-9sm.é-]{0,60}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.at.end <= text.len());
            prop_assert!(text.get(error.at.clone()).is_some(), "{error:?}");
        }
    }
}
