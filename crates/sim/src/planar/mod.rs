//! Rigid bodies in the plane, as Chipmunk 7 moves them: what PushT needs of it, to the bit.
//!
//! Written after Chipmunk2D (Scott Lembcke and Howling Moon Software, MIT licence, in the fork that
//! pymunk 6 builds): sequential impulses with cached contacts (Catto 2005), positions mended by
//! pseudo-velocities. Order of operations and of contacts is kept, so that a simulation follows
//! pymunk's; a test holds it against `gym-pusht`. Left out is what PushT has not: gravity, friction,
//! restitution, joints, sleep, polygons with radius, circles against circles.

mod collide;
mod tree;
mod vector;

use collide::{Found, collide};
use tree::Trees;
use vector::{Bounds, Frame, max};
pub(crate) use vector::{Vect, vect};

/// Iterations of the solver.
const ITERATIONS: usize = 10;
/// Depth that is let be; Chipmunk writes it in single precision.
const SLOP: f64 = 0.1f32 as f64;
/// Steps for which a contact that was lost is remembered.
const PERSISTENCE: u64 = 3;

/// A body. The first one stands still for ever.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    /// Centre of gravity, in the world and in the body's frame.
    pub position: Vect,
    gravity_centre: Vect,
    pub angle: f64,
    pub velocity: Vect,
    pub spin: f64,
    /// Pseudo-velocities, which part what overlaps.
    bias: (Vect, f64),
    inverse_mass: f64,
    inverse_inertia: f64,
    frame: Frame,
}

/// A shape in its body's frame.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Circle {
        radius: f64,
    },
    Segment {
        ends: [Vect; 2],
        radius: f64,
    },
    /// Four corners, anticlockwise with y up.
    Polygon {
        corners: [Vect; 4],
    },
}

/// A shape in the world.
#[derive(Debug, Clone)]
struct World {
    body: usize,
    shape: Shape,
    hash: u64,
    bounds: Bounds,
    points: [Vect; 4],
    normals: [Vect; 4],
}

#[derive(Debug, Clone, Copy, Default)]
struct Contact {
    /// From the bodies' centres of gravity.
    arms: [Vect; 2],
    hash: u64,
    mass: f64,
    bias: f64,
    /// Impulses given so far.
    impulse: f64,
    bias_impulse: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    First,
    Normal,
    Cached,
}

/// What two shapes do to each other.
#[derive(Debug, Clone)]
struct Arbiter {
    shapes: [usize; 2],
    bodies: [usize; 2],
    normal: Vect,
    contacts: [Contact; 2],
    count: usize,
    state: State,
    stamp: u64,
}

/// Everything in the plane.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    bodies: Vec<Body>,
    shapes: Vec<World>,
    trees: Trees,
    arbiters: Vec<Arbiter>,
    /// Those that act in this step, in order.
    active: Vec<usize>,
    stamp: u64,
    last_step: f64,
}

impl World {
    fn points(&self) -> &[Vect] {
        let count = match self.shape {
            Shape::Circle { .. } => 1,
            Shape::Segment { .. } => 2,
            Shape::Polygon { .. } => 4,
        };
        &self.points[..count]
    }

    fn normals(&self) -> &[Vect] {
        &self.normals
    }

    /// Brings points and box up to date with the body.
    fn update(&mut self, frame: &Frame) {
        match self.shape {
            Shape::Circle { radius } => {
                let centre = frame.point(vect(0.0, 0.0));
                self.points[0] = centre;
                self.bounds = Bounds {
                    left: centre.x - radius,
                    bottom: centre.y - radius,
                    right: centre.x + radius,
                    top: centre.y + radius,
                };
            }
            Shape::Segment { ends: [a, b], radius } => {
                let (a, b) = (frame.point(a), frame.point(b));
                (self.points[0], self.points[1]) = (a, b);
                self.normals[0] = frame.direction(local_normal(&self.shape, 0));
                let (left, right) = if a.x < b.x { (a.x, b.x) } else { (b.x, a.x) };
                let (bottom, top) = if a.y < b.y { (a.y, b.y) } else { (b.y, a.y) };
                self.bounds = Bounds {
                    left: left - radius,
                    bottom: bottom - radius,
                    right: right + radius,
                    top: top + radius,
                };
            }
            Shape::Polygon { corners } => {
                let inf = f64::INFINITY;
                let mut bounds = Bounds { left: inf, bottom: inf, right: -inf, top: -inf };
                for (i, corner) in corners.into_iter().enumerate() {
                    let p = frame.point(corner);
                    self.points[i] = p;
                    self.normals[i] = frame.direction(local_normal(&self.shape, i));
                    bounds =
                        bounds.merged(&Bounds { left: p.x, bottom: p.y, right: p.x, top: p.y });
                }
                self.bounds = bounds;
            }
        }
    }

    /// Place of the shape's kind in the order that contacts keep.
    fn order(&self) -> u8 {
        match self.shape {
            Shape::Circle { .. } => 0,
            Shape::Segment { .. } => 1,
            Shape::Polygon { .. } => 2,
        }
    }
}

/// Normal of a segment, or of the edge that ends in a polygon's corner.
fn local_normal(shape: &Shape, corner: usize) -> Vect {
    match shape {
        Shape::Circle { .. } => vect(0.0, 0.0),
        Shape::Segment { ends: [a, b], .. } => (*b - *a).unit().right(),
        Shape::Polygon { corners } => (corners[corner] - corners[(corner + 3) % 4]).right().unit(),
    }
}

impl Body {
    /// A body that nothing moves but its own velocity.
    pub fn kinematic(position: Vect) -> Self {
        Self::new(position, vect(0.0, 0.0), 0.0, 0.0)
    }

    /// A body that contacts move; `position` is where its frame's origin is.
    pub fn dynamic(position: Vect, gravity_centre: Vect, mass: f64, inertia: f64) -> Self {
        Self::new(position, gravity_centre, 1.0 / mass, 1.0 / inertia)
    }

    fn new(position: Vect, centre: Vect, inverse_mass: f64, inverse_inertia: f64) -> Self {
        let turn = vect(1.0, 0.0);
        let mut body = Self {
            position: centre + position,
            gravity_centre: centre,
            angle: 0.0,
            velocity: Vect::default(),
            spin: 0.0,
            bias: (Vect::default(), 0.0),
            inverse_mass,
            inverse_inertia,
            frame: Frame { turn, origin: Vect::default() },
        };
        body.place(body.position, 0.0);
        body
    }

    /// Puts the centre of gravity and the angle somewhere; velocities stay.
    pub fn place(&mut self, centre: Vect, angle: f64) {
        let (sin, cos) = (angle.sin(), angle.cos());
        let c = self.gravity_centre;
        (self.position, self.angle) = (centre, angle);
        self.frame = Frame {
            turn: vect(cos, sin),
            origin: vect(centre.x - (c.x * cos - c.y * sin), centre.y - (c.x * sin + c.y * cos)),
        };
    }

    /// Where the frame's origin is.
    pub fn origin(&self) -> Vect {
        self.frame.origin
    }

    /// A point of the body's frame, in the world.
    pub fn to_world(&self, point: Vect) -> Vect {
        self.frame.point(point)
    }

    fn advance(&mut self, dt: f64) {
        let (velocity, spin) = self.bias;
        let position = self.position + (self.velocity + velocity) * dt;
        let angle = self.angle + (self.spin + spin) * dt;
        self.place(position, angle);
        self.bias = (Vect::default(), 0.0);
    }

    fn push(&mut self, impulse: Vect, arm: Vect) {
        self.velocity = self.velocity + impulse * self.inverse_mass;
        self.spin += self.inverse_inertia * arm.cross(impulse);
    }

    fn push_bias(&mut self, impulse: Vect, arm: Vect) {
        self.bias.0 = self.bias.0 + impulse * self.inverse_mass;
        self.bias.1 += self.inverse_inertia * arm.cross(impulse);
    }

    fn mobility(&self, arm: Vect, along: Vect) -> f64 {
        let lever = arm.cross(along);
        self.inverse_mass + self.inverse_inertia * lever * lever
    }
}

impl Space {
    /// A space with these shapes on what never moves.
    pub fn new(walls: &[Shape]) -> Self {
        let mut space = Self {
            bodies: vec![Body::kinematic(Vect::default())],
            shapes: Vec::new(),
            trees: Trees::default(),
            arbiters: Vec::new(),
            active: Vec::new(),
            stamp: 0,
            last_step: 0.0,
        };
        for wall in walls {
            let shape = space.shape(0, *wall);
            let bounds = space.shapes[shape].bounds;
            space.trees.add_still(shape, bounds);
        }
        space
    }

    /// Adds a body with its shapes; its index.
    pub fn add(&mut self, body: Body, shapes: &[Shape]) -> usize {
        let velocity = body.velocity;
        self.bodies.push(body);
        let index = self.bodies.len() - 1;
        for shape in shapes {
            let shape = self.shape(index, *shape);
            let bounds = self.shapes[shape].bounds;
            self.trees.add_moving(shape, bounds, velocity);
        }
        index
    }

    fn shape(&mut self, body: usize, shape: Shape) -> usize {
        let (points, normals) = ([Vect::default(); 4], [Vect::default(); 4]);
        let hash = self.shapes.len() as u64;
        let bounds = Bounds::default();
        let mut world = World { body, shape, hash, bounds, points, normals };
        world.update(&self.bodies[body].frame);
        self.shapes.push(world);
        self.shapes.len() - 1
    }

    /// The body of that index.
    pub fn body(&self, index: usize) -> &Body {
        &self.bodies[index]
    }

    /// The same, to be changed.
    pub fn body_mut(&mut self, index: usize) -> &mut Body {
        &mut self.bodies[index]
    }

    /// Goes on by `dt` seconds; velocities of dynamic bodies are multiplied by `damping` before
    /// contacts act.
    pub fn step(&mut self, dt: f64, damping: f64) {
        self.stamp += 1;
        let previous = std::mem::replace(&mut self.last_step, dt);
        for arbiter in self.active.drain(..) {
            self.arbiters[arbiter].state = State::Normal;
        }
        self.bodies[1..].iter_mut().for_each(|body| body.advance(dt));
        self.find_contacts();
        let stamp = self.stamp;
        self.arbiters.iter_mut().filter(|a| stamp > a.stamp).for_each(|a| a.state = State::Cached);
        self.forget_contacts();

        let Self { bodies, arbiters, active, .. } = self;
        // Chipmunk takes the nearest single-precision number of 0.9 to the 60th.
        let bias = 1.0 - (f64::from(1.0f32 - 0.1f32).powf(60.0)).powf(dt);
        active.iter().for_each(|a| arbiters[*a].prepare(bodies, dt, bias));
        for body in bodies[1..].iter_mut().filter(|body| body.inverse_mass > 0.0) {
            body.velocity = body.velocity * damping;
            body.spin *= damping;
        }
        let share = if previous == 0.0 { 0.0 } else { dt / previous };
        active.iter().for_each(|a| arbiters[*a].apply_cached(bodies, share));
        for _ in 0..ITERATIONS {
            active.iter().for_each(|a| arbiters[*a].apply(bodies));
        }
    }

    fn find_contacts(&mut self) {
        let Self { bodies, shapes, trees, arbiters, active, stamp, .. } = self;
        for shape in shapes.iter_mut().filter(|shape| shape.body != 0) {
            shape.update(&bodies[shape.body].frame);
        }
        let bounds = |shape: usize| {
            let shape = &shapes[shape];
            (shape.bounds, bodies[shape.body].velocity)
        };
        trees.pairs(bounds, |a, b, id| {
            let (one, two) = (&shapes[a], &shapes[b]);
            if one.body == two.body || !one.bounds.touches(&two.bounds) {
                return id;
            }
            let (a, b) = if one.order() > two.order() { (b, a) } else { (a, b) };
            let (one, two) = (&shapes[a], &shapes[b]);
            let found = collide(one, two, id);
            if found.count > 0 {
                let known = arbiters.iter().position(|arbiter| arbiter.shapes == [a, b]);
                let at = known.unwrap_or_else(|| {
                    arbiters.push(Arbiter::new([a, b], [one.body, two.body]));
                    arbiters.len() - 1
                });
                arbiters[at].update(&found, bodies);
                arbiters[at].stamp = *stamp;
                active.push(at);
            }
            found.id
        });
    }

    /// Drops what was not seen for some steps.
    fn forget_contacts(&mut self) {
        let Self { arbiters, active, stamp, .. } = self;
        let mut at = 0;
        while at < arbiters.len() {
            if *stamp - arbiters[at].stamp < PERSISTENCE {
                at += 1;
                continue;
            }
            arbiters.swap_remove(at);
            // The last one took its place.
            let moved = arbiters.len();
            active.iter_mut().filter(|a| **a == moved).for_each(|a| *a = at);
        }
    }
}

impl Arbiter {
    fn new(shapes: [usize; 2], bodies: [usize; 2]) -> Self {
        Self {
            shapes,
            bodies,
            normal: Vect::default(),
            contacts: [Contact::default(); 2],
            count: 0,
            state: State::First,
            stamp: 0,
        }
    }

    /// Takes new contacts; those of the same features go on with their impulses.
    fn update(&mut self, found: &Found, bodies: &[Body]) {
        let old = self.contacts;
        let old = &old[..self.count];
        for (contact, (a, b, hash)) in self.contacts.iter_mut().zip(&found.points[..found.count]) {
            let [one, two] = self.bodies;
            *contact = Contact {
                arms: [*a - bodies[one].position, *b - bodies[two].position],
                hash: *hash,
                ..Contact::default()
            };
            if let Some(old) = old.iter().rfind(|old| old.hash == *hash) {
                contact.impulse = old.impulse;
            }
        }
        (self.count, self.normal) = (found.count, found.normal);
        if self.state == State::Cached {
            self.state = State::First;
        }
    }

    fn prepare(&mut self, bodies: &[Body], dt: f64, bias: f64) {
        let (a, b) = (&bodies[self.bodies[0]], &bodies[self.bodies[1]]);
        let n = self.normal;
        let delta = b.position - a.position;
        for contact in &mut self.contacts[..self.count] {
            let [r1, r2] = contact.arms;
            contact.mass = 1.0 / (a.mobility(r1, n) + b.mobility(r2, n));
            let distance = (r2 - r1 + delta).dot(n);
            let depth = distance + SLOP;
            contact.bias = -bias * (if 0.0 < depth { 0.0 } else { depth }) / dt;
            contact.bias_impulse = 0.0;
        }
    }

    fn apply_cached(&self, bodies: &mut [Body], share: f64) {
        if self.state == State::First {
            return;
        }
        let [a, b] = self.bodies;
        for contact in &self.contacts[..self.count] {
            let impulse = self.normal.rotate(vect(contact.impulse, 0.0)) * share;
            bodies[a].push(-impulse, contact.arms[0]);
            bodies[b].push(impulse, contact.arms[1]);
        }
    }

    fn apply(&mut self, bodies: &mut [Body]) {
        let [a, b] = self.bodies;
        let n = self.normal;
        for contact in &mut self.contacts[..self.count] {
            let [r1, r2] = contact.arms;
            let at = |velocity: Vect, spin: f64, arm: Vect| velocity + arm.left() * spin;
            let (one, two) = (&bodies[a], &bodies[b]);
            let parting = at(two.bias.0, two.bias.1, r2) - at(one.bias.0, one.bias.1, r1);
            let moving = at(two.velocity, two.spin, r2) - at(one.velocity, one.spin, r1);

            let old = contact.bias_impulse;
            let more = (contact.bias - parting.dot(n)) * contact.mass;
            contact.bias_impulse = max(old + more, 0.0);
            let bias = n * (contact.bias_impulse - old);

            let old = contact.impulse;
            contact.impulse = max(old + -moving.dot(n) * contact.mass, 0.0);
            let impulse = n.rotate(vect(contact.impulse - old, 0.0));

            bodies[a].push_bias(-bias, r1);
            bodies[b].push_bias(bias, r2);
            bodies[a].push(-impulse, r1);
            bodies[b].push(impulse, r2);
        }
    }
}
