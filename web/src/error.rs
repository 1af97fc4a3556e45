//! Errors, as JavaScript sees them.

use attend::Failure;
use js_sys::Reflect;
use std::fmt::Display;
use wasm_bindgen::JsValue;

/// What may fail gives a JavaScript `Error` that has a `kind`.
pub type Result<T> = std::result::Result<T, JsValue>;

/// An error of this kind.
pub fn error(kind: &str, message: impl Display) -> JsValue {
    let error = js_sys::Error::new(&message.to_string());
    // To set a property of a new object does not fail.
    let _ = Reflect::set(&error, &"kind".into(), &kind.into());
    error.into()
}

/// Of a snapshot.
pub fn snapshot(source: snapshot::Error) -> JsValue {
    error(source.kind(), source)
}

/// Of a machine's payload.
pub fn payload(source: payload::Error) -> JsValue {
    error(source.kind(), source)
}

/// Of attending.
pub fn failure(source: &Failure) -> JsValue {
    error(source.kind(), source)
}

/// What a call of the module threw: the module has trapped.
pub fn trap(thrown: &JsValue) -> JsValue {
    let message = message(thrown);
    error("engine", format!("the machine's module has failed: {message}; this is a fault of prebake, or the file is damaged"))
}

/// What was thrown, in words.
pub fn message(thrown: &JsValue) -> String {
    let message = Reflect::get(thrown, &"message".into()).ok().and_then(|message| message.as_string());
    message.unwrap_or_else(|| format!("{thrown:?}"))
}
