import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, test } from 'vitest'
import { ResponseObject } from '../../shared/api/responses.ts'
import { TestEdge } from '../../test/edge/edge.ts'
import { keptMs } from './tenant-responses.ts'

/** The most that a row of a Durable Object's SQLite may have. The local one takes more. */
const maxRowBytes = 2_000_000

test('a response of many megabytes is kept whole in rows that SQLite takes, counts by its bytes, and goes whole', async () => {
  const edge = new TestEdge()
  await edge.seedBackbone()
  const { key } = await edge.seedTenant()
  const answered = await edge.post('/v1/responses', {
    key,
    body: { model: 'tone', input: 'a', store: false },
  })
  const response = ResponseObject.parse(await answered.json())
  const long = {
    response,
    conversation: [{ role: 'user' as const, content: '海'.repeat(1_000_000) }],
    inputFrom: 0,
  }
  const bytes = new TextEncoder().encode(JSON.stringify(long)).length
  const stub = env.RESPONSES.get(env.RESPONSES.idFromName('long responses'))
  const rows = (query: string) =>
    runInDurableObject(stub, (_, { storage }) => storage.sql.exec(query).toArray())
  const longest = `SELECT MAX(size) AS size FROM (SELECT LENGTH(CAST(body AS BLOB)) AS size FROM response
    UNION ALL SELECT LENGTH(bytes) FROM piece)`
  const left = 'SELECT id FROM response UNION SELECT id FROM piece'

  for (const id of ['resp_a', 'resp_b', 'resp_c']) await stub.put(id, long)
  expect(await stub.find('resp_a')).toEqual(long)
  expect(await rows('SELECT bytes FROM response')).toEqual([{ bytes }, { bytes }, { bytes }])
  expect(Number((await rows(longest))[0]?.size)).toBeLessThan(maxRowBytes)
  expect(await stub.remove('resp_a')).toBe(true)
  expect(await rows(left)).toEqual([{ id: 'resp_b' }, { id: 'resp_c' }])
  await rows(`UPDATE response SET at = at - ${keptMs} WHERE id = 'resp_b'`)
  await runInDurableObject(stub, (object) => object.alarm())
  expect(await rows(left)).toEqual([{ id: 'resp_c' }])
  await rows("UPDATE response SET bytes = 1000000000 WHERE id = 'resp_c'")
  await stub.put('resp_d', { ...long, conversation: [] })
  expect(await rows(left)).toEqual([{ id: 'resp_d' }])
})
