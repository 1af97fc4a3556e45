//! The prebake machine.
