//! Programs beside the machine's own: who may send how much, and what waits for the guest.

use protocol::{EXEC_WINDOW, Exec, ExecId, ExecOrder, ExecReport, MAX_EXECS};
use std::collections::{BTreeMap, VecDeque};

/// Orders that wait for the guest. Whoever gives them is asked not to give more.
const MAX_WAITING: usize = 256;

/// The programs beside the machine's own.
#[derive(Debug, Default)]
pub struct Execs {
    /// Init can start them.
    offered: bool,
    /// Why none is started any more.
    over: Option<&'static str>,
    /// Orders that the guest has not been given.
    waiting: VecDeque<Exec<ExecOrder>>,
    running: BTreeMap<ExecId, Flow>,
}

/// How many bytes each end of a program may still send.
#[derive(Debug)]
struct Flow {
    has_started: bool,
    input: usize,
    output: usize,
}

impl Execs {
    /// Init can start programs.
    pub const fn offer(&mut self) {
        self.offered = true;
    }

    /// There are some.
    pub fn are_any(&self) -> bool {
        !self.running.is_empty()
    }

    /// There is room for more orders.
    pub fn want_more(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    /// Takes an order, or says why not.
    pub fn order(&mut self, Exec { id, what }: Exec<ExecOrder>) -> Option<Exec<ExecReport>> {
        match (&what, self.running.get_mut(&id)) {
            (ExecOrder::Start { .. }, None) => {
                let refusal = match self.over {
                    Some(reason) => Some(reason.to_owned()),
                    None if self.running.len() >= MAX_EXECS => {
                        Some(format!("{MAX_EXECS} programs run beside the machine's own already; wait until one has ended"))
                    }
                    None => None,
                };
                if let Some(reason) = refusal {
                    return Some(Exec { id, what: ExecReport::Failed(reason) });
                }
                self.running.insert(id, Flow { has_started: false, input: 0, output: EXEC_WINDOW });
            }
            (ExecOrder::Start { .. }, Some(_)) => return self.give_up(id, "it was started twice"),
            // It has ended meanwhile.
            (_, None) => return None,
            (ExecOrder::Input(bytes), Some(flow)) => match flow.input.checked_sub(bytes.len()) {
                Some(left) => flow.input = left,
                None => return self.give_up(id, "it was given more input than it has room for"),
            },
            (ExecOrder::Taken(count), Some(flow)) => flow.output = flow.output.saturating_add(*count).min(EXEC_WINDOW),
            (ExecOrder::HangUp, Some(_)) => {
                self.running.remove(&id);
            }
            (ExecOrder::Signal(_) | ExecOrder::Resize(_), Some(_)) => {}
        }
        self.waiting.push_back(Exec { id, what });
        None
    }

    /// Takes what init says. Returns it if somebody is to hear it: what says nothing is dropped, so that a client that does not listen is never
    /// owed more than its windows.
    pub fn report(&mut self, Exec { id, what }: Exec<ExecReport>) -> Option<Exec<ExecReport>> {
        // One that was hung up, or ran before a restore.
        let flow = self.running.get_mut(&id)?;
        let what = match what {
            ExecReport::Output { bytes, .. } if bytes.is_empty() => return None,
            ExecReport::Output { is_error, bytes } => match flow.output.checked_sub(bytes.len()) {
                Some(left) => {
                    flow.output = left;
                    ExecReport::Output { is_error, bytes }
                }
                None => return self.give_up(id, "the guest sent more output than it may"),
            },
            ExecReport::Taken(count) => {
                let more = count.min(EXEC_WINDOW - flow.input);
                // The first says that the program has started.
                if more == 0 && flow.has_started {
                    return None;
                }
                flow.has_started = true;
                flow.input += more;
                ExecReport::Taken(more)
            }
            end @ (ExecReport::Exit(_) | ExecReport::Failed(_)) => {
                self.running.remove(&id);
                end
            }
        };
        Some(Exec { id, what })
    }

    fn give_up(&mut self, id: ExecId, reason: &str) -> Option<Exec<ExecReport>> {
        self.running.remove(&id);
        self.waiting.retain(|order| order.id != id);
        self.waiting.push_back(Exec { id, what: ExecOrder::HangUp });
        Some(Exec { id, what: ExecReport::Failed(reason.into()) })
    }

    /// Some wait for init to say that it can start them.
    pub fn wait_for_offer(&self) -> bool {
        !self.offered && self.are_any()
    }

    /// Init has had its time to offer itself. If it has not, those that wait cannot run, and neither can any other.
    pub fn no_offer_will_come(&mut self) -> Vec<Exec<ExecReport>> {
        if self.offered {
            return Vec::new();
        }
        self.end("the machine's init is older than `exec`; convert and bake its image again with this version of prebake, and begin a new session")
    }

    /// All of them have ended, and no more will be started, for this reason.
    pub fn end(&mut self, reason: &'static str) -> Vec<Exec<ExecReport>> {
        self.over = Some(reason);
        self.waiting.clear();
        let running = std::mem::take(&mut self.running).into_keys();
        running.map(|id| Exec { id, what: ExecReport::Failed(reason.into()) }).collect()
    }

    /// The next order as bytes for a guest that offers to take it, if they fit into this `room`.
    pub fn next(&mut self, room: usize) -> Option<Vec<u8>> {
        let bytes = self.waiting.front().filter(|_| self.offered)?.encode();
        if bytes.len() > room {
            return None;
        }
        self.waiting.pop_front();
        Some(bytes)
    }
}
