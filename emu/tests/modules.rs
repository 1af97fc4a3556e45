//! The order of the modules of `emu`: one uses only those to its left. Within `exec`, files use one another in one direction.
//!
//! What a file uses are the paths in it, those in bodies of macros, too, but for its tests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

const ORDER: [&str; 11] = ["bus", "cpu", "mmu", "decode", "cache", "vcpu", "delivery", "exec", "engine", "intc", "machine"];

/// A path from the crate's root, as far as it is written out.
type Names = Vec<String>;

/// What is found in a file.
#[derive(Default)]
struct Found {
    /// Paths that it names.
    uses: BTreeSet<Names>,
    /// Modules that it declares for tests alone.
    test_modules: BTreeSet<String>,
    /// Names that it passes on, by the path that each stands for.
    exports: BTreeMap<String, Names>,
}

/// Reads the tokens of a module at `module`.
fn read(tokens: TokenStream, module: &[String], found: &mut Found) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            let end =
                (at + 2..tokens.len()).find(|&end| is_punct(&tokens[end], ';') || is_braces(&tokens[end])).unwrap_or(tokens.len() - 1);
            if let Some(name) = (at..end).find(|&i| is_ident(&tokens[i], "mod")).and_then(|i| tokens.get(i + 1)) {
                found.test_modules.insert(name.to_string());
            }
            at = end + 1;
            continue;
        }
        if is_ident(&tokens[at], "mod") && tokens.get(at + 2).is_some_and(is_braces) {
            let inner: Names = module.iter().cloned().chain([tokens[at + 1].to_string()]).collect();
            if let TokenTree::Group(group) = &tokens[at + 2] {
                read(group.stream(), &inner, found);
            }
            at += 3;
            continue;
        }
        if is_ident(&tokens[at], "use") {
            let end = (at..tokens.len()).find(|&end| is_punct(&tokens[end], ';')).unwrap_or(tokens.len());
            let exported = at > 0 && (is_ident(&tokens[at - 1], "pub") || at > 1 && is_ident(&tokens[at - 2], "pub"));
            for names in trees(&tokens[at + 1..end], &[]) {
                let Some(names) = from_root(&names, module) else { continue };
                if exported && let Some(last) = names.last() {
                    found.exports.insert(last.clone(), names.clone());
                } else {
                    found.uses.insert(names);
                }
            }
            at = end + 1;
            continue;
        }
        if (is_ident(&tokens[at], "crate") || is_ident(&tokens[at], "super")) && is_path_separator(&tokens[at + 1..]) {
            let mut end = at + 1;
            while is_path_separator(&tokens[end..]) && matches!(tokens.get(end + 2), Some(TokenTree::Ident(_))) {
                end += 3;
            }
            let names: Names = tokens[at..end].iter().step_by(3).map(ToString::to_string).collect();
            found.uses.extend(from_root(&names, module));
            at = end;
            continue;
        }
        if let TokenTree::Group(group) = &tokens[at] {
            read(group.stream(), module, found);
        }
        at += 1;
    }
}

/// The paths of a `use`.
fn trees(tokens: &[TokenTree], prefix: &[String]) -> Vec<Names> {
    let mut names = prefix.to_vec();
    let mut all = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) if ident == "as" => break,
            TokenTree::Ident(ident) if ident == "self" && !names.is_empty() => {}
            TokenTree::Ident(ident) => names.push(ident.to_string()),
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let parts = inner.split(|token| is_punct(token, ','));
                return parts.filter(|part| !part.is_empty()).flat_map(|part| trees(part, &names)).collect();
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' && i > 0 => {}
            _ => {}
        }
    }
    all.push(names);
    all
}

/// A path from the crate's root; `None` for one that leads elsewhere.
fn from_root(names: &[String], module: &[String]) -> Option<Names> {
    match names.first().map(String::as_str) {
        Some("crate") => Some(names[1..].to_vec()),
        Some("super") => {
            let up = names.iter().take_while(|name| *name == "super").count();
            Some(module[..module.len().checked_sub(up)?].iter().chain(&names[up..]).cloned().collect())
        }
        // A name of the module itself; a crate's or a type's is no file's.
        Some(_) => Some(module.iter().chain(names).cloned().collect()),
        None => None,
    }
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    tokens.len() > 1 && is_punct(&tokens[0], ':') && is_punct(&tokens[1], ':')
}

/// `#[cfg(test)]`, or another condition that only tests meet.
fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    let [hash, TokenTree::Group(attribute), ..] = tokens else { return false };
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    is_punct(hash, '#') && (text.starts_with("cfg(test)") || text.starts_with("cfg(all(test,"))
}

/// All files of the crate but those for tests alone, by the module that each is.
fn files() -> BTreeMap<Names, Found> {
    fn visit(path: PathBuf, module: Names, files: &mut BTreeMap<Names, Found>) {
        let mut found = Found::default();
        read(std::fs::read_to_string(&path).unwrap().parse().unwrap(), &module, &mut found);
        let folder = path.parent().unwrap().to_path_buf();
        let is_folder = path.ends_with("mod.rs") || path.ends_with("lib.rs");
        if is_folder {
            let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            for entry in entries.into_iter().filter(|entry| *entry != path) {
                let name = entry.file_stem().unwrap().to_str().unwrap().to_string();
                let file = if entry.is_dir() { entry.join("mod.rs") } else { entry };
                if !found.test_modules.contains(&name) {
                    visit(file, module.iter().cloned().chain([name]).collect(), files);
                }
            }
        }
        files.insert(module, found);
    }
    let mut files = BTreeMap::new();
    visit(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"), Vec::new(), &mut files);
    files
}

/// What a module uses that is not to its left.
fn out_of_order(module: &str, found: &Found) -> Vec<String> {
    let place = |name: &str| ORDER.iter().position(|module| *module == name);
    let here = place(module).unwrap();
    let names = found.uses.iter().chain(found.exports.values()).filter_map(|names| names.first());
    names.filter(|name| place(name).is_some_and(|there| there > here)).cloned().collect()
}

#[test]
fn a_module_uses_only_those_to_its_left() {
    let files = files();
    assert!(files.len() > 80, "only {} files", files.len());
    for (module, found) in &files {
        let Some(top) = module.first() else { continue };
        assert!(ORDER.contains(&top.as_str()), "{top} has no place in the order");
        let wrong = out_of_order(top, found);
        assert!(wrong.is_empty(), "{} uses {}, which {} must not", module.join("::"), wrong.join(", "), top);
    }
}

#[test]
fn the_order_is_told_as_it_is() {
    let order = ORDER.join(" → ");
    for file in ["src/lib.rs", "../ARCHITECTURE.md"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains(&order), "{file} does not say `{order}`");
    }
}

#[test]
fn uses_are_found_wherever_they_stand() {
    let found = |source: &str, module: &[&str]| {
        let mut found = Found::default();
        read(source.parse().unwrap(), &module.iter().map(ToString::to_string).collect::<Names>(), &mut found);
        found
    };
    for source in [
        "use crate::exec::Run;",
        "use crate::{cpu::Regs, exec};",
        "use crate::{bus::*, exec::{Run as R}};",
        "pub use super::exec::Run;",
        "fn f() { crate::exec::enter() }",
        "mod inner { use super::super::exec::Run; }",
        "macro_rules! m { () => { $crate::exec::enter() }; }",
        "#[cfg(test)] mod tests { } use crate::exec::Run;",
    ] {
        assert_eq!(out_of_order("cache", &found(source, &["cache"])), ["exec"], "{source}");
    }
    for source in [
        "use crate::decode::Op;",
        "#[cfg(test)] mod tests { use crate::exec::Run; }",
        "// crate::exec\n",
        "const S: &str = \"crate::exec::Run\";",
    ] {
        assert!(out_of_order("cache", &found(source, &["cache"])).is_empty(), "{source}");
    }
    assert!(found("#[cfg(test)] mod tests;", &[]).test_modules.contains("tests"));
}

/// The file that a path leads to, through the names that folders pass on.
fn file_of(names: &[String], files: &BTreeMap<Names, Found>) -> Option<Names> {
    let known = (0..=names.len()).rev().find(|&length| files.contains_key(&names[..length]))?;
    let (module, rest) = names.split_at(known);
    match rest.first().and_then(|name| files[module].exports.get(name)) {
        Some(target) if target != names => file_of(&[target, &rest[1..]].concat(), files),
        _ => Some(module.to_vec()),
    }
}

/// The files that each file uses.
fn graph(files: &BTreeMap<Names, Found>) -> BTreeMap<Names, BTreeSet<Names>> {
    let uses = |module: &Names, found: &Found| {
        let targets = found.uses.iter().filter_map(|names| file_of(names, files));
        targets.filter(|target| target != module).collect()
    };
    files.iter().map(|(module, found)| (module.clone(), uses(module, found))).collect()
}

/// Files that lead back to themselves, with those that they share a circle with.
fn circles(graph: &BTreeMap<Names, BTreeSet<Names>>) -> BTreeSet<BTreeSet<Names>> {
    let reached = |from: &Names| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&Names> = graph[from].iter().collect();
        while let Some(next) = open.pop() {
            if seen.insert(next.clone()) {
                open.extend(&graph[next]);
            }
        }
        seen
    };
    let reached: BTreeMap<&Names, BTreeSet<Names>> = graph.keys().map(|module| (module, reached(module))).collect();
    let circle = |module: &Names| reached[module].iter().filter(|other| reached[other].contains(module)).cloned().collect();
    graph.keys().map(circle).filter(|circle: &BTreeSet<Names>| !circle.is_empty()).collect()
}

#[test]
fn no_files_use_one_another_in_a_circle() {
    let found: Vec<String> = circles(&graph(&files()))
        .iter()
        .map(|circle| format!("{}: {}", circle.len(), circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(", ")))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}
