//! Doing what the state machine asks for.

use crate::error::{self, Result, error};
use crate::module::Ran;
use crate::network::Network;
use crate::restore::status;
use crate::save::Saving;
use crate::{Step, Vm};
use attend::{Action, Decline, Ending, Event, Notice, Stream};
use devices::console::WindowSize;
use emu::machine::Stop;
use wasm_bindgen::prelude::*;

/// Counts between two looks at the network while something goes on there: some hundred microseconds.
const NETWORK_SLICE: u64 = 100_000;

#[wasm_bindgen]
impl Vm {
    /// Does the next thing: at most one run of the machine, of some ten milliseconds.
    pub fn step(&mut self) -> Result<Step> {
        if self.stop.is_some() {
            return self.look_again();
        }
        loop {
            let action = match self.running {
                Some(until) => Action::Run { until },
                None => self.attendant.next(&mut self.output),
            };
            match action {
                Action::Run { until } => return self.run(until),
                Action::Wait { until } => {
                    // The guest may have sent something before it halted, and what it is given now wakes it.
                    if self.work_network()? {
                        continue;
                    }
                    let now = self.module.now()?;
                    let timer = until.map(|tick| tick.saturating_sub(now) as f64 / 1e6);
                    self.wait = [timer, self.network_wait()].into_iter().flatten().reduce(f64::min);
                    return Ok(Step::Wait);
                }
                Action::SkipTo(tick) => self.module.skip_to(tick)?,
                Action::Push { port, bytes } => self.module.push_input(port, &bytes)?,
                Action::Close(port) => self.module.close_input(port)?,
                Action::Resize(window) => self.module.resize(window)?,
                Action::Show { stream, bytes } => self.host.show(number(stream), &bytes),
                Action::Save { at, within, requested: _ } => {
                    self.saving = Some(Saving { at, within });
                    return Ok(Step::Save);
                }
                Action::Decline(Decline::CannotSave) => self.host.notify("cannot-save"),
                Action::Decline(Decline::NothingNew) => self.host.notify("nothing-new"),
                Action::Notify(Notice::LeavingLosesWork) => self.host.notify("leaving-loses-work"),
                Action::Notify(Notice::ExitNotSaved) => self.host.notify("exit-not-saved"),
                // A page gives no orders about other programs.
                Action::Exec(_) => {}
                Action::End(Err(failure)) => return Err(error::failure(&failure)),
                Action::End(Ok(ending)) => {
                    self.ending = Some(ending);
                    return Ok(Step::End);
                }
            }
        }
    }

    fn run(&mut self, until: u64) -> Result<Step> {
        self.running = Some(until);
        self.work_network()?;
        let ran = self.module.run(self.reach(until)?)?;
        self.pass_output_on()?;
        match ran {
            Ran::Unavailable(_) if self.host.pending() => Ok(Step::Pages),
            Ran::Unavailable(error) => Err(error),
            Ran::Stopped(stop) => {
                self.running = None;
                self.stopped(stop)
            }
        }
    }

    /// Reports how the machine stands, which can be told only when the queues of its console are there.
    fn stopped(&mut self, stop: Stop) -> Result<Step> {
        let status = status(&self.module, &self.host)?;
        if self.host.pending() {
            self.stop = Some(stop);
            return Ok(Step::Pages);
        }
        self.attendant.set_can_be_woken(self.network.as_ref().is_some_and(Network::is_busy));
        self.attendant.handle(Event::Stopped { stop, status });
        Ok(Step::More)
    }

    /// Moves frames. Whether the guest was given any.
    fn work_network(&mut self) -> Result<bool> {
        match &mut self.network {
            Some(network) => network.work(&mut self.module, self.host.moment()),
            None => Ok(false),
        }
    }

    /// How far to run at once. Where somebody waits for a frame of the guest, they do not wait for the end of a long slice.
    fn reach(&self, until: u64) -> Result<u64> {
        match &self.network {
            Some(network) if network.is_busy() => Ok(until.min(self.module.count()?.saturating_add(NETWORK_SLICE))),
            _ => Ok(until),
        }
    }

    /// Milliseconds until the network has something to do, if nothing happens before.
    fn network_wait(&self) -> Option<f64> {
        let deadline = self.network.as_ref().and_then(Network::deadline)?;
        Some(deadline.saturating_sub(self.host.moment()).as_secs_f64() * 1e3)
    }

    /// Looks again how the machine stands that has stopped, when more of its snapshot has come.
    fn look_again(&mut self) -> Result<Step> {
        // It runs no further than to where it is.
        match self.module.run(self.module.count()?)? {
            Ran::Unavailable(_) if self.host.pending() => return Ok(Step::Pages),
            Ran::Unavailable(error) => return Err(error),
            Ran::Stopped(_) => {}
        }
        match self.stop.take() {
            Some(stop) => self.stopped(stop),
            None => Ok(Step::More),
        }
    }

    /// After [`Step::Wait`]: milliseconds until a timer of the guest; none if it has set none.
    pub fn wait(&self) -> Option<f64> {
        self.wait
    }

    /// After [`Step::End`]: `exited`, `left` or `signalled`.
    pub fn ending(&self) -> String {
        let name = match self.ending {
            Some(Ending::Exited(_)) => "exited",
            Some(Ending::Signalled(_)) => "signalled",
            Some(Ending::Left | Ending::BrokenPipe) | None => "left",
        };
        name.into()
    }

    /// After [`Step::End`]: the program's exit status, or 128 and the number of a signal.
    pub fn status(&self) -> u8 {
        match self.ending {
            Some(Ending::Exited(status)) => status,
            Some(Ending::Signalled(number)) => 128_u8.saturating_add(number as u8),
            Some(Ending::Left | Ending::BrokenPipe) | None => 0,
        }
    }

    /// Input for the program.
    pub fn input(&mut self, bytes: &[u8]) {
        self.attendant.handle(Event::Input(bytes));
    }

    /// There will be no more input.
    #[wasm_bindgen(js_name = endInput)]
    pub fn end_input(&mut self) {
        self.attendant.handle(Event::EndOfInput);
    }

    /// The terminal has another size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.attendant.handle(Event::Resize(WindowSize { cols: columns, rows }));
    }

    /// A signal for the program, by its number in Linux.
    pub fn signal(&mut self, number: i32) -> Result<()> {
        if !(1..=64).contains(&number) {
            return Err(error("wrong-option", format!("there is no signal {number}")));
        }
        self.attendant.handle(Event::Signal(number));
        Ok(())
    }

    /// The machine is to be saved, and to run on.
    #[wasm_bindgen(js_name = requestSave)]
    pub fn request_save(&mut self) {
        self.attendant.handle(Event::Save);
    }

    /// The user leaves: the machine is saved if it can be.
    pub fn leave(&mut self) {
        self.attendant.handle(Event::Leave);
    }

    /// Passes on what the guest has written.
    pub(crate) fn pass_output_on(&mut self) -> Result<()> {
        let (output, host) = (&mut self.output, &self.host);
        self.module.take_output(|port, bytes| {
            let shown = match port {
                Some(port) => output.console(port, bytes),
                None => output.serial(bytes),
            };
            if let Some((stream, bytes)) = shown {
                host.show(number(stream), &bytes);
            }
        })
    }
}

const fn number(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}
