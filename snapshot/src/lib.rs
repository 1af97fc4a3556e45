//! The prebake snapshot: sections, pages and bytes, as `FORMAT.md` specifies them. This crate has never heard of a CPU
//! or a disk.
//!
//! State that is to be saved is plain data under [`saved!`], with a [`Record`] implementation for each section. A
//! [`Writer`] takes a machine's records and its memory; a [`Snapshot`] gives them back.
//! With the feature `travel` there is the travelling form: `Travelling` turns it back, `Stored` reads it as if it were the stored form. With the feature `pack`,
//! `pack` makes it of a snapshot, and `pack_disk` of a disk.
//!
//! ```
//! use snapshot::{MachineId, Model, Pages, Record, SectionId, Snapshot, Space, Writer};
//!
//! snapshot::saved! {
//!     /// The timer.
//!     #[derive(Debug, PartialEq)]
//!     struct TimerState {
//!         deadline: Option<u64>,
//!     }
//! }
//!
//! impl Record for TimerState {
//!     const ID: SectionId = SectionId::new(*b"TIMR");
//!     const VERSION: u16 = 1;
//! }
//!
//! # fn main() -> Result<(), snapshot::Error> {
//! # let model = Model::new("pc1-v2/1").unwrap();
//! let machine = MachineId { model, ram_size: 4 << 20, devices: 0 };
//! let mut ram = vec![0; 4 << 20];
//! ram[0x12345] = 1;
//!
//! let mut writer = Writer::new(machine);
//! writer.add(0, &TimerState { deadline: Some(7) })?;
//! let mut file = std::io::Cursor::new(Vec::new());
//! writer.write(Pages::new(&ram), &mut file)?;
//!
//! let snapshot = Snapshot::open(file.get_ref().as_slice())?;
//! snapshot.machine().require(&machine)?;
//! let mut sections = snapshot.sections();
//! assert_eq!(sections.take::<TimerState>(0)?, TimerState { deadline: Some(7) });
//! assert!(sections.finish()?.is_empty());
//!
//! snapshot.verify_all()?;
//! for run in snapshot.runs(Space::Ram) {
//!     assert_eq!((run.address, run.len), (0x10000, 0x10000)); // map or copy it
//! }
//! # Ok(())
//! # }
//! ```

#![cfg_attr(not(test), deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap))]

// What `saved!` makes names this crate as others do.
#[cfg(feature = "travel")]
extern crate self as snapshot;

mod bytes;
mod codec;
mod content;
mod delta;
mod diff;
mod digest;
mod error;
#[cfg(feature = "travel")]
mod frame;
mod header;
#[cfg(feature = "travel")]
mod hot;
mod index;
#[cfg(feature = "pack")]
mod pack;
mod pages;
mod reader;
mod section;
#[cfg(feature = "travel")]
mod stored;
#[cfg(feature = "travel")]
mod travel;
mod writer;

pub use codec::{__codec, Decode, Encode, MAX_SECTIONS_LEN, Record, decode_record, encode_record};
pub use delta::Delta;
pub use diff::{Diff, FieldDifference, PageDifference, PageDifferences, SectionDifference, Side, diff};
pub use digest::{Digest, Digester};
pub use error::{Error, Part};
#[cfg(feature = "travel")]
pub use frame::unpack_frame;
pub use header::{FORMAT_VERSION, Form, HEADER_LEN, Header, MAGIC, MAX_RAM_SIZE, MachineId, Model, RAM_SIZE_UNIT};
#[cfg(feature = "travel")]
pub use hot::{HotPage, HotPages};
pub use index::{MAX_RUNS, Run};
#[cfg(feature = "pack")]
pub use pack::{pack, pack_disk};
pub use pages::{FetchedGroups, GROUP_SIZE, Memory, PAGE_SIZE, PAGES_PER_GROUP, Pages, Space};
pub use reader::{ReadAt, Sections, Snapshot};
pub use section::{MAX_SECTIONS, SectionEntry, SectionId, SectionName};
#[cfg(feature = "travel")]
pub use stored::Stored;
#[cfg(feature = "travel")]
pub use travel::{SpaceReader, Travelling, TravellingPages};
pub use writer::{Writer, Written};
