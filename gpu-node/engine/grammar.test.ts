import { afterAll, expect, test } from 'vitest'
import { parseTokenizer } from '../../model/import/tokenizer.ts'
import { newRequestId, TenantId } from '../../shared/ids.ts'
import type { GenerateEvent, GenerateRequest, Grammar } from '../../shared/wire.ts'
import { FakeBackend, fakeBackbone } from '../../test/fakes/fake-backend.ts'
import { tinySpecials, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { DeferredGrammar } from '../grammar/deferred-grammar.ts'
import { Grammars } from '../grammar/grammars.ts'
import { vocabularyOf } from '../grammar/vocabulary.ts'
import { Engine } from './engine.ts'
import type { EngineRequest } from './sequence.ts'

const vocab = 320
const { endOfText } = tinySpecials
const vocabulary = vocabularyOf(parseTokenizer(tinyTokenizer), { vocab, eos: [endOfText] })
if (vocabulary === undefined) throw new Error('the tiny tokenizer spells bytes')
const grammars = new Grammars({ vocabulary, checkMs: 60_000, compileMs: 60_000 })
afterAll(() => grammars.close())

function engine(): Engine {
  const backend = new FakeBackend({ vocab })
  return new Engine({ backend, queue: { total: 100, perTenant: 100 }, chunkTokens: 16 })
}

interface Ask extends Partial<Omit<GenerateRequest, 'grammar'>> {
  readonly grammar?: EngineRequest['grammar']
  readonly seed?: number
}

async function run(node: Engine, { grammar, seed = 1, ...request }: Ask) {
  const events = node.submit({
    tenant: TenantId.parse('acme'),
    request: {
      requestId: newRequestId(),
      backbone: fakeBackbone,
      adapter: null,
      prompt: [1, 2, seed],
      maxTokens: 60,
      sampling: {
        temperature: 1,
        topP: 1,
        topK: 0,
        minP: 0,
        frequencyPenalty: 0,
        presencePenalty: 0,
        logitBias: [],
        seed,
      },
      stopTokens: [endOfText],
      logprobs: null,
      timeoutMs: 60_000,
      ...request,
    },
    adapter: null,
    grammar,
    signal: new AbortController().signal,
  })
  const all: GenerateEvent[] = []
  for await (const group of events) all.push(...group)
  const tokens = all.flatMap((event) => (event.type === 'token' && event.stop !== true ? event.id : []))
  return { tokens, text: String.fromCharCode(...tokens), end: all.at(-1) }
}

const open = (grammar: Grammar, stopTokens: readonly number[] = [endOfText]) =>
  grammars.open(grammar, { stopTokens })
const digits: Grammar = { kind: 'regex', pattern: '[0-9]{4}-[0-9]{2}' }

test('an answer keeps to its grammar beside others, and those do not change', async () => {
  const alone = await run(engine(), { seed: 3, maxTokens: 20 })
  const node = engine()
  const [dated, brief, free] = await Promise.all([
    run(node, { grammar: await open(digits), seed: 1 }),
    run(node, { grammar: await open({ kind: 'ebnf', grammar: 'root ::= "ja" | "nein"' }), seed: 2 }),
    run(node, { seed: 3, maxTokens: 20 }),
  ])
  expect(dated.text).toMatch(/^[0-9]{4}-[0-9]{2}$/)
  expect(dated.end).toMatchObject({ type: 'done', reason: 'stop' })
  expect(brief.text).toMatch(/^(ja|nein)$/)
  expect(free.tokens).toEqual(alone.tokens)
})

test('without stop tokens it ends where the grammar does', async () => {
  const { end, text } = await run(engine(), { grammar: await open(digits, []), stopTokens: [] })
  expect(text).toMatch(/^[0-9]{4}-[0-9]{2}$/)
  expect(end).toMatchObject({ type: 'done', reason: 'stop' })
})

test('cut off by its limit it says so, and is the beginning of what the grammar allows', async () => {
  const { end, text } = await run(engine(), { grammar: await open(digits), maxTokens: 3 })
  expect(text).toMatch(/^[0-9]{3}$/)
  expect(end).toMatchObject({ type: 'done', reason: 'length' })
})

test('a grammar that does not answer holds up its own sequence alone, until the deadline', async () => {
  let isClosed = false
  const silent = {
    status: 'waiting',
    mask: new Int32Array(vocab / 32),
    accept: () => undefined,
    settled: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)),
    close: () => {
      isClosed = true
    },
  } as const
  const node = engine()
  const [stuck, free] = await Promise.all([
    run(node, { grammar: silent, timeoutMs: 500 }),
    run(node, { seed: 3, maxTokens: 20 }),
  ])
  expect(stuck.end).toMatchObject({ type: 'error', code: 'deadline_exceeded' })
  expect(free.end).toMatchObject({ type: 'done' })
  expect(isClosed).toBe(true)
})

test('a grammar that begins behind a token leaves what is in front of it free', async () => {
  const free = await run(engine(), { seed: 3 })
  const at = 4
  const marker = free.tokens[at]
  if (marker === undefined) throw new Error('the free text has five tokens')
  const first = free.tokens.indexOf(marker)
  const grammar = new DeferredGrammar(await open(digits), [marker])
  const held = await run(engine(), { seed: 3, grammar })
  expect(held.tokens.slice(0, first + 1)).toEqual(free.tokens.slice(0, first + 1))
  expect(String.fromCharCode(...held.tokens.slice(first + 1))).toMatch(/^[0-9]{4}-[0-9]{2}$/)
  expect(held.end).toMatchObject({ type: 'done', reason: 'stop' })
})
