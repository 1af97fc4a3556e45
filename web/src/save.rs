//! Saving a machine as what has changed since the snapshot that it began with.

use crate::Vm;
use crate::error::{self, Result, error};
use crate::file::{Sink, Source, Writing};
use crate::module::{Module, Ran};
use attend::record::BakeState;
use attend::{Event, SavePoint};
use net::ConnectionsState;
use snapshot::{Delta, FetchedGroups, GROUP_SIZE, Memory, PAGES_PER_GROUP, Pages, Snapshot, Space};
use std::collections::BTreeMap;
use wasm_bindgen::prelude::*;

/// What a machine is saved with.
pub struct Saver {
    base: Snapshot<Source>,
    /// For each page of a space whether it was not as in the base when the machine was restored.
    covered: BTreeMap<Space, Vec<bool>>,
    record: BakeState,
    ram_size: u64,
    /// Number and bytes of the disk that is memory.
    upper: Option<(u16, u64)>,
}

/// A save that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Saving {
    /// How the machine stands.
    pub at: SavePoint,
    /// Counts within which it must come to a safe point.
    pub within: u64,
}

/// The pages of a space that may not be as in the base.
struct Changed {
    size: u64,
    /// One for each page.
    flags: Vec<bool>,
    groups: FetchedGroups,
}

impl Changed {
    fn may_be_new(&self, page: u64) -> bool {
        self.flags.get(page as usize).copied().unwrap_or(true)
    }
}

impl Saver {
    /// Saves a machine that was restored from `base` and what had changed since.
    pub fn new(
        base: Snapshot<Source>,
        changes: Option<&Delta<Source>>,
        record: BakeState,
        (ram_size, upper): (u64, Option<(u16, u64)>),
    ) -> Self {
        let covered = changes.map(|delta| delta.spaces().map(|space| (space, delta.covered(space))).collect());
        Self { base, covered: covered.unwrap_or_default(), record, ram_size, upper }
    }

    /// Fetches what of a space may not be as in the base: what was written since the restore, and what was different then.
    fn changed(&self, module: &Module, space: Space, size: u64) -> Result<Changed> {
        let (start, written) = match space {
            Space::Ram => (module.ram(), module.dirty_pages(size)?),
            Space::Disk(number) => (module.disk(number)?, module.dirty_blocks(number, size)?),
        };
        let covered = self.covered.get(&space).map_or(&[][..], Vec::as_slice);
        let is_covered = |page: usize| covered.get(page).copied().unwrap_or(false);
        let flags: Vec<bool> = written.iter().enumerate().map(|(page, &written)| written != 0 || is_covered(page)).collect();
        let mut groups = FetchedGroups::new();
        for (number, pages) in flags.chunks(PAGES_PER_GROUP).enumerate() {
            if pages.contains(&true) {
                let mut group = Box::new([0; GROUP_SIZE]);
                module.read(start + (number * GROUP_SIZE) as u32, &mut group[..])?;
                groups.insert(number as u64, group);
            }
        }
        Ok(Changed { size, flags, groups })
    }
}

#[wasm_bindgen]
impl Vm {
    /// After [`Step::Save`](crate::Step::Save): runs the machine on to where copies of it can be told apart, and writes its state to `sink`, an
    /// empty file. Returns how many bytes that has. All pages of the snapshot must be there.
    pub fn save(&mut self, sink: &Sink) -> Result<f64> {
        let Some(Saving { at, within }) = self.saving else {
            return Err(error("cannot-save", "nothing asked for the machine to be saved"));
        };
        let until = self.module.count()?.saturating_add(within);
        let ran = self.module.run_to_safe_point(until)?;
        self.pass_output_on()?;
        if let Ran::Unavailable(error) = ran {
            return Err(error);
        }
        if !self.module.at_safe_point()? {
            return Err(error("no-safe-point", format!("the guest did not come to a safe point within {within} instructions; try again")));
        }
        let (module, Some(saver)) = (&self.module, &self.saver) else {
            return Err(error("cannot-save", "the machine was not restored to be saved"));
        };
        let mut writer = module.save()?;
        writer.add(0, &BakeState { point: at.into(), ..saver.record.clone() }).map_err(error::snapshot)?;
        writer.add(0, &self.output.terminal().save()).map_err(error::snapshot)?;
        if let Some(connections) = self.network.as_ref().and_then(|network| ConnectionsState::of(&network.connections())) {
            writer.add(0, &connections).map_err(error::snapshot)?;
        }

        let ram = saver.changed(module, Space::Ram, saver.ram_size)?;
        let upper =
            saver.upper.map(|(number, size)| Ok::<_, JsValue>((number, saver.changed(module, Space::Disk(number), size)?))).transpose()?;
        let of_ram = |page| ram.may_be_new(page);
        let of_upper = |page| upper.as_ref().is_none_or(|(_, changed)| changed.may_be_new(page));
        let mut memory = Memory::of_ram(Pages::of_groups(ram.size, &ram.groups, &of_ram));
        if let Some((number, changed)) = &upper {
            memory = memory.with_disk(*number, Pages::of_groups(changed.size, &changed.groups, &of_upper));
        }
        let written = writer.write_delta(memory, &saver.base, &mut Writing::new(sink)).map_err(error::snapshot)?;
        Ok(written.file_length as f64)
    }

    /// Whether the save was done: its bytes are where they belong.
    pub fn saved(&mut self, done: bool) {
        self.saving = None;
        self.attendant.handle(if done { Event::Saved } else { Event::NotSaved });
    }
}
