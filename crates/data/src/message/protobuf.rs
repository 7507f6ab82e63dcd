//! Protocol Buffers messages by the descriptors that the log brings along, with `prost-reflect`.

use prost_reflect::{
    DescriptorPool, DynamicMessage, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use super::tree::Tree;

/// The descriptor of message type `name` in a serialised FileDescriptorSet.
pub(super) fn descriptor(name: &str, set: &[u8]) -> Result<MessageDescriptor, String> {
    // While it words its refusal of some damaged descriptors, prost-reflect indexes a list of files
    // that is still empty.
    let pool = std::panic::catch_unwind(|| DescriptorPool::decode(set))
        .map_err(|_| "its descriptors contradict themselves".to_owned())?
        .map_err(|e| format!("its descriptors: {e}"))?;
    pool.get_message_by_name(name).ok_or_else(|| format!("its descriptors do not define {name}"))
}

/// A message as a tree. Absent scalars have their default, absent messages are `Null`.
pub(super) fn tree(descriptor: &MessageDescriptor, data: &[u8]) -> Result<Tree, String> {
    let message = DynamicMessage::decode(descriptor.clone(), data).map_err(|e| e.to_string())?;
    Ok(of_message(&message))
}

fn of_message(message: &DynamicMessage) -> Tree {
    let descriptor = message.descriptor();
    let fields = descriptor.fields().map(|field| {
        let absent = field.supports_presence() && !message.has_field(&field);
        let nested = field.kind().as_message().is_some();
        let value =
            if absent && nested { Tree::Null } else { of_value(&message.get_field(&field)) };
        (field.name().to_owned(), value)
    });
    Tree::Fields(fields.collect())
}

fn of_value(value: &Value) -> Tree {
    match value {
        Value::Bool(v) => Tree::Bool(*v),
        Value::I32(v) => Tree::Int((*v).into()),
        Value::I64(v) => Tree::Int(*v),
        Value::U32(v) => Tree::Int((*v).into()),
        Value::U64(v) => Tree::Uint(*v),
        Value::F32(v) => Tree::Float((*v).into()),
        Value::F64(v) => Tree::Float(*v),
        Value::String(v) => Tree::Text(v.clone()),
        Value::Bytes(v) => Tree::Bytes(v.to_vec()),
        Value::EnumNumber(v) => Tree::Int((*v).into()),
        Value::Message(v) => of_message(v),
        Value::List(v) => Tree::List(v.iter().map(of_value).collect()),
        Value::Map(v) => {
            let mut entries: Vec<(String, Tree)> =
                v.iter().map(|(k, v)| (key(k), of_value(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Tree::Fields(entries)
        }
    }
}

fn key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(v) => v.to_string(),
        MapKey::I32(v) => v.to_string(),
        MapKey::I64(v) => v.to_string(),
        MapKey::U32(v) => v.to_string(),
        MapKey::U64(v) => v.to_string(),
        MapKey::String(v) => v.clone(),
    }
}
