//! The fields of the messages that are read. `messages.txt` is written by `tests/control-plane/kubernetes/messages/` from k8s.io/api, which says its form.

use std::collections::HashMap;
use std::sync::LazyLock;

/// All messages.
pub(super) static TABLE: LazyLock<Table> = LazyLock::new(|| Table::of(include_str!("messages.txt")));

pub(super) struct Table {
    messages: Vec<Message>,
    by_name: HashMap<&'static str, usize>,
}

pub(super) struct Message {
    pub(super) name: &'static str,
    /// By number.
    fields: Vec<Option<Field>>,
}

pub(super) struct Field {
    /// In JSON; `None` where the fields of this message stand in the one around it.
    pub(super) name: Option<&'static str>,
    pub(super) holds: Holds,
    pub(super) kind: Kind,
}

/// How many values a field has.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Holds {
    /// One, which is as good as none when it is zero.
    One,
    /// One or none.
    Optional,
    Several,
    /// By names.
    Map,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Bool,
    Int,
    String,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON, or a whole object within its envelope.
    Raw,
    Message(usize),
}

impl Table {
    fn of(text: &'static str) -> Self {
        let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
        let by_name: HashMap<_, _> = lines.iter().enumerate().map(|(index, (name, _))| (*name, index)).collect();
        let messages = lines.iter().map(|(name, fields)| Message::of(name, fields, &by_name)).collect();
        Self { messages, by_name }
    }

    pub(super) fn named(&self, name: &str) -> Option<&Message> {
        self.messages.get(*self.by_name.get(name)?)
    }

    pub(super) fn message(&self, index: usize) -> &Message {
        &self.messages[index]
    }
}

impl Message {
    fn of(name: &'static str, fields: &'static str, by_name: &HashMap<&str, usize>) -> Self {
        let mut message = Self { name, fields: Vec::new() };
        for field in fields.split_whitespace() {
            let mut parts = field.split(':');
            let (Some(Ok(number)), Some(name), Some(kind)) = (parts.next().map(str::parse::<usize>), parts.next(), parts.next()) else {
                panic!("messages.txt: {field}");
            };
            let (holds, kind) = match (kind.strip_prefix('?'), kind.strip_prefix("[]"), kind.strip_prefix("{}")) {
                (Some(kind), ..) => (Holds::Optional, kind),
                (_, Some(kind), _) => (Holds::Several, kind),
                (.., Some(kind)) => (Holds::Map, kind),
                _ => (Holds::One, kind),
            };
            let kind = match kind {
                "bool" => Kind::Bool,
                "int" => Kind::Int,
                "string" => Kind::String,
                "bytes" => Kind::Bytes,
                "time" => Kind::Time,
                "micro_time" => Kind::MicroTime,
                "quantity" => Kind::Quantity,
                "int_or_string" => Kind::IntOrString,
                "raw" => Kind::Raw,
                message => Kind::Message(by_name[message]),
            };
            message.fields.resize_with(message.fields.len().max(number + 1), || None);
            message.fields[number] = Some(Field { name: (name != "-").then_some(name), holds, kind });
        }
        message
    }

    pub(super) fn field(&self, number: u64) -> Option<&Field> {
        self.fields.get(usize::try_from(number).ok()?)?.as_ref()
    }
}
