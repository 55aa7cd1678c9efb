//! Data that lies there, so that snapshots have several tables and take their time.

use std::time::Duration;

use coracle::shard::request::{Body, Write};
use coracle::sim::history::{Kind, Operation, Outcome, Seen};

use crate::cluster::Cluster;
use crate::crowd::Common;
use crate::native::Native;
use crate::{value, wait};

/// Keys of one request.
const KEYS: u64 = 64;

/// Writes about so many MiB, each key once.
pub fn load(cluster: &Cluster, common: &Common, mib: u64) -> Result<(), String> {
    let (mut bytes, mut number) = (0, 0);
    while bytes < mib << 20 {
        let texts = (number..number + KEYS).map(|number| format!("load/{number}").into_bytes());
        let texts: Vec<Vec<u8>> = texts.collect();
        let key = |place: u64| format!("\u{1}l{:07}", number + place).into_bytes();
        let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
        let values: Vec<Vec<u8>> = texts.iter().map(|text| value::expand(text)).collect();
        let puts = keys.iter().zip(&values).map(|(key, value)| Write::Put {
            key,
            value,
            expiry_ms: None,
        });
        let puts: Vec<Write<'_>> = puts.collect();
        let invoked = common.now();
        wait::until("data is loaded", || {
            // The same again does no harm, whatever became of it before.
            let mut native = Native::connect(cluster.nodes[0].port)?;
            let written = native.ask(&Body::Write(&puts), true, Duration::from_secs(6));
            matches!(written, Some(Ok(_))).then_some(())
        })?;
        let operation = |(key, text): (Vec<u8>, Vec<u8>)| Operation {
            client: u64::MAX,
            key,
            kind: Kind::Put(text),
            invoked,
            outcome: Outcome::Known {
                returned: common.now(),
                seen: Seen::Done,
            },
        };
        common.keep(keys.into_iter().zip(texts).map(operation).collect());
        bytes += values.iter().map(Vec::len).sum::<usize>() as u64;
        number += KEYS;
    }
    Ok(())
}
