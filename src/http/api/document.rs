//! The OpenAPI document of `/api/v1`, made of the handlers and of their types.
//!
//! What is alike everywhere is added here rather than said in forty places: refusals are problem documents, an answer has
//! all its members and no others, and a word or a time is spelled out where it is used.

use super::{audit, dead, endpoints, events, parked, pauses, projects, refusals::Guarded};
use crate::operate::api_types::{Cursor, Ident, Limit, Moment, Outcome, Phrase, Reason, Status, TimeOrAgo};
use axum::http::{HeaderName, header};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;
use utoipa::OpenApi;

/// As it is served.
static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

#[derive(OpenApi)]
#[openapi(
    info(
        title = "hookbro",
        version = "1",
        description = "Where an event is: the journal's deliveries, the next retry, and Svix's side. Identifiers are those of \
                       the events; times are RFC 3339.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        events::list,
        events::one,
        projects::list,
        audit::list,
        dead::list,
        dead::one,
        dead::job,
        dead::replay,
        dead::discard,
        endpoints::list,
        endpoints::test,
        endpoints::recover,
        endpoints::portal,
        endpoints::resend,
        contract,
        parked::list,
        parked::release,
        parked::give_up,
        pauses::pause,
        pauses::resume,
        pauses::list
    ),
    components(schemas(Cursor, Ident, Limit, Moment, Outcome, Phrase, Reason, Status, TimeOrAgo))
)]
struct Document;

/// This document.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    operation_id = "getContract",
    responses((status = 200, description = "Found.", body = Object), Guarded)
)]
pub(super) async fn contract() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}

fn document() -> Value {
    // A document is made of maps, lists and texts: it has always a JSON form, and a test makes it.
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    document["security"] = json!([{"token": []}, {}]);
    document["components"]["securitySchemes"]["token"] = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "One of admin.tokens. Without any only this machine is answered.",
    });
    let mut schemas = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
    let scalars = take_scalars(&mut schemas);
    let whole = schemas.clone();
    for schema in schemas.values_mut() {
        merge(schema, &whole);
        close(schema);
    }
    schemas["DeadFilter"]["minProperties"] = 1.into();
    schemas["DeadAsked"] = filter_or_all(&schemas["DeadAsked"]);
    schemas.insert("Problem".to_owned(), problem());
    document["components"]["schemas"] = Value::Object(schemas);
    refuse(&mut document["paths"]);
    inline(&mut document, &scalars);
    // A part of a filter is given or not, too: one that is null would exclude nothing, which is refused.
    let filter = document["components"]["schemas"]["DeadFilter"]["properties"].as_object_mut();
    filter.into_iter().flat_map(Map::values_mut).for_each(not_null);
    document
}

/// Either a filter or all, which no derived type can say.
fn filter_or_all(asked: &Value) -> Value {
    let (filter, confirm) = (json!({"$ref": "#/components/schemas/DeadFilter"}), &asked["properties"]["confirm"]);
    let one = |named: &str, properties: Value| json!({"type": "object", "required": [named], "additionalProperties": false, "properties": properties});
    json!({
        "description": asked["description"],
        "oneOf": [
            one("filter", json!({"filter": filter, "all": {"const": false}, "confirm": confirm})),
            one("all", json!({"all": {"const": true}, "confirm": confirm})),
        ],
    })
}

/// A refusal (RFC 9457), which [`crate::http::problem::Problem`] writes.
fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "parameter": {"type": "string", "description": "That which is wrong."},
            "field": {"type": "string", "description": "That of the body which is wrong."},
        },
    })
}

/// Gives every refusal its body. The modules of the handlers, which are its tags otherwise, are nobody's business.
fn refuse(paths: &mut Value) {
    let operations = paths.as_object_mut().into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut);
    for operation in operations.flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        operation.remove("tags");
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten();
        for (_, response) in responses.filter(|(status, _)| status.starts_with(['4', '5'])) {
            response["content"] =
                json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        }
    }
}

/// Schemas of one word or number, which are spelled out where they are used.
fn take_scalars(schemas: &mut Map<String, Value>) -> Map<String, Value> {
    let simple = |kind: &str| !matches!(kind, "object" | "array");
    let is_scalar = |schema: &Value| schema["type"].as_str().is_some_and(simple) || schema.get("anyOf").is_some();
    let (scalars, rest) = std::mem::take(schemas).into_iter().partition(|(_, schema)| is_scalar(schema));
    *schemas = rest;
    scalars
}

/// One object instead of several that must all be true (`serde(flatten)`).
fn merge(schema: &mut Value, all: &Map<String, Value>) {
    let Some(parts) = schema.get("allOf").and_then(Value::as_array).cloned() else { return };
    let mut merged = json!({"type": "object", "properties": {}});
    merged["description"] = schema["description"].clone();
    for part in parts {
        let named = part["$ref"].as_str().and_then(|path| path.rsplit('/').next()).and_then(|name| all.get(name));
        let properties = named.unwrap_or(&part)["properties"].as_object().cloned().unwrap_or_default();
        properties.into_iter().for_each(|(name, property)| merged["properties"][name] = property);
    }
    *schema = merged;
}

/// An answer has all its members, and no others. What is asked says so itself.
fn close(schema: &mut Value) {
    let Some(properties) = schema["properties"].as_object().cloned() else { return };
    if schema.get("additionalProperties").is_some() {
        return;
    }
    // Without a message there is nothing else of Svix's side.
    if !properties.contains_key("state") || !properties.contains_key("message") {
        schema["required"] = properties.keys().cloned().collect();
    }
    schema["additionalProperties"] = false.into();
}

/// Puts each scalar where it is referred to, and `null` beside the type where it may be.
fn inline(value: &mut Value, scalars: &Map<String, Value>) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| inline(one, scalars)),
        Value::Object(members) => {
            members.values_mut().for_each(|one| inline(one, scalars));
            let path = members.get("$ref").and_then(Value::as_str);
            if let Some(scalar) = path.and_then(|path| scalars.get(path.rsplit('/').next()?)).and_then(Value::as_object)
            {
                members.remove("$ref");
                let mut scalar = scalar.clone();
                scalar.append(members);
                *members = scalar;
            }
            nullable(members);
            without_look_ahead(members);
            unwrap_lines(members);
            if members.contains_key("in")
                && let Some(schema) = members.get_mut("schema")
            {
                not_null(schema);
            }
        }
        _ => {}
    }
}

/// `{"type": ["string", "null"]}` for one of a scalar and nothing.
fn nullable(members: &mut Map<String, Value>) {
    let Some([null, one]) = members.get("oneOf").and_then(Value::as_array).map(Vec::as_slice) else { return };
    let scalar = one.as_object().filter(|one| one.get("type").is_some_and(Value::is_string));
    let (Some("null"), Some(scalar)) = (null["type"].as_str(), scalar) else { return };
    let mut scalar = scalar.clone();
    scalar["type"] = json!([scalar["type"], "null"]);
    if let Some(words) = scalar.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    members.remove("oneOf");
    members.extend(scalar);
}

/// What may not begin with some letters, in words of JSON Schema: not every reader of patterns looks ahead.
fn without_look_ahead(members: &mut Map<String, Value>) {
    let pattern = members.get("pattern").and_then(Value::as_str);
    let Some((start, rest)) = pattern.and_then(|pattern| pattern.strip_prefix("^(?!")?.split_once(')')) else { return };
    let (not, pattern) = (json!({"pattern": format!("^{start}")}), format!("^{rest}"));
    members.insert("not".to_owned(), not);
    members.insert("pattern".to_owned(), pattern.into());
}

/// Paragraphs of comments on one line each.
fn unwrap_lines(members: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = members.get_mut("description") {
        let paragraphs: Vec<_> = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n");
    }
}

/// A parameter is given or not; `null` is a word like others.
fn not_null(schema: &mut Value) {
    if let Some([null, one]) = schema["oneOf"].as_array().map(Vec::as_slice)
        && null["type"] == "null"
    {
        *schema = one.clone();
    }
    if let Some([kind, _]) = schema["type"].as_array().map(Vec::as_slice) {
        schema["type"] = kind.clone();
    }
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` below `value`.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Array(all) => all.iter().for_each(|one| references(one, found)),
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|one| references(one, found));
            }
            _ => {}
        }
    }

    #[test]
    fn the_document_is_whole() {
        let document = document();
        let operations: Vec<_> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|path| path.as_object().unwrap().values())
            .collect();
        assert_eq!(operations.len(), 21);
        for operation in operations {
            assert!(operation["summary"].is_string() && operation["responses"]["401"].is_object(), "{operation}");
        }
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50);
        for path in found {
            assert!(document.pointer(path.trim_start_matches('#')).is_some(), "{path} leads nowhere");
        }
    }

    #[test]
    fn an_answer_has_all_its_members_and_a_question_those_that_it_needs() {
        let document = document();
        let schema = |name: &str| &document["components"]["schemas"][name];
        let dead = schema("DeadFull");
        assert_eq!(dead["required"].as_array().unwrap().len(), 13);
        assert_eq!(dead["additionalProperties"], false);
        assert_eq!(schema("Attempt")["properties"]["next_at"]["type"], json!(["string", "null"]));
        assert_eq!(schema("RecoverAsked")["required"], json!(["since"]));
        assert!(schema("TestAsked").get("required").is_none());
        assert_eq!(schema("Resumed")["properties"]["paused"], json!({"type": "null"}));
        let project = &schema("ResendAsked")["properties"]["project"];
        assert_eq!(
            (&project["pattern"], &project["not"]["pattern"]),
            (&json!("^[a-zA-Z0-9_-]{1,256}$"), &json!("^app_"))
        );
        let ways = schema("DeadAsked")["oneOf"].as_array().unwrap();
        assert!(ways.iter().all(|way| way["additionalProperties"] == false), "{ways:?}");
        assert_eq!(ways[0]["properties"]["filter"]["$ref"], "#/components/schemas/DeadFilter");
        let filter = schema("DeadFilter");
        assert_eq!((&filter["minProperties"], &filter["properties"]["id"]["type"]), (&json!(1), &json!("array")));
        assert_eq!(filter["properties"]["since"]["type"], "string");
        let since = &document["paths"]["/api/v1/dead"]["get"]["parameters"][5];
        assert_eq!((&since["name"], since["schema"]["anyOf"].as_array().map(Vec::len)), (&json!("since"), Some(2)));
    }
}
