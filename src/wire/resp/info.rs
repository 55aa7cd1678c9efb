//! What `INFO` tells: sections of names and values.

use std::fmt::{Display, Write as _};

use super::parse::Args;
use super::session::REDIS_VERSION;
use super::write::Writer;

/// Sections of names and values, in order.
#[derive(Debug, Default)]
pub struct Info {
    sections: Vec<(&'static str, String)>,
}

impl Info {
    /// What clients look for before anything else: that the node is there, and not loading.
    pub fn new() -> Info {
        let mut info = Info::default();
        info.section("Server")
            .field("redis_version", REDIS_VERSION)
            .field("redis_mode", "standalone")
            .field("coracle_version", env!("CARGO_PKG_VERSION"));
        info.section("Persistence").field("loading", 0);
        info.section("Replication").field("role", "master");
        info
    }

    /// Fields that follow go into this section, which may be there already.
    pub fn section(&mut self, name: &'static str) -> Section<'_> {
        let place = match self.sections.iter().position(|section| section.0 == name) {
            Some(place) => place,
            None => {
                self.sections.push((name, String::new()));
                self.sections.len() - 1
            }
        };
        Section {
            text: &mut self.sections[place].1,
        }
    }

    /// Tells the sections that a client asks for; all of them where it names none.
    pub fn write(&self, wanted: Args<'_>, writer: &mut Writer<'_>) {
        let all = [&b"all"[..], b"default", b"everything"];
        let wants = |name: &str| {
            let is = |word: &[u8]| {
                word.eq_ignore_ascii_case(name.as_bytes())
                    || all.iter().any(|all| word.eq_ignore_ascii_case(all))
            };
            wanted.is_empty() || wanted.iter().any(is)
        };
        let mut text = String::new();
        for (name, fields) in self.sections.iter().filter(|section| wants(section.0)) {
            let gap = if text.is_empty() { "" } else { "\r\n" };
            let _ = write!(text, "{gap}# {name}\r\n{fields}");
        }
        writer.verbatim(text.as_bytes());
    }
}

/// One section.
#[derive(Debug)]
pub struct Section<'i> {
    text: &'i mut String,
}

impl Section<'_> {
    /// Adds a name and a value.
    pub fn field(&mut self, name: &str, value: impl Display) -> &mut Self {
        let _ = write!(self.text, "{name}:{value}\r\n");
        self
    }
}
