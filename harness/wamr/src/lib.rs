//! x
#[allow(missing_docs)]
unsafe extern "C" { pub fn prebake_wamr_start() -> bool; }
