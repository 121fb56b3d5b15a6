//! Filters of numbers, and of lists of them.

use crate::{
    filters::{
        entries::{TEXT, example, needed, optional},
        filter::{Filter, Gives},
        totals, units,
    },
    values::json_kinds::Kinds,
};

pub(super) const NUMBERS: &[Filter] = &[
    Filter {
        name: "avg",
        about: "The arithmetic mean of the numbers in a list, or of the numbers at a path in its items. Missing if there are none.",
        takes: Kinds::LIST,
        arguments: &[optional("path", TEXT)],
        gives: Gives::Kinds(Kinds::NUMBER),
        examples: &[
            example("input.sizes | avg", r#"{ "sizes": [1, 2, 6] }"#, "3"),
            example("input.sizes | avg | default(0)", r#"{ "sizes": [] }"#, "0"),
        ],
        apply: totals::avg,
    },
    Filter {
        name: "max",
        about: "The greatest of the numbers or texts in a list, or at a path in its items. Missing if there are none.",
        takes: Kinds::LIST,
        arguments: &[optional("path", TEXT)],
        gives: Gives::Least,
        examples: &[
            example("input.sizes | max", r#"{ "sizes": [3, 1, 2] }"#, "3"),
            example("input.sizes | max | default(0)", r#"{ "sizes": [] }"#, "0"),
        ],
        apply: totals::max,
    },
    Filter {
        name: "min",
        about: "The least of the numbers or texts in a list, or at a path in its items. Missing if there are none.",
        takes: Kinds::LIST,
        arguments: &[optional("path", TEXT)],
        gives: Gives::Least,
        examples: &[
            example("input.sizes | min", r#"{ "sizes": [3, 1, 2] }"#, "1"),
            example(
                "input.files | min('at')",
                r#"{ "files": [{ "at": "2024-05" }, { "at": "2023-01" }] }"#,
                r#""2023-01""#,
            ),
        ],
        apply: totals::min,
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
        name: "sum",
        about: "The sum of the numbers in a list, or of the numbers at a path in its items. The sum of no items is 0.",
        takes: Kinds::LIST,
        arguments: &[optional("path", TEXT)],
        gives: Gives::Kinds(Kinds::NUMBER),
        examples: &[
            example("input.prices | sum", r#"{ "prices": [0.1, 0.2, 5] }"#, "5.3"),
            example("input.files | sum('size')", r#"{ "files": [{ "size": 5 }, { "size": 7 }] }"#, "12"),
        ],
        apply: totals::sum,
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
];
