import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, test } from 'vitest'
import { BatchId } from '../../shared/api/batches.ts'
import { FileId } from '../../shared/api/files.ts'
import { QuartetError } from '../../shared/errors.ts'
import { KeyId, TenantId } from '../../shared/ids.ts'
import { TestEdge } from '../../test/edge/edge.ts'
import { BatchBook } from '../batches/batch-book.ts'
import { platformOf } from '../platform.ts'
import { durableSql } from '../store/durable-sql.ts'
import { readTenant } from '../tenants/read.ts'
import { type Round, runRound } from './run-requests.ts'

const edge = new TestEdge()
let tenantId: TenantId

beforeAll(async () => {
  await edge.seedBackbone()
  tenantId = TenantId.parse((await edge.seedTenant()).id)
})

const batch = BatchId.parse(`batch_${'0'.repeat(24)}`)

/** Runs a round of as many requests, whose lines `read` reads; tells what became of them. */
async function round(requests: number, read: Round['read'], atOnce = 2) {
  const tenant = await readTenant(tenantId, { platform: platformOf(env), background: () => undefined })
  if (tenant === undefined) throw new Error('there is no tenant')
  const object = env.BATCHES.get(env.BATCHES.idFromName(crypto.randomUUID()))
  return runInDurableObject(object, async (_, { storage }) => {
    const book = new BatchBook(durableSql(storage))
    book.create(batch, {
      inputFile: FileId.parse(`file-${'0'.repeat(24)}`),
      endpoint: '/v1/chat/completions',
      metadata: null,
      key: KeyId.parse(`key_${'0'.repeat(12)}`),
    })
    const lines = Array.from({ length: requests }, (_, at) => at + 1)
    book.addRequests(
      batch,
      lines.map((line) => ({ line, customId: `request-${line}`, at: 0, bytes: 1 })),
    )
    book.validated(batch, [])
    const record = book.next()
    if (record === undefined) throw new Error('there is no batch')
    const asking: Round['asking'] = {
      tenant,
      bindings: env,
      platform: platformOf(env),
      execution: { waitUntil: () => undefined, passThroughOnException: () => undefined, props: {} },
      signal: new AbortController().signal,
    }
    const ended = await runRound({ book, batch: record, asking, read, atOnce }).then(
      () => 'went well',
      (thrown: unknown) => String(thrown),
    )
    const results = book.results(batch, { isError: true, after: '', limit: requests })
    return { ended, results }
  })
}

const refusal = (message: string) => new QuartetError('not_found', message)

describe('a round of a batch', () => {
  test('that breaks off lets what runs come to its end, begins nothing more, and then says so', async () => {
    const slow = Promise.withResolvers<never>()
    const begun: number[] = []
    const { ended, results } = await round(3, async ({ line }) => {
      begun.push(line)
      if (line === 1) return slow.promise
      setTimeout(() => slow.reject(refusal('gone')), 50)
      throw new Error('the bucket is down')
    })
    expect(ended).toContain('the bucket is down')
    expect(results.map(({ customId }) => customId)).toEqual(['request-1'])
    expect(begun).toEqual([1, 2])
  })

  test('gives an answer up that no row holds, by its bytes, whatever its script', async () => {
    const { ended, results } = await round(2, async ({ line }) => {
      throw refusal(line === 1 ? '海'.repeat(1_000_000) : '海'.repeat(400_000))
    })
    expect(ended).toBe('went well')
    expect(results.map(({ text }) => JSON.parse(text).error?.code)).toEqual(['answer_too_long', undefined])
  })
})
