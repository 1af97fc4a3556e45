//! Files with several names: one file, and so one number, whichever name it is reached by.

use super::nodes::NodeId;
use super::{Attributes, FileIdentity};
use std::collections::BTreeMap;

/// Most files that are kept in mind. Above that all are forgotten, and numbered anew when they are seen again.
const MAX_FILES: usize = 1 << 16;

/// The numbers of the files that have been seen with several names. Not part of the saved record: on another host they are other files.
#[derive(Debug, Default)]
pub(super) struct Linked {
    numbers: BTreeMap<FileIdentity, NodeId>,
    files: BTreeMap<NodeId, FileIdentity>,
}

impl Linked {
    /// The number of the file that `node` stands for: the node's own, unless the file was seen under another name before. It is kept in mind
    /// from when the file has several names, and when it is back to one too.
    pub fn number(&mut self, node: NodeId, attributes: &Attributes) -> NodeId {
        let known = attributes.identity.and_then(|identity| self.numbers.get(&identity));
        if let Some(number) = known {
            return *number;
        }
        // What has this name now is not what had it before.
        if let Some(before) = self.files.remove(&node) {
            self.numbers.remove(&before);
        }
        if let Some(identity) = attributes.identity
            && attributes.links > 1
        {
            if self.files.len() >= MAX_FILES {
                *self = Self::default();
            }
            self.files.insert(node, identity);
            self.numbers.insert(identity, node);
        }
        node
    }

    /// The number of a file that was just made: none that had its identity, which file systems use again, is it.
    pub fn number_new(&mut self, node: NodeId, attributes: &Attributes) -> NodeId {
        if let Some(identity) = attributes.identity
            && let Some(before) = self.numbers.remove(&identity)
        {
            self.files.remove(&before);
        }
        self.number(node, attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p9::{DeviceNumber, FileKind, Timestamp};

    fn file(inode: Option<u64>) -> Attributes {
        with_links(inode, 2)
    }

    fn with_links(inode: Option<u64>, links: u64) -> Attributes {
        let time = Timestamp::default();
        let identity = inode.map(|inode| FileIdentity { device: 1, inode });
        let (kind, device) = (FileKind::Regular, DeviceNumber::default());
        let (permissions, uid, gid, size, blocks, version) = (0, 0, 0, 0, 0, 0);
        let (accessed, modified, changed) = (time, time, time);
        Attributes { kind, permissions, uid, gid, links, device, size, blocks, accessed, modified, changed, version, identity }
    }

    #[test]
    fn names_of_one_file_have_one_number() {
        let mut linked = Linked::default();
        assert_eq!(linked.number(NodeId(5), &file(Some(70))), NodeId(5));
        assert_eq!(linked.number(NodeId(6), &file(Some(70))), NodeId(5));
        assert_eq!(linked.number(NodeId(7), &file(Some(71))), NodeId(7));
        assert_eq!(linked.number(NodeId(8), &file(None)), NodeId(8));
    }

    #[test]
    fn two_files_never_share_a_number() {
        for other in [None, Some(71)] {
            let mut linked = Linked::default();
            linked.number(NodeId(5), &file(Some(70)));
            assert_eq!(linked.number(NodeId(6), &file(Some(70))), NodeId(5));
            // The host has put another file in the place of the first.
            assert_eq!(linked.number(NodeId(5), &file(other)), NodeId(5));
            assert_eq!(linked.number(NodeId(6), &file(Some(70))), NodeId(6));
        }
    }

    #[test]
    fn a_number_stays_when_but_one_name_is_left() {
        let mut linked = Linked::default();
        linked.number(NodeId(5), &file(Some(70)));
        assert_eq!(linked.number(NodeId(6), &file(Some(70))), NodeId(5));
        // The first name is gone.
        for _ in 0..2 {
            assert_eq!(linked.number(NodeId(6), &with_links(Some(70), 1)), NodeId(5));
        }
        // It has a second again.
        assert_eq!(linked.number(NodeId(7), &file(Some(70))), NodeId(5));
    }

    #[test]
    fn only_files_of_several_names_are_kept_in_mind() {
        let mut linked = Linked::default();
        assert_eq!(linked.number(NodeId(5), &with_links(Some(70), 1)), NodeId(5));
        assert!(linked.files.is_empty() && linked.numbers.is_empty());
    }

    #[test]
    fn a_new_file_does_not_get_the_number_of_one_that_is_gone() {
        for links in [1, 2] {
            let mut linked = Linked::default();
            linked.number(NodeId(5), &file(Some(70)));
            assert_eq!(linked.number_new(NodeId(9), &with_links(Some(70), links)), NodeId(9));
            assert_eq!(linked.number(NodeId(9), &with_links(Some(70), links)), NodeId(9));
            assert_eq!(linked.files.len(), linked.numbers.len());
        }
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let mut linked = Linked::default();
        for number in 2..2 + 2 * MAX_FILES as u64 {
            linked.number(NodeId(number), &file(Some(number)));
            assert!(linked.files.len() <= MAX_FILES && linked.numbers.len() <= MAX_FILES);
        }
    }
}
