//! Messages, in the form of JSON-RPC 2.0. `docs/serve.md` has the specification.

use prebake::service::spec::MachineSpec;
use prebake::text::printable_lines;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;
/// Characters of a text for a person.
const MAX_TEXT: usize = 4096;
/// Bytes of a request's id, if it is a text: it is in every message about the request.
const MAX_ID: usize = 128;

/// What the other side says.
#[derive(Debug)]
pub enum Incoming {
    /// It asks for something.
    Request { id: Value, method: Result<Method, Refusal> },
    /// It answers.
    Answer { id: u64, result: Result<Value, String> },
}

/// What can be asked for.
#[derive(Debug)]
pub enum Method {
    Ensure(Ensure),
    Cancel(Cancel),
    Images,
    Sessions,
    RemoveSession(Named),
    Prune(Prune),
    Start(Box<Start>),
    Resize(Resize),
    Signal(Signal),
    Checkpoint(Machine),
    Stop(Machine),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ensure {
    pub reference: String,
    #[serde(default)]
    pub offline: bool,
    #[serde(default)]
    pub verify_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// Of the request that is cancelled.
    pub id: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prune {
    pub references: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    pub machine: u32,
    pub spec: MachineSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    pub machine: u32,
    pub columns: u16,
    pub rows: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    pub machine: u32,
    pub number: i32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    pub machine: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Nothing {}

/// Why something is not done: JSON-RPC's number, the kind, and what was found and wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: i32,
    pub kind: String,
    pub message: String,
}

impl Refusal {
    /// JSON-RPC's numbers.
    const NOT_JSON: i32 = -32700;
    const NOT_A_REQUEST: i32 = -32600;
    const NO_SUCH_METHOD: i32 = -32601;
    const BAD_PARAMETERS: i32 = -32602;
    /// prebake could not do it; the kind says why.
    pub const FAILED: i32 = 1;

    pub fn new(code: i32, kind: &str, message: impl Into<String>) -> Self {
        Self { code, kind: kind.into(), message: bounded(&message.into()) }
    }

    /// Something that the protocol does not allow at this moment.
    pub fn of_protocol(message: impl Into<String>) -> Self {
        Self::new(Self::NOT_A_REQUEST, "protocol", message)
    }
}

/// A text for a person. It may quote what anyone says: something long, though a message is to fit into a frame, or what would program the person's terminal.
pub fn bounded(text: &str) -> String {
    let text = printable_lines(text, "\n");
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Understands a message. What is not understood is refused under the number `id`, if it has one.
pub fn parse(bytes: &[u8]) -> Result<Incoming, (Value, Refusal)> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| (Value::Null, Refusal::new(Refusal::NOT_JSON, "protocol", format!("the message is not JSON: {error}"))))?;
    let Value::Object(mut message) = value else {
        return Err((Value::Null, Refusal::of_protocol("the message is not an object")));
    };
    let id = message.remove("id").unwrap_or(Value::Null);
    if id.as_str().is_some_and(|id| id.len() > MAX_ID) {
        return Err((Value::Null, Refusal::of_protocol(format!("a request has an id of more than {MAX_ID} bytes"))));
    }
    if !(id.is_number() || id.is_string() || id.is_null()) {
        return Err((Value::Null, Refusal::of_protocol("a request has an id that is neither a number nor a text")));
    }
    if message.remove("jsonrpc") != Some("2.0".into()) {
        return Err((id, Refusal::of_protocol("the message has no \"jsonrpc\": \"2.0\"")));
    }
    let answer = match (message.remove("result"), message.remove("error")) {
        (Some(result), None) => Some(Ok(result)),
        (None, Some(error)) => Some(Err(error["message"].as_str().unwrap_or("it failed").to_owned())),
        _ => None,
    };
    if let Some(result) = answer {
        let number = id.as_u64().ok_or_else(|| (id, Refusal::of_protocol("an answer has the number of no request")))?;
        return Ok(Incoming::Answer { id: number, result });
    }
    if id.is_null() {
        return Err((id, Refusal::of_protocol("a request has no id")));
    }
    let parameters = message.remove("params").unwrap_or_else(|| json!({}));
    let Some(Value::String(method)) = message.remove("method") else {
        return Err((id, Refusal::of_protocol("the message has neither a method nor a result nor an error")));
    };
    Ok(Incoming::Request { id, method: self::method(&method, parameters) })
}

fn method(name: &str, parameters: Value) -> Result<Method, Refusal> {
    fn of<T: DeserializeOwned>(parameters: Value) -> Result<T, Refusal> {
        let refused = |problem: String| Refusal::new(Refusal::BAD_PARAMETERS, "protocol", problem);
        // serde would take a list for a structure.
        let Value::Object(parameters) = parameters else {
            return Err(refused("the parameters are not an object; give them by name".into()));
        };
        T::deserialize(parameters).map_err(|error| refused(error.to_string()))
    }
    Ok(match name {
        "ensure" => Method::Ensure(of(parameters)?),
        "cancel" => Method::Cancel(of(parameters)?),
        "images" => of(parameters).map(|Nothing {}| Method::Images)?,
        "sessions" => of(parameters).map(|Nothing {}| Method::Sessions)?,
        "remove-session" => Method::RemoveSession(of(parameters)?),
        "prune" => Method::Prune(of(parameters)?),
        "start" => Method::Start(of(parameters)?),
        "resize" => Method::Resize(of(parameters)?),
        "signal" => Method::Signal(of(parameters)?),
        "checkpoint" => Method::Checkpoint(of(parameters)?),
        "stop" => Method::Stop(of(parameters)?),
        other => {
            let other: String = other.chars().take(64).collect();
            let problem = format!("there is no method `{}`", other.escape_debug());
            return Err(Refusal::new(Refusal::NO_SUCH_METHOD, "protocol", problem));
        }
    })
}

/// An answer to the request `id`.
pub fn answer(id: &Value, result: Result<Value, Refusal>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(Refusal { code, kind, message }) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message, "data": { "kind": kind } } })
        }
    }
}

/// A request to the other side.
pub fn request(id: u64, method: &str, parameters: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters })
}

/// Something that the other side is told.
pub fn notification(method: &str, parameters: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": parameters })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (Value, i32) {
        match parse(text.as_bytes()) {
            Err((id, refusal)) => (id, refusal.code),
            Ok(Incoming::Request { id, method: Err(refusal) }) => (id, refusal.code),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn requests_and_answers_are_told_apart() {
        let parsed = parse(br#"{"jsonrpc": "2.0", "id": "a", "method": "ensure", "params": {"reference": "alpine"}}"#);
        assert!(
            matches!(parsed, Ok(Incoming::Request { id, method: Ok(Method::Ensure(ensure)) }) if id == "a" && ensure.reference == "alpine")
        );
        let parsed = parse(br#"{"jsonrpc": "2.0", "id": 3, "result": {"addresses": []}}"#);
        assert!(matches!(parsed, Ok(Incoming::Answer { id: 3, result: Ok(_) })));
        let parsed = parse(br#"{"jsonrpc": "2.0", "id": 3, "error": {"message": "offline"}}"#);
        assert!(matches!(parsed, Ok(Incoming::Answer { id: 3, result: Err(problem) }) if problem == "offline"));
        assert!(matches!(
            parse(br#"{"jsonrpc": "2.0", "id": 3, "method": "images"}"#),
            Ok(Incoming::Request { method: Ok(Method::Images), .. })
        ));
    }

    #[test]
    fn what_is_not_understood_is_refused_under_its_number() {
        for (text, id, code) in [
            ("", Value::Null, -32700),
            ("{", Value::Null, -32700),
            ("[]", Value::Null, -32600),
            (r#"{"id": 1, "method": "images"}"#, 1.into(), -32600),
            (r#"{"jsonrpc": "2.0", "id": {}, "method": "images"}"#, Value::Null, -32600),
            (r#"{"jsonrpc": "2.0", "method": "images"}"#, Value::Null, -32600),
            (r#"{"jsonrpc": "2.0", "id": 1}"#, 1.into(), -32600),
            (r#"{"jsonrpc": "2.0", "id": "x", "result": 1}"#, "x".into(), -32600),
            (r#"{"jsonrpc": "2.0", "id": 2, "method": "format"}"#, 2.into(), -32601),
            (r#"{"jsonrpc": "2.0", "id": 2, "method": "ensure"}"#, 2.into(), -32602),
            (r#"{"jsonrpc": "2.0", "id": 2, "method": "images", "params": {"x": 1}}"#, 2.into(), -32602),
            (r#"{"jsonrpc": "2.0", "id": 2, "method": "stop", "params": {"machine": -1}}"#, 2.into(), -32602),
            (r#"{"jsonrpc": "2.0", "id": 2, "method": "start", "params": {"machine": 1, "spec": {"imagine": 1}}}"#, 2.into(), -32602),
            (r#"{"jsonrpc": "2.0", "id": 2, "method": "start", "params": {"machine": 1, "spec": []}}"#, 2.into(), -32602),
            (r#"{"jsonrpc": "2.0", "id": 2, "method": "stop", "params": [1]}"#, 2.into(), -32602),
            (r#"{"jsonrpc": "2.0", "id": 2, "method": "images", "params": []}"#, 2.into(), -32602),
        ] {
            assert_eq!(refusal(text), (id, code), "{text}");
        }
        assert_eq!(refusal(&"[".repeat(100_000)), (Value::Null, -32700));
    }

    #[test]
    fn whatever_a_message_says_the_answer_fits_into_a_frame() {
        let most = super::super::frame::MAX_BODY;
        let long = "\u{1}".repeat(most / 6 - 100);
        for message in [
            json!({ "jsonrpc": "2.0", "id": long, "method": "images" }),
            json!({ "id": long }),
            json!({ "jsonrpc": "2.0", "id": [long], "method": "images" }),
            json!({ "id": [long] }),
            json!({ "jsonrpc": "2.0", "id": 1, "method": long }),
            json!({ "jsonrpc": "2.0", "id": 1, "method": "images", "params": { long.as_str(): 1 } }),
            json!({ "jsonrpc": "2.0", "id": 1, "method": "start", "params": { "machine": 1, "spec": { "terminal": long } } }),
        ] {
            let (id, refusal) = match parse(message.to_string().as_bytes()) {
                Ok(Incoming::Request { id, method: Err(refusal) }) | Err((id, refusal)) => (id, refusal),
                other => panic!("{other:?}"),
            };
            assert!(answer(&id, Err(refusal)).to_string().len() < most / 8);
        }
        let quoted = Refusal::new(Refusal::FAILED, "missing", format!("there is no {long}"));
        assert!(answer(&1.into(), Err(quoted)).to_string().len() < most / 8);
    }

    #[test]
    fn no_text_for_a_person_programs_their_terminal() {
        let refused = Refusal::new(Refusal::FAILED, "missing", "no \x1b]0;evil\x07 file\nin \u{9b}2J");
        assert_eq!(refused.message, "no \\u{1b}]0;evil\\u{7} file\nin \\u{9b}2J");
    }

    #[test]
    fn answers_have_the_form_of_json_rpc() {
        assert_eq!(answer(&1.into(), Ok(json!({}))).to_string(), r#"{"id":1,"jsonrpc":"2.0","result":{}}"#);
        let failed = answer(&"a".into(), Err(Refusal::new(Refusal::FAILED, "missing", "no file")));
        assert_eq!(failed["error"], json!({ "code": 1, "message": "no file", "data": { "kind": "missing" } }));
    }
}
