//! Makes `src/exec/run/hot.rs`, the list of the ops that the loop has arms for, of counts of workloads:
//!
//! - `boot`: Linux boots, up to the first line of `benches/peers/guest/init`;
//! - `peers`: the six workloads of that guest;
//! - `demo`: the guest of `make demo`, from its start to where it waits for its host.
//!
//! Each of the three weighs alike. `make hot-ops` runs this.
#![allow(clippy::print_stdout, reason = "a program's answer")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use devices::console::{ConsoleSink, Port};
use devices::serial::SerialSink;
use emu::bus::{Ram, VecBacking};
use emu::cache::Limits;
use emu::exec::take_counts;
use emu::machine::{Config, Entropy, Machine, Stop};
use emu::vcpu::Clock;

type Error = Box<dyn std::error::Error>;
type Counts = Vec<(String, u64)>;

/// Entries of the list. More make the loop larger, fewer make more ops go through a call; `benches/README.md` has what that costs.
const LENGTH: usize = 253;

const RAM_BYTES: usize = 256 << 20;
/// Counts after which a guest that has not come to its end is given up.
const PATIENCE: u64 = 20_000_000_000;

/// Output that nobody wants.
struct Nowhere;

impl ConsoleSink for Nowhere {
    fn write(&mut self, _: Port, _: &[u8]) {}
}

/// Ends a workload at each `MARK` line.
#[derive(Clone, Default)]
struct Marks {
    line: Vec<u8>,
    workloads: Rc<RefCell<BTreeMap<&'static str, Counts>>>,
}

impl SerialSink for Marks {
    fn write(&mut self, byte: u8) {
        if byte != b'\n' {
            self.line.push(byte);
            return;
        }
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim().to_string();
        let Some(mark) = line.strip_prefix("MARK ") else { return };
        let ended = match mark {
            "READY" => "boot",
            _ if mark.starts_with("END ") => "peers",
            _ => "between",
        };
        self.workloads.borrow_mut().entry(ended).or_default().extend(take_counts());
    }
}

/// Runs a guest until it powers off or waits for input.
fn run(kernel: &[u8], initramfs: &[u8], command_line: &str, serial: Marks) -> Result<(), Error> {
    let config = Config {
        disks: Vec::new(),
        shares: Vec::new(),
        network: None,
        entropy: Entropy::Published,
        console: Box::new(Nowhere),
        serial: Box::new(serial),
        clock: Clock::Virtual,
        epoch: 0,
        limits: Limits::default(),
    };
    let ram = Ram::new(Box::new(VecBacking::new(RAM_BYTES).ok_or("no memory")?));
    let mut machine = Machine::boot(config, ram, kernel, Some(initramfs), command_line)?;
    loop {
        match machine.run(PATIENCE)? {
            Stop::Halted { deadline: Some(deadline) } if !machine.wants_input(Port::Stdin) => machine.skip_to(deadline),
            Stop::Halted { .. } | Stop::HaltedForGood | Stop::PowerOff { .. } => return Ok(()),
            stop => return Err(format!("the guest stopped: {stop:?}").into()),
        }
    }
}

/// Shares of all ops that ran, each workload weighed alike.
fn weigh(workloads: &BTreeMap<&'static str, Counts>) -> Vec<(String, f64)> {
    let mut weights = BTreeMap::<String, f64>::new();
    for name in ["boot", "demo", "peers"] {
        let counts = workloads.get(name).map(Vec::as_slice).unwrap_or_default();
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        for (op, count) in counts {
            *weights.entry(op.clone()).or_default() += *count as f64 / all as f64 / 3.0;
        }
    }
    let mut weights: Vec<(String, f64)> = weights.into_iter().collect();
    weights.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    weights
}

fn render(ops: &[(String, f64)]) -> String {
    let mut text = String::from(
        "\
//! The ops that run most often, which the loop has arms for: most frequent first. Made by `make hot-ops`, of workloads that
//! `examples/hot_ops.rs` names.
//!
//! An entry is an instruction; whether it has a memory operand, and then which [`AddressForm`](crate::exec::path::AddressForm); and, for an op
//! together with the conditional jump behind it, the jump's condition.

macro_rules! hot_ops {
    ($then:ident) => {
        $then! {
",
    );
    for (op, _) in ops {
        let _ = writeln!(text, "            {op};");
    }
    text.push_str("        }\n    };\n}\npub(super) use hot_ops;\n");
    text
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, kernel, demo, peers] = arguments.as_slice() else {
        return Err("usage: hot_ops KERNEL DEMO-INITRAMFS PEERS-INITRAMFS".into());
    };
    let kernel = std::fs::read(kernel)?;
    let marks = Marks::default();
    run(&kernel, &std::fs::read(peers)?, "console=ttyS0", marks.clone())?;
    take_counts();
    run(&kernel, &std::fs::read(demo)?, "", Marks::default())?;
    let mut workloads = marks.workloads.take();
    workloads.insert("demo", take_counts());
    for (name, counts) in &workloads {
        eprintln!("{name}: {} ops", counts.iter().map(|(_, count)| count).sum::<u64>());
    }
    let weights = weigh(&workloads);
    let hot = &weights[..LENGTH.min(weights.len())];
    eprintln!("{} of {} ops, {:.1} % of all that ran", hot.len(), weights.len(), 100.0 * hot.iter().map(|(_, weight)| weight).sum::<f64>());
    print!("{}", render(hot));
    Ok(())
}
