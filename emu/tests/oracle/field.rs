//! Names of the parts of a [`World`], for case files and reports.

use super::world::*;

/// A register, a flag, or a place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Gpr(usize),
    Flag(u64),
    Rip,
    FsBase,
    GsBase,
    Segment(usize),
    Fcw,
    Fsw,
    Ftw,
    Mxcsr,
    St(usize),
    Xmm(usize),
}

/// The general registers by number.
pub const GPRS: [&str; 16] = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
/// The flags that a case may name.
pub const FLAGS: [(&str, u64); 13] = [
    ("cf", flag::CF),
    ("pf", flag::PF),
    ("af", flag::AF),
    ("zf", flag::ZF),
    ("sf", flag::SF),
    ("tf", flag::TF),
    ("if", flag::IF),
    ("df", flag::DF),
    ("of", flag::OF),
    ("nt", flag::NT),
    ("rf", flag::RF),
    ("ac", flag::AC),
    ("id", flag::ID),
];

impl Field {
    /// The field of that name.
    pub fn parse(name: &str) -> Option<Field> {
        let numbered = |prefix: &str, limit: usize| {
            let number = name.strip_prefix(prefix)?.parse().ok()?;
            (number < limit).then_some(number)
        };
        if let Some(number) = GPRS.iter().position(|gpr| *gpr == name) {
            return Some(Field::Gpr(number));
        }
        if let Some(number) = SEGMENTS.iter().position(|segment| *segment == name) {
            return Some(Field::Segment(number));
        }
        if let Some((_, bit)) = FLAGS.iter().find(|(flag, _)| *flag == name) {
            return Some(Field::Flag(*bit));
        }
        match name {
            "rip" => Some(Field::Rip),
            "fs_base" => Some(Field::FsBase),
            "gs_base" => Some(Field::GsBase),
            "fcw" => Some(Field::Fcw),
            "fsw" => Some(Field::Fsw),
            "ftw" => Some(Field::Ftw),
            "mxcsr" => Some(Field::Mxcsr),
            _ => numbered("st", 8).map(Field::St).or_else(|| numbered("xmm", 16).map(Field::Xmm)),
        }
    }

    /// Its value.
    pub fn get(self, state: &State) -> u128 {
        match self {
            Field::Gpr(number) => state.gpr[number].into(),
            Field::Flag(bit) => u128::from(state.rflags & bit != 0),
            Field::Rip => state.rip.into(),
            Field::FsBase => state.fs_base.into(),
            Field::GsBase => state.gs_base.into(),
            Field::Segment(number) => state.segments[number].into(),
            Field::Fcw => state.fx.fcw.into(),
            Field::Fsw => state.fx.fsw.into(),
            Field::Ftw => state.fx.ftw.into(),
            Field::Mxcsr => state.fx.mxcsr.into(),
            Field::St(number) => u128::from_le_bytes(state.fx.st[number]),
            Field::Xmm(number) => state.fx.xmm[number],
        }
    }

    /// Gives it a value, cut to its width.
    pub fn set(self, state: &mut State, value: u128) {
        match self {
            Field::Gpr(number) => state.gpr[number] = value as u64,
            Field::Flag(bit) if value & 1 == 0 => state.rflags &= !bit,
            Field::Flag(bit) => state.rflags |= bit,
            Field::Rip => state.rip = value as u64,
            Field::FsBase => state.fs_base = value as u64,
            Field::GsBase => state.gs_base = value as u64,
            Field::Segment(number) => state.segments[number] = value as u16,
            Field::Fcw => state.fx.fcw = value as u16,
            Field::Fsw => state.fx.fsw = value as u16,
            Field::Ftw => state.fx.ftw = value as u8,
            Field::Mxcsr => state.fx.mxcsr = value as u32,
            Field::St(number) => state.fx.st[number] = (value & ((1 << 80) - 1)).to_le_bytes(),
            Field::Xmm(number) => state.fx.xmm[number] = value,
        }
    }

    /// The name that [`Field::parse`] knows.
    pub fn name(self) -> String {
        match self {
            Field::Gpr(number) => GPRS[number].to_string(),
            Field::Flag(bit) => FLAGS.iter().find(|(_, flag)| *flag == bit).map_or("?", |(name, _)| name).to_string(),
            Field::Rip => "rip".to_string(),
            Field::FsBase => "fs_base".to_string(),
            Field::GsBase => "gs_base".to_string(),
            Field::Segment(number) => SEGMENTS[number].to_string(),
            Field::Fcw => "fcw".to_string(),
            Field::Fsw => "fsw".to_string(),
            Field::Ftw => "ftw".to_string(),
            Field::Mxcsr => "mxcsr".to_string(),
            Field::St(number) => format!("st{number}"),
            Field::Xmm(number) => format!("xmm{number}"),
        }
    }

    /// Every field of a state.
    pub fn all() -> Vec<Field> {
        let mut all: Vec<Field> = (0..16).map(Field::Gpr).collect();
        all.push(Field::Rip);
        all.extend(FLAGS.iter().map(|(_, bit)| Field::Flag(*bit)));
        all.extend([Field::FsBase, Field::GsBase]);
        all.extend((0..6).map(Field::Segment));
        all.extend([Field::Fcw, Field::Fsw, Field::Ftw]);
        all.extend((0..8).map(Field::St));
        all.push(Field::Mxcsr);
        all.extend((0..16).map(Field::Xmm));
        all
    }
}
