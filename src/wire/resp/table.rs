//! Every command, and how many words it takes.

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what Redis calls it")]
pub enum Name {
    Append,
    Auth,
    Client,
    Cluster,
    Command,
    Config,
    DbSize,
    Decr,
    DecrBy,
    Del,
    Echo,
    Exists,
    FlushAll,
    FlushDb,
    Get,
    GetDel,
    GetRange,
    GetSet,
    Hello,
    Incr,
    IncrBy,
    Info,
    Keys,
    MGet,
    MSet,
    Ping,
    PSetEx,
    Quit,
    ReadOnly,
    ReadWrite,
    Reset,
    Role,
    Scan,
    Select,
    Set,
    SetEx,
    SetNx,
    SetRange,
    StrLen,
    SubStr,
    Time,
    Touch,
    Type,
    Unlink,
}

/// A command as it stands in the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// As it is written, in small letters.
    pub text: &'static str,
    /// How many words it takes, its name as well; negative: at least so many.
    pub arity: i8,
    /// Which one it is.
    pub name: Name,
    /// The text as a number, in the same order.
    packed: u128,
}

const fn entry(text: &'static str, arity: i8, name: Name) -> Entry {
    Entry {
        text,
        arity,
        name,
        packed: pack(text.as_bytes()),
    }
}

/// A name as a number: names compare as their numbers do.
const fn pack(name: &[u8]) -> u128 {
    let (mut packed, mut place) = (0, 0);
    while place < name.len() {
        packed |= (name[place].to_ascii_lowercase() as u128) << (120 - 8 * place);
        place += 1;
    }
    packed
}

/// All commands by their names.
pub const TABLE: &[Entry] = &[
    entry("append", 3, Name::Append),
    entry("auth", -2, Name::Auth),
    entry("client", -2, Name::Client),
    entry("cluster", -2, Name::Cluster),
    entry("command", -1, Name::Command),
    entry("config", -2, Name::Config),
    entry("dbsize", 1, Name::DbSize),
    entry("decr", 2, Name::Decr),
    entry("decrby", 3, Name::DecrBy),
    entry("del", -2, Name::Del),
    entry("echo", 2, Name::Echo),
    entry("exists", -2, Name::Exists),
    entry("flushall", -1, Name::FlushAll),
    entry("flushdb", -1, Name::FlushDb),
    entry("get", 2, Name::Get),
    entry("getdel", 2, Name::GetDel),
    entry("getrange", 4, Name::GetRange),
    entry("getset", 3, Name::GetSet),
    entry("hello", -1, Name::Hello),
    entry("incr", 2, Name::Incr),
    entry("incrby", 3, Name::IncrBy),
    entry("info", -1, Name::Info),
    entry("keys", 2, Name::Keys),
    entry("mget", -2, Name::MGet),
    entry("mset", -3, Name::MSet),
    entry("ping", -1, Name::Ping),
    entry("psetex", 4, Name::PSetEx),
    entry("quit", -1, Name::Quit),
    entry("readonly", 1, Name::ReadOnly),
    entry("readwrite", 1, Name::ReadWrite),
    entry("reset", 1, Name::Reset),
    entry("role", 1, Name::Role),
    entry("scan", -2, Name::Scan),
    entry("select", 2, Name::Select),
    entry("set", -3, Name::Set),
    entry("setex", 4, Name::SetEx),
    entry("setnx", 3, Name::SetNx),
    entry("setrange", 4, Name::SetRange),
    entry("strlen", 2, Name::StrLen),
    entry("substr", 4, Name::SubStr),
    entry("time", 1, Name::Time),
    entry("touch", -2, Name::Touch),
    entry("type", 2, Name::Type),
    entry("unlink", -2, Name::Unlink),
];

/// No name is longer.
const NAME_BYTES_MAX: usize = 9;

impl Entry {
    /// The command of this name, in letters of any size.
    pub fn find(name: &[u8]) -> Option<&'static Entry> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let packed = pack(name);
        let place = TABLE.partition_point(|entry| entry.packed < packed);
        TABLE
            .get(place)
            .filter(|entry| entry.packed == packed && entry.text.len() == name.len())
    }

    /// Whether it takes so many words.
    pub fn takes(&self, words: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        match self.arity < 0 {
            true => words >= arity,
            false => words == arity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_letters_of_any_size() {
        assert!(TABLE.is_sorted_by(|a, b| a.text < b.text));
        for entry in TABLE {
            for text in [entry.text.to_string(), entry.text.to_uppercase()] {
                let found = Entry::find(text.as_bytes());
                assert_eq!(found.map(|found| found.name), Some(entry.name), "{text}");
            }
        }
        assert!(Entry::find(b"").is_none());
        assert!(Entry::find(b"get\0").is_none());
        assert!(Entry::find(b"nosuchcommandanywhere").is_none());
    }
}
