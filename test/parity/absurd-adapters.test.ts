import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Engine } from '../../gpu-node/engine/engine.ts'
import { prepareCacheGraph } from '../../model/calibration/cache-graph.ts'
import type { LoadedAdapter } from '../../model/runtime/backend.ts'
import type { CacheType } from '../../model/runtime/cache-type.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import { type AdapterFile, parseAdapterFile, serializeAdapterFile } from '../../shared/adapter-file.ts'
import type { WeightFormat } from '../../shared/backbone.ts'
import { AdapterDigest, newRequestId, TenantId } from '../../shared/ids.ts'
import { type GenerateEvent, type GenerateRequest, greedySampling } from '../../shared/wire.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

/** Adapters whose weights are finite and absurd, beside others' requests on a real backbone. */

/** The largest f16, and an f32 near the largest. */
const [mostHalf, mostFloat] = [65_504, 3e38]

type Value = (at: number) => number
interface Absurd {
  readonly metadata: Readonly<Record<string, string | number>>
  /** Values in place of those of the tensors whose names end so. */
  readonly values: Readonly<Record<string, Value>>
}

const all =
  (value: number): Value =>
  () =>
    value
const alternating =
  (value: number): Value =>
  (at) =>
    at % 2 === 0 ? value : -value

const rational = all(mostFloat)
const withoutNumbers: Readonly<Record<string, Absurd>> = {
  'iapt with coefficients of 3e38': { metadata: { window: 16 }, values: { rational } },
  'iapt with a numerator of 3e38': {
    metadata: { window: 16 },
    values: { rational: (at) => (at < 7 ? mostFloat : 0) },
  },
  'iapt with late rows': {
    metadata: { window: 8, placement: 'late', tail: 4 },
    values: { rational },
  },
  'idpg with the largest weights': {
    metadata: { kind: 'idpg', window: 16 },
    values: { down: all(mostHalf), up: all(mostHalf), rational },
  },
  'lpt whose rows are carried on': { metadata: { kind: 'lpt', window: 16, at: 1 }, values: { rational } },
  'ipt with the largest table': {
    metadata: { kind: 'ipt', window: 16 },
    values: { table: all(mostHalf), up: all(mostHalf), rational },
  },
}
const withNumbers: Readonly<Record<string, Absurd>> = {
  'iapt with a denominator of 3e38': {
    metadata: { window: 16 },
    values: { rational: (at) => (at < 7 ? 1 : mostFloat) },
  },
  'idpg with gelu and the largest weights': {
    metadata: { kind: 'idpg', window: 16, activation: 'gelu' },
    values: { down: alternating(mostHalf), up: all(mostHalf) },
  },
  'static rows at the limit of f16': {
    metadata: { kind: 'static' },
    values: { static: alternating(mostHalf) },
  },
  'static rows and anchors at the limit of f16': {
    metadata: { kind: 'static', anchor: 'own' },
    values: { anchor: all(mostHalf), static: all(mostHalf) },
  },
  'static rows of 1e38 in f32': {
    metadata: { kind: 'static', anchor: 'none', precision: 'f32' },
    values: { static: alternating(1e38) },
  },
  'static rows of 3e38 in f32 on the sink': {
    metadata: { kind: 'static', anchor: 'sink', precision: 'f32' },
    values: { static: all(mostFloat) },
  },
}

const prompt = range(0, 20).map((n) => (n * 31) % 256)

async function read(stream: AsyncIterable<readonly GenerateEvent[]>): Promise<GenerateEvent[]> {
  const events: GenerateEvent[] = []
  for await (const piece of stream) events.push(...piece)
  return events
}
const ids = (events: readonly GenerateEvent[]) =>
  events.flatMap((event) => (event.type === 'token' ? [event.id] : []))

describe.for<[WeightFormat, CacheType]>([
  ['f32', 'f32'],
  ['q8', 'f32'],
  ['q8', 'int8'],
])('with %s weights and a cache in %s', ([weights, cacheType]) => {
  let tiny: TinyBackbone
  let backend: OnnxBackend
  let alone: number[]
  beforeAll(async () => {
    tiny = await tinyBackbone({ weights })
    // There are so few cache rows that requests get those that absurd ones had.
    await prepareCacheGraph(tiny, { layout: 'host', type: cacheType }, prompt)
    backend = await openBackend(tiny, { cacheRows: 160, cacheType })
    alone = ids(await read(engineOver().submit({ maxTokens: 40 })))
  })
  afterAll(async () => {
    await backend.close()
    await rm(dirname(tiny.folder), { recursive: true })
  })

  function adapterOf({ metadata, values }: Absurd): AdapterFile {
    const file = randomAdapter(tiny.manifest, { seed: 1, ...metadata })
    const tensors = new Map(
      [...file.tensors].map(([name, tensor]) => {
        const value = values[name.slice(name.lastIndexOf('.') + 1)]
        if (value === undefined) return [name, tensor]
        const made = range(
          0,
          tensor.shape.reduce((a, b) => a * b),
        ).map(value)
        const data = tensor.dtype === 'F32' ? Float32Array.from(made) : Float16Array.from(made)
        return [name, { ...tensor, data: new Uint8Array(data.buffer) }]
      }),
    )
    return parseAdapterFile(serializeAdapterFile({ metadata: file.metadata, provenance: {}, tensors }))
  }

  function engineOver() {
    const failures: unknown[] = []
    const engine = new Engine({
      backend,
      observer: { stepped: () => {}, ended: () => {}, failed: (error) => failures.push(error) },
      queue: { total: 100, perTenant: 100 },
      chunkTokens: 16,
    })
    const submit = ({
      file,
      stacked,
      ...asked
    }: Partial<GenerateRequest> & { file?: AdapterFile; stacked?: LoadedAdapter }) => {
      const loaded = stacked ?? (file && backend.loadAdapter(file))
      return engine.submit({
        tenant: TenantId.parse(loaded === undefined ? 'neighbour' : 'absurd'),
        request: {
          requestId: newRequestId(),
          backbone: tiny.manifest.digest,
          adapter: loaded === undefined ? null : AdapterDigest.parse('a'.repeat(64)),
          prompt,
          maxTokens: 12,
          sampling: greedySampling,
          stopTokens: [],
          logprobs: null,
          timeoutMs: 60_000,
          ...asked,
        },
        adapter: loaded === undefined ? null : { loaded, release: () => {} },
        signal: new AbortController().signal,
      })
    }
    return { engine, failures, submit }
  }

  /** Answers to requests for the adapter, of tokens, scores of the prompt and its embedding, while and after neighbours run. */
  async function ask(absurd: Absurd) {
    const { engine, failures, submit } = engineOver()
    const file = adapterOf(absurd)
    const asked: readonly Parameters<typeof submit>[0][] = [
      { maxTokens: 40 },
      { file },
      { file, promptLogprobs: 1 },
      { file, maxTokens: 0, embedding: 'mean' },
      {},
    ]
    const [before = [], plain = [], scored = [], embedded = [], beside = []] = await Promise.all(
      asked.map((each) => read(submit(each))),
    )
    const after = await read(submit({ maxTokens: 40 }))
    expect(ids(before)).toEqual(alone)
    expect(ids(beside)).toEqual(alone.slice(0, 12))
    expect(ids(after)).toEqual(alone)
    expect([failures, engine.failing]).toEqual([[], false])
    return { plain, scored, embedded }
  }

  test.each(Object.entries(withoutNumbers))(
    'its own request alone ends, by its own code and with its prompt paid: %s',
    async (_name, absurd) => {
      const { embedded, plain, scored } = await ask(absurd)
      const ending = { type: 'error', code: 'adapter_unusable' }
      const paid = { promptRows: 4, completionTokens: 0 }
      for (const events of [plain, embedded])
        expect(events).toMatchObject([{ ...ending, usage: { ...paid, promptTokens: prompt.length } }])
      // Scores end it with the first chunk that has none; the rows count once they were made.
      expect(scored).toMatchObject([{ ...ending, usage: paid }])
    },
  )

  test.each(Object.entries(withNumbers))('one that gives numbers is answered: %s', async (_name, absurd) => {
    const { embedded, plain, scored } = await ask(absurd)
    for (const events of [plain, scored, embedded]) expect(events.at(-1)).toMatchObject({ type: 'done' })
  })

  test('a stack ends where the rows of one of its parts are no numbers, whichever part it is', async () => {
    const late = withoutNumbers['iapt with late rows']
    if (late === undefined) throw new Error('there is such a case')
    const { failures, submit } = engineOver()
    const broken = backend.loadAdapter(adapterOf(late))
    const sane = backend.loadAdapter(adapterOf({ ...late, values: {} }))
    const answered = async (parts: readonly LoadedAdapter[]) =>
      (await read(submit({ stacked: backend.stack(parts) }))).at(-1)
    const unusable = { type: 'error', code: 'adapter_unusable' }
    expect(await answered([broken, sane])).toMatchObject(unusable)
    expect(await answered([sane, broken])).toMatchObject(unusable)
    expect(await answered([sane, sane])).toMatchObject({ type: 'done' })
    expect([ids(await read(submit({ maxTokens: 40 }))), failures]).toEqual([alone, []])
  })

  test('one sequence’s logits that are no numbers leave those of the next in the batch bit for bit', async () => {
    const absurd = withoutNumbers['iapt with coefficients of 3e38']
    if (absurd === undefined) throw new Error('there is such a case')
    const decoded = async (of: Absurd) => {
      const adapter = backend.loadAdapter(adapterOf(of))
      const slots = [backend.allocate(40), backend.allocate(40)]
      const [first, second] = slots
      if (first === undefined || second === undefined) throw new Error('no room')
      await backend.prefill({ slot: first, tokens: prompt, adapter })
      await backend.prefill({ slot: second, tokens: prompt })
      const batch = [first, second].map((slot) => ({ slot, token: 7 }))
      const logits = Float32Array.from(await backend.decode(batch))
      for (const slot of slots) slot?.release()
      const { vocab } = backend.limits
      return { own: logits.subarray(0, vocab), next: logits.subarray(vocab) }
    }
    const sane = await decoded({ ...absurd, values: {} })
    const broken = await decoded(absurd)
    expect(broken.own.every(Number.isNaN)).toBe(cacheType === 'f32')
    expect(broken.next).toEqual(sane.next)
  })
})
