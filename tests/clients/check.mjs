// node-redis against a node: both protocols, what it pipelines by itself, scans, errors.
import assert from 'node:assert'
import { createClient } from 'redis'

const [host, port] = [process.argv[2], Number(process.argv[3])]
for (const RESP of [2, 3]) {
  const client = createClient({ socket: { host, port }, RESP })
  await client.connect()
  const name = `js:${RESP}:`
  assert.equal(await client.ping(), 'PONG')
  assert.equal(await client.set(name + 'a', 'ä'), 'OK')
  assert.equal(await client.get(name + 'a'), 'ä')
  assert.equal(await client.get(name + 'nothing'), null)
  await client.del(name + 'count')
  const sums = await Promise.all(Array.from({ length: 500 }, () => client.incr(name + 'count')))
  assert.deepEqual(sums, Array.from({ length: 500 }, (_, at) => at + 1))
  await client.mSet([[name + 'x', '1'], [name + 'y', '2']])
  assert.deepEqual(await client.mGet([name + 'x', name + 'y', name + 'z']), ['1', '2', null])
  const seen = new Set()
  for await (const keys of client.scanIterator({ MATCH: name + '*' })) for (const key of keys) seen.add(key)
  assert.deepEqual([...seen].sort(), ['a', 'count', 'x', 'y'].map((key) => name + key))
  await assert.rejects(client.incr(name + 'a'), /not an integer/)
  assert.equal(await client.del([name + 'x', name + 'y']), 2)
  await client.close()
}
