//! The walk that evaluates an expression.

use minijinja::value::Value as Dynamic;

use crate::{
    evaluation::{
        Fault, Tree,
        arithmetic::{calculate, negative, size_fault},
        comparison::holds,
    },
    filters::{Filter, Fuel},
    values::{
        conversion::{OUTPUT_LIMIT, text_of},
        json_kinds::Kinds,
        part::part,
    },
};

/// The advice where a value that is not true or false decides something.
pub(crate) const BOOLEAN_HINT: &str = "compare it with the value that counts, such as x == 'yes' or x > 0; where it may be missing \
                            or null, add the filter default(false)";

/// What an expression is evaluated on: the values of its names, and the work that it may still take.
struct Names<'a> {
    values: &'a Dynamic,
    fuel: Fuel,
}

impl Tree {
    /// Returns the value of an expression on these names.
    ///
    /// # Errors
    ///
    /// The reason why it has no value. A missing value is an error, unless a default takes its place. `limit` if it
    /// takes too much work.
    pub(crate) fn evaluate(&self, values: &Dynamic) -> Result<Dynamic, Fault> {
        self.value(&Names { values, fuel: Fuel::default() })
    }

    fn value(&self, names: &Names<'_>) -> Result<Dynamic, Fault> {
        Ok(match self {
            Tree::Constant(value) => value.clone(),
            Tree::Name(_) | Tree::Member(..) | Tree::Item(..) | Tree::Filter { .. } | Tree::Choice { .. } => {
                self.find(names)??
            }
            Tree::Slice(of, bounds) => of.slice(bounds, names)?,
            Tree::Not(of) => (!of.decide("not", names)?).into(),
            Tree::Negative(of) => negative(&of.value(names)?)?,
            Tree::And(both) => (both[0].decide("and", names)? && both[1].decide("and", names)?).into(),
            Tree::Or(both) => (both[0].decide("or", names)? || both[1].decide("or", names)?).into(),
            Tree::Join(both) => join(&both[0].value(names)?, &both[1].value(names)?)?,
            Tree::Arithmetic(operator, both) => {
                let [left, right] = [both[0].value(names)?, both[1].value(names)?];
                names.fuel.read(&left)?;
                names.fuel.read(&right)?;
                calculate(*operator, &left, &right)?
            }
            Tree::Comparison(first, others) => {
                let mut left = first.value(names)?;
                for (relation, right) in others {
                    let right = right.value(names)?;
                    names.fuel.read(&left)?;
                    names.fuel.read(&right)?;
                    if !holds(*relation, &left, &right)? {
                        return Ok(false.into());
                    }
                    left = right;
                }
                true.into()
            }
            Tree::IsDefined(of) => of.find(names)?.is_ok().into(),
            Tree::IsNone(of) => of.find(names)?.is_ok_and(|value| value.is_none()).into(),
            Tree::List(items) => items.iter().map(|item| item.value(names)).collect::<Result<Vec<_>, _>>()?.into(),
            Tree::Object(members) => object(members, names)?,
        })
    }

    /// Like [`Tree::evaluate`]. The inner error says that the value is missing, at any part of a path or as the result
    /// of a filter, so that a default may take its place.
    fn find(&self, names: &Names<'_>) -> Result<Result<Dynamic, Fault>, Fault> {
        Ok(match self {
            Tree::Name(name) => match names.values.get_attr(name) {
                Ok(value) if !value.is_undefined() => Ok(value),
                _ => Err(Fault::missing(format!("{name} does not exist here"))),
            },
            Tree::Member(of, name) => of.find(names)?.and_then(|value| member(of, &value, name)),
            Tree::Item(of, at) => {
                // Before the list, because a default is not for the index.
                let at = at.value(names)?;
                match of.find(names)? {
                    Ok(value) => item(of, &value, &at)?,
                    missing => missing,
                }
            }
            Tree::Filter { filter, of, arguments } => match filtered(filter, of, arguments, names)? {
                value if value.is_undefined() => {
                    Err(Fault::missing(format!("the filter {} finds no value", filter.name)))
                }
                value => Ok(value),
            },
            Tree::Choice { condition, yes, no } => match (condition.decide("if", names)?, no) {
                (true, _) => yes.find(names)?,
                (false, Some(no)) => no.find(names)?,
                (false, None) => Err(Fault::missing("its condition is false, and it has no `else`")),
            },
            other => Ok(other.value(names)?),
        })
    }

    /// The value of a condition. `role` is the word that it belongs to.
    fn decide(&self, role: &str, names: &Names<'_>) -> Result<bool, Fault> {
        let value = self.value(names)?;
        match Kinds::of_dynamic(&value) {
            Kinds::BOOLEAN => Ok(value.is_true()),
            other => Err(Fault::new(format!("`{role}` needs true or false, not {other}")).hint(BOOLEAN_HINT)),
        }
    }

    fn slice(&self, bounds: &[Option<Box<Tree>>; 2], names: &Names<'_>) -> Result<Dynamic, Fault> {
        let value = self.value(names)?;
        let kind = Kinds::of_dynamic(&value);
        if kind.excludes(Kinds::LIST.or(Kinds::TEXT)) {
            return Err(Fault::new(format!("[from:to] needs a list or a text, not {kind}")));
        }
        let place = |bound: &Option<Box<Tree>>| -> Result<Option<i64>, Fault> {
            let Some(bound) = bound else { return Ok(None) };
            let bound = bound.value(names)?;
            let kind = Kinds::of_dynamic(&bound);
            match i64::try_from(bound) {
                Ok(place) if kind == Kinds::INTEGER => Ok(Some(place)),
                _ => Err(Fault::new(format!("a bound of [from:to] is a whole number of 64 bits, not {kind}"))),
            }
        };
        Ok(part(&value, place(&bounds[0])?, place(&bounds[1])?)?)
    }

    /// Returns how a path is written, for messages.
    fn written(&self) -> String {
        match self {
            Tree::Name(name) => name.to_string(),
            Tree::Member(of, name) => format!("{}.{name}", of.written()),
            Tree::Item(of, at) => match &**at {
                Tree::Constant(at) => format!("{}[{at}]", of.written()),
                at => format!("{}[{}]", of.written(), at.written()),
            },
            Tree::Filter { filter, .. } => format!("the result of the filter {}", filter.name),
            _ => "the value".to_owned(),
        }
    }
}

/// Returns a member of a value, or the reason why it is missing.
fn member(of: &Tree, value: &Dynamic, name: &str) -> Result<Dynamic, Fault> {
    let owner = of.written();
    match Kinds::of_dynamic(value) {
        Kinds::OBJECT => match value.get_attr(name)? {
            found if !found.is_undefined() => Ok(found),
            _ if owner == "steps" => {
                Err(Fault::missing(format!("the step {name} has no output, because it has not run")))
            }
            _ => Err(Fault::missing(format!("{owner} has no member {name}"))),
        },
        Kinds::NULL => Err(Fault::missing(format!("{owner} is null, and null has no member {name}"))),
        other => Err(Fault::missing(format!("{owner} is {other}, which has no member {name}"))),
    }
}

/// Returns an item of a list or a member of an object. The inner error is the reason why it is missing.
fn item(of: &Tree, value: &Dynamic, at: &Dynamic) -> Result<Result<Dynamic, Fault>, Fault> {
    let (owner, index) = (of.written(), Kinds::of_dynamic(at));
    let (part, expected) = match Kinds::of_dynamic(value) {
        Kinds::OBJECT => ("the name of a member", Kinds::TEXT),
        Kinds::LIST => ("the index of a list", Kinds::INTEGER),
        other => return Ok(Err(Fault::missing(format!("{owner} is {other}, which has no items")))),
    };
    match at.as_str() {
        _ if index != expected => Err(Fault::new(format!("{part} is {expected}, not {index}"))),
        Some(name) => Ok(member(of, value, name)),
        // A number such as 2.0 is an index, too.
        None => Ok(match value.get_item(&i64::try_from(at.clone()).map_or_else(|_| at.clone(), Dynamic::from))? {
            found if !found.is_undefined() => Ok(found),
            _ => {
                let items = value.len().unwrap_or_default();
                Err(Fault::missing(format!("{owner} has no item {at}: the list has {items} items")))
            }
        }),
    }
}

/// Returns the result of a filter, which may be undefined.
fn filtered(filter: &'static Filter, of: &Tree, arguments: &[Tree], names: &Names<'_>) -> Result<Dynamic, Fault> {
    let value = if filter.takes_missing() { of.find(names)?.unwrap_or_default() } else { of.value(names)? };
    let arguments = arguments.iter().map(|one| one.value(names)).collect::<Result<Vec<_>, _>>()?;
    let tables = names.values.get_attr("tables").unwrap_or_default();
    Ok(filter.call(&tables, &names.fuel, value, &arguments)?)
}

/// Joins two values as texts, as a text with braces does.
fn join(left: &Dynamic, right: &Dynamic) -> Result<Dynamic, Fault> {
    let mut text = String::new();
    for side in [left, right] {
        if side.is_none() {
            return Err(Fault::new("it joins null, which cannot be part of a text")
                .hint("add the filter default(..) where a value may be null"));
        }
        text.push_str(&text_of(side)?);
    }
    if text.len() > OUTPUT_LIMIT { Err(size_fault()) } else { Ok(text.into()) }
}

fn object(members: &[(Tree, Tree)], names: &Names<'_>) -> Result<Dynamic, Fault> {
    let mut found: Vec<(String, Dynamic)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        let name = name.value(names)?;
        let Some(name) = name.as_str() else {
            return Err(Fault::new(format!("the name of a member is a text, not {}", Kinds::of_dynamic(&name))));
        };
        if found.iter().any(|(known, _)| known == name) {
            return Err(Fault::new(format!("the member {name} occurs twice")));
        }
        found.push((name.to_owned(), value.value(names)?));
    }
    Ok(Dynamic::from_pairs(found))
}
