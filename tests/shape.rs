//! Holds the limits of size and shape (ARCHITECTURE.md, "Size and shape") over all code outside
//! tests, and prints the worst of it: `cargo test --test shape -- --nocapture`.
//!
//! A function counts from its signature to its closing brace, a file without its test modules. A
//! function whose length has a reason (a table of data, a column of a scenario) says so with
//! `#[expect(clippy::too_many_lines, reason = "…")]` and is left out.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

mod source;

use std::cmp::Reverse;

use syn::{Attribute, ImplItem, Item, Signature, TraitItem, Visibility, spanned::Spanned, visit};

/// Where our code is.
const FOLDERS: &[&str] = &["src", "adapters", "examples"];

const LONGEST_FUNCTION: usize = 60;
const MOST_ARGUMENTS: usize = 5;
const LONGEST_FILE: usize = 600;
/// The 95th percentile of function lengths.
const LONG_FUNCTION: usize = 30;
const MEDIAN_FUNCTION: usize = 10;
const MEDIAN_FILE: usize = 180;

/// The measures of some files.
#[derive(Debug, Default)]
struct Shape {
    /// Lines of each function, and where it is.
    functions: Vec<(usize, String)>,
    /// Lines of each file, and where it is.
    files: Vec<(usize, String)>,
    /// Functions with too many arguments, and what has no documentation.
    faults: Vec<String>,
}

/// Measures one file.
struct Reader<'a> {
    shape: &'a mut Shape,
    path: String,
    test_lines: usize,
}

fn measure(shape: &mut Shape, path: &str, text: &str) {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut reader = Reader { shape, path: path.to_owned(), test_lines: 0 };
    if !is_documented(&file.attrs) {
        reader.fault(1, "the file does not say what it is");
    }
    visit::visit_file(&mut reader, &file);
    let lines = text.lines().count() - reader.test_lines;
    shape.files.push((lines, path.to_owned()));
}

impl Reader<'_> {
    fn fault(&mut self, line: usize, what: &str) {
        self.shape.faults.push(format!("{}:{line}: {what}", self.path));
    }

    fn function(&mut self, signature: &Signature, attributes: &[Attribute], end: usize) {
        let start = signature.span().start().line;
        if !has(attributes, "expect", "too_many_lines") {
            let place = format!("{}:{start} {}", self.path, signature.ident);
            self.shape.functions.push((end - start + 1, place));
        }
    }

    fn arguments(&mut self, signature: &Signature) {
        if signature.inputs.len() > MOST_ARGUMENTS {
            let what = format!("{} has {} arguments", signature.ident, signature.inputs.len());
            self.fault(signature.span().start().line, &what);
        }
    }

    fn public(&mut self, visibility: &Visibility, attributes: &[Attribute], item: &impl Spanned) {
        if matches!(visibility, Visibility::Public(_)) && !is_documented(attributes) {
            self.fault(item.span().start().line, "is public and has no documentation");
        }
    }
}

impl<'ast> visit::Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if has(attributes_of(item), "cfg", "test") {
            self.test_lines += item.span().end().line - item.span().start().line + 1;
            return;
        }
        match item {
            Item::Const(i) => self.public(&i.vis, &i.attrs, i),
            Item::Enum(i) => self.public(&i.vis, &i.attrs, i),
            Item::Fn(i) => {
                self.public(&i.vis, &i.attrs, &i.sig);
                self.arguments(&i.sig);
                self.function(&i.sig, &i.attrs, i.block.span().end().line);
            }
            Item::Static(i) => self.public(&i.vis, &i.attrs, i),
            Item::Struct(i) => self.public(&i.vis, &i.attrs, i),
            Item::Trait(i) => self.public(&i.vis, &i.attrs, i),
            Item::Type(i) => self.public(&i.vis, &i.attrs, i),
            // A module is documented at the top of its file, an impl by its trait or its methods.
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        for variant in &item.variants {
            self.public(&item.vis, &variant.attrs, variant);
        }
        visit::visit_item_enum(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if field.ident.is_some() {
            self.public(&field.vis, &field.attrs, field);
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        for member in &item.items {
            if let TraitItem::Fn(function) = member {
                self.public(&item.vis, &function.attrs, &function.sig);
                self.arguments(&function.sig);
                self.function(&function.sig, &function.attrs, function.span().end().line);
            }
        }
        visit::visit_item_trait(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        for member in &item.items {
            if let ImplItem::Fn(function) = member {
                if item.trait_.is_none() {
                    self.public(&function.vis, &function.attrs, &function.sig);
                    self.arguments(&function.sig);
                }
                self.function(&function.sig, &function.attrs, function.block.span().end().line);
            }
        }
        visit::visit_item_impl(self, item);
    }
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

/// Whether there is an attribute of this name whose arguments contain `what`.
fn has(attributes: &[Attribute], name: &str, what: &str) -> bool {
    attributes.iter().any(|attribute| {
        let arguments = attribute.meta.require_list().map(|list| list.tokens.to_string());
        attribute.path().is_ident(name) && arguments.unwrap_or_default().contains(what)
    })
}

fn is_documented(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("doc"))
}

/// The length that `share` of all (sorted downwards) do not exceed.
fn at(sorted: &[(usize, String)], share: f64) -> usize {
    let place = (sorted.len().saturating_sub(1)) as f64 * (1.0 - share);
    sorted.get(place.round() as usize).map_or(0, |(lines, _)| *lines)
}

/// Sorts downwards, prints, and returns what is longer than allowed.
fn judge(what: &str, measured: &mut [(usize, String)], limits: [(f64, usize); 3]) -> Vec<String> {
    measured.sort_by_key(|(lines, _)| Reverse(*lines));
    let [median, p95, longest] = limits.map(|(share, limit)| (at(measured, share), limit));
    println!(
        "{} {what}s: median {}, p95 {}, longest {}",
        measured.len(),
        median.0,
        p95.0,
        longest.0
    );
    measured.iter().take(8).for_each(|(lines, place)| println!("  {lines:5}  {place}"));
    let mut faults = Vec::new();
    for (name, (is, limit)) in [("median", median), ("95th percentile", p95)] {
        if is > limit {
            faults.push(format!("{what}s: {name} {is} lines, allowed {limit}"));
        }
    }
    let long = measured.iter().filter(|(lines, _)| *lines > longest.1);
    faults.extend(long.map(|(lines, place)| format!("{place}: {what} of {lines} lines")));
    faults
}

fn faults(mut shape: Shape) -> Vec<String> {
    let functions = [(0.5, MEDIAN_FUNCTION), (0.95, LONG_FUNCTION), (1.0, LONGEST_FUNCTION)];
    let files = [(0.5, MEDIAN_FILE), (0.95, LONGEST_FILE), (1.0, LONGEST_FILE)];
    let mut faults = judge("function", &mut shape.functions, functions);
    faults.extend(judge("file", &mut shape.files, files));
    faults.extend(shape.faults);
    faults
}

#[test]
fn our_code_is_within_the_limits_of_size_and_shape() {
    let mut shape = Shape::default();
    for file in FOLDERS.iter().flat_map(|folder| source::files_under(folder)) {
        measure(&mut shape, file.path.to_str().unwrap(), &file.text);
    }
    let faults = faults(shape);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn found(text: &str) -> Vec<String> {
    let mut shape = Shape::default();
    measure(&mut shape, "a.rs", &format!("//! A.\n{text}"));
    faults(shape)
}

#[test]
fn what_is_too_long_or_takes_too_much_or_says_nothing_is_found() {
    let long = format!("fn f() {{{}}}", "\n".repeat(60));
    let long_file = "\n".repeat(600);
    for (text, count) in [
        (long.as_str(), 3), // too long by itself, for the median and for the percentile
        (long_file.as_str(), 3),
        ("fn f(a: A, b: B, c: C, d: D, e: E, f: F) {}", 1),
        ("pub fn f() {}", 1),
        ("/// T.\npub struct T { pub a: u8, b: u8 }", 1),
        ("/// E.\npub enum E { A, /** B. */ B }", 1),
        ("struct T; impl T { pub fn f(self) {} }", 1),
        ("/// T.\npub trait T { fn f(); }", 1),
    ] {
        assert_eq!(found(text).len(), count, "{text}");
    }
}

#[test]
fn tests_and_reasoned_exceptions_are_left_out() {
    let lines = "\n".repeat(700);
    assert!(found(&format!("#[cfg(test)] mod tests {{ fn f() {{{lines}}} }}")).is_empty());
    let lines = "\n".repeat(70);
    let reason = "#[expect(clippy::too_many_lines, reason = \"a table\")]";
    assert!(found(&format!("{reason} fn f() {{{lines}}}")).is_empty());
    assert!(found("fn private() {} struct T { a: u8 }").is_empty());
}
