//! Triangle meshes at several levels of detail.
//!
//! A robot's CAD meshes hold hundreds of thousands of triangles, most of them far smaller than a
//! pixel of a policy's camera. Level 0 is the mesh as MuJoCo has it; each further level merges the
//! vertices inside cells of a cubic grid (Rossignac & Borrel 1993, *Multi-resolution 3D
//! approximations*), and the renderer takes the coarsest whose cell is below a pixel's footprint.
//! Normals are smoothed over edges flatter than [`CREASE_COS`], so that CAD edges stay crisp.
//! Building is deterministic: hash maps are only looked up, never iterated.

use std::collections::{HashMap, HashSet};

use super::math::{Vec3, add, cross, dot, length, normalize, scale, sub};

/// Edges sharper than 35° stay creases.
const CREASE_COS: f32 = 0.82;
/// Cells of the coarser levels, metres.
const CELLS: [f32; 9] = [0.0007, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.006, 0.01, 0.016];

/// A mesh at one level of detail.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lod {
    /// Edge of the grid's cells, metres; 0 for the original.
    pub cell: f32,
    pub positions: Vec<Vec3>,
    pub normals: Vec<Vec3>,
    /// Indices of positions, then of normals; counter-clockwise seen from outside.
    pub triangles: Vec<([u32; 3], [u32; 3])>,
}

/// A mesh with all its levels, finest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mesh {
    pub lods: Vec<Lod>,
    pub center: Vec3,
    /// Of the bounding sphere around `center`, metres.
    pub radius: f32,
}

impl Mesh {
    /// A mesh with levels, from shared vertices and faces.
    pub(crate) fn new(positions: &[Vec3], faces: &[[u32; 3]]) -> Self {
        let mut lods = vec![finish(0.0, positions.to_vec(), faces.to_vec())];
        // Small meshes gain nothing from being coarsened.
        if faces.len() > 400 {
            let mut points: Vec<_> = positions.iter().map(|p| (*p, 1.0)).collect();
            let mut faces = faces.to_vec();
            for cell in CELLS {
                // Each level from the one before: coarse ones then cost next to nothing.
                (points, faces) = cluster(&points, &faces, cell);
                if faces.is_empty() {
                    break;
                }
                lods.push(finish(cell, points.iter().map(|p| p.0).collect(), faces.clone()));
            }
        }
        Self::bounded(lods)
    }

    /// A mesh of one level.
    pub(crate) fn plain(positions: Vec<Vec3>, faces: Vec<[u32; 3]>) -> Self {
        Self::bounded(vec![finish(0.0, positions, faces)])
    }

    /// A mesh of one level with the given smooth normals, one per vertex.
    pub(crate) fn with_normals(
        positions: Vec<Vec3>,
        normals: Vec<Vec3>,
        faces: &[[u32; 3]],
    ) -> Self {
        let triangles = faces.iter().map(|f| (*f, *f)).collect();
        Self::bounded(vec![Lod { cell: 0.0, positions, normals, triangles }])
    }

    fn bounded(lods: Vec<Lod>) -> Self {
        let points = &lods[0].positions;
        let mut low = [f32::MAX; 3];
        let mut high = [f32::MIN; 3];
        for point in points {
            for axis in 0..3 {
                low[axis] = low[axis].min(point[axis]);
                high[axis] = high[axis].max(point[axis]);
            }
        }
        let center = scale(add(low, high), 0.5);
        let radius = points.iter().map(|p| length(sub(*p, center))).fold(0.0, f32::max);
        Self { lods, center, radius }
    }

    /// Number of the coarsest level whose cells are not larger than `footprint` metres.
    pub(crate) fn lod(&self, footprint: f32) -> usize {
        self.lods.iter().rposition(|lod| lod.cell <= footprint).unwrap_or(0)
    }
}

/// A point and how many original vertices it stands for.
type Weighted = (Vec3, f32);

/// Merges points that share a cell into their mean; drops faces that collapse or repeat.
fn cluster(points: &[Weighted], faces: &[[u32; 3]], cell: f32) -> (Vec<Weighted>, Vec<[u32; 3]>) {
    let mut ids: HashMap<[i32; 3], u32> = HashMap::with_capacity(points.len() / 2);
    let mut sums: Vec<Weighted> = Vec::new();
    let cluster_of: Vec<u32> = points
        .iter()
        .map(|(p, weight)| {
            let key = p.map(|x| (x / cell).floor() as i32);
            let next = sums.len() as u32;
            let id = *ids.entry(key).or_insert(next);
            if id == next {
                sums.push(([0.0; 3], 0.0));
            }
            let sum = &mut sums[id as usize];
            *sum = (add(sum.0, scale(*p, *weight)), sum.1 + weight);
            id
        })
        .collect();
    let mut seen = HashSet::with_capacity(faces.len() / 2);
    let faces = faces
        .iter()
        .map(|f| f.map(|v| cluster_of[v as usize]))
        .filter(|[a, b, c]| a != b && b != c && a != c)
        .filter(|f| seen.insert(smallest_first(*f)))
        .collect();
    (sums.into_iter().map(|(sum, n)| (scale(sum, 1.0 / n), n)).collect(), faces)
}

/// The same triangle, turned so that equal triangles compare equal.
fn smallest_first([a, b, c]: [u32; 3]) -> [u32; 3] {
    if a < b && a < c {
        [a, b, c]
    } else if b < c {
        [b, c, a]
    } else {
        [c, a, b]
    }
}

/// Computes corner normals: the area-weighted mean over the faces around a vertex that meet the
/// corner's own face at less than the crease angle.
fn finish(cell: f32, positions: Vec<Vec3>, faces: Vec<[u32; 3]>) -> Lod {
    let corner = |v: u32| positions[v as usize];
    let areas: Vec<Vec3> = faces
        .iter()
        .map(|[a, b, c]| cross(sub(corner(*b), corner(*a)), sub(corner(*c), corner(*a))))
        .collect();
    let units: Vec<Vec3> = areas.iter().map(|n| normalize(*n)).collect();
    // Faces around each vertex, as a compressed list.
    let mut starts = vec![0u32; positions.len() + 1];
    for v in faces.iter().flatten() {
        starts[*v as usize + 1] += 1;
    }
    for v in 0..positions.len() {
        starts[v + 1] += starts[v];
    }
    let mut around = vec![0u32; faces.len() * 3];
    let mut next = starts.clone();
    for (index, face) in faces.iter().enumerate() {
        for v in face {
            around[next[*v as usize] as usize] = index as u32;
            next[*v as usize] += 1;
        }
    }
    let mut normals: Vec<Vec3> = Vec::new();
    let mut triangles = Vec::with_capacity(faces.len());
    for (index, face) in faces.iter().enumerate() {
        let own = units[index];
        if dot(own, own) == 0.0 {
            continue;
        }
        let first = normals.len() as u32;
        let mut flat = true;
        let smooth = face.map(|v| {
            let range = starts[v as usize] as usize..starts[v as usize + 1] as usize;
            let sum = around[range]
                .iter()
                .filter(|f| dot(units[**f as usize], own) > CREASE_COS)
                .fold([0.0; 3], |sum, f| add(sum, areas[*f as usize]));
            let normal = normalize(sum);
            flat &= dot(normal, own) > 0.9999;
            normal
        });
        // One shared normal marks a flat triangle: shading then skips the interpolation.
        if flat {
            normals.push(own);
            triangles.push((*face, [first; 3]));
        } else {
            normals.extend(smooth);
            triangles.push((*face, [first, first + 1, first + 2]));
        }
    }
    Lod { cell, positions, normals, triangles }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(n: u32, edge: f32) -> Mesh {
        let positions =
            (0..n * n).map(|i| [edge * (i % n) as f32, edge * (i / n) as f32, 0.0]).collect();
        let quad = |i: u32| [[i, i + 1, i + n + 1], [i, i + n + 1, i + n]];
        let faces: Vec<_> =
            (0..n * n).filter(|i| i % n < n - 1 && i / n < n - 1).flat_map(quad).collect();
        let positions: Vec<Vec3> = positions;
        Mesh::new(&positions, &faces)
    }

    #[test]
    fn coarser_levels_have_fewer_triangles_and_the_same_outline() {
        let mesh = grid(65, 0.0005);
        let counts: Vec<_> = mesh.lods.iter().map(|l| l.triangles.len()).collect();
        assert!(counts.windows(2).all(|w| w[1] < w[0]), "{counts:?}");
        assert!(counts.last().is_some_and(|last| *last < 20), "{counts:?}");
        for lod in &mesh.lods {
            assert!(lod.normals.iter().all(|n| n[2] > 0.999), "a flat sheet stays flat");
            let width = lod.positions.iter().map(|p| p[0]).fold(0.0, f32::max);
            assert!((width - 0.032).abs() <= lod.cell, "cell {}: width {width}", lod.cell);
        }
    }

    #[test]
    fn level_follows_footprint() {
        let mesh = grid(65, 0.0005);
        for (footprint, cell) in [(0.0005, 0.0), (0.0041, 0.004), (1.0, 0.016)] {
            assert_eq!(mesh.lods[mesh.lod(footprint)].cell, cell);
        }
    }
}
