//! The control flow of a region, shaped so that it can be written in WebAssembly's structured form.
//!
//! A region is entered at many places: at the start of a function, behind each of its calls, at the heads of its loops. WebAssembly's functions begin
//! at one. So a root node chooses the way by the number of the entry; and as a loop can be entered at its head alone, an entry inside of a loop leads
//! through a node in front of the head that chooses again. What is left is reducible. Where the guest's own code is not, the edges that make it so
//! are cut: those ways leave the region.

use std::collections::BTreeSet;

/// Number of a node.
pub type Node = usize;

/// What is known of a region's blocks.
#[derive(Debug)]
pub struct Shape {
    /// For each block, the blocks that it goes on with.
    pub next: Vec<Vec<Node>>,
    /// For each block, the block at which the guest usually goes on once it has left here: behind a call, behind an instruction of the interpreter's.
    /// No edge, but blocks that belong to a loop by this way count as its own.
    pub back: Vec<Option<Node>>,
    /// Whether each block is often entered from elsewhere.
    pub entered: Vec<bool>,
}

/// A node in front of a loop's head, and the root.
pub struct Choice {
    /// Where each entry leads, by its number; those that are not named go the other way.
    pub ways: Vec<(usize, Node)>,
    /// The head of the loop; `None` for the root.
    pub otherwise: Option<Node>,
}

/// A region's control flow in reducible form.
pub struct Graph {
    /// Blocks that can be entered, in order: the first has number 1.
    pub entries: Vec<Node>,
    /// Nodes from `first_choice` on, in the order of their numbers; the last is the root.
    pub choices: Vec<Choice>,
    /// Number of the first node that is a choice; those below are blocks.
    pub first_choice: Node,
    /// Edges of the guest's code that are no edges here.
    pub cut: BTreeSet<(Node, Node)>,
    /// For each block, the node through which edges to it lead.
    pub front: Vec<Node>,
    /// For each node, its edges.
    pub next: Vec<Vec<Node>>,
    /// Dominators and order.
    pub order: Order,
}

impl Graph {
    /// The root's number.
    pub fn root(&self) -> Node {
        self.next.len() - 1
    }

    /// The number by which a block is entered; `None` if it cannot be.
    pub fn entry(&self, block: Node) -> Option<usize> {
        self.entries.iter().position(|&entry| entry == block).map(|place| place + 1)
    }
}

/// Nodes in reverse postorder, and their dominators.
pub struct Order {
    /// Place of each node; `usize::MAX` for those that are not reached.
    pub place: Vec<usize>,
    /// Nodes by their places.
    pub nodes: Vec<Node>,
    /// Immediate dominator of each node; the root is its own.
    pub dominator: Vec<Node>,
}

impl Order {
    fn new(next: &[Vec<Node>], root: Node) -> Self {
        const NONE: usize = usize::MAX;
        let mut seen = vec![false; next.len()];
        let mut nodes = Vec::new();
        let mut stack = vec![(root, 0)];
        seen[root] = true;
        while let Some((node, edge)) = stack.last_mut() {
            if let Some(&to) = next[*node].get(*edge) {
                *edge += 1;
                if !seen[to] {
                    seen[to] = true;
                    stack.push((to, 0));
                }
            } else {
                nodes.push(*node);
                stack.pop();
            }
        }
        nodes.reverse();
        let mut place = vec![NONE; next.len()];
        for (at, &node) in nodes.iter().enumerate() {
            place[node] = at;
        }
        let mut before = vec![Vec::new(); next.len()];
        for &node in &nodes {
            for &to in &next[node] {
                before[to].push(node);
            }
        }
        // Cooper, Harvey, Kennedy: A Simple, Fast Dominance Algorithm.
        let mut dominator = vec![NONE; next.len()];
        dominator[root] = root;
        let mut changed = true;
        while changed {
            changed = false;
            for &node in &nodes[1..] {
                let mut known = before[node].iter().copied().filter(|&from| dominator[from] != NONE);
                let Some(mut common) = known.next() else { continue };
                for from in known {
                    let mut other = from;
                    while common != other {
                        while place[common] > place[other] {
                            common = dominator[common];
                        }
                        while place[other] > place[common] {
                            other = dominator[other];
                        }
                    }
                }
                if dominator[node] != common {
                    dominator[node] = common;
                    changed = true;
                }
            }
        }
        Self { place, nodes, dominator }
    }

    /// Whether every way to `node` leads through `by`.
    pub fn dominates(&self, by: Node, mut node: Node) -> bool {
        while self.place[node] > self.place[by] {
            node = self.dominator[node];
        }
        node == by
    }

    /// Whether an edge leads back, to the head of a loop.
    pub fn leads_back(&self, from: Node, to: Node) -> bool {
        self.place[to] <= self.place[from]
    }
}

/// A loop of the guest's code.
struct Loop {
    head: Node,
    members: BTreeSet<Node>,
}

/// Brings a region into form. There must be a block.
pub fn graph(shape: &Shape) -> Graph {
    let blocks = shape.next.len();
    let mut cut = BTreeSet::new();
    let (starts, loops) = loop {
        let (starts, edges, order) = whole(shape, &cut);
        let irreducible: Vec<_> = order
            .nodes
            .iter()
            .flat_map(|&from| edges[from].iter().map(move |&to| (from, to)))
            .filter(|&(from, to)| order.leads_back(from, to) && !order.dominates(to, from))
            .collect();
        if irreducible.is_empty() {
            break (starts, loops(&edges, &order, blocks));
        }
        cut.extend(irreducible);
    };
    let mut entries: BTreeSet<Node> = starts.into_iter().collect();
    entries.extend(shape.back.iter().flatten());
    entries.extend((0..blocks).filter(|&block| shape.entered[block]));
    entries.extend(loops.iter().map(|one| one.head));
    entries.extend(cut.iter().map(|&(_, to)| to));
    let entries: Vec<Node> = entries.into_iter().collect();

    let mut front: Vec<Node> = (0..blocks).collect();
    let mut choices: Vec<Choice> = Vec::new();
    for one in &loops {
        if entries.iter().any(|&entry| entry != one.head && one.members.contains(&entry)) {
            front[one.head] = blocks + choices.len();
            choices.push(Choice { ways: Vec::new(), otherwise: Some(one.head) });
        }
    }
    let root = blocks + choices.len();
    choices.push(Choice { ways: Vec::new(), otherwise: None });
    for (place, &entry) in entries.iter().enumerate() {
        let mut around: Vec<&Loop> = loops.iter().filter(|one| one.head != entry && one.members.contains(&entry)).collect();
        around.sort_by_key(|one| std::cmp::Reverse(one.members.len()));
        let mut from = root;
        for one in around {
            choices[from - blocks].ways.push((place + 1, front[one.head]));
            from = front[one.head];
        }
        choices[from - blocks].ways.push((place + 1, front[entry]));
    }

    let mut next: Vec<Vec<Node>> =
        (0..blocks).map(|from| shape.next[from].iter().filter(|&&to| !cut.contains(&(from, to))).map(|&to| front[to]).collect()).collect();
    next.extend(choices.iter().map(|choice| {
        let ways: BTreeSet<Node> = choice.ways.iter().map(|&(_, to)| to).chain(choice.otherwise).collect();
        ways.into_iter().collect()
    }));
    let order = Order::new(&next, root);
    debug_assert!(
        (0..next.len())
            .filter(|&from| order.place[from] != usize::MAX)
            .all(|from| next[from].iter().all(|&to| !order.leads_back(from, to) || order.dominates(to, from))),
        "what is left is reducible"
    );
    Graph { entries, choices, first_choice: blocks, cut, front, next, order }
}

/// All edges, those without code too, with a root before all blocks that nothing leads to.
fn whole(shape: &Shape, cut: &BTreeSet<(Node, Node)>) -> (Vec<Node>, Vec<Vec<Node>>, Order) {
    let blocks = shape.next.len();
    let mut edges: Vec<Vec<Node>> = (0..blocks)
        .map(|from| shape.next[from].iter().copied().chain(shape.back[from]).filter(|&to| !cut.contains(&(from, to))).collect())
        .collect();
    let mut has_way: Vec<bool> = vec![false; blocks];
    for &to in edges.iter().flatten() {
        has_way[to] = true;
    }
    let mut starts: Vec<Node> = (0..blocks).filter(|&block| !has_way[block]).collect();
    let root = blocks;
    edges.push(starts.clone());
    loop {
        let order = Order::new(&edges, root);
        match (0..blocks).find(|&block| order.place[block] == usize::MAX) {
            None => return (starts, edges, order),
            Some(block) => {
                starts.push(block);
                edges[root].push(block);
            }
        }
    }
}

/// Loops by their heads: what reaches the head again without leaving.
fn loops(edges: &[Vec<Node>], order: &Order, blocks: usize) -> Vec<Loop> {
    let mut before = vec![Vec::new(); edges.len()];
    for (from, ways) in edges.iter().enumerate().take(blocks) {
        for &to in ways {
            before[to].push(from);
        }
    }
    let heads: BTreeSet<Node> = (0..blocks).filter(|&head| before[head].iter().any(|&from| order.leads_back(from, head))).collect();
    let of = |head: Node| {
        let mut members = BTreeSet::from([head]);
        let mut open: Vec<Node> = before[head].iter().copied().filter(|&from| order.leads_back(from, head)).collect();
        while let Some(node) = open.pop() {
            if members.insert(node) {
                open.extend(&before[node]);
            }
        }
        Loop { head, members }
    };
    heads.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shapes() -> impl Strategy<Value = Shape> {
        (1..12usize).prop_flat_map(|blocks| {
            let next = prop::collection::vec(prop::collection::vec(0..blocks, 0..3), blocks);
            let back = prop::collection::vec(prop::option::weighted(0.2, 0..blocks), blocks);
            let entered = prop::collection::vec(prop::bool::weighted(0.2), blocks);
            (next, back, entered).prop_map(|(next, back, entered)| Shape { next, back, entered })
        })
    }

    proptest! {
        #[test]
        fn every_loop_is_entered_at_its_head(shape in shapes()) {
            let graph = graph(&shape);
            for &from in &graph.order.nodes {
                for &to in &graph.next[from] {
                    prop_assert!(!graph.order.leads_back(from, to) || graph.order.dominates(to, from), "{from} to {to}");
                }
            }
        }

        #[test]
        fn every_edge_is_kept_or_cut(shape in shapes()) {
            let graph = graph(&shape);
            for (from, ways) in shape.next.iter().enumerate() {
                for &to in ways {
                    let kept = graph.next[from].contains(&graph.front[to]);
                    prop_assert!(kept != graph.cut.contains(&(from, to)), "{from} to {to}");
                    prop_assert!(kept || graph.entry(to).is_some(), "who is cut off from {to} finds an entry there");
                }
            }
        }

        #[test]
        fn every_entry_is_reached_by_its_number(shape in shapes()) {
            let graph = graph(&shape);
            for (place, &entry) in graph.entries.iter().enumerate() {
                let mut node = graph.root();
                for _ in 0..=graph.choices.len() {
                    if node < graph.first_choice {
                        break;
                    }
                    let choice = &graph.choices[node - graph.first_choice];
                    let way = choice.ways.iter().find(|&&(number, _)| number == place + 1);
                    node = way.map(|&(_, to)| to).or(choice.otherwise).expect("a way");
                }
                prop_assert_eq!(node, entry);
            }
        }

        #[test]
        fn every_block_is_reached(shape in shapes()) {
            let graph = graph(&shape);
            prop_assert!((0..shape.next.len()).all(|block| graph.order.place[block] != usize::MAX));
        }
    }

    #[test]
    fn what_is_entered_inside_of_a_loop_is_entered_through_its_head() {
        // 0 -> 1 -> 2 -> 1, and 3 is where a call in 1 returns to, which leads to 2.
        let shape =
            Shape { next: vec![vec![1], vec![2], vec![1], vec![2]], back: vec![None, Some(3), None, None], entered: vec![false; 4] };
        let graph = graph(&shape);
        assert!(graph.cut.is_empty());
        assert_eq!(graph.front[1], graph.first_choice, "the loop has a node in front of its head");
        assert_eq!(graph.entries, [0, 1, 3]);
        assert_eq!(graph.choices[0].ways, [(3, 3)]);
    }

    #[test]
    fn a_loop_with_two_heads_loses_an_edge() {
        let shape = Shape { next: vec![vec![1, 2], vec![2], vec![1]], back: vec![None; 3], entered: vec![false; 3] };
        let graph = graph(&shape);
        assert_eq!(graph.cut.len(), 1);
    }
}
