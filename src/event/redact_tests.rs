use super::*;
use proptest::prelude::*;
use serde_json::json;

fn redaction() -> Redaction {
    Redaction::try_new(["email", "accountPin", "connectSession.url"]).unwrap()
}

#[test]
fn a_named_field_is_hidden_wherever_it_stands_and_whatever_it_holds() {
    let shown = |text: &str| serde_json::from_str::<Value>(&redaction().text(text)).unwrap();
    let hidden = json!(REDACTED);
    let value = shown(r#"{"Email":"a@b","data":[{"e_mail":{"x":1}},{"account_pin":[1,2]}],"url":"kept","n":1.5}"#);
    assert_eq!(
        (&value["Email"], &value["data"][0]["e_mail"], &value["data"][1]["account_pin"]),
        (&hidden, &hidden, &hidden)
    );
    assert_eq!((&value["url"], &value["n"]), (&json!("kept"), &json!(1.5)));
    let value =
        shown(r#"{"a":{"connectSession":{"url":"s","id":1}},"connectSession":[{"url":"s"}],"x":{"url":"kept"}}"#);
    assert_eq!((&value["a"]["connectSession"]["url"], &value["connectSession"][0]["url"]), (&hidden, &hidden));
    assert_eq!((&value["a"]["connectSession"]["id"], &value["x"]["url"]), (&json!(1), &json!("kept")));
    assert_eq!(shown(r#"{"emailVerified":true}"#), json!({"emailVerified": true}), "another name is another field");
}

#[test]
fn what_cannot_be_read_is_hidden_whole_unless_nothing_is() {
    let deep = format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000));
    for text in ["", "email=a@b", "{\"email\":\"a", "{} {}", deep.as_str()] {
        assert_eq!(redaction().text(text), UNREADABLE, "{text:.20}");
        assert_eq!(Redaction::default().text(text), text);
    }
    assert_eq!(redaction().bytes(b"\xff"), UNREADABLE);
    assert_eq!(redaction().bytes(b"[1]"), "[1]");
}

#[test]
fn an_entry_that_names_nothing_is_told_by_its_place() {
    assert_eq!(Redaction::try_new(["a", ""]), Err((2, InvalidField::Empty)));
    assert_eq!(Redaction::try_new(["a..b"]), Err((1, InvalidField::Empty)));
    assert_eq!(Redaction::try_new(["a".repeat(300)]), Err((1, InvalidField::TooLong)));
    assert!(Redaction::try_new([""; 0]).is_ok());
}

/// JSON of any shape, in whose sensitive fields, and nowhere else, stands `needle`.
fn planted() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(null)), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from)];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let name = prop_oneof!["[a-z]{1,6}", Just("email".to_owned()), Just("ACCOUNT-PIN".to_owned())];
        let member = (name, inner.clone()).prop_map(|(name, value)| match name.as_str() {
            "email" | "ACCOUNT-PIN" => (name, json!({"deep": ["needle", value]})),
            _ => (name, value),
        });
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            prop::collection::vec(member, 0..5).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_planted_in_a_named_field_is_shown(value in planted()) {
        let text = value.to_string();
        let shown = redaction().text(&text).into_owned();
        prop_assert!(!shown.contains("needle"), "{shown}");
        let again = redaction().text(&shown).into_owned();
        prop_assert_eq!(&again, &shown, "twice does no harm");
        prop_assert_eq!(shown.matches(REDACTED).count() == 0, !text.contains("needle"));
    }

    #[test]
    fn any_bytes_are_shown_as_something(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let shown = redaction().bytes(&bytes).into_owned();
        prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok() || shown == UNREADABLE);
    }
}
