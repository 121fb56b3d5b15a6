//! Reads which source file of a crate imports which, for the rules of `circles`.
//!
//! The idea: the sources are parsed and every path is resolved as the compiler does it: through `crate`, `self`,
//! `super`, child modules and re-exports, to the file that defines the name. A file that only declares modules and
//! re-exports names is transparent: it imports nothing, and nothing is imported from it. Code under `#[cfg(test)]` is
//! left out.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::{
    Attribute, Fields, Item, Meta, Token, UseTree,
    punctuated::Punctuated,
    visit::{self, Visit},
};

/// The sources of a crate by their path below `src`, with `/` between folders.
pub(super) type Sources = BTreeMap<String, String>;

/// The files of a crate that have code, and what they import from each other.
#[derive(Debug)]
pub(super) struct Imports {
    pub(super) files: Vec<String>,
    /// The line of the first import, by the importing file and the imported file (both are places in `files`).
    pub(super) edges: BTreeMap<(usize, usize), usize>,
}

/// The most re-exports between a name and its definition. Two modules may re-export each other without an end.
const LONGEST_CHAIN: usize = 16;

struct Import {
    /// The name in the importing module; `None` for `*`.
    name: Option<String>,
    path: Vec<String>,
    line: usize,
    is_public: bool,
}

/// A module: a file or a module in braces.
struct Module {
    file: usize,
    path: Vec<String>,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths of two or more names in its code.
    paths: Vec<(Vec<String>, usize)>,
    /// Every name in its code.
    words: BTreeSet<String>,
}

enum Target {
    Module(usize),
    /// An item that this file defines.
    Item(usize),
}

struct Reader<'a> {
    sources: &'a Sources,
    files: Vec<String>,
    has_code: Vec<bool>,
    modules: Vec<Module>,
    /// The module that is being read.
    at: usize,
    /// How many items are open: in the body of a function a name is not an item of the module.
    depth: usize,
}

/// Returns the imports of a crate; `root` is `lib.rs` or `main.rs`.
pub(super) fn imports(sources: &Sources, root: &str) -> Imports {
    let (files, has_code, modules) = (Vec::new(), Vec::new(), Vec::new());
    let mut reader = Reader { sources, files, has_code, modules, at: 0, depth: 0 };
    reader.file(root, Vec::new(), None);
    let mut edges = BTreeMap::new();
    for (at, module) in reader.modules.iter().enumerate() {
        for (target, line) in reader.targets(at) {
            if target != module.file && reader.has_code[module.file] && reader.has_code[target] {
                let first = edges.entry((module.file, target)).or_insert(line);
                *first = line.min(*first);
            }
        }
    }
    Imports { files: reader.files, edges }
}

/// Returns whether code exists in tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    let of_test = |attribute: &Attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg") && attribute.parse_args().is_ok_and(|meta| needs_test(&meta)))
    };
    attributes.iter().any(of_test)
}

fn needs_test(meta: &Meta) -> bool {
    let parts = |list: &syn::MetaList| list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    match meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => parts(list).is_ok_and(|all| all.iter().any(needs_test)),
        Meta::List(list) if list.path.is_ident("any") => parts(list).is_ok_and(|all| all.iter().all(needs_test)),
        _ => false,
    }
}

/// Returns the attributes and the name of an item.
fn head(item: &Item) -> (&[Attribute], Option<&Ident>) {
    match item {
        Item::Const(one) => (&one.attrs, Some(&one.ident)),
        Item::Enum(one) => (&one.attrs, Some(&one.ident)),
        Item::ExternCrate(one) => (&one.attrs, None),
        Item::Fn(one) => (&one.attrs, Some(&one.sig.ident)),
        Item::ForeignMod(one) => (&one.attrs, None),
        Item::Impl(one) => (&one.attrs, None),
        Item::Macro(one) => (&one.attrs, one.ident.as_ref()),
        Item::Mod(one) => (&one.attrs, Some(&one.ident)),
        Item::Static(one) => (&one.attrs, Some(&one.ident)),
        Item::Struct(one) => (&one.attrs, Some(&one.ident)),
        Item::Trait(one) => (&one.attrs, Some(&one.ident)),
        Item::TraitAlias(one) => (&one.attrs, Some(&one.ident)),
        Item::Type(one) => (&one.attrs, Some(&one.ident)),
        Item::Union(one) => (&one.attrs, Some(&one.ident)),
        Item::Use(one) => (&one.attrs, None),
        _ => (&[], None),
    }
}

/// Collects each name of a `use` tree with its full path.
fn flatten(tree: &UseTree, path: &mut Vec<String>, is_public: bool, found: &mut Vec<Import>) {
    let mut add = |name: Option<&Ident>, last: Option<&Ident>, line| {
        let path: Vec<_> = path.iter().cloned().chain(last.filter(|last| *last != "self").map(word)).collect();
        let name = name.map(|name| if name == "self" { path.last().cloned().unwrap_or_default() } else { word(name) });
        found.push(Import { name, path, line, is_public });
    };
    match tree {
        UseTree::Name(one) => add(Some(&one.ident), Some(&one.ident), line(&one.ident)),
        UseTree::Rename(one) => add(Some(&one.rename), Some(&one.ident), line(&one.ident)),
        UseTree::Glob(one) => add(None, None, one.star_token.span.start().line),
        UseTree::Path(one) => {
            path.push(word(&one.ident));
            flatten(&one.tree, path, is_public, found);
            path.pop();
        }
        UseTree::Group(one) => one.items.iter().for_each(|tree| flatten(tree, path, is_public, found)),
    }
}

fn word(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

fn line(ident: &Ident) -> usize {
    ident.span().start().line
}

impl Reader<'_> {
    /// Reads a file and the modules below it. Returns the place of its module.
    fn file(&mut self, file: &str, path: Vec<String>, parent: Option<usize>) -> Option<usize> {
        let parsed = syn::parse_file(&self.sources[file]).unwrap_or_else(|fault| panic!("{file}: {fault}"));
        if is_test(&parsed.attrs) {
            return None;
        }
        self.files.push(file.to_owned());
        self.has_code.push(false);
        Some(self.module(self.files.len() - 1, path, parent, &parsed.items))
    }

    fn module(&mut self, file: usize, path: Vec<String>, parent: Option<usize>, items: &[Item]) -> usize {
        let outer = (self.at, self.depth);
        let at = self.modules.len();
        self.modules.push(Module {
            file,
            path,
            parent,
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            imports: Vec::new(),
            paths: Vec::new(),
            words: BTreeSet::new(),
        });
        (self.at, self.depth) = (at, 0);
        items.iter().for_each(|item| self.visit_item(item));
        (self.at, self.depth) = outer;
        at
    }

    /// Reads a module below the current one.
    fn child(&mut self, module: &syn::ItemMod) {
        let mut path = self.modules[self.at].path.clone();
        path.push(word(&module.ident));
        let child = if let Some((_, items)) = &module.content {
            Some(self.module(self.modules[self.at].file, path, Some(self.at), items))
        } else {
            let stem = path.join("/");
            let file = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
            let file = file.into_iter().find(|file| self.sources.contains_key(file));
            self.file(&file.unwrap_or_else(|| panic!("there is no file of the module {stem}")), path, Some(self.at))
        };
        if let Some(child) = child {
            self.modules[self.at].children.insert(word(&module.ident), child);
        }
    }

    /// Finds what a name of a module means. The last name of a path is an item rather than a module of the same name.
    fn lookup(&self, module: usize, name: &str, is_last: bool, chain: usize) -> Option<Target> {
        let it = &self.modules[module];
        let child = it.children.get(name).map(|child| Target::Module(*child));
        let item = it.items.contains(name).then_some(Target::Item(it.file));
        let imported = || {
            let named = it.imports.iter().filter(|import| import.name.as_deref() == Some(name));
            named.filter_map(|import| self.resolve(module, &import.path, chain + 1)).next()
        };
        let among_all = || {
            let all = it.imports.iter().filter(|import| import.name.is_none());
            all.filter_map(|import| match self.resolve(module, &import.path, chain + 1)? {
                Target::Module(other) if other != module => self.lookup(other, name, is_last, chain + 1),
                _ => None,
            })
            .next()
        };
        let (first, second) = if is_last { (item, child) } else { (child, item) };
        if is_last { first.or_else(imported).or(second) } else { first.or(second).or_else(imported) }.or_else(among_all)
    }

    /// Follows a path from a module to what it names. Paths into other crates lead to nothing.
    fn resolve(&self, module: usize, path: &[String], chain: usize) -> Option<Target> {
        if chain > LONGEST_CHAIN {
            return None;
        }
        let mut at = module;
        for (place, name) in path.iter().enumerate() {
            at = match name.as_str() {
                "crate" => 0,
                "self" => at,
                "super" => self.modules[at].parent?,
                name => match self.lookup(at, name, place + 1 == path.len(), chain)? {
                    Target::Module(next) => next,
                    item @ Target::Item(_) => return Some(item),
                },
            };
        }
        Some(Target::Module(at))
    }

    /// Returns the files that a module imports from, with the line of each import.
    fn targets(&self, module: usize) -> Vec<(usize, usize)> {
        let it = &self.modules[module];
        let file = |target| match target {
            Target::Module(other) => self.modules[other].file,
            Target::Item(file) => file,
        };
        let mut found = Vec::new();
        for import in &it.imports {
            // A re-export is an import only if the module's own code uses the name.
            let is_used = import.name.as_ref().is_some_and(|name| it.words.contains(name));
            match (&import.name, self.resolve(module, &import.path, 0)) {
                (_, None) => {}
                (None, Some(Target::Module(other))) => {
                    let named = it.words.iter().filter_map(|name| self.lookup(other, name, true, 0));
                    found.extend(named.map(|target| (file(target), import.line)));
                }
                (_, Some(target)) if is_used || !import.is_public => found.push((file(target), import.line)),
                _ => {}
            }
        }
        let paths = it.paths.iter().filter_map(|(path, line)| Some((file(self.resolve(module, path, 0)?), *line)));
        found.extend(paths);
        found
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = head(item);
        if is_test(attributes) {
            return;
        }
        match item {
            Item::Mod(module) => self.child(module),
            Item::Use(one) => {
                let is_public = !matches!(one.vis, syn::Visibility::Inherited);
                flatten(&one.tree, &mut Vec::new(), is_public, &mut self.modules[self.at].imports);
            }
            Item::ExternCrate(_) => {}
            _ => {
                let module = &mut self.modules[self.at];
                self.has_code[module.file] = true;
                if self.depth == 0 {
                    module.items.extend(name.map(word));
                }
                self.depth += 1;
                visit::visit_item(self, item);
                self.depth -= 1;
            }
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let is_test = match item {
            syn::ImplItem::Const(one) => is_test(&one.attrs),
            syn::ImplItem::Fn(one) => is_test(&one.attrs),
            syn::ImplItem::Type(one) => is_test(&one.attrs),
            _ => false,
        };
        if !is_test {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        if !matches!(item, syn::TraitItem::Fn(one) if is_test(&one.attrs)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_test(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_fields(&mut self, fields: &'ast Fields) {
        fields.iter().filter(|field| !is_test(&field.attrs)).for_each(|field| self.visit_field(field));
    }

    /// `pub(crate)` and `pub(super)` are not imports.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_ident(&mut self, ident: &'ast Ident) {
        self.modules[self.at].words.insert(word(ident));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let names = path.segments.iter().map(|segment| word(&segment.ident)).collect();
            self.modules[self.at].paths.push((names, line(&path.segments[0].ident)));
        }
        visit::visit_path(self, path);
    }

    /// The arguments of a macro are not parsed: paths in them are found by their colons.
    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        let mut open: Vec<(String, usize)> = Vec::new();
        let mut colons = 0;
        for token in tokens.clone() {
            match token {
                TokenTree::Punct(mark) if mark.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_of_path(&mut open);
                    }
                    self.visit_ident(&ident);
                    open.push((word(&ident), line(&ident)));
                }
                TokenTree::Group(group) => {
                    self.end_of_path(&mut open);
                    self.visit_token_stream(&group.stream());
                }
                _ => self.end_of_path(&mut open),
            }
            colons = 0;
        }
        self.end_of_path(&mut open);
    }
}

impl Reader<'_> {
    fn end_of_path(&mut self, open: &mut Vec<(String, usize)>) {
        let line = open.first().map_or(0, |first| first.1);
        let names: Vec<_> = open.drain(..).map(|(name, _)| name).collect();
        if names.len() > 1 {
            self.modules[self.at].paths.push((names, line));
        }
    }
}
