import { afterAll, describe, expect, test } from 'vitest'
import { parseTokenizer } from '../../model/import/tokenizer.ts'
import { newRequestId, TenantId } from '../../shared/ids.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { type GenerateEvent, type GenerateRequest, type Grammar, greedySampling } from '../../shared/wire.ts'
import { pinned } from '../../test/fakes/engine-on-fakes.ts'
import { FakeBackend, fakeBackbone } from '../../test/fakes/fake-backend.ts'
import { tinySpecials, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { DeferredGrammar } from '../grammar/deferred-grammar.ts'
import { Grammars } from '../grammar/grammars.ts'
import { vocabularyOf } from '../grammar/vocabulary.ts'
import { Engine, type EngineOptions } from './engine.ts'
import type { EngineRequest } from './sequence.ts'

const vocab = 320
const { endOfText } = tinySpecials
const vocabulary = vocabularyOf(parseTokenizer(tinyTokenizer), { vocab, eos: [endOfText] })
if (vocabulary === undefined) throw new Error('the tiny tokenizer spells bytes')
const grammars = new Grammars({ vocabulary, checkMs: 60_000, compileMs: 60_000 })
afterAll(() => grammars.close())

function engine({ backend = new FakeBackend({ vocab }), ...options }: Partial<EngineOptions> = {}): Engine {
  return new Engine({ backend, queue: { total: 100, perTenant: 100 }, chunkTokens: 16, ...options })
}

interface Ask extends Partial<Omit<GenerateRequest, 'adapter' | 'grammar'>> {
  readonly adapter?: EngineRequest['adapter']
  readonly grammar?: EngineRequest['grammar']
  readonly seed?: number
}

async function run(node: Engine, { adapter = null, grammar, seed = 1, ...request }: Ask) {
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
    adapter,
    grammar,
    signal: new AbortController().signal,
  })
  const all: GenerateEvent[] = []
  for await (const group of events) all.push(...group)
  const tokens = all.flatMap((event) => (event.type === 'token' && event.stop !== true ? event.id : []))
  return { tokens, text: String.fromCharCode(...tokens), end: all.at(-1), all }
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
    forced: [],
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

test('a grammar that is slow to follow ends its own sequence with the reason', async () => {
  const slow = {
    status: 'slow',
    mask: new Int32Array(vocab / 32),
    forced: [],
    accept: () => undefined,
    settled: async () => undefined,
    close: () => undefined,
  } as const
  const node = engine()
  const [refused, free] = await Promise.all([
    run(node, { grammar: slow }),
    run(node, { seed: 3, maxTokens: 20 }),
  ])
  expect(refused.end).toMatchObject({
    type: 'error',
    code: 'grammar_invalid',
    message: expect.stringMatching('more than 1 s'),
  })
  expect(free.end).toMatchObject({ type: 'done' })
})

test('a grammar whose thread ended is the node’s fault, which its log has and another node mends, never the adapter’s', async () => {
  const failures: unknown[] = []
  const observer = { stepped: () => {}, ended: () => {}, failed: (error: unknown) => failures.push(error) }
  const node = engine({ observer })
  const own = new Grammars({ vocabulary, checkMs: 60_000, compileMs: 60_000 })
  const opening = () => own.open(digits, { stopTokens: [endOfText] })
  const asks = [
    { adapter: null, grammar: await opening() },
    { adapter: pinned(), grammar: await opening() },
  ]
  await own.close()
  for (const ask of asks)
    expect((await run(node, ask)).end).toMatchObject({ type: 'error', code: 'node_error' })
  expect(failures).toHaveLength(2)
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

describe('a text that the form forces', () => {
  const greeting: Grammar = {
    kind: 'ebnf',
    grammar: 'root ::= "{\\"hello hello world\\":" [0-9] ",\\"hello\\":" ("he" | "hello" | "well") "}"',
  }
  const written = /^\{"hello hello world":\d,"hello":(he|hello|well)\}$/
  const sampled = { ...greedySampling, temperature: 1.5 }
  /** Runs of a forced text: a prompt here is shorter. */
  const jumps = ({ calls }: FakeBackend) =>
    calls.flatMap((call) => (call.type === 'prefill' && call.tokens > 3 ? [call.tokens] : []))

  test.each([
    ['greedy', () => greedySampling],
    ['drawn', (seed: number) => ({ ...sampled, seed, repetitionPenalty: 1.3, presencePenalty: 0.5 })],
  ] as const)(
    'has the same tokens at once and token by token, beside free sequences: %s',
    async (_name, samplingOf) => {
      const run = async (leastJump: number) => {
        const backend = new FakeBackend({ vocab, maxBatch: 8 })
        const node = engine({ backend, leastJump })
        const held = Array.from({ length: 6 }, async (_, seed) =>
          answer(node, { seed, grammar: await open(greeting), sampling: samplingOf(seed) }),
        )
        const free = Array.from({ length: 3 }, (_, seed) => answer(node, { seed, maxTokens: 25 }))
        return { answers: await Promise.all([...held, ...free]), backend }
      }
      const atOnce = await run(2)
      const stepwise = await run(Number.POSITIVE_INFINITY)
      expect(atOnce.answers).toEqual(stepwise.answers)
      for (const { text } of atOnce.answers.slice(0, 6)) expect(text).toMatch(written)
      expect(new Set(atOnce.answers.slice(0, 6).map(({ text }) => text)).size).toBeGreaterThan(1)
      expect(jumps(atOnce.backend).length).toBeGreaterThan(6)
      expect(jumps(stepwise.backend)).toEqual([])
    },
  )

  test('is written in the tokens of the tokenizer', async () => {
    const { tokens } = await answer(engine(), { grammar: await open(greeting), seed: 1 })
    const { text } = await answer(engine(), { grammar: await open(greeting), seed: 1 })
    const own = codec.encodeRendered(text, { tokens: 100, param: 'prompt' })
    // Up to the first token that the model chooses.
    const end = own.indexOf(0x22, 2)
    expect(end).toBeGreaterThan(3)
    expect(tokens.slice(0, end)).toEqual(own.slice(0, end))
  })

  test.each([1, 2, 3, 5, 8])(
    'is cut off by a limit of %d tokens, which are all that is counted',
    async (maxTokens) => {
      const node = engine({ leastJump: 2 })
      const { end, tokens } = await answer(node, { grammar: await open(greeting), seed: 1, maxTokens })
      expect(tokens.length).toBe(maxTokens)
      expect(end).toMatchObject({ reason: 'length', usage: { completionTokens: maxTokens } })
      expect(node.running).toBe(0)
    },
  )

  test('runs token by token where log-probabilities are wanted: they are the model’s own', async () => {
    const backend = new FakeBackend({ vocab })
    const node = engine({ backend, leastJump: 2 })
    const told = await answer(node, { grammar: await open(greeting), seed: 1, logprobs: 2 })
    const untold = await answer(engine({ leastJump: 2 }), { grammar: await open(greeting), seed: 1 })
    expect(told.tokens).toEqual(untold.tokens)
    expect(jumps(backend)).toEqual([])
    expect(told.logprobs.every((logprob) => logprob !== undefined && logprob < 0)).toBe(true)
  })

  test('is whole without stop tokens, and a constant is a whole answer', async () => {
    const constant: Grammar = { kind: 'ebnf', grammar: 'root ::= "hello hello world hello world!"' }
    for (const stops of [[endOfText], []]) {
      const { end, text } = await answer(engine({ leastJump: 2 }), {
        grammar: await open(constant, stops),
        stopTokens: stops,
        seed: 2,
      })
      expect(text).toBe('hello hello world hello world!')
      expect(end).toMatchObject({ reason: 'stop' })
    }
  })

  test('leaves single tokens to a request that steers them', async () => {
    const hello = codec.encodeRendered('hello', { tokens: 10, param: 'prompt' })[0] ?? 0
    const grammar = await grammars.open(greeting, { stopTokens: [endOfText], isSpelledFreely: true })
    const sampling = { ...greedySampling, logitBias: [[hello, -100] satisfies [number, number]] }
    const { text, tokens } = await answer(engine({ leastJump: 2 }), { grammar, sampling, seed: 3 })
    expect(text).toMatch(written)
    expect(tokens).not.toContain(hello)
  })

  test('comes behind the token that a deferred grammar begins with', async () => {
    const free = await run(engine(), { seed: 3 })
    const marker = free.tokens[4] ?? 0
    const grammar = new DeferredGrammar(await open(greeting), [marker])
    const held = await answer(engine({ leastJump: 2 }), { seed: 3, grammar, maxTokens: 60 })
    const first = free.tokens.indexOf(marker)
    expect(held.tokens.slice(0, first + 1)).toEqual(free.tokens.slice(0, first + 1))
    expect(textOf(held.tokens.slice(first + 1))).toMatch(written)
  })

  async function answer(node: Engine, ask: Ask) {
    const { all, end, tokens } = await run(node, ask)
    const logprobs = all.flatMap((event) => (event.type === 'token' ? [event.logprob] : []))
    // Timings differ.
    return { tokens, text: textOf(tokens), logprobs, end: { ...end, timings: undefined } }
  }
})

const codec = TextCodec.compile(tinyTokenizer)
const textOf = (ids: readonly number[]) => codec.vocabulary.text(ids)
