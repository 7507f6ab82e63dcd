//! A whole message as a tree of values, and paths into it: for looking at messages, for encodings
//! that describe themselves, and to check the fast path of [`super::plan`] against.

/// A value in a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// Nothing (JSON).
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that may be beyond `i64`.
    Uint(u64),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Several values.
    List(Vec<Tree>),
    /// Fields in the order of the definition.
    Fields(Vec<(String, Tree)>),
}

impl Tree {
    /// The field `name`, where this is a structure that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Fields(fields) = self else { return None };
        fields.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// As JSON; numbers that JSON can't hold become text, bytes become their number.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Bool(v) => Value::Bool(*v),
            Self::Int(v) => (*v).into(),
            Self::Uint(v) => (*v).into(),
            Self::Float(v) if v.is_finite() => (*v).into(),
            Self::Float(v) => Value::String(v.to_string()),
            Self::Text(v) => Value::String(v.clone()),
            Self::Bytes(v) => v.iter().map(|b| Value::from(*b)).collect(),
            Self::List(v) => v.iter().map(Self::to_json).collect(),
            Self::Fields(v) => {
                Value::Object(v.iter().map(|(k, v)| (k.clone(), v.to_json())).collect())
            }
        }
    }
}

/// What was taken out of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Whole numbers and truth values.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f64>),
    /// Text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// Its numbers as f64, appended to `out`; false where it holds none.
    pub fn numbers(&self, out: &mut Vec<f64>) -> bool {
        match self {
            Self::Floats(v) => out.extend_from_slice(v),
            Self::Ints(v) => out.extend(v.iter().map(|&x| x as f64)),
            Self::Bytes(v) => out.extend(v.iter().map(|&x| f64::from(x))),
            Self::Text(_) | Self::Texts(_) => return false,
        }
        true
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A field.
    Name(String),
    /// An element, from 0.
    Index(usize),
    /// The element that is called so: of a list of structures the one whose field `key` equals
    /// `value`; of a list of numbers the one at the place of `value` in the list `key` beside it.
    Key { key: String, value: String },
}

/// A path such as `pose.position.x`, `position[3]`, `position[name=elbow]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(pub Vec<Part>);

impl Path {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text.trim();
        let wrong = |what: &str| format!("field path {text:?}: {what}");
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (inside, after) =
                    inner.split_once(']').ok_or_else(|| wrong("a `[` is not closed"))?;
                parts.push(match inside.split_once('=') {
                    Some((key, value)) => {
                        let value = value.trim().trim_matches(['"', '\'']).to_owned();
                        Part::Key { key: key.trim().to_owned(), value }
                    }
                    None => Part::Index(
                        inside.trim().parse().map_err(|_| wrong("an index is no number"))?,
                    ),
                });
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if end == 0 {
                    return Err(wrong("a name is missing"));
                }
                parts.push(Part::Name(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() {
                    return Err(wrong("it ends with a dot"));
                }
                rest = after;
            }
        }
        if !matches!(parts.first(), Some(Part::Name(_))) {
            return Err(wrong("it must begin with a field"));
        }
        Ok(Self(parts))
    }
}

/// Takes the value at `path` out of a tree.
pub(crate) fn select(tree: &Tree, path: &Path) -> Result<Value, String> {
    let mut found = tree;
    let mut owner = tree;
    for part in &path.0 {
        let before = found;
        found = match part {
            Part::Name(name) => {
                owner = found;
                found.get(name).ok_or_else(|| format!("there is no field {name:?}"))?
            }
            Part::Index(index) => element(found, *index)?,
            Part::Key { key, value } => {
                let Tree::List(items) = found else { return Err("it is no list".to_owned()) };
                let by_field = |item: &Tree| item.get(key).is_some_and(|v| is(v, value));
                let inside = items.iter().position(by_field);
                let beside = || match owner.get(key) {
                    Some(Tree::List(names)) => names.iter().position(|n| is(n, value)),
                    _ => None,
                };
                let at = inside.or_else(beside);
                let at = at.ok_or_else(|| format!("no element has {key} {value:?}"))?;
                element(before, at)?
            }
        };
    }
    gather(found)
}

fn is(tree: &Tree, value: &str) -> bool {
    matches!(tree, Tree::Text(text) if text == value)
}

fn element(tree: &Tree, index: usize) -> Result<&Tree, String> {
    match tree {
        Tree::List(items) => items
            .get(index)
            .ok_or_else(|| format!("there is no element {index} of {}", items.len())),
        _ => Err("it is no list".to_owned()),
    }
}

/// All numbers below `tree` in order, or its text or bytes.
fn gather(tree: &Tree) -> Result<Value, String> {
    match tree {
        Tree::Text(text) => return Ok(Value::Text(text.clone())),
        Tree::Bytes(bytes) => return Ok(Value::Bytes(bytes.clone())),
        Tree::List(items)
            if items.iter().all(|i| matches!(i, Tree::Text(_))) && !items.is_empty() =>
        {
            let text =
                |item: &Tree| if let Tree::Text(t) = item { t.clone() } else { String::new() };
            return Ok(Value::Texts(items.iter().map(text).collect()));
        }
        _ => {}
    }
    let (mut floats, mut ints, mut whole) = (Vec::new(), Vec::new(), true);
    numbers(tree, &mut floats, &mut ints, &mut whole)?;
    Ok(if whole && !ints.is_empty() { Value::Ints(ints) } else { Value::Floats(floats) })
}

fn numbers(
    tree: &Tree,
    floats: &mut Vec<f64>,
    ints: &mut Vec<i64>,
    whole: &mut bool,
) -> Result<(), String> {
    let mut int = |v: i64, floats: &mut Vec<f64>| {
        ints.push(v);
        floats.push(v as f64);
    };
    match tree {
        Tree::Bool(v) => int(i64::from(*v), floats),
        Tree::Int(v) => int(*v, floats),
        Tree::Uint(v) => {
            int(i64::try_from(*v).map_err(|_| format!("{v} is too large"))?, floats);
        }
        Tree::Float(v) => {
            *whole = false;
            floats.push(*v);
        }
        Tree::List(items) => {
            for item in items {
                numbers(item, floats, ints, whole)?;
            }
        }
        Tree::Fields(fields) => {
            for (_, value) in fields {
                if !matches!(value, Tree::Text(_)) {
                    numbers(value, floats, ints, whole)?;
                }
            }
        }
        Tree::Bytes(bytes) => {
            for byte in bytes {
                int(i64::from(*byte), floats);
            }
        }
        Tree::Null => return Err("it is null".to_owned()),
        Tree::Text(_) => return Err("it is text".to_owned()),
    }
    Ok(())
}
