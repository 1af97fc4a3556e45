//! What a snapshot says of how it was baked: what its host must know beyond the machine itself.

use crate::{Begin, SavePoint};
use snapshot::{Digest, Record, SectionId};

snapshot::saved! {
    /// How a snapshot was baked. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct BakeState {
        /// What the guest was doing.
        pub point: Point,
        /// The guest's init has a control port open, so it takes requests and reports the program's status.
        pub control: bool,
        /// The disks, vda first.
        pub disks: Vec<DiskRecord>,
        /// The shares, in the order of their slots.
        pub shares: Vec<ShareRecord>,
    }

    /// Where a guest stands in a snapshot.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Point {
        /// At the barrier: the program is still to be started.
        Barrier = 1,
        /// Idle, with whatever it runs on its terminal.
        Idle = 2,
        /// Its program has ended, and init waits to start it anew.
        Exited = 3,
    }

    /// A disk that the guest had.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DiskRecord {
        /// What it was.
        pub kind: DiskKind,
        /// A file's name without its folder: it may lie beside the snapshot.
        pub name: String,
        /// Bytes.
        pub size: u64,
        /// BLAKE3 of the unchanged contents; zero for memory, which is zero at power-on.
        pub digest: [u8; 32],
        /// The guest could not write it.
        pub read_only: bool,
    }

    /// What a disk is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum DiskKind {
        /// A file of the host.
        File = 1,
        /// The part `root` of a machine's file.
        Root = 2,
        /// A machine's own memory, of which the snapshot holds the pages.
        Upper = 3,
    }

    /// A share that the guest had.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ShareRecord {
        /// The mount tag.
        pub tag: String,
        /// The guest could not write it.
        pub read_only: bool,
    }
}

impl Record for BakeState {
    const ID: SectionId = SectionId::new(*b"BAKE");
    const VERSION: u16 = 2;
}

impl BakeState {
    /// The guest stands at the barrier with an init that has no control port: what that is to do, it reads in `info` alone.
    pub fn speaks_container2wasm(&self) -> bool {
        self.point == Point::Barrier && !self.control
    }
}

impl From<Point> for Begin {
    fn from(point: Point) -> Self {
        match point {
            Point::Barrier => Self::Barrier,
            Point::Idle => Self::Running,
            Point::Exited => Self::Exited,
        }
    }
}

impl From<SavePoint> for Point {
    fn from(point: SavePoint) -> Self {
        match point {
            SavePoint::Running => Self::Idle,
            SavePoint::Exited => Self::Exited,
        }
    }
}

impl DiskRecord {
    /// The disks that a machine's file brings, vda first: the part `root` with its size and digest, and an upper disk of so many bytes, if
    /// there are such.
    pub fn of_machine(root: Option<(u64, Digest)>, upper: u64) -> Vec<Self> {
        let root = root.map(|(size, digest)| Self {
            kind: DiskKind::Root,
            name: "root".into(),
            size,
            digest: *digest.as_bytes(),
            read_only: true,
        });
        let upper = Self { kind: DiskKind::Upper, name: "upper".into(), size: upper, digest: *Digest::NONE.as_bytes(), read_only: false };
        root.into_iter().chain((upper.size != 0).then_some(upper)).collect()
    }

    /// The digest.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(self.digest)
    }
}
