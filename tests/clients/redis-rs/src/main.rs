//! redis-rs against a node: both protocols, pipelines, scans, errors.

use redis::{Client, Commands, RedisResult};

fn main() -> RedisResult<()> {
    let mut words = std::env::args().skip(1);
    let host = words.next().expect("a host");
    let port = words.next().expect("a port");
    for protocol in ["resp2", "resp3"] {
        let client = Client::open(format!("redis://{host}:{port}/?protocol={protocol}"))?;
        let mut connection = client.get_connection()?;
        let name = |key: &str| format!("rs:{protocol}:{key}");
        let _: () = connection.set(name("a"), b"\x00\xff".as_slice())?;
        let value: Vec<u8> = connection.get(name("a"))?;
        assert_eq!(value, b"\x00\xff");
        let nothing: Option<String> = connection.get(name("nothing"))?;
        assert_eq!(nothing, None);
        let _: usize = connection.del(name("count"))?;
        let mut pipeline = redis::pipe();
        for _ in 0..500 {
            pipeline.incr(name("count"), 2);
        }
        let sums: Vec<i64> = pipeline.query(&mut connection)?;
        assert_eq!(sums, (1..=500).map(|count| count * 2).collect::<Vec<_>>());
        let _: () = connection.mset(&[(name("x"), 1), (name("y"), 2)])?;
        let values: Vec<Option<i64>> = connection.mget(&[name("x"), name("y"), name("z")])?;
        assert_eq!(values, [Some(1), Some(2), None]);
        let keys: Vec<String> = connection
            .scan_match::<_, String>(name("*"))?
            .collect::<RedisResult<_>>()?;
        assert_eq!(keys.len(), 4, "{keys:?}");
        let refused: RedisResult<i64> = connection.incr(name("a"), 1);
        assert!(
            refused
                .expect_err("no number")
                .to_string()
                .contains("not an integer")
        );
        let gone: usize = connection.del(&[name("x"), name("y")])?;
        assert_eq!(gone, 2);
    }
    Ok(())
}
