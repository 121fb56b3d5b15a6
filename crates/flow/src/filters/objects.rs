//! Filters that make objects of lists, and lists of objects.

use std::collections::HashMap;

use minijinja::{Error, Value};

use crate::{
    filters::{
        call::{FilterCall, MAX_ITEMS, brief, too_many},
        paths::{Path, canonical},
    },
    values::{comparison::type_of, json_kinds::Kinds},
};

pub(super) fn group_by(call: &FilterCall<'_>) -> Result<Value, Error> {
    let path = Path::of(call, 0)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    let mut places = HashMap::new();
    for (index, item) in call.items()?.enumerate() {
        let item = item?;
        let key = match path.at(&item) {
            missing if missing.is_undefined() => Value::from(()),
            key => key,
        };
        if type_of(&key).within(Kinds::LIST.or(Kinds::OBJECT)) {
            let kind = type_of(&key);
            return Err(call.error(format!("item {index} has {kind} at {:?}, which cannot be a key", path.text())));
        }
        let place = *places.entry(canonical(call, &key)?).or_insert(groups.len());
        if place == groups.len() {
            groups.push((key, Vec::new()));
        }
        groups[place].1.push(item);
    }
    let group = |(key, items): (Value, Vec<Value>)| Value::from_pairs([("key", key), ("items", items.into())]);
    Ok(groups.into_iter().map(group).collect::<Vec<_>>().into())
}

pub(super) fn object(call: &FilterCall<'_>) -> Result<Value, Error> {
    let (key, value) = (Path::of(call, 0)?, Path::of(call, 1)?);
    let mut members: Vec<(String, Value)> = Vec::new();
    let mut places = HashMap::new();
    for (index, item) in call.items()?.enumerate() {
        let item = item?;
        let name = key.at(&item);
        let Some(name) = name.as_str().map(str::to_owned) else {
            let found = if name.is_undefined() { "no value".to_owned() } else { type_of(&name).to_string() };
            let what = format!("item {index} has {found} at {:?}, and the name of a member is a text", key.text());
            return Err(call.error(what));
        };
        if let Some(first) = places.insert(name.clone(), index) {
            let what = format!("items {first} and {index} have the same name {:?}", brief(&name));
            return Err(call.error(format!("{what}; leave one of them out with unique('{}')", key.text())));
        }
        let value = value.at(&item);
        if !value.is_undefined() {
            members.push((name, value));
        }
    }
    Ok(Value::from_pairs(members))
}

pub(super) fn keys(call: &FilterCall<'_>) -> Result<Value, Error> {
    Ok(call.list()?.into())
}

pub(super) fn values(call: &FilterCall<'_>) -> Result<Value, Error> {
    let names = call.list()?;
    Ok(names.iter().map(|name| call.value.get_item(name)).collect::<Result<Vec<_>, _>>()?.into())
}

pub(super) fn merge(call: &FilterCall<'_>) -> Result<Value, Error> {
    let mut members: Vec<(String, Value)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for object in [&call.value].into_iter().chain(call.arguments) {
        for name in call.items_of(object)? {
            let name = name?;
            let value = object.get_item(&name)?;
            let name = name.as_str().unwrap_or_default().to_owned();
            match places.get(&name) {
                Some(place) => members[*place].1 = value,
                None => {
                    places.insert(name.clone(), members.len());
                    members.push((name, value));
                }
            }
        }
    }
    if members.len() > MAX_ITEMS { Err(too_many(call.filter)) } else { Ok(Value::from_pairs(members)) }
}
