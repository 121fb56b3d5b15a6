//! Filters of objects, and of lists of them.

use crate::{
    filters::{
        entries::{TEXT, example, many, needed},
        filter::{Filter, Gives},
        objects, values,
    },
    values::json_kinds::Kinds,
};

pub(super) const OBJECTS: &[Filter] = &[
    Filter {
        name: "group_by",
        about: "The items of a list in groups with the same value at a path: a list of objects with the value as `key` and the `items`, in the order of the first item of each. An item without the path has the key null.",
        takes: Kinds::LIST,
        arguments: &[needed("path", TEXT)],
        gives: Gives::Groups,
        examples: &[example(
            "input.files | group_by('type')",
            r#"{ "files": [{ "type": "tif", "n": 1 }, { "type": "jpg", "n": 2 }, { "type": "tif", "n": 3 }] }"#,
            r#"[{ "key": "tif", "items": [{ "type": "tif", "n": 1 }, { "type": "tif", "n": 3 }] },
                    { "key": "jpg", "items": [{ "type": "jpg", "n": 2 }] }]"#,
        )],
        apply: objects::group_by,
    },
    Filter {
        name: "keys",
        about: "The names of the members of an object.",
        takes: Kinds::OBJECT,
        arguments: &[],
        gives: Gives::Texts,
        examples: &[example(
            "input.sizes | keys",
            r#"{ "sizes": { "small": 1, "large": 9 } }"#,
            r#"["small", "large"]"#,
        )],
        apply: objects::keys,
    },
    Filter {
        name: "locale",
        about: "Picks from an object with one value for each language: the value of the first listed language that it \
                has. A region falls back to its language (sv-SE to sv) before the next one is tried. Case and the \
                difference between - and _ are ignored. Missing if it has none of them.",
        takes: Kinds::OBJECT,
        arguments: &[many("language", TEXT)],
        gives: Gives::Member,
        examples: &[
            example("input.title | locale('sv-SE', 'en')", r#"{ "title": { "en": "Boat", "sv": "Båt" } }"#, r#""Båt""#),
            example(
                "input.title | locale('sv', 'en')",
                r#"{ "title": { "en_GB": "Boat", "en": "Ship" } }"#,
                r#""Ship""#,
            ),
            example("input.title | locale('sv') | default('')", r#"{ "title": {} }"#, r#""""#),
        ],
        apply: values::locale,
    },
    Filter {
        name: "merge",
        about: "An object with the members of all the objects. A member that occurs in several has the value of the last one; members of members are not merged.",
        takes: Kinds::OBJECT,
        arguments: &[many("object", Kinds::OBJECT)],
        gives: Gives::Merged,
        examples: &[example(
            "input | merge({'state': 'new'})",
            r#"{ "name": "a", "state": "old" }"#,
            r#"{ "name": "a", "state": "new" }"#,
        )],
        apply: objects::merge,
    },
    Filter {
        name: "object",
        about: "An object with a member for each item of a list: its name and its value are at these paths in the item. A name is a text and occurs once.",
        takes: Kinds::LIST,
        arguments: &[needed("key", TEXT), needed("value", TEXT)],
        gives: Gives::Entries,
        examples: &[example(
            "input.attributes | object('name', 'value')",
            r#"{ "attributes": [{ "name": "Author", "value": "Eva" }, { "name": "Year", "value": 2024 }] }"#,
            r#"{ "Author": "Eva", "Year": 2024 }"#,
        )],
        apply: objects::object,
    },
    Filter {
        name: "omit",
        about: "An object, or each object of a list, without the listed members.",
        takes: Kinds::OBJECT.or(Kinds::LIST),
        arguments: &[many("member", TEXT)],
        gives: Gives::Omit,
        examples: &[example("input | omit('id', 'at')", r#"{ "id": 1, "at": 2, "name": "a" }"#, r#"{ "name": "a" }"#)],
        apply: values::omit,
    },
    Filter {
        name: "pick",
        about: "An object, or each object of a list, with only the listed members.",
        takes: Kinds::OBJECT.or(Kinds::LIST),
        arguments: &[many("member", TEXT)],
        gives: Gives::Pick,
        examples: &[
            example("input | pick('name', 'alt')", r#"{ "id": 1, "name": "a" }"#, r#"{ "name": "a" }"#),
            example("input.all | pick('id')", r#"{ "all": [{ "id": 1, "x": 2 }] }"#, r#"[{ "id": 1 }]"#),
        ],
        apply: values::pick,
    },
    Filter {
        name: "values",
        about: "The values of the members of an object.",
        takes: Kinds::OBJECT,
        arguments: &[],
        gives: Gives::Members,
        examples: &[example("input.sizes | values", r#"{ "sizes": { "small": 1, "large": 9 } }"#, "[1, 9]")],
        apply: objects::values,
    },
];
