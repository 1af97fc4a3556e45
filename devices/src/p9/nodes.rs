//! Which files the client has seen: a tree of names, whose nodes number the qids by first sight.
//!
//! A fid stands for a node, and a node knows its parent, so that a rename moves one node and every fid below it follows.
//! A node whose file is gone is *detached*: it keeps its number as long as a fid stands for it, and no path leads to it.
//! Numbers are never used twice.

use super::{Errno, Name, RelativePath};
use std::collections::BTreeMap;

/// The number of a file: the `path` of its qid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(pub(super) u64);

impl NodeId {
    /// The root of the mount.
    pub const ROOT: Self = Self(1);
}

/// Bytes that names may occupy, each counted with [`NODE_OVERHEAD`]. At the limit, names that no fid needs are
/// forgotten; when seen again they get new numbers.
const MAX_COST: usize = 8 << 20;
const NODE_OVERHEAD: usize = 64;

#[derive(Debug)]
struct Node {
    /// Where the file is; `None` of the root and of what is detached.
    place: Option<(NodeId, Name)>,
    children: BTreeMap<Name, NodeId>,
    /// Fids that stand for this node.
    fids: u32,
}

/// The nodes of a mount.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    cost: usize,
    max_cost: usize,
}

fn cost_of(name: &Name) -> usize {
    name.as_bytes().len() + NODE_OVERHEAD
}

impl Nodes {
    /// Only the root is known.
    pub fn new() -> Self {
        let root = Node { place: None, children: BTreeMap::new(), fids: 0 };
        Self { nodes: BTreeMap::from([(NodeId::ROOT, root)]), next: NodeId::ROOT.0 + 1, cost: 0, max_cost: MAX_COST }
    }

    /// The node called `name` in `parent`, which is numbered now if it was not known. `ENOMEM` if fids hold all the nodes
    /// that there may be.
    pub fn child(&mut self, parent: NodeId, name: &Name) -> Result<NodeId, Errno> {
        if let Some(known) = self.known_child(parent, name) {
            return Ok(known);
        }
        if self.cost + cost_of(name) > self.max_cost {
            self.forget_unneeded(parent);
        }
        if self.cost + cost_of(name) > self.max_cost {
            return Err(Errno::ENOMEM);
        }
        let id = NodeId(self.next);
        let next = self.next.checked_add(1).ok_or(Errno::ENOMEM)?;
        self.nodes.get_mut(&parent).ok_or(Errno::ESTALE)?.children.insert(name.clone(), id);
        self.next = next;
        self.cost += cost_of(name);
        self.nodes.insert(id, Node { place: Some((parent, name.clone())), children: BTreeMap::new(), fids: 0 });
        Ok(id)
    }

    /// The node called `name` in `parent`, if it is known.
    pub fn known_child(&self, parent: NodeId, name: &Name) -> Option<NodeId> {
        self.nodes.get(&parent)?.children.get(name).copied()
    }

    /// Whether there is such a node.
    pub fn contains(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    /// The parent of a node; the root's is the root. `ESTALE` if it has none.
    pub fn parent(&self, id: NodeId) -> Result<NodeId, Errno> {
        if id == NodeId::ROOT { Ok(id) } else { self.place(id).map(|(parent, _)| parent) }
    }

    /// Parent and name of a node: `EBUSY` of the root, `ESTALE` of what is gone.
    pub fn place(&self, id: NodeId) -> Result<(NodeId, Name), Errno> {
        if id == NodeId::ROOT {
            return Err(Errno::EBUSY);
        }
        self.nodes.get(&id).and_then(|node| node.place.clone()).ok_or(Errno::ESTALE)
    }

    /// The path that leads to a node; `ESTALE` if none does.
    pub fn path(&self, id: NodeId) -> Result<RelativePath, Errno> {
        let mut components = Vec::new();
        let mut at = id;
        while at != NodeId::ROOT {
            let (parent, name) = self.nodes.get(&at).and_then(|node| node.place.as_ref()).ok_or(Errno::ESTALE)?;
            components.push(name.clone());
            at = *parent;
        }
        components.reverse();
        RelativePath::new(components)
    }

    /// Whether `id` is `ancestor` or below it.
    pub fn is_within(&self, id: NodeId, ancestor: NodeId) -> bool {
        let mut at = Some(id);
        while let Some(node) = at {
            if node == ancestor {
                return true;
            }
            at = self.nodes.get(&node).and_then(|node| node.place.as_ref()).map(|(parent, _)| *parent);
        }
        false
    }

    /// The file called `name` in `parent` is gone.
    pub fn remove(&mut self, parent: NodeId, name: &Name) {
        if let Some(id) = self.known_child(parent, name) {
            self.detach(id);
            self.drop_if_dead(id);
        }
    }

    /// The file called `from.1` in `from.0` is now `to.1` in `to.0`. What was there is gone.
    pub fn rename(&mut self, from: (NodeId, &Name), to: (NodeId, &Name)) {
        if from == to {
            return;
        }
        self.remove(to.0, to.1);
        let Some(id) = self.known_child(from.0, from.1) else { return };
        self.detach(id);
        if let Some(parent) = self.nodes.get_mut(&to.0) {
            parent.children.insert(to.1.clone(), id);
            self.cost += cost_of(to.1);
            if let Some(node) = self.nodes.get_mut(&id) {
                node.place = Some((to.0, to.1.clone()));
            }
        }
    }

    /// A fid stands for this node from now on.
    pub fn pin(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.fids += 1;
        }
    }

    /// A fid no longer stands for this node.
    pub fn unpin(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.fids = node.fids.saturating_sub(1);
            self.drop_if_dead(id);
        }
    }

    /// Takes a node from its parent.
    fn detach(&mut self, id: NodeId) {
        let Some((parent, name)) = self.nodes.get_mut(&id).and_then(|node| node.place.take()) else { return };
        self.cost -= cost_of(&name);
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children.remove(&name);
        }
    }

    /// Forgets a node that neither a path nor a fid leads to, and what then is in the same position below it.
    fn drop_if_dead(&mut self, id: NodeId) {
        let mut candidates = vec![id];
        while let Some(id) = candidates.pop() {
            if self.is_dead(id)
                && let Some(node) = self.nodes.remove(&id)
            {
                for (name, child) in node.children {
                    self.cost -= cost_of(&name);
                    if let Some(child) = self.nodes.get_mut(&child) {
                        child.place = None;
                    }
                    candidates.push(child);
                }
            }
        }
    }

    /// Forgets every node but those on the way to a fid's node or to `keep`.
    fn forget_unneeded(&mut self, keep: NodeId) {
        let mut needed = std::collections::BTreeSet::from([NodeId::ROOT]);
        let wanted = self.nodes.iter().filter(|(id, node)| node.fids > 0 || **id == keep).map(|(id, _)| *id);
        for id in wanted {
            let mut at = Some(id);
            while let Some(node) = at
                && needed.insert(node)
            {
                at = self.nodes.get(&node).and_then(|node| node.place.as_ref()).map(|(parent, _)| *parent);
            }
        }
        self.nodes.retain(|id, _| needed.contains(id));
        for node in self.nodes.values_mut() {
            node.children.retain(|_, child| needed.contains(child));
        }
        self.cost = self.nodes.values().filter_map(|node| node.place.as_ref()).map(|(_, name)| cost_of(name)).sum();
    }

    /// Whether neither a path nor a fid leads to this node, so that it ought to be forgotten.
    pub fn is_dead(&self, id: NodeId) -> bool {
        id != NodeId::ROOT && self.nodes.get(&id).is_some_and(|node| node.place.is_none() && node.fids == 0)
    }

    /// The number that the next new file gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Every node but the root, by number: where it is, if anywhere.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, Option<&(NodeId, Name)>)> {
        self.nodes.iter().filter(|(id, _)| **id != NodeId::ROOT).map(|(id, node)| (*id, node.place.as_ref()))
    }

    /// Rebuilds the tree from what [`iter`](Self::iter) gave, in any order. `None` if that is not a tree: numbers that are
    /// taken or not below `next`, a place that is taken or below no node, or a circle; or if it is too large.
    pub fn rebuild(next: u64, saved: impl IntoIterator<Item = (NodeId, Option<(NodeId, Name)>)>) -> Option<Self> {
        let mut this = Self { next, ..Self::new() };
        let mut places = Vec::new();
        for (id, place) in saved {
            if id <= NodeId::ROOT || id.0 >= next {
                return None;
            }
            if let Some((parent, name)) = &place {
                this.cost += cost_of(name);
                places.push((id, *parent, name.clone()));
            }
            let taken = this.nodes.insert(id, Node { place, children: BTreeMap::new(), fids: 0 });
            if taken.is_some() || this.cost > this.max_cost {
                return None;
            }
        }
        for (id, parent, name) in places {
            if this.nodes.get_mut(&parent)?.children.insert(name, id).is_some() {
                return None;
            }
        }
        if next > NodeId::ROOT.0 && this.has_no_circle() { Some(this) } else { None }
    }

    /// Whether all nodes can be reached from those that have no parent.
    fn has_no_circle(&self) -> bool {
        let mut reached = 0;
        let mut open: Vec<&Node> = self.nodes.values().filter(|node| node.place.is_none()).collect();
        while let Some(node) = open.pop() {
            reached += 1;
            open.extend(node.children.values().filter_map(|child| self.nodes.get(child)));
        }
        reached == self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).unwrap()
    }

    fn text(path: &RelativePath) -> String {
        path.components().iter().map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn numbers_are_given_once_by_first_sight() {
        let mut nodes = Nodes::new();
        let a = nodes.child(NodeId::ROOT, &name("a")).unwrap();
        let b = nodes.child(NodeId::ROOT, &name("b")).unwrap();
        assert_eq!((a, b), (NodeId(2), NodeId(3)));
        assert_eq!(nodes.child(NodeId::ROOT, &name("a")), Ok(a));
        nodes.remove(NodeId::ROOT, &name("a"));
        assert_eq!(nodes.child(NodeId::ROOT, &name("a")), Ok(NodeId(4)));
    }

    #[test]
    fn a_rename_moves_all_below_and_replaces_the_target() {
        let mut nodes = Nodes::new();
        let d = nodes.child(NodeId::ROOT, &name("d")).unwrap();
        let f = nodes.child(d, &name("f")).unwrap();
        let old = nodes.child(NodeId::ROOT, &name("e")).unwrap();
        nodes.pin(old);
        nodes.rename((NodeId::ROOT, &name("d")), (NodeId::ROOT, &name("e")));
        assert_eq!(text(&nodes.path(f).unwrap()), "e/f");
        assert_eq!(nodes.path(old), Err(Errno::ESTALE));
        assert_eq!(nodes.child(NodeId::ROOT, &name("e")), Ok(d));
        nodes.rename((NodeId::ROOT, &name("e")), (NodeId::ROOT, &name("e")));
        assert_eq!(text(&nodes.path(f).unwrap()), "e/f");
        nodes.unpin(old);
        assert_eq!(nodes.iter().map(|(id, _)| id).collect::<Vec<_>>(), [d, f]);
    }

    #[test]
    fn what_is_below_a_gone_directory_goes_with_it_unless_a_fid_holds_it() {
        let mut nodes = Nodes::new();
        let d = nodes.child(NodeId::ROOT, &name("d")).unwrap();
        let held = nodes.child(d, &name("held")).unwrap();
        nodes.child(d, &name("other")).unwrap();
        nodes.pin(held);
        nodes.remove(NodeId::ROOT, &name("d"));
        assert_eq!(nodes.iter().collect::<Vec<_>>(), [(held, None)]);
        assert_eq!(nodes.cost, 0);
        nodes.unpin(held);
        assert_eq!(nodes.iter().count(), 0);
    }

    #[test]
    fn at_the_limit_names_without_fids_are_forgotten() {
        let mut nodes = Nodes { max_cost: 10 * (NODE_OVERHEAD + 4), ..Nodes::new() };
        let dir = nodes.child(NodeId::ROOT, &name("0dir")).unwrap();
        let held = nodes.child(dir, &name("held")).unwrap();
        nodes.pin(held);
        for number in 1000..2000 {
            nodes.child(NodeId::ROOT, &name(&number.to_string())).unwrap();
            assert!(nodes.nodes.len() <= 11);
        }
        assert_eq!(text(&nodes.path(held).unwrap()), "0dir/held");
        for number in 3000..3008 {
            let id = nodes.child(dir, &name(&number.to_string())).unwrap();
            nodes.pin(id);
        }
        assert_eq!(nodes.child(dir, &name("more")), Err(Errno::ENOMEM));
    }

    #[test]
    fn what_is_no_tree_is_not_rebuilt() {
        let place = |parent: u64, text: &str| Some((NodeId(parent), name(text)));
        let rebuild = |next, nodes: &[(u64, Option<(NodeId, Name)>)]| {
            Nodes::rebuild(next, nodes.iter().map(|(id, place)| (NodeId(*id), place.clone())))
        };
        assert!(rebuild(4, &[(3, place(2, "b")), (2, place(1, "a"))]).is_some());
        assert!(rebuild(5, &[(3, None), (4, place(3, "b"))]).is_some());
        assert!(rebuild(3, &[(3, place(1, "a"))]).is_none(), "number not given yet");
        assert!(rebuild(4, &[(1, place(1, "a"))]).is_none(), "a second root");
        assert!(rebuild(4, &[(2, place(1, "a")), (2, place(1, "b"))]).is_none(), "number twice");
        assert!(rebuild(4, &[(2, place(1, "a")), (3, place(1, "a"))]).is_none(), "place twice");
        assert!(rebuild(4, &[(2, place(9, "a"))]).is_none(), "no such parent");
        assert!(rebuild(4, &[(2, place(3, "a")), (3, place(2, "b"))]).is_none(), "circle");
        assert!(rebuild(4, &[(2, place(2, "a"))]).is_none(), "its own parent");
        assert!(rebuild(1, &[]).is_none(), "the root's number is to be given again");
    }
}
