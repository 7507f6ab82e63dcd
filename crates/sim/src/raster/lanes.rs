//! Numbers side by side, one for each of `N` pixels of a row, written so that the compiler takes vector
//! instructions for them.
//!
//! Each lane is rounded as a single number would be: a pixel's colour does not depend on how many are
//! shaded together.

use std::ops::{Add, Mul, Sub};

use super::math::Vec3;

#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(align(16))]
pub(crate) struct Lanes<const N: usize>(pub [f32; N]);

/// A vector for each lane.
pub(crate) type Vec3s<const N: usize> = [Lanes<N>; 3];

impl<const N: usize> Lanes<N> {
    #[inline(always)]
    pub fn all(value: f32) -> Self {
        Self([value; N])
    }

    #[inline(always)]
    pub fn map(mut self, f: impl Fn(f32) -> f32) -> Self {
        for lane in &mut self.0 {
            *lane = f(*lane);
        }
        self
    }

    #[inline(always)]
    pub fn with(mut self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        for (lane, other) in self.0.iter_mut().zip(&other.0) {
            *lane = f(*lane, *other);
        }
        self
    }

    /// Whether the condition holds in any lane.
    #[inline(always)]
    pub fn any(&self, condition: impl Fn(f32) -> bool) -> bool {
        self.0.iter().fold(false, |any, lane| any | condition(*lane))
    }
}

impl<const N: usize> Add for Lanes<N> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }
}

impl<const N: usize> Sub for Lanes<N> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }
}

impl<const N: usize> Mul for Lanes<N> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }
}

impl<const N: usize> Mul<f32> for Lanes<N> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, by: f32) -> Self {
        self.map(|lane| lane * by)
    }
}

/// The same vector in each lane.
#[inline(always)]
pub(crate) fn same<const N: usize>(v: Vec3) -> Vec3s<N> {
    v.map(Lanes::all)
}

/// The vector of one lane.
#[inline(always)]
pub(crate) fn lane<const N: usize>(v: &Vec3s<N>, lane: usize) -> Vec3 {
    [v[0].0[lane], v[1].0[lane], v[2].0[lane]]
}

/// Puts the vector of one lane.
#[inline(always)]
pub(crate) fn put<const N: usize>(v: &mut Vec3s<N>, lane: usize, value: Vec3) {
    for (axis, value) in v.iter_mut().zip(value) {
        axis.0[lane] = value;
    }
}

#[inline(always)]
pub(crate) fn adds<const N: usize>(a: Vec3s<N>, b: Vec3s<N>) -> Vec3s<N> {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

#[inline(always)]
pub(crate) fn subs<const N: usize>(a: Vec3s<N>, b: Vec3s<N>) -> Vec3s<N> {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[inline(always)]
pub(crate) fn times<const N: usize>(a: Vec3s<N>, by: Lanes<N>) -> Vec3s<N> {
    [a[0] * by, a[1] * by, a[2] * by]
}

/// A constant vector, scaled in each lane.
#[inline(always)]
pub(crate) fn scaled<const N: usize>(v: Vec3, by: Lanes<N>) -> Vec3s<N> {
    [by * v[0], by * v[1], by * v[2]]
}

#[inline(always)]
pub(crate) fn dots<const N: usize>(a: &Vec3s<N>, b: &Vec3s<N>) -> Lanes<N> {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The dot product with a constant vector.
#[inline(always)]
pub(crate) fn along<const N: usize>(a: &Vec3s<N>, b: Vec3) -> Lanes<N> {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Inverse lengths; as if of length 1 where there is none.
#[inline(always)]
pub(crate) fn inverse_lengths<const N: usize>(v: &Vec3s<N>) -> Lanes<N> {
    dots(v, v).map(|square| if square > 0.0 { 1.0 / square.sqrt() } else { 1.0 })
}
