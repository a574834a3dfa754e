import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Engine } from '../gpu-node/engine/engine.ts'
import type { EngineRequest } from '../gpu-node/engine/sequence.ts'
import { Grammars } from '../gpu-node/grammar/grammars.ts'
import { vocabularyOf } from '../gpu-node/grammar/vocabulary.ts'
import { parseTokenizer } from '../model/import/tokenizer.ts'
import { newRequestId, TenantId } from '../shared/ids.ts'
import { type Grammar, greedySampling, type Sampling } from '../shared/wire.ts'
import { benchBackbone, openBenchBackend } from './backend.ts'
import { textIds } from './engine-run.ts'
import { report } from './report.ts'
import { compare } from './statistics.ts'
import { fuzzStructure } from './structure-fuzz.ts'

const batch = 8
const tokens = 96
const rounds = 7
const queue = { total: 1_000, perTenant: 1_000 }

/**
 * `bench -- structure`: a batch of eight under eight schemas against a free one, token by token, and fixed keys with and
 * without jump-ahead. With `fuzz`, as many random schemas instead, through a whole stack.
 */
export async function benchStructure({ fuzz }: { fuzz?: string | undefined }): Promise<boolean> {
  if (fuzz !== undefined) return fuzzStructure(Number(fuzz))
  const world = await open()
  try {
    return await measure(world)
  } finally {
    await world.grammars.close()
    await world.engine.close()
  }
}

async function open() {
  const { folder } = await benchBackbone()
  const { backend, manifest } = await openBenchBackend()
  const json: unknown = JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8'))
  const { vocab } = backend.limits
  const vocabulary = vocabularyOf(parseTokenizer(json), { vocab, eos: manifest.tokens.eos })
  if (vocabulary === undefined) throw new Error('this tokenizer does not go with grammars')
  return {
    manifest,
    // Two that never run at once, on one model.
    engine: new Engine({ backend, queue }),
    stepwise: new Engine({ backend, queue, leastJump: Number.POSITIVE_INFINITY }),
    grammars: new Grammars({ vocabulary, compileMs: 60_000 }),
  }
}
type World = Awaited<ReturnType<typeof open>>

interface Ask {
  /** Whether forced texts run token by token. */
  readonly isStepwise?: boolean
  readonly grammar?: Grammar | undefined
  readonly sampling?: Partial<Sampling>
  readonly maxTokens?: number
  readonly seed: number
}

/** Tokens of answers, and those of them that their form forced. */
interface Forced {
  tokens: number
  forced: number
}

async function answered({ engine, grammars, manifest, stepwise }: World, ask: Ask, counts?: Forced) {
  const stopTokens = ask.grammar === undefined ? [] : manifest.tokens.eos
  const session = ask.grammar && (await grammars.open(ask.grammar, { stopTokens }))
  const grammar: EngineRequest['grammar'] = session && {
    mask: session.mask,
    get status() {
      return session.status
    },
    get forced() {
      return session.forced
    },
    accept(token) {
      if (counts !== undefined) {
        counts.tokens += 1
        counts.forced += session.forced.length > 0 ? 1 : 0
      }
      session.accept(token)
    },
    settled: (ms) => session.settled(ms),
    close: () => session.close(),
  }
  const ids: number[] = []
  let reason = 'error'
  const events = (ask.isStepwise ? stepwise : engine).submit({
    tenant: TenantId.parse('bench'),
    request: {
      requestId: newRequestId(),
      backbone: manifest.digest,
      adapter: null,
      prompt: textIds(16, ask.seed),
      maxTokens: ask.maxTokens ?? tokens,
      sampling: { ...greedySampling, ...ask.sampling },
      stopTokens: [...stopTokens],
      logprobs: null,
      timeoutMs: 3_600_000,
    },
    adapter: null,
    grammar,
    signal: new AbortController().signal,
  })
  for await (const piece of events)
    for (const event of piece) {
      if (event.type === 'token' && event.stop !== true) ids.push(event.id)
      if (event.type === 'done') reason = event.reason
      if (event.type === 'error') throw new Error(event.message)
    }
  return { ids, reason }
}

/** A list too long to end within the answer. */
const endless = (name: string): Grammar => ({
  kind: 'json_schema',
  schema: JSON.stringify({
    type: 'array',
    minItems: 60,
    items: {
      type: 'object',
      properties: { [name]: { type: 'string' }, count: { type: 'integer' } },
      required: [name, 'count'],
      additionalProperties: false,
    },
  }),
})

async function measure(world: World): Promise<boolean> {
  const grammars = Array.from({ length: batch }, (_, at) => endless(`name_${at}`))
  const run = async (grammarOf: (at: number) => Grammar | undefined) => {
    const start = performance.now()
    await Promise.all(
      grammars.map((_, at) => answered(world, { grammar: grammarOf(at), seed: at, isStepwise: true })),
    )
    return (performance.now() - start) / tokens
  }
  const { a, b, ratio } = await compare(rounds, {
    a: () => run((at) => grammars[at]),
    b: () => run(() => undefined),
  })
  const ms = { unit: 'ms' }
  const stepsHold = report('eight schemas against none, batch 8', [
    { name: 'a step under eight schemas, prompt included', value: a, ...ms },
    { name: 'a step of free sequences', value: b, ...ms },
    { name: 'ratio', value: ratio, unit: '×', bound: { kind: 'at most', value: 1.1 } },
  ])
  const jumpsHold = []
  for (const sequences of [1, batch]) jumpsHold.push(await measureJumps(world, sequences))
  return stepsHold && jumpsHold.every(Boolean)
}

/** Long fixed keys, each with a short value. */
const fixedKeys: Grammar = {
  kind: 'json_schema',
  schema: JSON.stringify({
    type: 'array',
    minItems: 60,
    items: {
      type: 'object',
      properties: {
        customer_identification_number: { type: 'integer', minimum: 100, maximum: 999 },
        preferred_communication_channel: { enum: ['email', 'telephone', 'letter'] },
        estimated_delivery_date_confirmed: { type: 'boolean' },
      },
      required: [
        'customer_identification_number',
        'preferred_communication_channel',
        'estimated_delivery_date_confirmed',
      ],
      additionalProperties: false,
    },
  }),
}

async function measureJumps(world: World, sequences: number): Promise<boolean> {
  const counts: Forced = { tokens: 0, forced: 0 }
  const run = async (isStepwise: boolean) => {
    const start = performance.now()
    const asks = Array.from({ length: sequences }, (_, seed) => ({ grammar: fixedKeys, seed, isStepwise }))
    await Promise.all(asks.map((ask) => answered(world, ask, counts)))
    return (performance.now() - start) / tokens
  }
  const { a, b, ratio } = await compare(rounds, { a: () => run(false), b: () => run(true) })
  return report(`long fixed keys, batch ${sequences}`, [
    { name: 'ms for a token of each, forced texts at once', value: a, unit: 'ms' },
    { name: 'the same token by token', value: b, unit: 'ms' },
    { name: 'tokens per second, of those token by token', value: 1 / ratio, unit: '×' },
    { name: 'forced tokens', value: counts.forced / counts.tokens, unit: '' },
  ])
}
