//! Field paths compiled once into a walk over the serialised message: fields that nobody asked for
//! are stepped over, nothing is named, nothing is allocated but the results.

use std::sync::Arc;

use embody_core::nearest_key;

use super::schema::{Arity, Field, Kind, Scalar, Schema};
use super::tree::{Part, Path, Value};
use super::wire::{Layout, Res, Wire};

/// A compiled set of paths.
#[derive(Debug)]
pub(crate) struct Walk {
    layout: Arc<Layout>,
    root: Node,
    /// Results: one per path, then helpers.
    slots: Vec<Value>,
    paths: usize,
    /// Elements to be chosen by the name that stands beside them.
    chosen: Vec<Chosen>,
}

/// What is wanted of a structure: steps by field, in the order of the fields.
#[derive(Debug, Default)]
struct Node {
    steps: Vec<(usize, Vec<Pick>)>,
}

#[derive(Debug)]
enum Pick {
    /// All of the field into a slot.
    Whole(usize),
    /// One element into a slot.
    Element(usize, usize),
    /// Parts of the one structure, or of element `at`.
    Enter { at: Option<usize>, node: Node },
    /// Parts of the element whose text in slot `key` is `value`.
    Match { find: Node, key: usize, value: String, node: Node },
}

#[derive(Debug)]
struct Chosen {
    path: usize,
    names: usize,
    values: usize,
    wanted: String,
}

impl Walk {
    /// Compiles `paths`; errors name the field that is not there and the nearest that is.
    pub fn compile(layout: &Arc<Layout>, paths: &[Path]) -> Result<Self, String> {
        let mut compiler =
            Compiler { schema: &layout.schema, slots: Vec::new(), chosen: Vec::new() };
        let mut root = Node::default();
        compiler.slots = vec![Value::Floats(Vec::new()); paths.len()];
        for (slot, path) in paths.iter().enumerate() {
            compiler.path(&mut root, 0, &path.0, slot)?;
        }
        root.sort();
        let Compiler { slots, chosen, .. } = compiler;
        Ok(Self { layout: Arc::clone(layout), root, slots, paths: paths.len(), chosen })
    }

    /// Takes the values of all paths out of a message; they hold until the next call.
    pub fn extract(&mut self, message: &[u8]) -> Result<&[Value], String> {
        for slot in &mut self.slots {
            match slot {
                Value::Ints(v) => v.clear(),
                Value::Floats(v) => v.clear(),
                Value::Text(v) => v.clear(),
                Value::Texts(v) => v.clear(),
                Value::Bytes(v) => v.clear(),
            }
        }
        let mut wire = self.layout.wire(message)?;
        self.root.walk(&self.layout, 0, &mut wire, &mut self.slots)?;
        for chosen in &self.chosen {
            let Value::Texts(names) = &self.slots[chosen.names] else {
                return Err("the names beside a list are no texts".to_owned());
            };
            let wanted = &chosen.wanted;
            let at = names.iter().position(|n| n == wanted);
            let at = at.ok_or_else(|| format!("no element is called {wanted:?}"))?;
            let missing = || format!("there is no value for {wanted:?}");
            let value = match &self.slots[chosen.values] {
                Value::Ints(v) => Value::Ints(vec![*v.get(at).ok_or_else(missing)?]),
                Value::Floats(v) => Value::Floats(vec![*v.get(at).ok_or_else(missing)?]),
                Value::Bytes(v) => Value::Ints(vec![i64::from(*v.get(at).ok_or_else(missing)?)]),
                Value::Texts(v) => Value::Text(v.get(at).ok_or_else(missing)?.clone()),
                Value::Text(_) => return Err(missing()),
            };
            self.slots[chosen.path] = value;
        }
        Ok(&self.slots[..self.paths])
    }
}

struct Compiler<'a> {
    schema: &'a Schema,
    slots: Vec<Value>,
    chosen: Vec<Chosen>,
}

impl Compiler<'_> {
    fn helper(&mut self, value: Value) -> usize {
        self.slots.push(value);
        self.slots.len() - 1
    }

    fn path(
        &mut self,
        node: &mut Node,
        owner: usize,
        parts: &[Part],
        slot: usize,
    ) -> Result<(), String> {
        let (Some(Part::Name(name)), rest) = (parts.first(), parts.get(1..).unwrap_or(&[])) else {
            return Err("a path must name a field".to_owned());
        };
        let (at, field) = find(self.schema, owner, name)?;
        let many = field.arity != Arity::One;
        let not =
            |what: &str| Err(format!("{} of {} is {what}", name, self.schema.structs[owner].name));
        match (rest.first(), field.kind) {
            (None, kind) => {
                self.slots[slot] = empty(self.schema, kind, many);
                node.picks(at).push(Pick::Whole(slot));
            }
            (Some(Part::Index(_) | Part::Key { .. }), _) if !many => return not("no list"),
            (Some(Part::Index(index)), Kind::Struct(inner)) => {
                let inside = &rest[1..];
                if inside.is_empty() {
                    self.slots[slot] = empty(self.schema, field.kind, false);
                    node.picks(at).push(Pick::Element(*index, slot));
                } else {
                    let mut sub = Node::default();
                    self.path(&mut sub, inner, inside, slot)?;
                    node.picks(at).push(Pick::Enter { at: Some(*index), node: sub });
                }
            }
            (Some(Part::Index(index)), kind) => {
                if rest.len() > 1 {
                    return not("no list of structures");
                }
                self.slots[slot] = empty(self.schema, kind, false);
                node.picks(at).push(Pick::Element(*index, slot));
            }
            (Some(Part::Key { key, value }), Kind::Struct(inner)) => {
                let (_, key_field) = find(self.schema, inner, key)?;
                if key_field.kind != Kind::Text || key_field.arity != Arity::One {
                    return Err(format!("{key} of {} is no text", self.schema.structs[inner].name));
                }
                let helper = self.helper(Value::Text(String::new()));
                let (mut find, mut sub) = (Node::default(), Node::default());
                self.path(&mut find, inner, &[Part::Name(key.clone())], helper)?;
                if rest.len() == 1 {
                    return Err(format!("{name}: say which field of the element"));
                }
                self.path(&mut sub, inner, &rest[1..], slot)?;
                let value = value.clone();
                node.picks(at).push(Pick::Match { find, key: helper, value, node: sub });
            }
            (Some(Part::Key { key, value }), kind) => {
                let (names_at, names) = find(self.schema, owner, key)?;
                if names.kind != Kind::Text || names.arity == Arity::One || rest.len() > 1 {
                    return Err(format!(
                        "{key} of {} is no list of texts",
                        self.schema.structs[owner].name
                    ));
                }
                let names = self.helper(Value::Texts(Vec::new()));
                let values = self.helper(empty(self.schema, kind, true));
                node.picks(names_at).push(Pick::Whole(names));
                node.picks(at).push(Pick::Whole(values));
                self.chosen.push(Chosen { path: slot, names, values, wanted: value.clone() });
            }
            (Some(Part::Name(_)), Kind::Struct(inner)) if !many => {
                let picks = node.picks(at);
                let open = picks.iter().position(|p| matches!(p, Pick::Enter { at: None, .. }));
                let open = open.unwrap_or_else(|| {
                    picks.push(Pick::Enter { at: None, node: Node::default() });
                    picks.len() - 1
                });
                if let Pick::Enter { node, .. } = &mut picks[open] {
                    self.path(node, inner, rest, slot)?;
                }
            }
            (Some(Part::Name(_)), Kind::Struct(_)) => return not("a list: say which element, [0]"),
            (Some(Part::Name(_)), _) => return not("no structure"),
        }
        Ok(())
    }
}

fn find<'s>(schema: &'s Schema, owner: usize, name: &str) -> Result<(usize, &'s Field), String> {
    let owner = &schema.structs[owner];
    let fields = &owner.fields;
    if let Some(at) = fields.iter().position(|f| f.name == name) {
        return Ok((at, &fields[at]));
    }
    let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
    let near = nearest_key(name, names.iter().copied());
    let hint = near.map_or_else(|| names.join(", "), |n| format!("`{n}`?"));
    Err(format!("{} has no field {name:?}; it has {hint}", owner.name))
}

/// An empty result for what a field holds.
fn empty(schema: &Schema, kind: Kind, many: bool) -> Value {
    match kind {
        Kind::Scalar(Scalar::U8) if many => Value::Bytes(Vec::new()),
        Kind::Text | Kind::WideText if many => Value::Texts(Vec::new()),
        Kind::Text | Kind::WideText | Kind::Char => Value::Text(String::new()),
        Kind::Scalar(scalar) if !scalar.is_float() => Value::Ints(Vec::new()),
        Kind::Struct(inner) if whole(schema, inner) => Value::Ints(Vec::new()),
        Kind::Scalar(_) | Kind::Struct(_) => Value::Floats(Vec::new()),
    }
}

/// Whether all numbers of a structure are whole ones.
fn whole(schema: &Schema, index: usize) -> bool {
    schema.structs[index].fields.iter().all(|field| match field.kind {
        Kind::Scalar(scalar) => !scalar.is_float(),
        Kind::Struct(inner) => whole(schema, inner),
        Kind::Text | Kind::WideText | Kind::Char => true,
    })
}

impl Node {
    fn picks(&mut self, field: usize) -> &mut Vec<Pick> {
        let at = self.steps.iter().position(|(f, _)| *f == field).unwrap_or_else(|| {
            self.steps.push((field, Vec::new()));
            self.steps.len() - 1
        });
        &mut self.steps[at].1
    }

    fn sort(&mut self) {
        self.steps.sort_by_key(|(field, _)| *field);
        for (_, picks) in &mut self.steps {
            for pick in picks {
                match pick {
                    Pick::Enter { node, .. } => node.sort(),
                    Pick::Match { find, node, .. } => {
                        find.sort();
                        node.sort();
                    }
                    Pick::Whole(_) | Pick::Element(..) => {}
                }
            }
        }
    }

    /// Walks structure `index`, up to the last field that is wanted.
    fn walk(
        &self,
        layout: &Layout,
        index: usize,
        wire: &mut Wire<'_>,
        slots: &mut [Value],
    ) -> Res<()> {
        let fields = &layout.schema.structs[index].fields;
        let mut next = 0;
        for (i, (at, picks)) in self.steps.iter().enumerate() {
            for field in &fields[next..*at] {
                wire.skip(layout, field)?;
            }
            let field = &fields[*at];
            for pick in picks {
                // Each pick reads from the start of the field; skipping it afterwards is cheap.
                pick.read(layout, field, *wire, slots)?;
            }
            next = *at;
            if i + 1 < self.steps.len() {
                wire.skip(layout, field)?;
                next += 1;
            }
        }
        Ok(())
    }
}

impl Pick {
    fn read(
        &self,
        layout: &Layout,
        field: &Field,
        mut wire: Wire<'_>,
        slots: &mut [Value],
    ) -> Res<()> {
        match self {
            Self::Whole(slot) => wire.gather(layout, field, &mut slots[*slot]),
            Self::Element(index, slot) => {
                let count = wire.count(layout, field)?;
                wire.seek(layout, field, count, *index)?;
                wire.gather_elements(layout, field.kind, 1, &mut slots[*slot])
            }
            Self::Enter { at, node } => {
                let Kind::Struct(inner) = field.kind else { return Ok(()) };
                if let Some(index) = at {
                    let count = wire.count(layout, field)?;
                    wire.seek(layout, field, count, *index)?;
                }
                node.walk(layout, inner, &mut wire, slots)
            }
            Self::Match { find, key, value, node } => {
                let Kind::Struct(inner) = field.kind else { return Ok(()) };
                let count = wire.count(layout, field)?;
                for _ in 0..count {
                    if let Value::Text(text) = &mut slots[*key] {
                        text.clear();
                    }
                    find.walk(layout, inner, &mut wire.clone(), slots)?;
                    if matches!(&slots[*key], Value::Text(text) if text == value) {
                        return node.walk(layout, inner, &mut wire, slots);
                    }
                    wire.skip_struct(layout, inner)?;
                }
                Err("no element of the list has the name that the path asks for")
            }
        }
    }
}
