//! Filters of values of any kind.

use crate::{
    filters::{
        entries::{SCALAR, TEXT, example, needed, optional},
        filter::{Filter, Gives},
        values,
    },
    values::json_kinds::Kinds,
};

pub(super) const CONVERSIONS: &[Filter] = &[
    Filter {
        name: "default",
        about: "The value, or `other` if it is missing or null, or any part of its path.",
        takes: Kinds::ANY,
        arguments: &[needed("other", Kinds::ANY)],
        gives: Gives::Default,
        examples: &[
            example("input.title | default('untitled')", "{}", r#""untitled""#),
            example("input.title | default('untitled')", r#"{ "title": "Boat" }"#, r#""Boat""#),
            example("input.size.unit.name | default('cm')", r#"{ "size": {} }"#, r#""cm""#),
        ],
        apply: values::default,
    },
    Filter {
        name: "int",
        about: "A number without its fraction, or a text, true or false as a whole number. A text with a fraction is \
                refused.",
        takes: SCALAR,
        arguments: &[],
        gives: Gives::Kinds(Kinds::INTEGER),
        examples: &[
            example("input.width | int", r#"{ "width": "640" }"#, "640"),
            example("input.width | int * 2", r#"{ "width": 12.9 }"#, "24"),
        ],
        apply: values::int,
    },
    Filter {
        name: "json",
        about: "The value as JSON text.",
        takes: Kinds::ANY,
        arguments: &[],
        gives: Gives::Kinds(TEXT),
        examples: &[example("input.size | json", r#"{ "size": { "w": 2 } }"#, r#""{\"w\":2}""#)],
        apply: values::json,
    },
    Filter {
        name: "json_pointer",
        about: "The value at a JSON pointer (RFC 6901), or missing if there is none.",
        takes: Kinds::OBJECT.or(Kinds::LIST),
        arguments: &[needed("pointer", TEXT)],
        gives: Gives::Pointer,
        examples: &[
            example("input | json_pointer('/files/0/a~1b')", r#"{ "files": [{ "a/b": 1 }] }"#, "1"),
            example("input | json_pointer('/files/3') | default('none')", r#"{ "files": [] }"#, r#""none""#),
        ],
        apply: values::json_pointer,
    },
    Filter {
        name: "lookup",
        about: "The entry for the value in a table of the flow (`tables`), or `other` if the table has none.",
        takes: SCALAR,
        arguments: &[needed("table", TEXT), optional("other", Kinds::ANY)],
        gives: Gives::Lookup,
        examples: &[
            example("input.colour | lookup('colours')", r#"{ "colour": "rot" }"#, r#""red""#),
            example("input.colour | lookup('colours', 'other')", r#"{ "colour": "lila" }"#, r#""other""#),
        ],
        apply: values::lookup,
    },
    Filter {
        name: "number",
        about: "A text as a number, written as in JSON (RFC 8259): -12, 3.5, 1e3. A number stays as it is.",
        takes: TEXT.or(Kinds::NUMBER),
        arguments: &[],
        gives: Gives::Kinds(Kinds::NUMBER),
        examples: &[
            example("input.price | number", r#"{ "price": "12.50" }"#, "12.5"),
            example("input.size | number > 1000", r#"{ "size": "5000" }"#, "true"),
        ],
        apply: values::number,
    },
    Filter {
        name: "string",
        about: "The value as text: a text as it is, anything else as JSON. Null is refused, as in a text with braces.",
        takes: SCALAR.or(Kinds::LIST).or(Kinds::OBJECT),
        arguments: &[],
        gives: Gives::Kinds(TEXT),
        examples: &[example("input.id | string", r#"{ "id": 7 }"#, r#""7""#)],
        apply: values::string,
    },
];
