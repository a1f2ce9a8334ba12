//! Selectors of devices in CEL, evaluated as kube-scheduler does: the variable `device` with `driver`, `attributes` and `capacity` by domain and name,
//! Kubernetes' functions, and `cel.bind`. A domain that a device has nothing of is empty, where other maps would fail.
//!
//! The API server has checked the types and estimated the cost of what it admitted; neither is done again.

use kube_cel::KubeCelExt as _;
use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, Expr, ListExpr, LiteralValue, operators};
use kube_cel::cel::common::types::CelBool;
use kube_cel::cel::extractors::Arguments;
use kube_cel::cel::objects::{Key, Map, Value};
use kube_cel::cel::parser::Expression;
use kube_cel::cel::{Context, ExecutionError, Program};
use placement::devices::{Attribute, Device, DeviceProgram, Selector};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// As the API server has it.
const LONGEST: usize = 10 * 1024;
/// Brackets within brackets; the parser calls itself for each.
const DEEPEST: usize = 64;

/// Name of the function that looks up a domain. No expression can call it, since no name has an `@`.
const DOMAIN: &str = "@domain";

/// A selector that says of each device whether it is meant. One that can't be read fails for each.
pub(super) fn selector(expression: &str) -> Selector {
    Selector::new(expression, Arc::new(Compiled(compile(expression))))
}

struct Compiled(Result<Expression, String>);

impl DeviceProgram for Compiled {
    fn matches(&self, driver: &str, device: &Device) -> Result<bool, String> {
        let expression = self.0.as_ref().map_err(Clone::clone)?;
        let mut context = Context::default().with_all();
        context.add_function(DOMAIN, domain);
        let variable = variable(&context, driver, device)?;
        context.add_variable_from_value("device", variable);
        match context.resolve(expression) {
            Ok(Value::Bool(matches)) => Ok(matches),
            Ok(other) => Err(format!("evaluates to {other:?}, not to true or false")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// # Errors
/// What can't be read or evaluated of it.
fn compile(expression: &str) -> Result<Expression, String> {
    if expression.is_empty() {
        return Err("CEL expression empty (unsupported selector type?)".to_owned());
    }
    if expression.len() > LONGEST || depth(expression) > DEEPEST {
        return Err(format!("CEL compile error: longer than {LONGEST} bytes, or more than {DEEPEST} brackets within each other"));
    }
    let program = Program::compile(expression).map_err(|errors| format!("CEL compile error: {errors}"))?;
    let mut rewritten = program.expression().clone();
    rewrite(&mut rewritten)?;
    Ok(rewritten)
}

fn depth(expression: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for character in expression.chars() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Puts in what the interpreter does not know: lookups of domains, and `cel.bind`.
fn rewrite(expression: &mut Expression) -> Result<(), String> {
    match &mut expression.expr {
        Expr::Call(call) => {
            call.target.as_deref_mut().map(rewrite).transpose()?;
            call.args.iter_mut().try_for_each(rewrite)?;
            if call.func_name == operators::INDEX && call.args.first().is_some_and(is_by_domain) {
                call.func_name = DOMAIN.to_owned();
            } else if is_bind(call) {
                expression.expr = bound(std::mem::take(&mut call.args))?;
            }
        }
        Expr::Select(select) => {
            rewrite(&mut select.operand)?;
            if is_by_domain(&select.operand) {
                let (operand, field) = (std::mem::take(&mut *select.operand), select.field.as_str().into());
                expression.expr = match select.test {
                    // Every domain is there, if only empty.
                    true => Expr::Literal(LiteralValue::Boolean(CelBool::from(true))),
                    false => {
                        let field = Expression { id: expression.id, expr: Expr::Literal(LiteralValue::String(field)) };
                        Expr::Call(CallExpr { func_name: DOMAIN.to_owned(), target: None, args: vec![operand, field] })
                    }
                };
            }
        }
        Expr::Comprehension(of) => {
            for part in [&mut of.iter_range, &mut of.accu_init, &mut of.loop_cond, &mut of.loop_step, &mut of.result] {
                rewrite(part)?;
            }
        }
        Expr::List(list) => list.elements.iter_mut().try_for_each(rewrite)?,
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let kube_cel::cel::common::ast::EntryExpr::MapEntry(entry) = &mut entry.expr {
                    rewrite(&mut entry.key)?;
                    rewrite(&mut entry.value)?;
                }
            }
        }
        Expr::Struct(of) => return Err(format!("CEL compile error: there is no type {}", of.type_name)),
        Expr::Unspecified => return Err("CEL compile error: an expression is missing".to_owned()),
        Expr::Ident(_) | Expr::Literal(_) => {}
    }
    Ok(())
}

/// `device.attributes` or `device.capacity`.
fn is_by_domain(expression: &Expression) -> bool {
    let Expr::Select(select) = &expression.expr else { return false };
    matches!(select.field.as_str(), "attributes" | "capacity") && matches!(&select.operand.expr, Expr::Ident(name) if name == "device")
}

fn is_bind(call: &CallExpr) -> bool {
    let on_cel = call.target.as_ref().is_some_and(|target| matches!(&target.expr, Expr::Ident(name) if name == "cel"));
    on_cel && call.func_name == "bind" && call.args.len() == 3
}

/// `cel.bind(name, value, body)`: a comprehension over nothing, whose accumulator is the name.
fn bound(args: Vec<Expression>) -> Result<Expr, String> {
    let Ok([name, accu_init, result]) = <[Expression; 3]>::try_from(args) else { return Err("cel.bind takes three arguments".to_owned()) };
    let Expr::Ident(accu_var) = &name.expr else { return Err("CEL compile error: cel.bind takes a name first".to_owned()) };
    let of = |expr| Expression { id: name.id, expr };
    Ok(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: of(Expr::List(ListExpr::new(Vec::new()))),
        iter_var: "@unused".to_owned(),
        iter_var2: None,
        accu_var: accu_var.clone(),
        accu_init,
        loop_cond: of(Expr::Literal(LiteralValue::Boolean(CelBool::from(false)))),
        loop_step: of(name.expr.clone()),
        result,
    })))
}

/// What a map has under a domain: at least nothing.
fn domain(Arguments(arguments): Arguments) -> Result<Value, ExecutionError> {
    let [Value::Map(map), Value::String(domain)] = &arguments[..] else { return Err(ExecutionError::NoSuchOverload) };
    let found = map.map.get(&Key::String(Arc::clone(domain)));
    Ok(found.cloned().unwrap_or_else(|| Value::Map(Map { map: Arc::default() })))
}

static SEMVER: LazyLock<Option<Program>> = LazyLock::new(|| Program::compile("semver(text)").ok());
static QUANTITY: LazyLock<Option<Program>> = LazyLock::new(|| Program::compile("quantity(text)").ok());

/// A value of one of Kubernetes' types, which can be made by its function alone.
fn made(by: &Option<Program>, context: &Context<'_>, text: &str) -> Result<Value, String> {
    let mut inner = context.new_inner_scope();
    inner.add_variable_from_value("text", text.to_owned());
    let program = by.as_ref().ok_or("no function for it")?;
    program.execute(&inner).map_err(|error| error.to_string())
}

fn variable(context: &Context<'_>, driver: &str, device: &Device) -> Result<Value, String> {
    let attribute = |(name, value): (&String, &Attribute)| {
        let value = match value {
            Attribute::Bool(value) => Value::Bool(*value),
            Attribute::Int(value) => Value::Int(*value),
            Attribute::String(value) => Value::String(value.clone().into()),
            Attribute::Version(text) => made(&SEMVER, context, text).map_err(|why| format!("attribute {name}: {why}"))?,
        };
        Ok((name.clone(), value))
    };
    let capacity = |(name, text): (&String, &String)| {
        Ok((name.clone(), made(&QUANTITY, context, text).map_err(|why| format!("capacity {name}: {why}"))?))
    };
    let attributes: BTreeMap<String, Value> = device.attributes.iter().map(attribute).collect::<Result<_, String>>()?;
    let capacity: BTreeMap<String, Value> = device.capacity.iter().map(capacity).collect::<Result<_, String>>()?;
    Ok(map([
        ("driver".to_owned(), Value::String(driver.to_owned().into())),
        ("allowMultipleAllocations".to_owned(), Value::Bool(device.shared)),
        ("attributes".to_owned(), by_domain(driver, attributes)),
        ("capacity".to_owned(), by_domain(driver, capacity)),
    ]))
}

/// A name without a domain is the driver's.
fn by_domain(driver: &str, values: BTreeMap<String, Value>) -> Value {
    let mut domains: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    for (name, value) in values {
        let (domain, id) = name.split_once('/').unwrap_or((driver, &name));
        domains.entry(domain.to_owned()).or_default().push((id.to_owned(), value));
    }
    map(domains.into_iter().map(|(domain, values)| (domain, map(values))))
}

fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    let entries = entries.into_iter().map(|(key, value)| (Key::String(Arc::new(key)), value));
    Value::Map(Map { map: Arc::new(entries.collect()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::devices::Reach;

    fn device() -> Device {
        let attributes = [
            ("model", Attribute::String("a100".into())),
            ("numa", Attribute::Int(1)),
            ("ecc", Attribute::Bool(true)),
            ("other.test/driverVersion", Attribute::Version("12.4.1".into())),
        ];
        Device {
            name: "d".into(),
            attributes: attributes.map(|(name, value)| (name.to_owned(), value)).into(),
            capacity: [("memory".to_owned(), "40Gi".to_owned())].into(),
            taints: vec![],
            reach: Reach::All,
            shared: false,
            binds_to_node: false,
            unsupported: None,
        }
    }

    #[test]
    fn selectors_see_driver_attributes_and_capacity() {
        let check = |expression: &str, expected: Result<bool, &str>| {
            let found = Compiled(compile(expression)).matches("gpu.test", &device());
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{expression}"),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{expression}: {why}"),
                _ => panic!("{expression}: {found:?}, expected {expected:?}"),
            }
        };
        check(r#"device.driver == "gpu.test""#, Ok(true));
        check(r#"device.attributes["gpu.test"].model == "a100""#, Ok(true));
        check(r#"device.attributes["gpu.test"]["numa"] > 1"#, Ok(false));
        check(r#"device.attributes["gpu.test"].numa == 1 && device.attributes["gpu.test"].ecc"#, Ok(true));
        check(r#"device.capacity["gpu.test"].memory.compareTo(quantity("20Gi")) > 0"#, Ok(true));
        check(r#"device.capacity["gpu.test"].memory.isGreaterThan(quantity("40Gi"))"#, Ok(false));
        check(r#"device.attributes["other.test"].driverVersion.isGreaterThan(semver("12.0.0"))"#, Ok(true));
        check(r#"device.attributes["other.test"].driverVersion.compareTo(semver("12.4.1")) == 0"#, Ok(true));
        check(r#"cel.bind(gpu, device.attributes["gpu.test"], gpu.ecc && gpu.numa in [0, 1])"#, Ok(true));
        check(r#""none.test" in device.attributes"#, Ok(false));
        check(r#""model" in device.attributes["none.test"]"#, Ok(false));
        check(r#"has(device.attributes["none.test"].model)"#, Ok(false));
        check(r#"device.attributes[device.driver].model.startsWith("a")"#, Ok(true));
        check(r#"device.attributes["gpu.test"].absent == 1 || device.driver == "gpu.test""#, Ok(true));
        check(r#"["a100", "h100"].exists(model, model == device.attributes["gpu.test"].model)"#, Ok(true));
        check("device.allowMultipleAllocations", Ok(false));
        check(r#"device.attributes["gpu.test"].absent == 1"#, Err("No such key: absent"));
        check("device.driver", Err("not to true or false"));
        check("device.driver ==", Err("CEL compile error"));
        check("Device{}.x", Err("there is no type"));
        check(&format!("{}true{}", "(".repeat(100), ")".repeat(100)), Err("brackets"));
        check("", Err("expression empty"));
    }
}
