//! The table of the filters.

use crate::{
    filters::{
        dates,
        filter::{Argument, Example, Filter, Gives},
        texts, units, values,
    },
    values::json_kinds::Kinds,
};

const TEXT: Kinds = Kinds::TEXT;
const SCALAR: Kinds = Kinds::TEXT.or(Kinds::NUMBER).or(Kinds::BOOLEAN);

const fn needed(name: &'static str, kinds: Kinds) -> Argument {
    Argument { name, optional: false, many: false, kinds }
}

const fn optional(name: &'static str, kinds: Kinds) -> Argument {
    Argument { name, optional: true, many: false, kinds }
}

const fn many(name: &'static str, kinds: Kinds) -> Argument {
    Argument { name, optional: false, many: true, kinds }
}

const fn example(expression: &'static str, input: &'static str, yields: &'static str) -> Example {
    Example { expression, input, yields }
}

/// All filters, ordered by name.
pub const FILTERS: &[Filter] = &[
    Filter {
        name: "date",
        about: "A date or time in another form. It is read from a text such as 2024-05-01T12:00:00Z or Wed, 01 May \
                2024 12:00:00 GMT, from seconds (numbers below 10^11) or milliseconds (all others) since 1970, or from a \
                text or digits of the form `from`. Forms are those of strftime; `zone` is an IANA name. A time without \
                a zone or offset is in `zone`, or else in UTC.",
        takes: TEXT.or(Kinds::INTEGER),
        arguments: &[needed("format", TEXT), optional("zone", TEXT), optional("from", TEXT)],
        gives: Gives::Kinds(TEXT),
        examples: &[
            example("input.at | date('%Y-%m-%d')", r#"{ "at": "2024-05-01T22:30:00Z" }"#, r#""2024-05-01""#),
            example(
                "input.at | date('%d.%m.%Y %H:%M', 'Europe/Stockholm')",
                r#"{ "at": "2024-05-01T22:30:00Z" }"#,
                r#""02.05.2024 00:30""#,
            ),
            example("input.at | date('%Y-%m-%dT%H:%M:%SZ')", r#"{ "at": 1714602600 }"#, r#""2024-05-01T22:30:00Z""#),
            example("input.at | date('%F', 'UTC', '%m/%d/%Y')", r#"{ "at": "05/31/2024" }"#, r#""2024-05-31""#),
        ],
        apply: dates::date,
    },
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
        name: "first",
        about: "The first item of a list, or the first character of a text.",
        takes: Kinds::LIST.or(TEXT),
        arguments: &[],
        gives: Gives::Item,
        examples: &[example("input.tags | first", r#"{ "tags": ["sea", "sky"] }"#, r#""sea""#)],
        apply: values::first,
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
        name: "join",
        about: "The items of a list as one text, with the separator between them. Null is left out.",
        takes: Kinds::LIST,
        arguments: &[optional("separator", TEXT)],
        gives: Gives::Kinds(TEXT),
        examples: &[example("input.tags | join(', ')", r#"{ "tags": ["sea", null, 7] }"#, r#""sea, 7""#)],
        apply: texts::join,
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
        name: "lower",
        about: "The text in lower case.",
        takes: TEXT,
        arguments: &[],
        gives: Gives::Kinds(TEXT),
        examples: &[example("input.name | lower", r#"{ "name": "ÅÄÖ.JPG" }"#, r#""åäö.jpg""#)],
        apply: texts::lower,
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
        name: "mime",
        about: "The media type for the extension of a file name, or application/octet-stream if it is not known.",
        takes: TEXT,
        arguments: &[],
        gives: Gives::Kinds(TEXT),
        examples: &[
            example("input.name | mime", r#"{ "name": "Boat.JPG" }"#, r#""image/jpeg""#),
            example("'notes' | mime", "{}", r#""application/octet-stream""#),
        ],
        apply: texts::mime,
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
        name: "omit",
        about: "An object, or each object of a list, without the listed members.",
        takes: Kinds::OBJECT.or(Kinds::LIST),
        arguments: &[many("member", TEXT)],
        gives: Gives::Omit,
        examples: &[example("input | omit('id', 'at')", r#"{ "id": 1, "at": 2, "name": "a" }"#, r#"{ "name": "a" }"#)],
        apply: values::omit,
    },
    Filter {
        name: "path",
        about: "The parts of a path of categories or folders, divided at / and \\; with an argument, one of the parts: 0 is \
                the first, -1 the last.",
        takes: TEXT,
        arguments: &[optional("part", Kinds::INTEGER)],
        gives: Gives::Path,
        examples: &[
            example(
                "input.category | path",
                r#"{ "category": "/Products/2024/Shoes" }"#,
                r#"["Products", "2024", "Shoes"]"#,
            ),
            example("input.category | path(-1)", r#"{ "category": "/Products/2024/Shoes" }"#, r#""Shoes""#),
        ],
        apply: texts::path,
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
        name: "round",
        about: "The number rounded to `digits` digits after the decimal point, 0 if not given. A half is rounded away \
                from zero.",
        takes: Kinds::NUMBER,
        arguments: &[optional("digits", Kinds::INTEGER)],
        gives: Gives::Kinds(Kinds::NUMBER),
        examples: &[
            example("input.size | round(1)", r#"{ "size": 3.14159 }"#, "3.1"),
            example("2.5 | round", "{}", "3"),
            example("1.005 | round(2)", "{}", "1.01"),
        ],
        apply: units::round,
    },
    Filter {
        name: "slug",
        about: "The text in lower-case Latin letters, digits and dashes, for file names and URLs.",
        takes: TEXT,
        arguments: &[],
        gives: Gives::Kinds(TEXT),
        examples: &[example("input.title | slug", r#"{ "title": "Sjö & Båt: 50 %" }"#, r#""sjo-bat-50""#)],
        apply: texts::slug,
    },
    Filter {
        name: "split",
        about: "The parts of a text between the separators.",
        takes: TEXT,
        arguments: &[needed("separator", TEXT)],
        gives: Gives::Texts,
        examples: &[example("input.tags | split(';')", r#"{ "tags": "sea;sky" }"#, r#"["sea", "sky"]"#)],
        apply: texts::split,
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
    Filter {
        name: "trim",
        about: "The text without white space at its beginning and end.",
        takes: TEXT,
        arguments: &[],
        gives: Gives::Kinds(TEXT),
        examples: &[example("input.title | trim", r#"{ "title": "  Boat " }"#, r#""Boat""#)],
        apply: texts::trim,
    },
    Filter {
        name: "unit",
        about: "A number in another unit. Lengths: mm, cm, dm, m, km, pt, in, ft, yd, mi. Masses: mg, g, kg, t, oz, lb. \
                Areas: mm2, cm2, m2, ha, km2, in2, ft2, acre. Volumes: ml, cl, dl, l, cm3, m3, floz, gal (US). \
                Temperatures: C, F, K. Data: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB. Resolution: dpi, ppi, dpcm, dpmm. \
                The result has fifteen significant digits.",
        takes: Kinds::NUMBER,
        arguments: &[needed("from", TEXT), needed("to", TEXT)],
        gives: Gives::Kinds(Kinds::NUMBER),
        examples: &[
            example("input.width | unit('in', 'cm')", r#"{ "width": 10 }"#, "25.4"),
            example("input.size | unit('B', 'MiB') | round(1)", r#"{ "size": 5000000 }"#, "4.8"),
            example("300 | unit('dpi', 'dpcm') | round", "{}", "118"),
            example("100 | unit('C', 'F')", "{}", "212"),
        ],
        apply: units::unit,
    },
    Filter {
        name: "upper",
        about: "The text in upper case.",
        takes: TEXT,
        arguments: &[],
        gives: Gives::Kinds(TEXT),
        examples: &[example("input.name | upper", r#"{ "name": "åäö" }"#, r#""ÅÄÖ""#)],
        apply: texts::upper,
    },
];
