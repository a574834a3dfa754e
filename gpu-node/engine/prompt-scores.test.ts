import { expect, test } from 'vitest'
import { TenantId } from '../../shared/ids.ts'
import { generateRequest } from '../../test/contract/node-client.ts'
import { FakeBackend } from '../../test/fakes/fake-backend.ts'
import { Engine } from './engine.ts'
import { PromptScores } from './prompt-scores.ts'
import { Scheduler } from './scheduler.ts'
import { Sequence } from './sequence.ts'

const requestOf = (wanted: Parameters<typeof generateRequest>[0]) => ({
  tenant: TenantId.parse('acme'),
  request: generateRequest(wanted),
  adapter: null,
  signal: new AbortController().signal,
})
const queue = { total: 10, perTenant: 10 }

test('come in front of the first token, one for each token of the prompt but the first', async () => {
  const backend = new FakeBackend()
  const engine = new Engine({ backend, queue, chunkTokens: 16 })
  const prompt = Array.from({ length: 150 }, (_, at) => at % 64)
  const events = []
  for await (const piece of engine.submit(requestOf({ prompt, promptLogprobs: 2, maxTokens: 2 })))
    events.push(...piece)
  expect(events.map(({ type }) => type)).toEqual(['prompt', 'prompt', 'prompt', 'token', 'token', 'done'])
  const scores = events.flatMap((event) => (event.type === 'prompt' ? event.scores : []))
  expect(scores.length).toBe(149)
  for (const { logprob, rank, top } of scores) {
    expect(top.length).toBe(2)
    expect(logprob <= (top[0]?.[1] ?? 0)).toBe(true)
    expect(rank === 1).toBe(logprob === top[0]?.[1])
  }
})

test('without a token to generate the answer ends behind the prompt', async () => {
  const backend = new FakeBackend()
  const engine = new Engine({ backend, queue })
  const events = []
  for await (const piece of engine.submit(requestOf({ promptLogprobs: 0, maxTokens: 0 })))
    events.push(...piece)
  expect(events.map(({ type }) => type)).toEqual(['prompt', 'done'])
  expect(events.at(-1)).toMatchObject({ reason: 'length', usage: { promptTokens: 3, completionTokens: 0 } })
  expect(backend.usedRows).toBe(0)
})

test('a run holds no more logits than its memory, however long the prompt', async () => {
  const limits = { vocab: 262_144, contextLength: 8192, chunkTokens: 512, maxBatch: 4, cacheRows: 65_536 }
  const backend = new FakeBackend(limits)
  const budget = { mostRows: 512, msOf: () => 1, prefillMs: () => 100, rowsIn: () => 512 }
  const prefixes = {
    restore: async () => ({ tokens: 0, earlier: 0 }),
    shouldWait: () => false,
    expect: () => {},
    forget: () => {},
  }
  const scheduler = new Scheduler({ backend, queue, budget, prefixes })
  const prompt = Array.from({ length: 1000 }, () => 1)
  for (const promptLogprobs of [1, undefined])
    scheduler.queue.push(
      new Sequence(requestOf({ prompt, ...(promptLogprobs && { promptLogprobs }) }), 0),
      () => 1,
    )
  const first = (await scheduler.schedule(0)).chunks.map(({ tokens }) => tokens.length)
  expect(first).toEqual([new PromptScores(1).mostTokens(limits.vocab)])
  expect(first[0]).toBe(64)
})

test('more of them than one answer may hold are refused', () => {
  const engine = new Engine({
    backend: new FakeBackend({ contextLength: 100_000, cacheRows: 100_000 }),
    queue,
  })
  const prompt = Array.from({ length: 10_000 }, () => 1)
  expect(() => engine.submit(requestOf({ prompt, promptLogprobs: 20 }))).toThrow(/promptLogprobs/)
})
