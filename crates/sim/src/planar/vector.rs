//! Vectors, boxes and frames of the plane. Order of operations is Chipmunk's: results agree to the bit.

use std::ops::{Add, Mul, Neg, Sub};

/// A point or direction.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Vect {
    pub x: f64,
    pub y: f64,
}

pub(crate) const fn vect(x: f64, y: f64) -> Vect {
    Vect { x, y }
}

impl Add for Vect {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        vect(self.x + other.x, self.y + other.y)
    }
}

impl Sub for Vect {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        vect(self.x - other.x, self.y - other.y)
    }
}

impl Neg for Vect {
    type Output = Self;

    fn neg(self) -> Self {
        vect(-self.x, -self.y)
    }
}

impl Mul<f64> for Vect {
    type Output = Self;

    fn mul(self, by: f64) -> Self {
        vect(self.x * by, self.y * by)
    }
}

impl Vect {
    pub fn dot(self, other: Self) -> f64 {
        self.x * other.x + self.y * other.y
    }

    pub fn cross(self, other: Self) -> f64 {
        self.x * other.y - self.y * other.x
    }

    /// Turned a quarter to the left.
    pub fn left(self) -> Self {
        vect(-self.y, self.x)
    }

    /// Turned a quarter to the right.
    pub fn right(self) -> Self {
        vect(self.y, -self.x)
    }

    pub fn length_squared(self) -> f64 {
        self.dot(self)
    }

    pub fn length(self) -> f64 {
        self.dot(self).sqrt()
    }

    pub fn unit(self) -> Self {
        self * (1.0 / (self.length() + f64::MIN_POSITIVE))
    }

    /// Turned and scaled as complex numbers multiply.
    pub fn rotate(self, by: Self) -> Self {
        vect(self.x * by.x - self.y * by.y, self.x * by.y + self.y * by.x)
    }

    pub fn lerp(self, to: Self, share: f64) -> Self {
        self * (1.0 - share) + to * share
    }
}

/// The smaller one; the second where they can't be compared, as in C's `a < b ? a : b`.
pub(super) fn min(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// The larger one.
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

pub(super) fn clamp(value: f64, low: f64, high: f64) -> f64 {
    min(max(value, low), high)
}

/// An axis-aligned box.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Bounds {
    pub left: f64,
    pub bottom: f64,
    pub right: f64,
    pub top: f64,
}

impl Bounds {
    pub fn touches(&self, other: &Self) -> bool {
        self.left <= other.right
            && other.left <= self.right
            && self.bottom <= other.top
            && other.bottom <= self.top
    }

    pub fn holds(&self, other: &Self) -> bool {
        self.left <= other.left
            && self.right >= other.right
            && self.bottom <= other.bottom
            && self.top >= other.top
    }

    pub fn merged(&self, other: &Self) -> Self {
        Self {
            left: min(self.left, other.left),
            bottom: min(self.bottom, other.bottom),
            right: max(self.right, other.right),
            top: max(self.top, other.top),
        }
    }

    pub fn area(&self) -> f64 {
        (self.right - self.left) * (self.top - self.bottom)
    }

    /// Twice the distance of the centres, along x and y.
    pub fn apart(&self, other: &Self) -> f64 {
        (self.left + self.right - other.left - other.right).abs()
            + (self.bottom + self.top - other.bottom - other.top).abs()
    }

    pub fn centre(&self) -> Vect {
        vect(self.left, self.bottom).lerp(vect(self.right, self.top), 0.5)
    }
}

/// Where a body is and how it is turned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    /// Cosine and sine of the angle.
    pub turn: Vect,
    pub origin: Vect,
}

impl Frame {
    pub fn point(&self, p: Vect) -> Vect {
        let Vect { x: c, y: s } = self.turn;
        vect(c * p.x + -s * p.y + self.origin.x, s * p.x + c * p.y + self.origin.y)
    }

    pub fn direction(&self, v: Vect) -> Vect {
        let Vect { x: c, y: s } = self.turn;
        vect(c * v.x + -s * v.y, s * v.x + c * v.y)
    }
}
