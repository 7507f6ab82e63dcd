//! The one door to the `gemm` crate: matrices as checked slices with explicit strides.
//!
//! Always single-threaded: work is spread over cores one level up, by shards of a batch, so the
//! number of threads can't change the order of a sum.

/// A matrix inside a slice: element `(i, j)` stands at `offset + i * row + j * col`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mat<'a> {
    pub data: &'a [f32],
    pub offset: usize,
    pub row: usize,
    pub col: usize,
}

impl<'a> Mat<'a> {
    /// A contiguous row-major matrix with `cols` columns.
    pub fn new(data: &'a [f32], cols: usize) -> Self {
        Self { data, offset: 0, row: cols, col: 1 }
    }

    /// Rows `stride` apart, starting at `offset`.
    pub fn strided(data: &'a [f32], offset: usize, stride: usize) -> Self {
        Self { data, offset, row: stride, col: 1 }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self { row: self.col, col: self.row, ..self }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0
            || cols == 0
            || self.offset + (rows - 1) * self.row + (cols - 1) * self.col < self.data.len()
    }
}

/// `dst = keep · dst + scale · lhs · rhs` with `lhs [m, k]`, `rhs [k, n]`; `dst` has its rows
/// `dst_row` apart, starting at `dst_offset`. With `keep` 0, `dst` is not read.
#[allow(clippy::too_many_arguments, reason = "the sizes of a matrix product")]
#[allow(unsafe_code)]
pub(crate) fn matmul(
    (m, k, n): (usize, usize, usize),
    dst: &mut [f32],
    dst_offset: usize,
    dst_row: usize,
    lhs: Mat<'_>,
    rhs: Mat<'_>,
    scale: f32,
    keep: f32,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(lhs.holds(m, k) && rhs.holds(k, n), "matrix product reads outside its operands");
    assert!(
        dst_row >= n && dst_offset + (m - 1) * dst_row + n <= dst.len(),
        "matrix product writes outside its result"
    );
    let stride = |s: usize| isize::try_from(s).unwrap_or(isize::MAX);
    // SAFETY: the assertions above keep every index that the three stride pairs can reach inside
    // the slices; `dst` is borrowed mutably, so it overlaps neither operand, and `dst_row >= n`
    // keeps its rows apart. Strides of existing slices fit isize.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr().add(dst_offset),
            1,
            stride(dst_row),
            keep != 0.0,
            lhs.data.as_ptr().add(lhs.offset),
            stride(lhs.col),
            stride(lhs.row),
            rhs.data.as_ptr().add(rhs.offset),
            stride(rhs.col),
            stride(rhs.row),
            keep,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
