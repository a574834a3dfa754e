import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadAnchors } from '../../model/runtime/anchors.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import { scoreAll } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { referenceLogits } from './reference.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

/**
 * The difference between the graph and the reference in double precision that f32 and another order of summation
 * explain.
 */
const tolerance = 2e-4

const tokens = range(0, 19).map((i) => (i * 47 + 3) % 256)

function largestDifference(logits: Float32Array, expected: readonly (readonly number[])[]): number {
  const flat = expected.flat()
  expect(logits.length).toBe(flat.length)
  return flat.reduce((most, x, i) => Math.max(most, Math.abs(x - (logits[i] ?? Number.NaN))), 0)
}

/** Rotary positions in every layer, and these windows. */
const windows = (...of: readonly (number | null)[]) => of.map((window) => ({ rotary: 0, window }))

describe('the graph equals the model written down in plain arithmetic', () => {
  const shapes = {
    'tied head, grouped heads': {},
    'its own head': { tiedHead: false },
    'as many key-value heads as heads': { kvHeads: 4 },
    'one key-value head': { kvHeads: 1 },
    'heads wider than the hidden state': { headDim: 32 },
    'one layer': { layers: 1 },
    'another rope and epsilon': { rotary: [{ theta: 100_000 }], rmsEps: 1e-3 },
    'a window in every layer': { attention: windows(4, 4, 4) },
    'windows in some layers': { attention: windows(1, null, 7) },
    'heads of 8': { headDim: 8, heads: 8, kvHeads: 2 },
    'heads of 24': { headDim: 24 },
    'heads of 40': { headDim: 40, tiedHead: false },
    'heads of 10': { headDim: 10, heads: 6, kvHeads: 3 },
    'odd sizes': { d: 36, heads: 3, kvHeads: 3, headDim: 48, ffn: 50, vocab: 131 },
  }
  test.for(Object.entries(shapes))('%s', async ([, config], { onTestFinished }) => {
    const tiny = await tinyBackbone({ config })
    const backend = await openBackend(tiny, { threads: 1 })
    onTestFinished(async () => {
      await backend.close()
      await rm(dirname(tiny.folder), { recursive: true })
    })
    const ids = tokens.map((id) => id % tiny.manifest.config.vocab)
    const logits = await scoreAll(backend, { tokens: ids })
    expect(largestDifference(logits, await referenceLogits(tiny.source, { tokens: ids }))).toBeLessThan(
      tolerance,
    )
  })
})

describe('an adapter changes the model as the method says', () => {
  let tiny: TinyBackbone
  let backend: OnnxBackend
  beforeAll(async () => {
    tiny = await tinyBackbone()
    backend = await openBackend(tiny, { threads: 1 })
  })
  afterAll(async () => {
    await backend.close()
    await rm(dirname(tiny.folder), { recursive: true })
  })

  const adapters = [
    ...['first', 'after-first'].flatMap((placement) =>
      ['sink', 'own', 'none'].flatMap((anchor) => [
        ...['rational', 'gelu', 'relu'].map((activation) => ({ placement, anchor, activation })),
        { placement, anchor, kind: 'static' },
      ]),
    ),
    { anchor: 'sink', window: 7 },
    { anchor: 'own', placement: 'after-first', window: 1 },
    { anchor: 'sink', l_sp: 1, m: 1 },
    { anchor: 'sink', l_sp: 33, m: 5 },
    { kind: 'static', l_sp: 130 },
    ...['first', 'after-first'].flatMap((placement) =>
      ['sink', 'own', 'none'].flatMap((anchor) => [
        ...['mean', 'max'].flatMap((pool) => [
          { placement, anchor, kind: 'idpg', pool },
          { placement, anchor, kind: 'idpg', pool, generator: 'shared' },
          { placement, anchor, kind: 'idpg', pool, at: 1 },
          { placement, anchor, kind: 'lpt', pool, at: 1 },
        ]),
        { placement, anchor, kind: 'lpt', at: 1 },
        { placement, anchor, kind: 'ipt' },
      ]),
    ),
    ...['rational', 'gelu', 'relu'].flatMap((activation) => [
      { kind: 'idpg', activation, anchor: 'sink' },
      { kind: 'lpt', activation, at: 0 },
      { kind: 'ipt', activation, anchor: 'sink' },
    ]),
    { kind: 'idpg', generator: 'shared', at: 2, anchor: 'own' },
    { kind: 'lpt', at: 0, anchor: 'sink', window: 5 },
    { kind: 'lpt', at: 2, anchor: 'sink', placement: 'after-first', l_sp: 9 },
    { kind: 'lpt', pool: 'max', at: 1, window: 3 },
    { kind: 'idpg', pool: 'mean', window: 3, anchor: 'sink' },
    { kind: 'ipt', window: 3, l_sp: 1 },
    ...['sink', 'own', 'none'].flatMap((anchor) => [
      { anchor, placement: 'late', tail: 4 },
      { anchor, placement: 'late', tail: 1, window: 5, activation: 'gelu' },
      { anchor, placement: 'late', tail: 2, kind: 'static', l_sp: 7 },
      ...['mean', 'max'].map((pool) => ({
        anchor,
        placement: 'late',
        tail: 18,
        kind: 'idpg',
        pool,
        generator: 'shared',
      })),
      { anchor, placement: 'late', tail: 6, kind: 'idpg', window: 3 },
    ]),
  ]
  test.for(adapters.map((metadata) => [JSON.stringify(metadata), metadata] as const))(
    '%s',
    async ([, metadata]) => {
      const adapter = randomAdapter(tiny.manifest, { seed: 5, ...metadata })
      const anchors = await loadAnchors(tiny.folder, tiny.manifest.config)
      const expected = await referenceLogits(tiny.source, { tokens, tuning: { adapter, anchors } })
      const logits = await scoreAll(backend, { tokens, adapter: backend.loadAdapter(adapter) })
      expect(largestDifference(logits, expected)).toBeLessThan(tolerance)
      const untuned = await referenceLogits(tiny.source, { tokens })
      expect(largestDifference(logits, untuned)).toBeGreaterThan(0.1)
    },
  )

  const ofTurn: readonly ({ turn: number } & Readonly<Record<string, string | number>>)[] = [
    { turn: 0, anchor: 'own' },
    { turn: 2, anchor: 'sink', window: 5 },
    { turn: 9, anchor: 'none', window: 30, activation: 'gelu' },
    { turn: 18, anchor: 'own' },
    { turn: 8, anchor: 'sink', kind: 'static', l_sp: 7 },
    { turn: 6, anchor: 'own', kind: 'idpg', pool: 'max', generator: 'shared', window: 7 },
    { turn: 7, anchor: 'none', kind: 'idpg', pool: 'mean' },
  ]
  test.for(ofTurn)(
    'rows in front of a newest turn, whole and in chunks: %j',
    async ({ turn, ...metadata }) => {
      const file = randomAdapter(tiny.manifest, { seed: 5, placement: 'turn', ...metadata })
      const anchors = await loadAnchors(tiny.folder, tiny.manifest.config)
      const tuning = { adapter: file, anchors, turn }
      const expected = await referenceLogits(tiny.source, { tokens, tuning })
      const adapter = backend.loadAdapter(file)
      const logits = await scoreAll(backend, { tokens, adapter, turn })
      expect(largestDifference(logits, expected)).toBeLessThan(tolerance)
      const untuned = await scoreAll(backend, { tokens })
      const front = turn * backend.limits.vocab
      expect(largestDifference(logits.slice(0, front), [[...untuned.slice(0, front)]])).toBeLessThan(1e-5)
      const behind = [[...untuned.slice(Math.max(1, turn) * backend.limits.vocab)]]
      expect(
        largestDifference(logits.slice(Math.max(1, turn) * backend.limits.vocab), behind),
      ).toBeGreaterThan(0.1)
      const slot = backend.allocate(tokens.length + adapter.rows)
      if (slot === undefined) throw new Error('no room')
      for (const [start, end] of [
        [0, turn >> 1],
        [turn >> 1, turn],
      ] as const)
        if (end > start) await backend.prefill({ slot, tokens: tokens.slice(start, end) })
      const cut = turn + (adapter.window || 3)
      let last = await backend.prefill({ slot, tokens: tokens.slice(turn, cut), adapter })
      for (const token of tokens.slice(cut)) last = await backend.decode([{ slot, token }])
      expect(largestDifference(last, expected.slice(-1))).toBeLessThan(tolerance)
      slot.release()
    },
  )

  test('rows of a newest turn leave what is in front of them as it is, and go out of view behind a window', async () => {
    const windowed = await tinyBackbone({ config: { attention: windows(5, 5, null) } })
    const host = await openBackend(windowed)
    try {
      const file = randomAdapter(windowed.manifest, { seed: 5, placement: 'turn', window: 9, anchor: 'own' })
      const anchors = await loadAnchors(windowed.folder, windowed.manifest.config)
      for (const turn of [0, 6]) {
        const tuning = { adapter: file, anchors, turn }
        const expected = await referenceLogits(windowed.source, { tokens, tuning })
        const logits = await scoreAll(host, { tokens, adapter: host.loadAdapter(file), turn })
        expect(largestDifference(logits, expected)).toBeLessThan(tolerance)
      }
    } finally {
      await host.close()
      await rm(dirname(windowed.folder), { recursive: true })
    }
  })

  test('late rows change no token in front of them, behind a window neither', async () => {
    const windowed = await tinyBackbone({ config: { attention: windows(5, 5, null) } })
    const host = await openBackend(windowed)
    try {
      const late = { seed: 5, placement: 'late', tail: 4, window: 9, anchor: 'own' }
      const adapter = randomAdapter(windowed.manifest, late)
      const anchors = await loadAnchors(windowed.folder, windowed.manifest.config)
      const expected = await referenceLogits(windowed.source, { tokens, tuning: { adapter, anchors } })
      const logits = await scoreAll(host, { tokens, adapter: host.loadAdapter(adapter) })
      expect(largestDifference(logits, expected)).toBeLessThan(tolerance)
      const front = (tokens.length - 4) * host.limits.vocab
      expect(logits.slice(0, front)).toEqual((await scoreAll(host, { tokens })).slice(0, front))
    } finally {
      await host.close()
      await rm(dirname(windowed.folder), { recursive: true })
    }
  })

  test.for(
    ['first', 'after-first'].flatMap((placement) =>
      [
        { kind: 'static', l_sp: 3 },
        { kind: 'iapt', window: 9 },
        { kind: 'lpt', at: 1, window: 9 },
      ].map((kind) => ({
        placement,
        anchor: 'sink',
        ...kind,
      })),
    ),
  )('prompt rows, and the sink before them, stay in view behind a window: %j', async (metadata) => {
    const windowed = await tinyBackbone({ config: { attention: windows(5, 5, null) } })
    const host = await openBackend(windowed)
    try {
      const adapter = randomAdapter(windowed.manifest, { seed: 5, ...metadata })
      const anchors = await loadAnchors(windowed.folder, windowed.manifest.config)
      const expected = await referenceLogits(windowed.source, { tokens, tuning: { adapter, anchors } })
      const loaded = host.loadAdapter(adapter)
      const logits = await scoreAll(host, { tokens, adapter: loaded })
      expect(largestDifference(logits, expected)).toBeLessThan(tolerance)
      // Chunks and single steps behind the first see them too.
      const slot = host.allocate(tokens.length + loaded.rows)
      if (slot === undefined) throw new Error('no room')
      await host.prefill({ slot, tokens: tokens.slice(0, 9), adapter: loaded })
      await host.prefill({ slot, tokens: tokens.slice(9, 17) })
      const [token = 0, last = 0] = tokens.slice(17)
      await host.decode([{ slot, token }])
      const stepped = await host.decode([{ slot, token: last }])
      expect(largestDifference(stepped, expected.slice(-1))).toBeLessThan(tolerance)
      slot.release()
    } finally {
      await host.close()
      await rm(dirname(windowed.folder), { recursive: true })
    }
  })

  const zeroed = (name: string, values: Float32Array) =>
    name === 'layers.1.attn_norm' ? values.map((x, i) => (i % 9 === 4 ? 0 : x)) : values
  test.for([
    ['another epsilon than the method’s', { config: { rmsEps: 1e-3 } }],
    ['weights of zero in a norm', { alter: zeroed }],
  ] as const)('a generator reads hidden states that the backbone norms with %s', async ([, options]) => {
    const other = await tinyBackbone(options)
    const host = await openBackend(other)
    try {
      const anchors = await loadAnchors(other.folder, other.manifest.config)
      for (const kind of [{ kind: 'iapt' }, { kind: 'lpt', at: 1 }]) {
        const adapter = randomAdapter(other.manifest, { seed: 8, anchor: 'sink', ...kind })
        const expected = await referenceLogits(other.source, { tokens, tuning: { adapter, anchors } })
        const logits = await scoreAll(host, { tokens, adapter: host.loadAdapter(adapter) })
        expect(largestDifference(logits, expected)).toBeLessThan(tolerance)
      }
    } finally {
      await host.close()
      await rm(dirname(other.folder), { recursive: true })
    }
  })

  test('a prompt of one token', async () => {
    for (const kind of [{}, { kind: 'lpt', at: 1 }, { kind: 'ipt' }]) {
      const own = { seed: 6, placement: 'after-first', anchor: 'own', ...kind }
      const adapter = randomAdapter(tiny.manifest, own)
      const anchors = await loadAnchors(tiny.folder, tiny.manifest.config)
      const expected = await referenceLogits(tiny.source, { tokens: [9], tuning: { adapter, anchors } })
      const logits = await scoreAll(backend, { tokens: [9], adapter: backend.loadAdapter(adapter) })
      expect(largestDifference(logits, expected)).toBeLessThan(tolerance)
    }
  })
})
