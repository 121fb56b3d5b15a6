//! Filters of lists.

use crate::{
    filters::{
        entries::{TEXT, example, many, needed, optional},
        filter::{Filter, Gives},
        lists, values,
    },
    values::json_kinds::Kinds,
};

pub(super) const LISTS: &[Filter] = &[
    Filter {
        name: "contains",
        about: "Whether a list has an equal item, a text has this part, or an object has a member of this name. It follows the rules of `in`.",
        takes: Kinds::LIST.or(TEXT).or(Kinds::OBJECT),
        arguments: &[needed("value", Kinds::ANY)],
        gives: Gives::Kinds(Kinds::BOOLEAN),
        examples: &[
            example("input.tags | contains('sea')", r#"{ "tags": ["sea", "sky"] }"#, "true"),
            example("input.name | contains('oat')", r#"{ "name": "boat" }"#, "true"),
            example("input | contains('size')", r#"{ "name": "boat" }"#, "false"),
        ],
        apply: lists::contains,
    },
    Filter {
        name: "find",
        about: "The first item of a list that `where` would keep, or missing if there is none.",
        takes: Kinds::LIST,
        arguments: &[needed("path", TEXT), optional("relation", Kinds::ANY), needed("value", Kinds::ANY)],
        gives: Gives::Item,
        examples: &[
            example(
                "(input.attributes | find('name', 'Copyright')).value",
                r#"{ "attributes": [{ "name": "Copyright", "value": "ACME" }] }"#,
                r#""ACME""#,
            ),
            example("(input.all | find('id', 3)).name | default('none')", r#"{ "all": [] }"#, r#""none""#),
        ],
        apply: lists::find,
    },
    Filter {
        name: "first",
        about: "The first item of a list, or the first character of a text.",
        takes: Kinds::LIST.or(TEXT),
        arguments: &[],
        gives: Gives::Item,
        examples: &[example("input.tags | first", r#"{ "tags": ["sea", "sky"] }"#, r#""sea""#)],
        apply: values::first,
    },
    Filter {
        name: "flatten",
        about: "The items of the lists in a list, one level deep. Items that are not lists stay.",
        takes: Kinds::LIST,
        arguments: &[],
        gives: Gives::Flat,
        examples: &[example("input.pages | flatten", r#"{ "pages": [[1, 2], [3], 4] }"#, "[1, 2, 3, 4]")],
        apply: lists::flatten,
    },
    Filter {
        name: "last",
        about: "The last item of a list, or the last character of a text.",
        takes: Kinds::LIST.or(TEXT),
        arguments: &[],
        gives: Gives::Item,
        examples: &[example("input.tags | last", r#"{ "tags": ["sea", "sky"] }"#, r#""sky""#)],
        apply: values::last,
    },
    Filter {
        name: "length",
        about: "The number of characters of a text, items of a list, or members of an object.",
        takes: TEXT.or(Kinds::LIST).or(Kinds::OBJECT),
        arguments: &[],
        gives: Gives::Kinds(Kinds::INTEGER),
        examples: &[example("input.tags | length", r#"{ "tags": ["sea", "sky"] }"#, "2")],
        apply: values::length,
    },
    Filter {
        name: "map",
        about: "The value at a path, such as file.fileName or files.0.name, in each item of a list. Items without it are \
                left out.",
        takes: Kinds::LIST,
        arguments: &[needed("path", TEXT)],
        gives: Gives::Map,
        examples: &[example(
            "input.files | map('file.name')",
            r#"{ "files": [{ "file": { "name": "a" } }, {}, { "file": { "name": "b" } }] }"#,
            r#"["a", "b"]"#,
        )],
        apply: values::map,
    },
    Filter {
        name: "slice",
        about: "The items of a list, or the characters of a text, from one position to before another one. The first is 0; negative positions count from the end.",
        takes: Kinds::LIST.or(TEXT),
        arguments: &[needed("from", Kinds::INTEGER), optional("to", Kinds::INTEGER)],
        gives: Gives::Same,
        examples: &[
            example("input.tags | slice(1, 3)", r#"{ "tags": ["a", "b", "c", "d"] }"#, r#"["b", "c"]"#),
            example("input.name | slice(-3)", r#"{ "name": "boat.jpg" }"#, r#""jpg""#),
        ],
        apply: lists::slice,
    },
    Filter {
        name: "sort",
        about: "A list in ascending order, of its items or of their values at a path; with the direction 'desc' in descending order. All of them must be numbers, or all texts. Items with equal values keep their order.",
        takes: Kinds::LIST,
        arguments: &[optional("path", TEXT), optional("direction", TEXT)],
        gives: Gives::Same,
        examples: &[
            example("input.sizes | sort", r#"{ "sizes": [3, 1, 2] }"#, "[1, 2, 3]"),
            example(
                "input.files | sort('size', 'desc') | map('name')",
                r#"{ "files": [{ "name": "a", "size": 1 }, { "name": "b", "size": 2 }] }"#,
                r#"["b", "a"]"#,
            ),
            example("input.tags | sort('', 'desc')", r#"{ "tags": ["a", "b"] }"#, r#"["b", "a"]"#),
        ],
        apply: lists::sort,
    },
    Filter {
        name: "unique",
        about: "A list without the items that occurred before, or whose value at a path did. 1 and 1.0 are the same value, 1 and '1' are not.",
        takes: Kinds::LIST,
        arguments: &[optional("path", TEXT)],
        gives: Gives::Same,
        examples: &[
            example("input.tags | unique", r#"{ "tags": ["sea", "sky", "sea"] }"#, r#"["sea", "sky"]"#),
            example(
                "input.files | unique('id') | length",
                r#"{ "files": [{ "id": 1 }, { "id": 1 }, { "id": 2 }] }"#,
                "2",
            ),
        ],
        apply: lists::unique,
    },
    Filter {
        name: "where",
        about: "The items of a list whose value at a path, such as file.size, is `value`. With a relation (==, !=, <, <=, >, >= or in) before the value: the items for which it holds. An item without the path counts as null there.",
        takes: Kinds::LIST,
        arguments: &[needed("path", TEXT), optional("relation", Kinds::ANY), needed("value", Kinds::ANY)],
        gives: Gives::Same,
        examples: &[
            example(
                "input.files | where('type', 'tif')",
                r#"{ "files": [{ "type": "tif", "n": 1 }, { "type": "jpg", "n": 2 }] }"#,
                r#"[{ "type": "tif", "n": 1 }]"#,
            ),
            example(
                "input.files | where('size', '>', 10) | map('n')",
                r#"{ "files": [{ "size": 5, "n": 1 }, { "size": 50, "n": 2 }] }"#,
                "[2]",
            ),
            example("input.files | where('tag', '!=', none) | length", r#"{ "files": [{ "tag": "a" }, {}] }"#, "1"),
        ],
        apply: lists::where_,
    },
    Filter {
        name: "zip",
        about: "The items of two or more lists side by side: a list of lists with one item of each. The lists must be equally long.",
        takes: Kinds::LIST,
        arguments: &[many("list", Kinds::LIST)],
        gives: Gives::Tuples,
        examples: &[example(
            "input.names | zip(input.ids)",
            r#"{ "names": ["a", "b"], "ids": [1, 2] }"#,
            r#"[["a", 1], ["b", 2]]"#,
        )],
        apply: lists::zip,
    },
];
