//! The virtio 9P transport and, behind it, a 9P2000.L server: directories of the host's choice, mounted in the guest.
//!
//! The server ([`P9`]) speaks what Linux's v9fs does and serves a [`FileSystem`]: [`MemoryFs`] here, host directories
//! elsewhere. Nothing that a client sends leads out of the tree: a path is made of checked names, the server goes up
//! only by its own record of where it came from, and file systems follow no symbolic links.
//!
//! What the client sees is deterministic: files are numbered by first sight, directories are sorted, errors are Linux's.

mod bounded;
mod errno;
mod fid;
mod filesystem;
mod linked;
mod memory;
mod nodes;
mod path;
mod server;
mod state;
mod tree;
mod wire;

pub use bounded::Bounded;
pub use errno::Errno;
pub use filesystem::{
    ASKER, Attributes, Creation, DeviceNumber, FileIdentity, FileKind, FileSystem, Handle, OpenFlags, PERMISSION_BITS, SetAttributes,
    SetTime, Statistics, Target, Timestamp, XattrMode,
};
pub use memory::{HandleState, InodeState, MemoryFs, MemoryState, NamedInode, XattrState};
pub use path::{Name, RelativePath};
pub use state::{DirectoryState, EntryState, FidState, FileState, NodeState, P9State, SessionState, XattrReadState, XattrWriteState};
pub use tree::{Branch, Tree};

use crate::virtio::{DriverFault, VirtioDevice, Virtqueues, copy_config, spec};
use server::{MAX_MSIZE, Server};

/// The configuration space holds a mount tag.
const VIRTIO_9P_MOUNT_TAG: u64 = 1 << 0;
/// Largest size of the one queue. Linux makes requests of at most 128 descriptors (`VIRTQUEUE_NUM`).
const QUEUE_SIZES: [u16; 1] = [128];
/// Longest mount tag in bytes.
const MAX_TAG: usize = 255;

/// A tag that no mount can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mount tag of {length} bytes; it must have 1 to {MAX_TAG}")]
pub struct BadTag {
    /// Its length in bytes.
    pub length: usize,
}

/// What the guest may do with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// Only look: changes are `EROFS`.
    ReadOnly,
}

/// A mount: a virtio device of type 9 that serves one file system under a tag.
#[derive(Debug)]
pub struct P9<F> {
    tag: String,
    server: Server<F>,
    message: Vec<u8>,
    reply: Vec<u8>,
}

impl<F: FileSystem> P9<F> {
    /// A mount that the guest finds under `tag`.
    pub fn new(tag: &str, fs: F, access: Access) -> Result<Self, BadTag> {
        Self::with_server(tag, Server::new(fs, access))
    }

    fn with_server(tag: &str, server: Server<F>) -> Result<Self, BadTag> {
        match tag.len() {
            1..=MAX_TAG => Ok(Self { tag: tag.to_owned(), server, message: Vec::new(), reply: Vec::new() }),
            length => Err(BadTag { length }),
        }
    }

    /// The tag that the guest finds the mount by.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The file system.
    pub fn filesystem(&self) -> &F {
        &self.server.fs
    }

    /// The file system, for changes from outside the guest.
    pub fn filesystem_mut(&mut self) -> &mut F {
        &mut self.server.fs
    }

    /// Serves one message, whole in `message`; the reply has at most `room` bytes, none if not even an error fits.
    pub fn serve(&mut self, message: &[u8], room: usize) -> &[u8] {
        self.server.handle(message, room, &mut self.reply);
        &self.reply
    }

    /// Messages that broke the protocol since this object was made. Not part of the saved record.
    pub fn protocol_errors(&self) -> u64 {
        self.server.protocol_errors
    }
}

impl<F: FileSystem> VirtioDevice for P9<F> {
    fn device_id(&self) -> u32 {
        spec::device_id::P9
    }

    fn features(&self) -> u64 {
        VIRTIO_9P_MOUNT_TAG
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    #[expect(clippy::cast_possible_truncation, reason = "a tag has a length of 16 bits")]
    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        // `tag_len: le16, tag`
        let config = [&(self.tag.len() as u16).to_le_bytes(), self.tag.as_bytes()].concat();
        copy_config(&config, offset, bytes);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the transport bounds a chain")]
    fn notify(&mut self, queue: u16, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        while let Some(mut chain) = queues.next(queue)? {
            // One byte more than is ever agreed to is enough for the server to see that a message is too long.
            let length = chain.readable().min(u64::from(MAX_MSIZE) + 1);
            self.message.resize(length as usize, 0);
            chain.read(queues.memory, &mut self.message)?;
            self.server.handle(&self.message, chain.writable() as usize, &mut self.reply);
            chain.write(queues.memory, &self.reply)?;
            queues.complete(queue, chain)?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.server.reset();
    }
}
