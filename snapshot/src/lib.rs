//! The prebake snapshot.
