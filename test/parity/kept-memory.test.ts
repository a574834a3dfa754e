import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { Engine } from '../../gpu-node/engine/engine.ts'
import type { CacheSlot, LoadedAdapter } from '../../model/runtime/backend.ts'
import { cacheRowBytes } from '../../model/runtime/cache-budget.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import { InferenceSession } from '../../model/runtime/session.ts'
import { maxPromptRows } from '../../shared/adapter-file.ts'
import { AdapterDigest, newRequestId, TenantId } from '../../shared/ids.ts'
import { type GenerateEvent, greedySampling, maxStacked } from '../../shared/wire.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

let tiny: TinyBackbone
beforeAll(async () => {
  tiny = await tinyBackbone({ config: { contextLength: 4096 } })
})
afterEach(() => {
  vi.restoreAllMocks()
})
afterAll(async () => {
  await rm(dirname(tiny.folder), { recursive: true })
})

const text = (seed: number, length: number) => range(0, length).map((n) => (n * 31 + seed) % 256)

function allocate(backend: OnnxBackend, rows: number): CacheSlot {
  const slot = backend.allocate(rows)
  if (slot === undefined) throw new Error('no room')
  return slot
}

function stackOf(backend: OnnxBackend, rows: readonly number[]): LoadedAdapter {
  const settings = { window: 8, placement: 'late', tail: 4 }
  return backend.stack(
    rows.map((l_sp, seed) => backend.loadAdapter(randomAdapter(tiny.manifest, { seed, l_sp, ...settings }))),
  )
}

test('a request with stacked adapters that fails at any of its runs leaves the memory of kept rows as it was', async () => {
  const contextLength = 300
  const backend = await openBackend(tiny, {
    cacheLayout: 'slots',
    maxBatch: 4,
    cacheRows: 4 * contextLength,
    contextLength,
    threads: 1,
  })
  const stack = stackOf(backend, [40, 40, 40])
  const full = allocate(backend, 290)
  await backend.prefill({ slot: full, tokens: text(1, 290) })
  const answer = async () => {
    const slot = allocate(backend, 60 + stack.rows)
    try {
      return await backend.prefill({ slot, tokens: text(2, 60), adapter: stack })
    } finally {
      slot.release()
    }
  }
  const expected = Float32Array.from(await answer())
  const { runInto } = InferenceSession.prototype
  let failures = 0
  for (let failing = 1; failing === failures + 1; failing++) {
    let runs = 0
    const spy = vi.spyOn(InferenceSession.prototype, 'runInto').mockImplementation(async function (
      this: InferenceSession,
      ...args
    ) {
      if (++runs === failing) throw new Error('out of memory')
      await runInto.apply(this, args)
    })
    await answer().catch((error) => {
      expect(error.message).toBe('out of memory')
      failures++
    })
    spy.mockRestore()
    // All of it but a few units.
    const all = await backend.keepRows(full, { start: 0, end: 290, tokens: 290 })
    all.release()
  }
  // Runs of the model, and copies of rows.
  expect(failures).toBeGreaterThan(6)
  expect(await answer()).toEqual(expected)
  await backend.close()
})

test('the longest stack runs beside a full memory of prefixes, and prefixes are kept before it and after it', async () => {
  const rowBytes = cacheRowBytes(tiny.manifest.config, 'f32')
  const prefixBytes = 300 * rowBytes
  const backend = await openBackend(tiny, {
    cacheLayout: 'slots',
    maxBatch: 2,
    cacheRows: 6000,
    contextLength: 2500,
    threads: 1,
    keptBytes: prefixBytes,
  })
  const failures: unknown[] = []
  const observer = { stepped() {}, ended() {}, failed: (error: unknown) => failures.push(error) }
  const engine = new Engine({ backend, queue: { total: 9, perTenant: 9 }, prefixBytes, observer })
  const ask = async (prompt: readonly number[], loaded?: LoadedAdapter) => {
    const events: GenerateEvent[] = []
    const stream = engine.submit({
      tenant: TenantId.parse('acme'),
      request: {
        requestId: newRequestId(),
        backbone: backend.backbone,
        adapter: loaded ? AdapterDigest.parse('a'.repeat(64)) : null,
        prompt: [...prompt],
        maxTokens: 1,
        sampling: greedySampling,
        stopTokens: [],
        logprobs: null,
        timeoutMs: 60_000,
      },
      adapter: loaded ? { loaded, release: () => {} } : null,
      signal: new AbortController().signal,
    })
    for await (const piece of stream) events.push(...piece)
    return events.at(-1)
  }
  const stack = stackOf(backend, Array<number>(maxStacked).fill(maxPromptRows))
  for (const round of [0, 1]) {
    for (const seed of range(0, 8)) await ask(text(10 * round + seed, 130))
    expect(engine.prefixBytes).toBe(288 * rowBytes)
    expect(await ask(text(7, 60), stack)).toMatchObject({ type: 'done' })
    expect(await ask(text(10 * round + 7, 130))).toMatchObject({ type: 'done', usage: { cachedTokens: 128 } })
  }
  expect(failures).toEqual([])
  await engine.close()
})
