//! Commands at nodes that do not lead.

use crate::cluster::Cluster;
use crate::native::Native;
use crate::resp::{Reply, Resp};

/// Commands that read before they write, and such of several keys, at every node of a cluster at rest.
pub fn all(cluster: &Cluster) -> Result<(), String> {
    for node in &cluster.nodes {
        let mut resp = Resp::connect(node.port).ok_or("a node cannot be connected to")?;
        for (words, expected) in [
            ("DEL a b c", None),
            ("SET a 1", Some("OK")),
            ("GETSET a 2", Some("1")),
            ("APPEND a 34", Some("3")),
            ("SETRANGE a 1 9", Some("3")),
            ("GET a", Some("294")),
            ("SET a 5 XX GET", Some("294")),
            ("INCRBY a 4", Some("9")),
            ("GETDEL a", Some("9")),
            ("MSET a 1 b 2 c 3", Some("OK")),
            ("MGET c a b d", Some("3 1 2 nil")),
            ("EXISTS a b d", Some("2")),
            ("DEL a d b", Some("2")),
            ("DEL b c", Some("1")),
            ("GET c", Some("nil")),
        ] {
            let split = words.split(' ').map(|word| word.as_bytes().to_vec());
            let split: Vec<Vec<u8>> = split.collect();
            let reply = resp.ask(&split).map_err(|error| error.to_string())?;
            let reply = tell(&reply);
            if expected.is_some_and(|expected| reply != expected) {
                return Err(format!("node {}: {words} → {reply}", node.number));
            }
        }
        // About as long as commands may be, or longer than what is handed on may be.
        let long = vec![b'.'; 900 << 10];
        let words = ["MSET", "a", "", "b", ""].map(|word| match word {
            "" => long.clone(),
            word => word.as_bytes().to_vec(),
        });
        let reply = resp
            .ask(&words)
            .map_err(|error| format!("after a long request: {error}"))?;
        if !["OK", "ERR"]
            .iter()
            .any(|word| tell(&reply).starts_with(word))
        {
            return Err(format!(
                "node {}: a long MSET → {}",
                node.number,
                tell(&reply)
            ));
        }
        let mut native = Native::connect(node.port).ok_or("a node cannot be connected to")?;
        if !native.ask_nonsense() {
            return Err(format!("node {} does not refuse nonsense", node.number));
        }
    }
    Ok(())
}

fn tell(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Error(text) => text.clone(),
        Reply::Integer(number) => number.to_string(),
        Reply::Bulk(None) => "nil".into(),
        Reply::Bulk(Some(bytes)) => bytes.escape_ascii().to_string(),
        Reply::Array(replies) => {
            let told: Vec<String> = replies.iter().map(tell).collect();
            told.join(" ")
        }
    }
}
