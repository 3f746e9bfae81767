//! A configuration as one document: planned against the cluster that it is of, it changes nothing; applied to
//! an empty one, it gives the same.

use std::fmt::Write;

use tandem_cluster::ids::TenantId;

use super::{current::Whole, entries::Entry};

/// What stands before everything.
const HEAD: &str = "# Sites, queues, numbers and agents: tandem config plan FILE shows what applying it would change.\n\
                    # Passwords of phones are not in it.\n";

/// A configuration as text.
pub(super) fn text(tenant: TenantId, whole: &Whole) -> String {
    let mut text = String::from(HEAD);
    if tenant == TenantId::DEFAULT {
        whole.sites.values().for_each(|row| entry(&mut text, row));
    }
    whole.queues.values().for_each(|row| entry(&mut text, row));
    whole.numbers.values().for_each(|row| entry(&mut text, row));
    whole.agents.values().for_each(|row| entry(&mut text, row));
    text
}

fn entry<T: Entry>(text: &mut String, row: &T) {
    // Writing into a string cannot fail.
    writeln!(text, "\n[[{}]]", T::KIND.word()).ok();
    for (key, value) in row.show_fields() {
        match value {
            // Rules stand one on a line.
            toml::Value::Array(rows) if rows.first().is_some_and(toml::Value::is_table) => {
                writeln!(text, "{key} = [").ok();
                for row in rows {
                    writeln!(text, "    {row},").ok();
                }
                writeln!(text, "]").ok();
            }
            value => {
                writeln!(text, "{key} = {value}").ok();
            }
        }
    }
}
