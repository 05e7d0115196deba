//! Merkle trees over numbered leaves, and one proof for many of them. The number of leaves is known to both sides and
//! in the root; a node without a neighbour moves up as it is. Leaf, node and root have different domains, so none
//! passes for another, and a leaf carries its tree and its number.

use std::collections::BTreeMap;

use super::{Digest, seed::tagged};

/// A leaf of tree `tree`.
pub fn leaf(tree: &Digest, index: u64, content: &[u8]) -> Digest {
    tagged("rackmark/proof/leaf/1", &[tree, &index.to_le_bytes(), content])
}

fn node(left: &Digest, right: &Digest) -> Digest {
    tagged("rackmark/proof/node/1", &[left, right])
}

fn crown(tree: &Digest, count: u64, top: &Digest) -> Digest {
    tagged("rackmark/proof/root/1", &[tree, &count.to_le_bytes(), top])
}

/// The root that the leaves and their siblings give, if these are just as many as are needed. Siblings come level by
/// level from the leaves upwards, from left to right. `None` too for no leaf and for one beyond `count`.
pub fn root_of(
    tree: &Digest,
    count: u64,
    leaves: &BTreeMap<u64, Digest>,
    siblings: &[Digest],
) -> Option<Digest> {
    if leaves.last_key_value().is_none_or(|(last, _)| *last >= count) {
        return None;
    }
    let mut level: Vec<(u64, Digest)> = leaves.iter().map(|(at, digest)| (*at, *digest)).collect();
    let mut width = count;
    let mut siblings = siblings.iter();
    while width > 1 {
        let mut above = Vec::with_capacity(level.len());
        let mut known = level.into_iter().peekable();
        while let Some((at, digest)) = known.next() {
            let parent = if at % 2 == 1 {
                node(siblings.next()?, &digest)
            } else if at + 1 == width {
                digest
            } else if let Some((_, right)) = known.next_if(|(next, _)| *next == at + 1) {
                node(&digest, &right)
            } else {
                node(&digest, siblings.next()?)
            };
            above.push((at / 2, parent));
        }
        level = above;
        width = width.div_ceil(2);
    }
    siblings.next().is_none().then(|| crown(tree, count, &level[0].1))
}

/// How many siblings the proof of these leaves has.
pub fn siblings_needed(count: u64, indices: impl IntoIterator<Item = u64>) -> usize {
    let mut level: Vec<u64> = indices.into_iter().collect();
    let (mut width, mut needed) = (count, 0);
    while width > 1 {
        needed +=
            level.iter().filter(|at| (**at ^ 1) < width && level.binary_search(&(**at ^ 1)).is_err()).count();
        level = level.into_iter().map(|at| at / 2).collect();
        level.dedup();
        width = width.div_ceil(2);
    }
    needed
}

/// A tree in memory: the prover's side. Its lowest levels may be left out, to be made anew where places are opened.
#[cfg(feature = "prover")]
#[derive(Debug)]
pub struct Tree {
    /// From the lowest one that is kept.
    levels: Vec<Vec<Digest>>,
    /// How many are left out.
    below: u32,
    root: Digest,
}

#[cfg(feature = "prover")]
impl Tree {
    /// The tree over leaves in the order of their numbers; `None` for no leaf.
    pub fn new(tree: &Digest, leaves: Vec<Digest>) -> Option<Self> {
        let count = leaves.len() as u64;
        let levels = levels_over(leaves);
        let root = crown(tree, count, levels.last()?.first()?);
        Some(Self { levels, below: 0, root })
    }

    /// A tree over `count` leaves whose levels from `below` on, each over the one before, are known. `None` where a level
    /// has another length than it must have, or is missing.
    pub fn of_levels(tree: &Digest, count: u64, below: u32, levels: Vec<Vec<Digest>>) -> Option<Self> {
        let mut width = count;
        for _ in 0..below {
            width = width.div_ceil(2);
        }
        for level in &levels {
            if level.len() as u64 != width {
                return None;
            }
            width = width.div_ceil(2);
        }
        let [top] = levels.last()?[..] else { return None };
        let root = crown(tree, count, &top);
        Some(Self { levels, below, root })
    }

    /// Its root.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// Siblings of leaves whose numbers rise, in a tree that is whole.
    pub fn open(&self, indices: &[u64]) -> Vec<Digest> {
        self.open_with(indices, |_| Vec::new()).unwrap_or_default()
    }

    /// Siblings of leaves whose numbers rise; `leaves` makes the leaves of these numbers anew. `None` where they are not
    /// those that the tree was made of.
    pub fn open_with(
        &self,
        indices: &[u64],
        mut leaves: impl FnMut(std::ops::Range<u64>) -> Vec<Digest>,
    ) -> Option<Vec<Digest>> {
        let mut groups: BTreeMap<u64, Vec<Vec<Digest>>> = BTreeMap::new();
        if self.below > 0 {
            for group in indices.iter().map(|at| at >> self.below) {
                if groups.contains_key(&group) {
                    continue;
                }
                let levels = levels_over(leaves(group << self.below..(group + 1) << self.below));
                let kept = self.levels.first()?.get(usize::try_from(group).ok()?)?;
                if levels.len() != self.below as usize + 1 || levels.last()?.first() != Some(kept) {
                    return None;
                }
                groups.insert(group, levels);
            }
        }
        let mut known = indices.to_vec();
        let mut siblings = Vec::new();
        for level in 0..self.below as usize + self.levels.len() {
            for at in &known {
                let neighbour = at ^ 1;
                if known.binary_search(&neighbour).is_ok() {
                    continue;
                }
                let within = self.below.saturating_sub(level as u32);
                let (row, place) = if within > 0 {
                    let group = groups.get(&(neighbour >> within))?;
                    (group.get(level)?, neighbour & ((1 << within) - 1))
                } else {
                    (self.levels.get(level - self.below as usize)?, neighbour)
                };
                siblings.extend(usize::try_from(place).ok().and_then(|place| row.get(place)));
            }
            known = known.into_iter().map(|at| at / 2).collect();
            known.dedup();
        }
        Some(siblings)
    }
}

/// Leaves, and every level over them.
#[cfg(feature = "prover")]
fn levels_over(leaves: Vec<Digest>) -> Vec<Vec<Digest>> {
    let mut levels = vec![leaves];
    while let Some(last) = levels.last().filter(|last| last.len() > 1) {
        let above =
            last.chunks(2).map(|pair| pair.get(1).map_or(pair[0], |right| node(&pair[0], right))).collect();
        levels.push(above);
    }
    levels
}
