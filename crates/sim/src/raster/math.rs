//! Just enough f32 vector algebra for the rasteriser. Matrices are row-major, as MuJoCo's.

pub(crate) type Vec3 = [f32; 3];
pub(crate) type Mat3 = [f32; 9];

pub(crate) fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(crate) fn sub(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(crate) fn scale(a: Vec3, s: f32) -> Vec3 {
    [a[0] * s, a[1] * s, a[2] * s]
}

pub(crate) fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(crate) fn length(a: Vec3) -> f32 {
    dot(a, a).sqrt()
}

/// Unit vector along `a`; `a` itself where it has no length.
pub(crate) fn normalize(a: Vec3) -> Vec3 {
    let norm = length(a);
    if norm > 0.0 { scale(a, 1.0 / norm) } else { a }
}

pub(crate) fn mul(m: &Mat3, v: Vec3) -> Vec3 {
    [
        m[0] * v[0] + m[1] * v[1] + m[2] * v[2],
        m[3] * v[0] + m[4] * v[1] + m[5] * v[2],
        m[6] * v[0] + m[7] * v[1] + m[8] * v[2],
    ]
}

/// `mᵀ v`.
pub(crate) fn mul_t(m: &Mat3, v: Vec3) -> Vec3 {
    [
        m[0] * v[0] + m[3] * v[1] + m[6] * v[2],
        m[1] * v[0] + m[4] * v[1] + m[7] * v[2],
        m[2] * v[0] + m[5] * v[1] + m[8] * v[2],
    ]
}

/// `aᵀ b`.
pub(crate) fn mat_t_mat(a: &Mat3, b: &Mat3) -> Mat3 {
    let mut out = [0.0; 9];
    for (row, out) in out.chunks_exact_mut(3).enumerate() {
        for (column, out) in out.iter_mut().enumerate() {
            *out = (0..3).map(|k| a[3 * k + row] * b[3 * k + column]).sum();
        }
    }
    out
}

/// `a b`.
pub(crate) fn mat_mul(a: &Mat3, b: &Mat3) -> Mat3 {
    std::array::from_fn(|i| (0..3).map(|k| a[3 * (i / 3) + k] * b[3 * k + i % 3]).sum())
}

/// Turn about x, then y, then z (fixed axes), radians.
pub(crate) fn rotation_of(angles: Vec3) -> Mat3 {
    let [(sx, cx), (sy, cy), (sz, cz)] = angles.map(f32::sin_cos);
    let x = [1.0, 0.0, 0.0, 0.0, cx, -sx, 0.0, sx, cx];
    let y = [cy, 0.0, sy, 0.0, 1.0, 0.0, -sy, 0.0, cy];
    let z = [cz, -sz, 0.0, sz, cz, 0.0, 0.0, 0.0, 1.0];
    mat_mul(&z, &mat_mul(&y, &x))
}

pub(crate) fn to_vec3(v: &[f64; 3]) -> Vec3 {
    v.map(|x| x as f32)
}

pub(crate) fn to_mat3(m: &[f64; 9]) -> Mat3 {
    m.map(|x| x as f32)
}
