//! The network of one guest, without a network: Ethernet frames of the guest on one side, streams and datagrams for a host's sockets on
//! the other. It has no sockets, no clock and no threads, so it runs where the machine runs.
//!
//! The host tells the [`Stack`] the time, gives it the guest's frames, and does what it [asks](Action) for: opens sockets, sends datagrams,
//! looks up names. Between a socket and a stream bytes move without a buffer between ([`Stack::drain`], [`Stack::fill`]); frames for the
//! guest are made when it has a buffer for one ([`Stack::frame`]), so none is ever dropped.
//!
//! The guest is `192.168.127.3`. On the gateway, `.1`, are a server of names and one of leases; `.254` is the host's loopback interface, if
//! the guest may reach it. All other addresses are the world's, but for those that [`Config`] keeps out of reach. There is no IPv6: a guest
//! has no route for it, and learns so at once.

mod action;
mod alias;
mod cable;
mod config;
mod datagram;
mod dhcp;
mod dns;
mod flow;
mod fragment;
mod link;
mod names;
mod offload;
mod stack;
mod state;
mod stream;
mod wire;

pub use action::{Action, Failure, Interest, QueryId};
pub use alias::MAX_ALIASES;
pub use cable::{Cable, Guest, Outside, frames_of, message_of, offload_of, pushed_of};
pub use config::{Config, MAX_DATAGRAM_FLOWS, MAX_FRAMES, MAX_HALF_OPEN, MAX_OUTGOING, MAX_QUERIES, MAX_QUESTIONS, MAX_STREAMS, Mac};
pub use dns::{answer_by, answers};
pub use flow::{FlowId, Protocol};
pub use stack::{Connection, Stack};
pub use state::ConnectionsState;
pub use wire::Frame;
