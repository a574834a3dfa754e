import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compileText } from '../../model/runtime/compile.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import { AdapterMetadata, metadataStrings } from '../../shared/adapter-file.ts'
import type { WeightFormat } from '../../shared/backbone.ts'
import { adapterVariants, allocated, scoreAll } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

describe.for<WeightFormat>(['f32', 'q8'])('with %s weights', (weights) => {
  let tiny: TinyBackbone
  let backend: OnnxBackend
  beforeAll(async () => {
    tiny = await tinyBackbone({ weights })
    backend = await openBackend(tiny, {})
  })
  afterAll(async () => {
    await backend.close()
    await rm(dirname(tiny.folder), { recursive: true })
  })

  test('in front of late rows the cache is the backbone’s own, bit for bit, and one serves the other', async () => {
    const tokens = range(0, 150).map((n) => (n * 31) % 256)
    const late = adapterVariants.flatMap((variant) =>
      variant && 'tail' in variant
        ? [backend.loadAdapter(randomAdapter(tiny.manifest, { seed: 4, ...variant }))]
        : [],
    )
    expect(late.length).toBe(3)
    const base = backend.allocate(tokens.length)
    if (base === undefined) throw new Error('no room')
    await backend.prefill({ slot: base, tokens })
    for (const adapter of late) {
      const { rows, tail = 0 } = adapter
      const range = { start: 0, end: tokens.length - tail, tokens: tokens.length }
      const [own, warm] = [backend.allocate(tokens.length + rows), backend.allocate(tokens.length + rows)]
      if (own === undefined || warm === undefined) throw new Error('no room')
      const cold = Float32Array.from(await backend.prefill({ slot: own, tokens, adapter }))
      expect(await backend.keepRows(own, { ...range, tail })).toEqual(await backend.keepRows(base, range))
      await expect(backend.keepRows(own, { ...range, end: tokens.length, tail })).rejects.toThrow(
        'behind late rows',
      )
      const end = 128
      await backend.putRows(warm, [await backend.keepRows(base, { ...range, end })])
      expect(await backend.prefill({ slot: warm, tokens: tokens.slice(end), adapter })).toEqual(cold)
      own.release()
      warm.release()
    }
    base.release()
  })

  const turnVariants = [
    { kind: 'iapt', anchor: 'own', activation: 'gelu', window: 9 },
    { kind: 'idpg', anchor: 'sink', pool: 'max', window: 40 },
    { kind: 'static', anchor: 'none', l_sp: 6 },
  ]

  test('rows of a newest turn that is the whole prompt are rows behind the first token, bit for bit', async () => {
    const tokens = range(0, 70).map((n) => (n * 31) % 256)
    for (const variant of turnVariants) {
      const found = []
      for (const placement of ['after-first', 'turn']) {
        const file = randomAdapter(tiny.manifest, { seed: 4, placement, ...variant })
        const adapter = backend.loadAdapter(file)
        const slot = allocated(backend, tokens.length + adapter.rows + 1)
        const first = await backend.score({ slot, tokens: tokens.slice(0, 40), adapter }, range(0, 40))
        const logits = [Float32Array.from(first)]
        logits.push(Float32Array.from(await backend.prefill({ slot, tokens: tokens.slice(40) })))
        logits.push(Float32Array.from(await backend.decode([{ slot, token: 7 }])))
        const kept = await backend.keepRows(slot, { start: 0, end: 71, tokens: 71 })
        found.push({ logits, kept })
        slot.release()
      }
      expect(found[1]).toEqual(found[0])
    }
  })

  test('in front of a newest turn the cache is the backbone’s own, bit for bit, and one serves the other', async () => {
    const tokens = range(0, 150).map((n) => (n * 31) % 256)
    const base = allocated(backend, tokens.length)
    await backend.prefill({ slot: base, tokens })
    for (const [at, variant] of turnVariants.entries()) {
      const file = randomAdapter(tiny.manifest, { seed: 4, placement: 'turn', ...variant })
      const adapter = backend.loadAdapter(file)
      // Behind a block's border, at it, and in front of it.
      const turn = [70, 64, 37][at] ?? 0
      const rows = tokens.length + adapter.rows + 1
      const own = allocated(backend, rows)
      await backend.prefill({ slot: own, tokens: tokens.slice(0, turn) })
      const cold = Float32Array.from(
        await backend.prefill({ slot: own, tokens: tokens.slice(turn), adapter }),
      )
      const blocks = []
      for (const start of [0, 64])
        blocks.push(await backend.keepRows(own, { start, end: start + 64, tokens: tokens.length, turn }))
      const front = { start: 0, end: turn, tokens: tokens.length }
      const shared = await backend.keepRows(base, front)
      expect(await backend.keepRows(own, { ...front, turn })).toEqual(shared)
      const next = Float32Array.from(await backend.decode([{ slot: own, token: 7 }]))
      own.release()
      const warm = allocated(backend, rows)
      await backend.putRows(warm, [shared])
      const chunks = [tokens.slice(turn, turn + 50), tokens.slice(turn + 50)] as const
      await backend.prefill({ slot: warm, tokens: chunks[0], adapter })
      expect(await backend.prefill({ slot: warm, tokens: chunks[1] })).toEqual(cold)
      expect(await backend.decode([{ slot: warm, token: 7 }])).toEqual(next)
      warm.release()
      const again = allocated(backend, rows)
      await backend.putRows(again, blocks)
      expect(await backend.prefill({ slot: again, tokens: tokens.slice(128) })).toEqual(cold)
      expect(await backend.decode([{ slot: again, token: 7 }])).toEqual(next)
      again.release()
    }
    base.release()
  })

  test('a text as static rows in front of a prompt’s tail, or of its newest turn, is the text at that place, bit for bit', async () => {
    const conversation = range(0, 40).map((n) => (n * 91) % 256)
    const [text, tail] = [range(0, 11).map((n) => (n * 17 + 5) % 256), [7, 8, 9]]
    const compiled = await compileText({ ...tiny, tokens: [...conversation, ...text] })
    const { d } = tiny.manifest.config
    const metadata = AdapterMetadata.parse({
      ...metadataStrings(compiled.metadata),
      placement: 'late',
      tail: String(tail.length),
      l_sp: String(text.length),
    })
    const tensors = new Map(
      Array.from(compiled.tensors, ([name, { data, dtype }]) => [
        name,
        { dtype, shape: [text.length, d], data: data.slice(-4 * d * text.length) },
      ]),
    )
    const adapter = backend.loadAdapter({ ...compiled, metadata, tensors })
    const inFront = backend.loadAdapter({
      ...compiled,
      metadata: { ...metadata, placement: 'turn', tail: undefined },
      tensors,
    })
    const last = (logits: Float32Array) => logits.slice(-tail.length * backend.limits.vocab)
    expect(last(await scoreAll(backend, { tokens: [...conversation, ...tail], adapter }))).toEqual(
      last(await scoreAll(backend, { tokens: [...conversation, ...text, ...tail] })),
    )
    const turn = conversation.length
    expect(
      last(await scoreAll(backend, { tokens: [...conversation, ...tail], adapter: inFront, turn })),
    ).toEqual(last(await scoreAll(backend, { tokens: [...conversation, ...text, ...tail] })))
  })

  test('a prompt with nothing in front of late rows, or whose window is cut, is refused', async () => {
    const adapter = backend.loadAdapter(
      randomAdapter(tiny.manifest, { seed: 4, placement: 'late', tail: 4, window: 9 }),
    )
    const slot = backend.allocate(60)
    if (slot === undefined) throw new Error('no room')
    await expect(backend.prefill({ slot, tokens: [1, 2, 3, 4], adapter })).rejects.toMatchObject({
      code: 'invalid_request',
      param: 'prompt',
    })
    await backend.prefill({ slot, tokens: range(0, 20) })
    await expect(backend.prefill({ slot, tokens: range(0, 12), adapter })).rejects.toThrow('they depend on 9')
    slot.release()
  })
})
