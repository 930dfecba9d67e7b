//! `[[tests]]` (S16)

use std::collections::BTreeMap;

use super::json;
use crate::config::codes;
use crate::config::declaration::{Spanned, Test};
use crate::config::reference::Role;
use crate::config::table::{Table, is_table};
use crate::config::value::Node;
use crate::diagnostic::Diagnostic;

/// Rows by source or output.
type Rows = BTreeMap<String, Spanned<Vec<serde_json::Value>>>;

/// All tests of the file, in its order.
pub(super) fn read(root: &Table<'_>) -> Option<Vec<Spanned<Test>>> {
    let node = root.get("tests", "")?;
    let entries = match node.value {
        toml::de::DeValue::Array(_) => node.entries(),
        _ => {
            let help = "write [[tests]] with two brackets on each side: each one begins a test";
            return node.fail(codes::WRONG_TYPE, "`tests` is a list of tables", "", help);
        }
    };
    let mut tests: Vec<Spanned<Test>> = Vec::new();
    for entry in entries {
        let Some(table) = entry.table("[[tests]]") else { continue };
        let test = read_one(&table);
        table.finish();
        let Some(value) = test else { continue };
        if tests.iter().any(|earlier| earlier.value.name.value == value.name.value) {
            let message = format!("two tests have the name `{}`", value.name.value);
            let help = "give each test a name of its own: it is how failures are reported";
            entry.cx.report(Diagnostic::error(codes::REPEATED, value.name.span.clone(), message).label("the second one").help(help));
        }
        tests.push(Spanned { value, span: entry.span.clone() });
    }
    Some(tests)
}

fn read_one(table: &Table<'_>) -> Option<Test> {
    let name = table.need_text("name", "\"a late arrival is seen by the next departure\"");
    let epoch_rows = table.whole("epoch_rows", "1", 1, 1 << 31).and_then(|rows| usize::try_from(rows.value).ok());
    let input =
        table.get("input", "{ departures = [{ flight_id = 1 }] }").map_or(Some(BTreeMap::new()), |node| read_rows(&node, Role::TestInput));
    let expect = table.need("expect", "{ \"models.late\" = [{ flight_id = 1 }] }").and_then(|node| read_rows(&node, Role::TestExpect));
    Some(Test { name: name?, epoch_rows, input: input?, expect: expect? })
}

fn read_rows(node: &Node<'_>, role: Role) -> Option<Rows> {
    let mut rows = Rows::new();
    let entries = node.table(format!("`{}`", node.key))?.all("[{ flight_id = 1, delay = 20 }]");
    if entries.is_empty() && role == Role::TestExpect {
        let help = "name an output and the rows it must have: expect.\"models.late\" = [{ flight_id = 1 }]";
        return node.fail(codes::BAD_TEST, "this test expects nothing", "", help);
    }
    for (name, node) in entries {
        if is_table(node.value) {
            let help = "a name with dots stands in quotes: expect.\"models.late\" = [{ flight_id = 1 }]";
            let _: Option<()> =
                node.fail(codes::WRONG_TYPE, format!("`{}` takes a list of rows, not a table", name.value), "a table", help);
            continue;
        }
        node.cx.refer(role, Some(&name));
        let Some(entries) = node.list() else { continue };
        let mut list = Vec::new();
        for entry in entries {
            if is_table(entry.value) {
                list.extend(json::value(&entry));
            } else {
                let _: Option<()> = entry.wrong_type("rows, each one a table");
            }
        }
        rows.insert(name.value, Spanned { value: list, span: name.span });
    }
    Some(rows)
}
