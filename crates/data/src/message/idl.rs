//! OMG IDL (4.2) as far as rosidl generates it for ROS 2 types: what MCAP calls `ros2idl`, with the
//! files that a type depends on appended behind lines `IDL: package/msg/Type`.
//!
//! Read are modules, structures, constants, typedefs and enumerations; annotations and includes are
//! stepped over, except `@optional`, which changes the wire. A word that is not understood is an
//! error with its line, because a field too few would shift all that follow.

use std::collections::HashMap;

use super::rosmsg::{common, short};
use super::schema::{Arity, FIELD_LIMIT, Field, Kind, Scalar, Schema, Struct};

/// Longest text that is taken for a definition.
const TEXT_LIMIT: usize = 4 << 20;
/// Most types that a definition may need.
const TYPE_LIMIT: usize = 4096;
/// Deepest nesting of modules and of types in types.
const DEPTH_LIMIT: usize = 32;

/// Parses the definition of `name`.
pub(crate) fn parse(name: &str, text: &str) -> Result<Schema, String> {
    if text.len() > TEXT_LIMIT {
        return Err(format!("a definition of {} bytes", text.len()));
    }
    let mut parser =
        Parser { tokens: tokens(text)?, at: 0, scope: Vec::new(), known: HashMap::new() };
    while parser.peek().is_some() {
        parser.definition()?;
    }
    let Parser { known, .. } = parser;
    let mut builder = Builder { known: &known, places: HashMap::new(), structs: Vec::new() };
    let full = full_name(name);
    if !matches!(known.get(&full), Some(Known::Struct(_))) {
        return Err(format!("the IDL does not define {name}"));
    }
    builder.place(&full, 0)?;
    Ok(Schema { structs: builder.structs })
}

/// Whether a definition is IDL: a line says so before each type.
pub(crate) fn is_idl(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with("IDL: "))
}

/// `pkg/msg/Type` and `pkg/Type` as `pkg::msg::Type`.
fn full_name(name: &str) -> String {
    match name.split('/').filter(|p| !p.is_empty()).collect::<Vec<_>>()[..] {
        [package, name] => format!("{package}::msg::{name}"),
        ref parts => parts.join("::"),
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// Words, numbers, quoted text (as its opening quote) and single signs; `::` belongs to words.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut out = Vec::new();
    let mut comment = false;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let separator = trimmed.len() >= 20 && trimmed.trim_end().bytes().all(|b| b == b'=');
        if !comment && (separator || trimmed.starts_with('#') || trimmed.starts_with("IDL:")) {
            continue;
        }
        let mut rest = line;
        while !rest.is_empty() {
            if comment {
                let Some((_, after)) = rest.split_once("*/") else { break };
                (rest, comment) = (after, false);
                continue;
            }
            rest = rest.trim_start();
            if rest.starts_with("//") {
                break;
            }
            if let Some(after) = rest.strip_prefix("/*") {
                (rest, comment) = (after, true);
                continue;
            }
            let Some(first) = rest.chars().next() else { break };
            let len = match first {
                '"' | '\'' => quoted(rest).ok_or_else(|| {
                    format!("line {} of the IDL: a text does not end", number + 1)
                })?,
                c if c.is_ascii_alphanumeric() || c == '_' => {
                    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.');
                    rest.find(|c: char| !word(c)).unwrap_or(rest.len())
                }
                ':' if rest.starts_with("::") => {
                    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
                    rest.find(|c: char| !word(c)).unwrap_or(rest.len())
                }
                c => c.len_utf8(),
            };
            out.push(Token { text: &rest[..len], line: number + 1 });
            rest = &rest[len..];
        }
    }
    Ok(out)
}

/// Bytes of a quoted text with its quotes.
fn quoted(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    let mut escaped = false;
    for (at, c) in chars {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// A type as it is written.
#[derive(Debug, Clone)]
enum Written {
    Scalar(Scalar),
    Text,
    WideText,
    Named(String),
    Sequence(Box<Written>, Option<usize>),
    Array(Box<Written>, usize),
}

/// What a full name stands for.
#[derive(Debug)]
enum Known {
    Struct(Vec<(String, Written, Vec<String>)>),
    Alias(Written, Vec<String>),
    Enumeration,
    Number(usize),
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    scope: Vec<String>,
    known: HashMap<String, Known>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).map(|t| t.text)
    }

    fn next(&mut self) -> Result<&'a str, String> {
        let text = self.peek().ok_or("the IDL ends too early")?;
        self.at += 1;
        Ok(text)
    }

    fn wrong(&self, what: &str) -> String {
        let token = self.tokens.get(self.at.saturating_sub(1));
        let (text, line) = token.map_or(("", 0), |t| (t.text, t.line));
        format!("line {line} of the IDL: {what} at {text:?}")
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.next()? == sign {
            return Ok(());
        }
        Err(self.wrong(&format!("{sign:?} is missing")))
    }

    fn accept(&mut self, sign: &str) -> bool {
        let there = self.peek() == Some(sign);
        self.at += usize::from(there);
        there
    }

    fn name(&mut self) -> Result<String, String> {
        let word = self.next()?;
        let first = word.chars().next().unwrap_or(' ');
        if !(first.is_ascii_alphabetic() || first == '_') || word.contains([':', '.']) {
            return Err(self.wrong("a name is missing"));
        }
        Ok(word.to_owned())
    }

    fn declare(&mut self, name: &str, known: Known) -> Result<(), String> {
        if self.known.len() >= TYPE_LIMIT {
            return Err(format!("more than {TYPE_LIMIT} types"));
        }
        let mut path = self.scope.clone();
        path.push(name.to_owned());
        self.known.entry(path.join("::")).or_insert(known);
        Ok(())
    }

    /// Steps over `@name` and `@name(...)`; `@optional` is refused.
    fn annotations(&mut self) -> Result<(), String> {
        while self.accept("@") {
            if self.next()? == "optional" {
                return Err(self.wrong("optional fields are not read"));
            }
            if self.accept("(") {
                let mut depth = 1;
                while depth > 0 {
                    match self.next()? {
                        "(" => depth += 1,
                        ")" => depth -= 1,
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn definition(&mut self) -> Result<(), String> {
        self.annotations()?;
        match self.next()? {
            "module" => {
                let name = self.name()?;
                if self.scope.len() >= DEPTH_LIMIT {
                    return Err(self.wrong("modules lie too deep"));
                }
                self.scope.push(name);
                self.expect("{")?;
                while !self.accept("}") {
                    self.definition()?;
                }
                self.scope.pop();
                self.accept(";");
            }
            "struct" => {
                let name = self.name()?;
                if self.accept(";") {
                    return Ok(());
                }
                self.expect("{")?;
                let mut fields = Vec::new();
                while !self.accept("}") {
                    self.annotations()?;
                    let kind = self.written(0)?;
                    loop {
                        let (field, kind) = self.declarator(kind.clone())?;
                        fields.push((field, kind, self.scope.clone()));
                        if !self.accept(",") {
                            break;
                        }
                    }
                    self.expect(";")?;
                }
                self.expect(";")?;
                self.declare(&name, Known::Struct(fields))?;
            }
            "typedef" => {
                let kind = self.written(0)?;
                let (name, kind) = self.declarator(kind)?;
                self.expect(";")?;
                let scope = self.scope.clone();
                self.declare(&name, Known::Alias(kind, scope))?;
            }
            "enum" => {
                let name = self.name()?;
                self.expect("{")?;
                while !self.accept("}") {
                    self.next()?;
                }
                self.expect(";")?;
                self.declare(&name, Known::Enumeration)?;
            }
            "const" => {
                self.written(0)?;
                let name = self.name()?;
                self.expect("=")?;
                let value = self.next()?.parse().ok();
                while self.next()? != ";" {}
                if let Some(value) = value {
                    self.declare(&name, Known::Number(value))?;
                }
            }
            ";" => {}
            _ => return Err(self.wrong("a definition that is not understood")),
        }
        Ok(())
    }

    /// A name and the sizes of an array behind it.
    fn declarator(&mut self, mut kind: Written) -> Result<(String, Written), String> {
        let name = self.name()?;
        let mut count: Option<usize> = None;
        while self.accept("[") {
            let size = self.size()?;
            self.expect("]")?;
            let product = count.unwrap_or(1).checked_mul(size);
            count = Some(product.ok_or_else(|| self.wrong("an array too large"))?);
        }
        if let Some(count) = count {
            kind = Written::Array(Box::new(kind), count);
        }
        Ok((name, kind))
    }

    /// A number, or the name of one.
    fn size(&mut self) -> Result<usize, String> {
        let word = self.next()?;
        if let Ok(number) = word.parse() {
            return Ok(number);
        }
        match self.known.get(&resolve(word, &self.scope, &self.known).unwrap_or_default()) {
            Some(Known::Number(number)) => Ok(*number),
            _ => Err(self.wrong("a size that is no number")),
        }
    }

    fn written(&mut self, depth: usize) -> Result<Written, String> {
        if depth > DEPTH_LIMIT {
            return Err(self.wrong("types lie too deep in each other"));
        }
        let scalar = match self.next()? {
            "boolean" | "bool" => Scalar::Bool,
            "octet" | "uint8" | "char" => Scalar::U8,
            "int8" => Scalar::I8,
            "int16" | "short" => Scalar::I16,
            "uint16" => Scalar::U16,
            "int32" => Scalar::I32,
            "uint32" => Scalar::U32,
            "int64" => Scalar::I64,
            "uint64" => Scalar::U64,
            "float" => Scalar::F32,
            "double" => Scalar::F64,
            "long" if self.accept("long") => Scalar::I64,
            "long" if self.peek() == Some("double") => {
                return Err(self.wrong("long double is not read"));
            }
            "long" => Scalar::I32,
            "unsigned" => match self.next()? {
                "short" => Scalar::U16,
                "long" if self.accept("long") => Scalar::U64,
                "long" => Scalar::U32,
                _ => return Err(self.wrong("a type that is not understood")),
            },
            kind @ ("string" | "wstring") => {
                // A bound is the writer's concern.
                if self.accept("<") {
                    self.size()?;
                    self.expect(">")?;
                }
                return Ok(if kind == "string" { Written::Text } else { Written::WideText });
            }
            "sequence" => {
                self.expect("<")?;
                let inner = self.written(depth + 1)?;
                let bound = if self.accept(",") { Some(self.size()?) } else { None };
                self.expect(">")?;
                return Ok(Written::Sequence(Box::new(inner), bound));
            }
            "wchar" | "map" | "any" | "fixed" | "union" => {
                return Err(self.wrong("a type that is not read"));
            }
            name if name.starts_with(|c: char| c.is_ascii_alphabetic() || "_:".contains(c)) => {
                return Ok(Written::Named(name.to_owned()));
            }
            _ => return Err(self.wrong("a type is missing")),
        };
        Ok(Written::Scalar(scalar))
    }
}

/// The full name that `name` means inside `scope`: the innermost that is known.
fn resolve(name: &str, scope: &[String], known: &HashMap<String, Known>) -> Option<String> {
    let name = name.trim_start_matches("::");
    (0..=scope.len()).rev().find_map(|depth| {
        let mut path = scope[..depth].to_vec();
        path.push(name.to_owned());
        Some(path.join("::")).filter(|full| known.contains_key(full))
    })
}

struct Builder<'a> {
    known: &'a HashMap<String, Known>,
    places: HashMap<String, usize>,
    structs: Vec<Struct>,
}

impl Builder<'_> {
    /// The number of the structure of that full name, which is put in its place.
    fn place(&mut self, full: &str, depth: usize) -> Result<usize, String> {
        if let Some(&at) = self.places.get(full) {
            return Ok(at);
        }
        if depth > DEPTH_LIMIT || self.structs.len() >= TYPE_LIMIT {
            return Err(format!("{full}: types lie too deep in each other, or are too many"));
        }
        let at = self.structs.len();
        let name = short(&full.replace("::", "/"));
        let Some(Known::Struct(fields)) = self.known.get(full) else {
            // A type that the log does not bring along may be one of the common ones.
            let schema = common(&name, false).ok_or_else(|| format!("no definition of {name}"))?;
            self.places.insert(full.to_owned(), at);
            self.structs.extend(schema.structs.into_iter().map(|mut s| {
                for field in &mut s.fields {
                    if let Kind::Struct(inner) = &mut field.kind {
                        *inner += at;
                    }
                }
                s
            }));
            return Ok(at);
        };
        self.places.insert(full.to_owned(), at);
        self.structs.push(Struct { name: name.clone(), fields: Vec::new() });
        let mut out: Vec<Field> = Vec::new();
        for (field, written, scope) in fields {
            if out.iter().any(|f| f.name == *field) {
                return Err(format!("{name} has two fields called {field}"));
            }
            if out.len() == FIELD_LIMIT {
                return Err(format!("{name} has more than {FIELD_LIMIT} fields"));
            }
            let (kind, arity) =
                self.kind(written, scope, depth).map_err(|e| format!("{name}.{field}: {e}"))?;
            out.push(Field { name: field.clone(), kind, arity });
        }
        self.structs[at].fields = out;
        Ok(at)
    }

    fn kind(
        &mut self,
        written: &Written,
        scope: &[String],
        depth: usize,
    ) -> Result<(Kind, Arity), String> {
        if depth > DEPTH_LIMIT {
            return Err("types lie too deep in each other".to_owned());
        }
        let once = |(kind, arity), outer| match arity {
            Arity::One => Ok((kind, outer)),
            _ => Err("lists of lists are not read".to_owned()),
        };
        Ok(match written {
            Written::Scalar(scalar) => (Kind::Scalar(*scalar), Arity::One),
            Written::Text => (Kind::Text, Arity::One),
            Written::WideText => (Kind::WideText, Arity::One),
            Written::Sequence(inner, bound) => {
                once(self.kind(inner, scope, depth + 1)?, Arity::List(*bound))?
            }
            Written::Array(inner, count) => {
                once(self.kind(inner, scope, depth + 1)?, Arity::Array(*count))?
            }
            Written::Named(name) => match resolve(name, scope, self.known) {
                Some(full) => match &self.known[&full] {
                    Known::Alias(written, scope) => self.kind(written, scope, depth + 1)?,
                    Known::Enumeration => (Kind::Scalar(Scalar::U32), Arity::One),
                    Known::Number(_) => return Err(format!("{name} is no type")),
                    Known::Struct(_) => (Kind::Struct(self.place(&full, depth + 1)?), Arity::One),
                },
                None => (Kind::Struct(self.place(name, depth + 1)?), Arity::One),
            },
        })
    }
}
