//! Which shapes may touch, and in which order: Chipmunk's two bounding-box trees.
//!
//! One tree holds what never moves, the other what may. The order in which pairs are found is the
//! order in which the solver treats their contacts, so it is kept exactly: how leaves are inserted,
//! when a leaf's box is taken anew (enlarged along its velocity), and the lists of pairs that leaves
//! remember until then.

use super::vector::{Bounds, Vect, max, min};

/// What is remembered of a pair: the support points of the last narrow-phase test.
pub(super) type CollisionId = u32;

#[derive(Debug, Clone)]
struct Node {
    /// `None` for inner nodes.
    shape: Option<usize>,
    bounds: Bounds,
    parent: Option<usize>,
    children: [usize; 2],
    stamp: u64,
    /// Pairs of this leaf, the newest first.
    pairs: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    leaves: [usize; 2],
    id: CollisionId,
}

/// Both trees.
#[derive(Debug, Clone, Default)]
pub(super) struct Trees {
    nodes: Vec<Node>,
    free: Vec<usize>,
    still: Option<usize>,
    moving: Option<usize>,
    /// Leaves of what moves, in the order in which they are brought up to date.
    leaves: Vec<usize>,
    pairs: Vec<Pair>,
    free_pairs: Vec<usize>,
    stamp: u64,
}

/// Buckets of Chipmunk's hash set of leaves while it holds at most that many.
const BUCKETS: usize = 5;

impl Trees {
    /// Adds a shape that never moves. Those come before all that move.
    pub fn add_still(&mut self, shape: usize, bounds: Bounds) {
        let leaf = self.leaf(shape, bounds);
        self.still = Some(self.insert(self.still, leaf));
        self.stamp += 1;
    }

    /// Adds a shape that may move; at most [`BUCKETS`] of them.
    pub fn add_moving(&mut self, shape: usize, bounds: Bounds, velocity: Vect) {
        let leaf = self.leaf(shape, ahead(bounds, velocity));
        self.moving = Some(self.insert(self.moving, leaf));
        self.leaves.push(leaf);
        let nodes = &self.nodes;
        self.leaves.sort_by_key(|l| nodes[*l].shape.unwrap_or(0) % BUCKETS);
        self.mark_leaf(leaf, &mut |_, _, id| id);
        self.stamp += 1;
    }

    /// Brings moved shapes up to date, then calls `touch` with each pair of shapes whose boxes touch
    /// and what was remembered of it; it returns what is to be remembered.
    pub fn pairs(
        &mut self,
        bounds: impl Fn(usize) -> (Bounds, Vect),
        mut touch: impl FnMut(usize, usize, CollisionId) -> CollisionId,
    ) {
        for at in 0..self.leaves.len() {
            let leaf = self.leaves[at];
            let Some(shape) = self.nodes[leaf].shape else { continue };
            let (now, velocity) = bounds(shape);
            if !self.nodes[leaf].bounds.holds(&now) {
                self.nodes[leaf].bounds = ahead(now, velocity);
                let rest = self.remove(leaf);
                self.moving = Some(self.insert(rest, leaf));
                self.forget_pairs(leaf);
                self.nodes[leaf].stamp = self.stamp;
            }
        }
        if let Some(root) = self.moving {
            self.mark(root, &mut touch);
        }
        self.stamp += 1;
    }

    fn leaf(&mut self, shape: usize, bounds: Bounds) -> usize {
        let stamp = self.stamp;
        self.node(Node {
            shape: Some(shape),
            bounds,
            parent: None,
            children: [0; 2],
            stamp,
            pairs: Vec::new(),
        })
    }

    fn node(&mut self, node: Node) -> usize {
        if let Some(at) = self.free.pop() {
            self.nodes[at] = node;
            return at;
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Puts a leaf below `subtree`; the subtree's root then.
    fn insert(&mut self, subtree: Option<usize>, leaf: usize) -> usize {
        let Some(root) = subtree else {
            self.nodes[leaf].parent = None;
            return leaf;
        };
        if self.nodes[root].shape.is_some() {
            let bounds = self.nodes[leaf].bounds.merged(&self.nodes[root].bounds);
            let stamp = 0;
            let children = [leaf, root];
            let pairs = Vec::new();
            let new = Node { shape: None, bounds, parent: None, children, stamp, pairs };
            let new = self.node(new);
            self.nodes[leaf].parent = Some(new);
            self.nodes[root].parent = Some(new);
            return new;
        }
        let [a, b] = self.nodes[root].children;
        let (of_a, of_b) = (self.nodes[a].bounds, self.nodes[b].bounds);
        let wanted = self.nodes[leaf].bounds;
        let mut cost_a = of_b.area() + of_a.merged(&wanted).area();
        let mut cost_b = of_a.area() + of_b.merged(&wanted).area();
        if cost_a == cost_b {
            (cost_a, cost_b) = (of_a.apart(&wanted), of_b.apart(&wanted));
        }
        let side = usize::from(cost_b < cost_a);
        let below = self.insert(Some([a, b][side]), leaf);
        self.nodes[root].children[side] = below;
        self.nodes[below].parent = Some(root);
        self.nodes[root].bounds = self.nodes[root].bounds.merged(&wanted);
        root
    }

    /// Takes a leaf out of the tree of what moves; the root then.
    fn remove(&mut self, leaf: usize) -> Option<usize> {
        let root = self.moving?;
        if leaf == root {
            return None;
        }
        let parent = self.nodes[leaf].parent?;
        let [a, b] = self.nodes[parent].children;
        let other = if a == leaf { b } else { a };
        let above = self.nodes[parent].parent;
        self.nodes[other].parent = above;
        self.free.push(parent);
        let Some(above) = above else { return Some(other) };
        let side = usize::from(self.nodes[above].children[0] != parent);
        self.nodes[above].children[side] = other;
        let mut at = Some(above);
        while let Some(node) = at {
            let [a, b] = self.nodes[node].children;
            self.nodes[node].bounds = self.nodes[a].bounds.merged(&self.nodes[b].bounds);
            at = self.nodes[node].parent;
        }
        Some(root)
    }

    fn pair(&mut self, a: usize, b: usize) {
        let pair = Pair { leaves: [a, b], id: 0 };
        let at = match self.free_pairs.pop() {
            Some(at) => {
                self.pairs[at] = pair;
                at
            }
            None => {
                self.pairs.push(pair);
                self.pairs.len() - 1
            }
        };
        self.nodes[a].pairs.insert(0, at);
        self.nodes[b].pairs.insert(0, at);
    }

    fn forget_pairs(&mut self, leaf: usize) {
        let mut pairs = std::mem::take(&mut self.nodes[leaf].pairs);
        for pair in pairs.drain(..) {
            let [a, b] = self.pairs[pair].leaves;
            let other = if a == leaf { b } else { a };
            self.nodes[other].pairs.retain(|p| *p != pair);
            self.free_pairs.push(pair);
        }
        self.nodes[leaf].pairs = pairs;
    }

    fn mark(
        &mut self,
        subtree: usize,
        touch: &mut impl FnMut(usize, usize, CollisionId) -> CollisionId,
    ) {
        if self.nodes[subtree].shape.is_some() {
            self.mark_leaf(subtree, touch);
        } else {
            let [a, b] = self.nodes[subtree].children;
            self.mark(a, touch);
            self.mark(b, touch);
        }
    }

    fn mark_leaf(
        &mut self,
        leaf: usize,
        touch: &mut impl FnMut(usize, usize, CollisionId) -> CollisionId,
    ) {
        if self.nodes[leaf].stamp == self.stamp {
            // Its box is new: look for all that it touches.
            if let Some(still) = self.still {
                self.query(still, leaf, false, touch);
            }
            let mut node = leaf;
            while let Some(parent) = self.nodes[node].parent {
                let [a, b] = self.nodes[parent].children;
                if node == a {
                    self.query(b, leaf, true, touch);
                } else {
                    self.query(a, leaf, false, touch);
                }
                node = parent;
            }
            return;
        }
        for at in 0..self.nodes[leaf].pairs.len() {
            let pair = self.nodes[leaf].pairs[at];
            let Pair { leaves: [a, b], id } = self.pairs[pair];
            if b == leaf
                && let (Some(one), Some(two)) = (self.nodes[a].shape, self.nodes[b].shape)
            {
                self.pairs[pair].id = touch(one, two, id);
            }
        }
    }

    /// Finds what of `subtree` a leaf touches. To the `left` of it, only notes the pair: the other
    /// leaf's turn comes later.
    fn query(
        &mut self,
        subtree: usize,
        leaf: usize,
        left: bool,
        touch: &mut impl FnMut(usize, usize, CollisionId) -> CollisionId,
    ) {
        if !self.nodes[leaf].bounds.touches(&self.nodes[subtree].bounds) {
            return;
        }
        let Some(other) = self.nodes[subtree].shape else {
            let [a, b] = self.nodes[subtree].children;
            self.query(a, leaf, left, touch);
            self.query(b, leaf, left, touch);
            return;
        };
        if left {
            self.pair(leaf, subtree);
            return;
        }
        if self.nodes[subtree].stamp < self.nodes[leaf].stamp {
            self.pair(subtree, leaf);
        }
        if let Some(shape) = self.nodes[leaf].shape {
            touch(shape, other, 0);
        }
    }
}

/// A box with room to move: a tenth of its size, and a tenth of a second of its velocity.
fn ahead(bounds: Bounds, velocity: Vect) -> Bounds {
    // Chipmunk writes 0.1f: the nearest single-precision number.
    let share = f64::from(0.1f32);
    let x = (bounds.right - bounds.left) * share;
    let y = (bounds.top - bounds.bottom) * share;
    let v = velocity * f64::from(0.1f32);
    Bounds {
        left: bounds.left + min(-x, v.x),
        bottom: bounds.bottom + min(-y, v.y),
        right: bounds.right + max(x, v.x),
        top: bounds.top + max(y, v.y),
    }
}
