//! Dense row-major arrays as they cross crate boundaries: a shape and a plain slice.
//!
//! No strides, no views into views: what needs more is a tensor and stays inside its crate.

/// Borrowed elements of an [`ArrayView`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DataView<'a> {
    /// 8-bit unsigned, as images use (HWC, RGB, 0-255).
    U8(&'a [u8]),
    /// 32-bit float.
    F32(&'a [f32]),
    /// 64-bit float.
    F64(&'a [f64]),
    /// 64-bit signed integer.
    I64(&'a [i64]),
    /// Truth values.
    Bool(&'a [bool]),
}

/// A borrowed row-major array; `shape` multiplies out to the number of elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArrayView<'a> {
    /// Extent of each axis, outermost first.
    pub shape: &'a [usize],
    /// The elements.
    pub data: DataView<'a>,
}

impl<'a> ArrayView<'a> {
    /// The elements as f32, or `None` where they are of another type.
    pub fn as_f32(&self) -> Option<&'a [f32]> {
        if let DataView::F32(data) = self.data { Some(data) } else { None }
    }

    /// The elements as u8, or `None` where they are of another type.
    pub fn as_u8(&self) -> Option<&'a [u8]> {
        if let DataView::U8(data) = self.data { Some(data) } else { None }
    }
}

/// Owned elements of an [`Array`].
#[derive(Debug, Clone, PartialEq)]
pub enum ArrayData {
    /// 8-bit unsigned.
    U8(Vec<u8>),
    /// 32-bit float.
    F32(Vec<f32>),
    /// 64-bit float.
    F64(Vec<f64>),
    /// 64-bit signed integer.
    I64(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl ArrayData {
    /// Copies rows of `width` elements each to `to`, whose memory is used again where it is of the
    /// same type.
    ///
    /// # Panics
    /// When a row lies outside.
    pub fn gather(&self, width: usize, rows: &[usize], to: &mut Self) {
        macro_rules! copy {
            ($variant:ident, $from:expr) => {{
                if !matches!(to, Self::$variant(_)) {
                    *to = Self::$variant(Vec::new());
                }
                if let Self::$variant(to) = to {
                    to.clear();
                    to.reserve(rows.len() * width);
                    for &row in rows {
                        to.extend_from_slice(&$from[row * width..(row + 1) * width]);
                    }
                }
            }};
        }
        match self {
            Self::U8(v) => copy!(U8, v),
            Self::F32(v) => copy!(F32, v),
            Self::F64(v) => copy!(F64, v),
            Self::I64(v) => copy!(I64, v),
            Self::Bool(v) => copy!(Bool, v),
        }
    }

    /// Writes rows of `width` elements each over the rows `rows` of `to`, which is made of `total`
    /// rows first where it is of another type or size.
    ///
    /// # Panics
    /// When a row lies outside.
    pub fn scatter(&self, width: usize, rows: &[usize], total: usize, to: &mut Self) {
        macro_rules! copy {
            ($variant:ident, $from:expr, $zero:expr) => {{
                if !matches!(to, Self::$variant(_)) {
                    *to = Self::$variant(Vec::new());
                }
                if let Self::$variant(to) = to {
                    to.resize(total * width, $zero);
                    for (i, &row) in rows.iter().enumerate() {
                        to[row * width..(row + 1) * width]
                            .copy_from_slice(&$from[i * width..(i + 1) * width]);
                    }
                }
            }};
        }
        match self {
            Self::U8(v) => copy!(U8, v, 0),
            Self::F32(v) => copy!(F32, v, 0.0),
            Self::F64(v) => copy!(F64, v, 0.0),
            Self::I64(v) => copy!(I64, v, 0),
            Self::Bool(v) => copy!(Bool, v, false),
        }
    }
}

/// An owned row-major array.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Extent of each axis, outermost first.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: ArrayData,
}

impl Array {
    /// Nothing, to be filled.
    pub(crate) fn empty() -> Self {
        Self { shape: Vec::new(), data: ArrayData::U8(Vec::new()) }
    }

    /// Borrows the whole array.
    pub fn view(&self) -> ArrayView<'_> {
        let data = match &self.data {
            ArrayData::U8(data) => DataView::U8(data),
            ArrayData::F32(data) => DataView::F32(data),
            ArrayData::F64(data) => DataView::F64(data),
            ArrayData::I64(data) => DataView::I64(data),
            ArrayData::Bool(data) => DataView::Bool(data),
        };
        ArrayView { shape: &self.shape, data }
    }
}
