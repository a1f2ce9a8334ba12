//! The grammar of label selectors in a query, refused where the real server's parser stumbles and in its words.

use super::LabelRule;
use crate::apiserver::admit::metadata::{label_value, qualified_name};

const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// The rules of `a=b,c!=d,e in (f,g),!h`.
pub fn rules(text: &str) -> Result<Vec<LabelRule>, String> {
    let mut tokens = Tokens { rest: text };
    let mut rules = Vec::new();
    loop {
        match tokens.peek() {
            "" => return Ok(rules),
            first if first == "!" || is_word(first) => {
                rules.push(rule(&mut tokens).map_err(|why| format!("unable to parse requirement: {why}"))?);
            }
            other => return Err(format!("found '{other}', expected: !, identifier, or 'end of string'")),
        }
        match tokens.next() {
            "" => return Ok(rules),
            "," => match tokens.peek() {
                next if next == "!" || is_word(next) => {}
                other => return Err(format!("found '{other}', expected: identifier after ','")),
            },
            other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
        }
    }
}

fn rule(tokens: &mut Tokens<'_>) -> Result<LabelRule, String> {
    let absent = tokens.peek() == "!";
    if absent {
        tokens.next();
    }
    let key = tokens.next();
    if !is_word(key) {
        return Err(format!("found '{key}', expected: identifier"));
    }
    if let Some(why) = qualified_name(key) {
        return Err(format!("<nil>: Invalid value: {key:?}: {why}"));
    }
    let key = key.to_owned();
    if absent {
        return Ok(LabelRule::Absent(key));
    }
    if matches!(tokens.peek(), "" | ",") {
        return Ok(LabelRule::Exists(key));
    }
    let operator = tokens.next();
    match operator {
        "in" => Ok(LabelRule::In(key.clone(), values(tokens, &key)?)),
        "notin" => Ok(LabelRule::NotIn(key.clone(), values(tokens, &key)?)),
        "=" | "==" => Ok(LabelRule::In(key.clone(), vec![value(tokens, &key)?])),
        "!=" => Ok(LabelRule::NotIn(key.clone(), vec![value(tokens, &key)?])),
        ">" | "<" => {
            let text = value(tokens, &key)?;
            let limit = text
                .parse()
                .map_err(|_| format!("values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer"))?;
            Ok(if operator == ">" { LabelRule::Above(key, limit) } else { LabelRule::Below(key, limit) })
        }
        other => Err(format!("found '{other}', expected: {OPERATORS}")),
    }
}

/// What follows `=`; nothing stands for the empty value.
fn value(tokens: &mut Tokens<'_>, key: &str) -> Result<String, String> {
    match tokens.peek() {
        "" | "," => Ok(String::new()),
        word if !special(word) => {
            tokens.next();
            checked(word, 0, key)
        }
        other => Err(format!("found '{other}', expected: identifier")),
    }
}

/// What follows `in`.
fn values(tokens: &mut Tokens<'_>, key: &str) -> Result<Vec<String>, String> {
    let open = tokens.next();
    if open != "(" {
        return Err(format!("found '{open}' expected: '('"));
    }
    let mut found = Vec::new();
    loop {
        let word = match tokens.peek() {
            "," | ")" => "",
            word if special(word) || word.is_empty() => return Err(format!("found '{word}', expected: ',', ')' or identifier")),
            _ => tokens.next(),
        };
        found.push(checked(word, found.len(), key)?);
        match tokens.next() {
            "," => {}
            ")" => return Ok(found),
            other => return Err(format!("found '{other}', expected: ',' or ')'")),
        }
    }
}

fn checked(value: &str, at: usize, key: &str) -> Result<String, String> {
    match label_value(value) {
        None => Ok(value.to_owned()),
        Some(why) => Err(format!("values[{at}][{key}]: Invalid value: {value:?}: {why}")),
    }
}

fn is_word(token: &str) -> bool {
    !token.is_empty() && !special(token)
}

fn special(token: &str) -> bool {
    token.starts_with(is_symbol)
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

/// Symbols and words, without the space between them; empty at the end.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> &'a str {
        let text = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if text.starts_with(is_symbol) {
            let length = if text.starts_with("==") || text.starts_with("!=") { 2 } else { 1 };
            return &text[..length];
        }
        let end = text.find(|c| is_symbol(c) || matches!(c, ' ' | '\t' | '\r' | '\n')).unwrap_or(text.len());
        &text[..end]
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        let text = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.rest = &text[token.len()..];
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(rules(text).unwrap_err(), expected, "{text}");
    }

    #[test]
    fn nonsense_is_refused_where_it_begins() {
        check("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        check("a===b", "unable to parse requirement: found '=', expected: identifier");
        check("a in b", "unable to parse requirement: found 'b' expected: '('");
        check("a in (b", "unable to parse requirement: found '', expected: ',' or ')'");
        check("=x", "found '=', expected: !, identifier, or 'end of string'");
        check("a,", "found '', expected: identifier after ','");
        check("a=b c", "found 'c', expected: ',' or 'end of string'");
        assert!(rules("a > b").unwrap_err().contains("must be an integer"));
        assert!(rules("a=b/c").unwrap_err().starts_with("unable to parse requirement: values[0][a]: Invalid value: \"b/c\": "));
    }

    #[test]
    fn empty_values_are_values() {
        let of = |text: &str| rules(text).unwrap();
        assert_eq!(of("a="), [LabelRule::In("a".to_owned(), vec![String::new()])]);
        assert_eq!(of("a in (,b)"), [LabelRule::In("a".to_owned(), vec![String::new(), "b".to_owned()])]);
        assert_eq!(of("!a"), [LabelRule::Absent("a".to_owned())]);
        assert_eq!(of("in in (in)"), [LabelRule::In("in".to_owned(), vec!["in".to_owned()])]);
    }
}
