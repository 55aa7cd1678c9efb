//! Messages become frames.
//!
//! ```text
//! 0        4        8         9
//! length   crc32    version   messages …
//! ```
//!
//! Length and crc are of everything behind them. The messages are an archived list whose root is at the
//! end. Integers are little-endian.

use bytes::Bytes;
use rkyv::ser::allocator::Arena;

use crate::shard::codec::Malformed;
use crate::shard::message::PeerMessage;
use crate::wire::form::{self, Source};

use super::message::{ArchivedMessageForm, MessageForm, weight};

/// No frame is longer, with everything in it.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// The bytes of a frame that say how long it is.
pub const HEAD_BYTES: usize = 8;

/// How messages are archived.
const VERSION: u8 = 4;

/// The form of all messages of a frame.
type Archived<'a> = rkyv::vec::ArchivedVec<ArchivedMessageForm<'a>>;

/// Makes frames, in memory that is used again.
#[derive(Default)]
pub struct Encoder {
    arena: Arena,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Encoder")
    }
}

impl Encoder {
    /// An encoder.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// Appends a frame with as many of the messages as fit into one, and says how many these are: at
    /// least one, unless there is none. A message that no frame can hold is passed over, which messages
    /// must bear; the frame has then one message fewer, or is none at all.
    pub fn encode(&mut self, messages: &[Box<PeerMessage>], out: &mut Vec<u8>) -> usize {
        let (mut bytes, mut taken) = (HEAD_BYTES + 64, 0);
        let mut forms: Vec<MessageForm<'_>> = Vec::with_capacity(messages.len());
        for message in messages {
            let weight = weight(message);
            if weight + HEAD_BYTES + 64 <= FRAME_BYTES_MAX {
                if bytes + weight > FRAME_BYTES_MAX {
                    break;
                }
                bytes += weight;
                forms.push(MessageForm::from(&**message));
            }
            taken += 1;
        }
        if forms.is_empty() {
            return taken;
        }
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        out.push(VERSION);
        if form::archive(&forms, out, &mut self.arena).is_err() {
            out.truncate(start);
            return taken;
        }
        let body = &out[start + HEAD_BYTES..];
        let (length, crc) = (body.len() as u32, crc32fast::hash(body));
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        taken
    }
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// So many bytes follow.
    pub length: usize,
    crc: u32,
}

impl Head {
    /// Takes a head apart.
    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Head, Malformed> {
        let [a, b, c, d, rest @ ..] = *bytes;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        match (1..=FRAME_BYTES_MAX - HEAD_BYTES).contains(&length) {
            true => Ok(Head {
                length,
                crc: u32::from_le_bytes(rest),
            }),
            false => Err(Malformed("a frame of no possible length")),
        }
    }

    /// The messages in what follows a head. Long bytes in them are not copied: they share `body`.
    pub fn messages(&self, body: Bytes) -> Result<Vec<PeerMessage>, Malformed> {
        if body.len() != self.length || crc32fast::hash(&body) != self.crc {
            return Err(Malformed("a frame whose sum differs"));
        }
        let archived = match body.split_first() {
            Some((&VERSION, archived)) => archived,
            _ => return Err(Malformed("a frame of an unknown version")),
        };
        let source = Source::shared(archived, &body);
        let forms = form::access::<Archived<'_>>(archived)?;
        forms.iter().map(|form| form.get(&source)).collect()
    }
}
