//! The wire format of protobuf: numbered items, one after another.

/// What stands behind a field's number.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// A whole number or a truth.
    Integer(u64),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
}

/// The items of a message with their numbers, in order.
pub fn items(mut rest: &[u8]) -> Result<Vec<(u64, Item<'_>)>, String> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let item = match key & 7 {
            0 => Item::Integer(varint(&mut rest)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).map_err(|error| error.to_string())?;
                let (bytes, after) = rest.split_at_checked(length).ok_or("the message ends within a field")?;
                rest = after;
                Item::Bytes(bytes)
            }
            other => return Err(format!("wire type {other} is not used by this API")),
        };
        found.push((key >> 3, item));
    }
    Ok(found)
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or("the message ends within a number")?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is longer than 64 bits".to_owned())
}

/// A whole number; negative ones are in two's complement.
pub fn integer(item: Item<'_>) -> Result<i64, String> {
    match item {
        Item::Integer(number) => Ok(number.cast_signed()),
        Item::Bytes(_) => Err("bytes in place of a number".to_owned()),
    }
}

/// Bytes or a message.
pub fn bytes(item: Item<'_>) -> Result<&[u8], String> {
    match item {
        Item::Bytes(bytes) => Ok(bytes),
        Item::Integer(_) => Err("a number in place of bytes".to_owned()),
    }
}

/// A text.
pub fn text(item: Item<'_>) -> Result<String, String> {
    String::from_utf8(bytes(item)?.to_vec()).map_err(|error| error.to_string())
}
