"""redis-py against a node: both protocols, pipelines, scans, errors."""

import sys

import redis

host, port = sys.argv[1], int(sys.argv[2])
for protocol in (2, 3):
    client = redis.Redis(host=host, port=port, protocol=protocol, socket_timeout=20)
    name = f"py:{protocol}:"
    assert client.ping()
    for key in list(client.scan_iter(match=name + "*", count=100)):
        client.delete(key)
    assert client.set(name + "a", b"\x00\xff")
    assert client.get(name + "a") == b"\x00\xff"
    assert client.get(name + "nothing") is None
    assert client.set(name + "a", b"1", nx=True) is None
    assert client.mset({name + str(number): number for number in range(200)})
    values = client.mget([name + str(number) for number in range(200)])
    assert values == [str(number).encode() for number in range(200)]
    assert client.incr(name + "count") == 1
    assert client.incrby(name + "count", 41) == 42
    pipeline = client.pipeline(transaction=False)
    for number in range(500):
        pipeline.incr(name + "piped")
        pipeline.get(name + "a")
    replies = pipeline.execute()
    assert replies[-2:] == [500, b"\x00\xff"], replies[-2:]
    assert len(set(client.scan_iter(match=name + "*", count=50))) == 203
    assert client.delete(name + "a", name + "count") == 2
    assert client.exists(name + "a") == 0
    try:
        client.incr(name + "text") if client.set(name + "text", "no number") else None
        raise SystemExit("a text was counted")
    except redis.ResponseError as error:
        assert "not an integer" in str(error), error
    assert client.info()["redis_version"]
    client.close()
