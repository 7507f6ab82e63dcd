//! RGB to YUV 4:2:0 and back, in integers.
//!
//! Untagged streams are BT.601 limited range, as ffmpeg (and so LeRobot) writes and reads them.
//! Coefficients from ITU-R BT.601-7, BT.709-6 and BT.2020-2; 14-bit fixed point, rounded, so results
//! are the same on every machine.

use re_rav1d::{Picture, PixelLayout, PlanarImageComponent};

/// One frame as planar 4:2:0, 8 bits, BT.601 limited range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct I420 {
    pub width: usize,
    pub height: usize,
    /// `[height, width]`
    pub y: Vec<u8>,
    /// `[ceil(height/2), ceil(width/2)]`
    pub u: Vec<u8>,
    /// As `u`.
    pub v: Vec<u8>,
}

const BITS: i32 = 14;
const ONE: f64 = (1 << BITS) as f64;

impl I420 {
    /// From RGB `[height, width, 3]`; chroma is the mean of each 2×2 block.
    pub fn from_rgb(rgb: &[u8], width: usize, height: usize) -> Self {
        let fix = |v: f64| (v * ONE).round() as i32;
        let (kr, kb) = (0.299, 0.114);
        let kg = 1.0 - kr - kb;
        let (sy, sc) = (219.0 / 255.0, 112.0 / 255.0);
        let yc = [fix(kr * sy), fix(kg * sy), fix(kb * sy)];
        let uc = [fix(-kr / (1.0 - kb) * sc), fix(-kg / (1.0 - kb) * sc), fix(sc)];
        let vc = [fix(sc), fix(-kg / (1.0 - kr) * sc), fix(-kb / (1.0 - kr) * sc)];
        let half = 1 << (BITS - 1);
        let (cw, ch) = (width.div_ceil(2), height.div_ceil(2));
        let y = rgb
            .chunks_exact(3)
            .map(|p| {
                let sum =
                    yc[0] * i32::from(p[0]) + yc[1] * i32::from(p[1]) + yc[2] * i32::from(p[2]);
                (((sum + half) >> BITS) + 16) as u8
            })
            .collect();
        let (mut u, mut v) = (vec![0; cw * ch], vec![0; cw * ch]);
        for row in 0..ch {
            let rows = [row * 2, (row * 2 + 1).min(height - 1)];
            for col in 0..cw {
                let cols = [col * 2, (col * 2 + 1).min(width - 1)];
                let mut sum = [0i32; 3];
                for r in rows {
                    for c in cols {
                        let at = (r * width + c) * 3;
                        for (s, &value) in sum.iter_mut().zip(&rgb[at..at + 3]) {
                            *s += i32::from(value);
                        }
                    }
                }
                let dot = |k: [i32; 3]| {
                    let value = k[0] * sum[0] + k[1] * sum[1] + k[2] * sum[2];
                    (((value + 2 * (1 << BITS)) >> (BITS + 2)) + 128).clamp(0, 255) as u8
                };
                u[row * cw + col] = dot(uc);
                v[row * cw + col] = dot(vc);
            }
        }
        Self { width, height, y, u, v }
    }
}

/// Fixed-point coefficients from YUV to RGB.
struct Matrix {
    y_offset: i32,
    y: i32,
    rv: i32,
    gu: i32,
    gv: i32,
    bu: i32,
}

impl Matrix {
    fn of(code: u8, full_range: bool) -> Self {
        let (kr, kb) = match code {
            1 => (0.2126, 0.0722),
            7 => (0.212, 0.087),
            9 | 10 => (0.2627, 0.0593),
            4 => (0.30, 0.11),
            _ => (0.299, 0.114),
        };
        let kg = 1.0 - kr - kb;
        let (sy, sc) = if full_range { (1.0, 1.0) } else { (255.0 / 219.0, 255.0 / 224.0) };
        let fix = |v: f64| (v * ONE).round() as i32;
        Self {
            y_offset: if full_range { 0 } else { 16 },
            y: fix(sy),
            rv: fix(2.0 * (1.0 - kr) * sc),
            gu: fix(-2.0 * (1.0 - kb) * kb / kg * sc),
            gv: fix(-2.0 * (1.0 - kr) * kr / kg * sc),
            bu: fix(2.0 * (1.0 - kb) * sc),
        }
    }

    #[inline(always)]
    fn rgb(&self, luma: i32, u: i32, v: i32) -> [u8; 3] {
        let base = (luma - self.y_offset) * self.y + (1 << (BITS - 1));
        let clamp = |value: i32| (value >> BITS).clamp(0, 255) as u8;
        [
            clamp(base + self.rv * v),
            clamp(base + self.gu * u + self.gv * v),
            clamp(base + self.bu * u),
        ]
    }
}

/// How a stream's YUV is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour {
    /// Code of the matrix (ITU-T H.273, table 4); 2 is unspecified.
    pub matrix: u8,
    /// Whether luma reaches from 0 to 255 instead of 16 to 235.
    pub full_range: bool,
}

impl Default for Colour {
    fn default() -> Self {
        Self { matrix: 2, full_range: false }
    }
}

/// Converts a decoded picture into `rgb` `[height, width, 3]`.
pub(super) fn to_rgb(picture: &Picture, rgb: &mut [u8]) -> Result<(), String> {
    // The accessors panic on reserved codes, which a damaged stream may hold.
    let colour = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Colour {
        matrix: picture.matrix_coefficients() as u8,
        full_range: picture.color_range() as u8 == 1,
    }));
    let layout = picture.pixel_layout();
    // Grey pictures have no chroma planes; luma stands in and is never read as chroma.
    let chroma =
        |c| picture.plane(if layout == PixelLayout::I400 { PlanarImageComponent::Y } else { c });
    let y = picture.plane(PlanarImageComponent::Y);
    let (u, v) = (chroma(PlanarImageComponent::U), chroma(PlanarImageComponent::V));
    let planes = Planes {
        layout,
        y: &y,
        u: &u,
        v: &v,
        stride_y: picture.stride(PlanarImageComponent::Y) as usize,
        stride_c: picture.stride(PlanarImageComponent::U) as usize,
    };
    let size = (picture.width() as usize, picture.height() as usize);
    convert(&planes, size, picture.bit_depth(), colour.unwrap_or_default(), rgb)
}

/// A picture as planes without padding, 8 bits a value or up to 16 in two bytes (little endian).
#[derive(Debug, Clone, Copy)]
pub(super) struct RawPicture<'a> {
    pub width: usize,
    pub height: usize,
    layout: PixelLayout,
    /// Bits a value.
    pub depth: usize,
    colour: Colour,
    data: &'a [u8],
}

impl<'a> RawPicture<'a> {
    /// A picture of the pixel format that ffmpeg tags `tag`.
    pub fn new(
        tag: [u8; 4],
        width: usize,
        height: usize,
        colour: Colour,
        data: &'a [u8],
    ) -> Result<Self, String> {
        // Chroma's log2 width and height stand in the third byte of the tags of deep formats.
        let (layout, depth) = match &tag {
            b"I420" | b"IYUV" | b"YV12" => (PixelLayout::I420, 8),
            b"Y42B" | b"422P" | b"P422" => (PixelLayout::I422, 8),
            b"444P" => (PixelLayout::I444, 8),
            b"Y800" | b"Y8  " | b"GREY" => (PixelLayout::I400, 8),
            [b'Y', b'3', 11, depth @ 9..=16] => (PixelLayout::I420, usize::from(*depth)),
            [b'Y', b'3', 10, depth @ 9..=16] => (PixelLayout::I422, usize::from(*depth)),
            [b'Y', b'3', 0, depth @ 9..=16] => (PixelLayout::I444, usize::from(*depth)),
            [b'Y', b'1', 0, depth @ 9..=16] => (PixelLayout::I400, usize::from(*depth)),
            _ => {
                let tag = tag.escape_ascii();
                return Err(format!("pictures of pixel format `{tag}` are not read"));
            }
        };
        let picture = Self { width, height, layout, depth, colour, data };
        let (cw, ch) = picture.chroma();
        let bytes = if depth == 8 { 1 } else { 2 };
        let expected = width
            .checked_mul(height)
            .and_then(|luma| cw.checked_mul(ch)?.checked_mul(2)?.checked_add(luma))
            .and_then(|values| values.checked_mul(bytes));
        if expected != Some(data.len()) || width == 0 || height == 0 {
            return Err(format!("{} bytes are no picture of {width}x{height}", data.len()));
        }
        Ok(picture)
    }

    /// Width and height of a chroma plane.
    fn chroma(&self) -> (usize, usize) {
        match self.layout {
            PixelLayout::I420 => (self.width.div_ceil(2), self.height.div_ceil(2)),
            PixelLayout::I422 => (self.width.div_ceil(2), self.height),
            PixelLayout::I444 => (self.width, self.height),
            PixelLayout::I400 => (0, 0),
        }
    }

    /// Converts into `rgb` `[height, width, 3]`.
    pub fn rgb(&self, rgb: &mut [u8]) -> Result<(), String> {
        let bytes = if self.depth == 8 { 1 } else { 2 };
        let (cw, ch) = self.chroma();
        let (y, chroma) = self.data.split_at(self.width * self.height * bytes);
        let (u, v) = chroma.split_at(cw * ch * bytes);
        let (stride_y, stride_c) = (self.width * bytes, cw * bytes);
        let planes = Planes { layout: self.layout, y, u, v, stride_y, stride_c };
        convert(&planes, (self.width, self.height), self.depth, self.colour, rgb)
    }

    /// Luma `[height, width]` as it was coded, 0 to 2^depth - 1.
    pub fn luma(&self) -> Vec<u16> {
        let pixels = self.width * self.height;
        if self.depth == 8 {
            return self.data.iter().take(pixels).map(|&v| v.into()).collect();
        }
        let pairs = self.data.chunks_exact(2).take(pixels);
        pairs.map(|v| u16::from_le_bytes([v[0], v[1]])).collect()
    }
}

fn convert(
    planes: &Planes<'_>,
    (width, height): (usize, usize),
    depth: usize,
    colour: Colour,
    rgb: &mut [u8],
) -> Result<(), String> {
    if rgb.len() != width * height * 3 {
        return Err(format!("picture is {width}x{height}, buffer holds {} bytes", rgb.len()));
    }
    let (code, full) = (colour.matrix, colour.full_range);
    if code == 0 && planes.layout == PixelLayout::I444 {
        for row in 0..height {
            for col in 0..width {
                let at = (row * width + col) * 3;
                let [g, b, r] = planes.at(row, col, depth);
                rgb[at..at + 3].copy_from_slice(&[r as u8, g as u8, b as u8]);
            }
        }
        return Ok(());
    }
    let matrix = Matrix::of(code, full);
    if depth == 8 && planes.layout == PixelLayout::I420 {
        let view = View420 {
            y: planes.y,
            u: planes.u,
            v: planes.v,
            stride_y: planes.stride_y,
            stride_c: planes.stride_c,
        };
        convert_420(&matrix, &view, width, rgb);
        return Ok(());
    }
    for row in 0..height {
        for col in 0..width {
            let at = (row * width + col) * 3;
            let [y, u, v] = planes.at(row, col, depth);
            rgb[at..at + 3].copy_from_slice(&matrix.rgb(y, u - 128, v - 128));
        }
    }
    Ok(())
}

/// Planes of 8 bits, chroma halved both ways.
struct View420<'a> {
    y: &'a [u8],
    u: &'a [u8],
    v: &'a [u8],
    stride_y: usize,
    stride_c: usize,
}

/// The common case: 8 bits, 4:2:0. With AVX2 sixteen pixels at a time, on other machines column by
/// column; the integers are the same.
#[allow(unsafe_code)]
fn convert_420(matrix: &Matrix, planes: &View420<'_>, width: usize, rgb: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, the line above says.
        return unsafe { avx2::convert_420(matrix, planes, width, rgb) };
    }
    convert_420_any(matrix, planes, width, rgb);
}

/// The same arithmetic on 16 pixels at a time: products of 16 bits, summed in pairs to 32.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{BITS, Matrix, View420};

    const WIDE: usize = 16;

    /// Two coefficients of a pair, low and high.
    #[target_feature(enable = "avx2")]
    fn pair(low: i32, high: i32) -> __m256i {
        _mm256_set1_epi32((low & 0xffff) | (high << 16))
    }

    struct Coefficients {
        y_rv: __m256i,
        y_gu: __m256i,
        y_bu: __m256i,
        u_gv: __m256i,
        /// What of `bu` does not fit into 16 bits.
        rest_bu: __m256i,
        round: __m256i,
    }

    impl Coefficients {
        #[target_feature(enable = "avx2")]
        fn of(m: &Matrix) -> Self {
            let bu = m.bu.min(i32::from(i16::MAX));
            Self {
                y_rv: pair(m.y, m.rv),
                y_gu: pair(m.y, m.gu),
                y_bu: pair(m.y, bu),
                u_gv: pair(0, m.gv),
                rest_bu: pair(m.bu - bu, 0),
                round: _mm256_set1_epi32((1 << (BITS - 1)) - m.y_offset * m.y),
            }
        }

        /// Sums as 16 bytes of a channel.
        #[target_feature(enable = "avx2")]
        fn bytes(&self, low: __m256i, high: __m256i) -> __m128i {
            let low = _mm256_srai_epi32::<BITS>(_mm256_add_epi32(low, self.round));
            let high = _mm256_srai_epi32::<BITS>(_mm256_add_epi32(high, self.round));
            let words = _mm256_packs_epi32(low, high);
            let upper = _mm256_extracti128_si256::<1>(words);
            _mm_packus_epi16(_mm256_castsi256_si128(words), upper)
        }

        /// Red, green and blue of 16 pixels.
        #[target_feature(enable = "avx2")]
        fn rgb(&self, y: __m128i, u: __m128i, v: __m128i) -> [__m128i; 3] {
            let y = _mm256_cvtepu8_epi16(y);
            let middle = _mm256_set1_epi16(128);
            let u = _mm256_sub_epi16(_mm256_cvtepu8_epi16(u), middle);
            let v = _mm256_sub_epi16(_mm256_cvtepu8_epi16(v), middle);
            let halves = |a, b| [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)];
            let (yu, yv, uv) = (halves(y, u), halves(y, v), halves(u, v));
            let red = yv.map(|p| _mm256_madd_epi16(p, self.y_rv));
            let both = |half: usize, a, b| {
                _mm256_add_epi32(_mm256_madd_epi16(yu[half], a), _mm256_madd_epi16(uv[half], b))
            };
            let [green_low, green_high] = [0, 1].map(|half| both(half, self.y_gu, self.u_gv));
            let [blue_low, blue_high] = [0, 1].map(|half| both(half, self.y_bu, self.rest_bu));
            [
                self.bytes(red[0], red[1]),
                self.bytes(green_low, green_high),
                self.bytes(blue_low, blue_high),
            ]
        }
    }

    /// Where byte `i` of third `part` of 48 interleaved bytes comes from in channel `channel`;
    /// a negative index gives 0.
    const fn shuffle(part: usize, channel: usize) -> [i8; 16] {
        let mut out = [-1; 16];
        let mut i = 0;
        while i < 16 {
            let at = part * 16 + i;
            if at % 3 == channel {
                out[i] = (at / 3) as i8;
            }
            i += 1;
        }
        out
    }

    const SHUFFLES: [[[i8; 16]; 3]; 3] = [
        [shuffle(0, 0), shuffle(0, 1), shuffle(0, 2)],
        [shuffle(1, 0), shuffle(1, 1), shuffle(1, 2)],
        [shuffle(2, 0), shuffle(2, 1), shuffle(2, 2)],
    ];

    #[target_feature(enable = "avx2")]
    #[allow(unsafe_code)]
    fn load<const N: usize>(from: &[u8; N]) -> __m128i {
        const { assert!(N == 8 || N == 16) };
        // SAFETY: reads the N bytes of the array, unaligned loads.
        unsafe {
            match N {
                8 => _mm_loadl_epi64(from.as_ptr().cast()),
                _ => _mm_loadu_si128(from.as_ptr().cast()),
            }
        }
    }

    #[target_feature(enable = "avx2")]
    #[allow(unsafe_code)]
    fn store(to: &mut [u8; 16], value: __m128i) {
        // SAFETY: writes the 16 bytes of the array, unaligned.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), value) }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn convert_420(matrix: &Matrix, planes: &View420<'_>, width: usize, rgb: &mut [u8]) {
        let coefficients = Coefficients::of(matrix);
        let shuffles = SHUFFLES.map(|part| {
            part.map(|s| {
                let bytes = s.map(|v| v as u8);
                load(&bytes)
            })
        });
        for (row, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
            let luma = &planes.y[row * planes.stride_y..][..width];
            let chroma =
                (row / 2) * planes.stride_c..(row / 2) * planes.stride_c + width.div_ceil(2);
            let (u, v) = (&planes.u[chroma.clone()], &planes.v[chroma]);
            let (wide_y, rest_y) = luma.as_chunks::<WIDE>();
            let (wide_u, wide_v) = (u.as_chunks::<8>().0, v.as_chunks::<8>().0);
            let (wide_out, rest_out) = out.split_at_mut(wide_y.len() * WIDE * 3);
            let wide_out = wide_out.as_chunks_mut::<16>().0.as_chunks_mut::<3>().0;
            for (((y, u), v), out) in wide_y.iter().zip(wide_u).zip(wide_v).zip(wide_out) {
                let (u, v) = (load(u), load(v));
                let (u, v) = (_mm_unpacklo_epi8(u, u), _mm_unpacklo_epi8(v, v));
                let [r, g, b] = coefficients.rgb(load(y), u, v);
                for (out, [of_r, of_g, of_b]) in out.iter_mut().zip(&shuffles) {
                    let rg = _mm_or_si128(_mm_shuffle_epi8(r, *of_r), _mm_shuffle_epi8(g, *of_g));
                    store(out, _mm_or_si128(rg, _mm_shuffle_epi8(b, *of_b)));
                }
            }
            let from = wide_y.len() * WIDE;
            for (col, (out, &y)) in rest_out.chunks_exact_mut(3).zip(rest_y).enumerate() {
                let at = (from + col) / 2;
                let (u, v) = (i32::from(u[at]) - 128, i32::from(v[at]) - 128);
                out.copy_from_slice(&matrix.rgb(i32::from(y), u, v));
            }
        }
    }
}

fn convert_420_any(matrix: &Matrix, planes: &View420<'_>, width: usize, rgb: &mut [u8]) {
    // What chroma adds to red, green and blue, one entry per column; serves two rows.
    let even = width.next_multiple_of(2);
    let mut add = [vec![0i32; even], vec![0i32; even], vec![0i32; even]];
    let mut line = [vec![0u8; width], vec![0u8; width], vec![0u8; width]];
    for (row, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
        let luma = &planes.y[row * planes.stride_y..][..width];
        if row % 2 == 0 {
            let chroma = (row / 2) * planes.stride_c..(row / 2) * planes.stride_c + even / 2;
            let (u, v) = (&planes.u[chroma.clone()], &planes.v[chroma]);
            let [red, green, blue] = &mut add;
            let wide = red.chunks_exact_mut(2).zip(green.chunks_exact_mut(2));
            let wide = wide.zip(blue.chunks_exact_mut(2));
            for (((r, g), b), (&u, &v)) in wide.zip(u.iter().zip(v)) {
                let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
                let round = 1 << (BITS - 1);
                r.fill(matrix.rv * v + round);
                g.fill(matrix.gu * u + matrix.gv * v + round);
                b.fill(matrix.bu * u + round);
            }
        }
        for (line, add) in line.iter_mut().zip(&add) {
            for ((to, &y), &add) in line.iter_mut().zip(luma).zip(add) {
                let value = (i32::from(y) - matrix.y_offset) * matrix.y + add;
                *to = (value >> BITS).clamp(0, 255) as u8;
            }
        }
        let [red, green, blue] = &line;
        for (((out, &r), &g), &b) in out.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
            out[0] = r;
            out[1] = g;
            out[2] = b;
        }
    }
}

struct Planes<'a> {
    layout: PixelLayout,
    y: &'a [u8],
    u: &'a [u8],
    v: &'a [u8],
    stride_y: usize,
    stride_c: usize,
}

impl Planes<'_> {
    /// The three components of a pixel, scaled to 8 bits.
    fn at(&self, row: usize, col: usize, depth: usize) -> [i32; 3] {
        let read = |plane: &[u8], stride: usize, row: usize, col: usize| {
            if depth == 8 {
                i32::from(plane[row * stride + col])
            } else {
                let at = row * stride + col * 2;
                let value = i32::from(u16::from_ne_bytes([plane[at], plane[at + 1]]));
                let shift = depth as i32 - 8;
                ((value + (1 << (shift - 1))) >> shift).min(255)
            }
        };
        let (crow, ccol) = match self.layout {
            PixelLayout::I420 => (row / 2, col / 2),
            PixelLayout::I422 => (row, col / 2),
            PixelLayout::I444 => (row, col),
            PixelLayout::I400 => return [read(self.y, self.stride_y, row, col), 128, 128],
        };
        [
            read(self.y, self.stride_y, row, col),
            read(self.u, self.stride_c, crow, ccol),
            read(self.v, self.stride_c, crow, ccol),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every machine gives the same bytes, at any width, matrix and range.
    #[cfg(target_arch = "x86_64")]
    #[test]
    #[allow(unsafe_code)]
    fn wide_and_narrow_arithmetic_agree() {
        if !std::arch::is_x86_feature_detected!("avx2") {
            println!("skipped: no AVX2 here");
            return;
        }
        let mut state = 1u32;
        let mut random = |n: usize| -> Vec<u8> {
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Extremes often: they saturate.
                match state >> 29 {
                    0 => 0,
                    1 => 255,
                    _ => (state >> 16) as u8,
                }
            };
            (0..n).map(|_| next()).collect()
        };
        for (width, height) in
            [(1usize, 1usize), (15, 3), (16, 2), (33, 5), (64, 4), (161, 7), (640, 3)]
        {
            let (stride_y, stride_c) = (width + 5, width.div_ceil(2) + 3);
            let y = random(stride_y * height);
            let (u, v) = (random(stride_c * height), random(stride_c * height));
            let view = View420 { y: &y, u: &u, v: &v, stride_y, stride_c };
            for (code, full) in [(2, false), (2, true), (1, false), (9, true), (7, false)] {
                let matrix = Matrix::of(code, full);
                let (mut wide, mut narrow) =
                    (vec![0; width * height * 3], vec![1; width * height * 3]);
                // SAFETY: AVX2 was detected above.
                unsafe { avx2::convert_420(&matrix, &view, width, &mut wide) };
                convert_420_any(&matrix, &view, width, &mut narrow);
                assert_eq!(wide, narrow, "{width}x{height}, matrix {code}, full range {full}");
            }
        }
    }
}
