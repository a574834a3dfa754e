import { pageRowsOf } from '../model/graph/paged-cache.ts'
import type { CacheSlot, LoadedAdapter, StepPart } from '../model/runtime/backend.ts'
import { layoutFor } from '../model/runtime/cache-layout.ts'
import type { OnnxBackend } from '../model/runtime/onnx-backend.ts'
import type { AdapterFile } from '../shared/adapter-file.ts'
import { type Loadable, type Measured, openOn } from './gpu-backbone.ts'
import { tinyBounds } from './gpu-numerics.ts'
import { smallBackbone } from './gpu-random-backbones.ts'
import type { GpuRun } from './gpu-run.ts'
import { Logits, largestDifference } from './logit-differences.ts'
import { randomAdapter } from './random-adapter.ts'
import type { Figure } from './report.ts'
import { prompt } from './sequences.ts'

/** As many sequences as there is room for, so that each place or page that one leaves is another's next. */
const sequences = 4
const rowsOfEach = 60

/** The logits of one sequence, and those of its neighbours beside it, behind it and in the memory that it left. */
interface Neighbourhood {
  readonly own: Float32Array
  readonly others: Float32Array
}

/**
 * Whether a sequence whose logits are no numbers changes those of its neighbours: they are compared with what they are
 * beside a sequence of the same sizes that has numbers. Only the device's own attention can tell, as it may multiply rows
 * that it does not see by 0.
 */
export async function neighbourFigures(on: Measured, run: Pick<GpuRun, 'step'>): Promise<readonly Figure[]> {
  using made = new DisposableStack()
  const backbone = await smallBackbone(made)
  const sane = randomAdapter(backbone.manifest, { seed: 9, metadata: { anchor: 'own', window: '16' } })
  run.step('beside a sequence that has numbers')
  const expected = await neighbourhood(backbone, { adapter: sane, on })
  run.step('beside a sequence that has none')
  const found = await neighbourhood(backbone, { adapter: withoutNumbers(sane), on })
  const numbers = found.own.filter((logit) => !Number.isNaN(logit)).length
  return [
    {
      name: 'largest difference that a sequence of NaN makes to its neighbours’ logits',
      value: largestDifference(expected.others, found.others),
      unit: '',
      bound: { kind: 'at most', value: tinyBounds.largest[on.cacheType] },
    },
    {
      name: 'logits of that sequence that are numbers',
      value: numbers,
      unit: `of ${found.own.length}`,
      // Rounded to 8 bits, NaN is some number.
      ...(on.cacheType !== 'int8' && { bound: { kind: 'at most', value: 0 } }),
    },
  ]
}

/** Its tensors are finite, and what they compute is not. */
function withoutNumbers(file: AdapterFile): AdapterFile {
  const huge = new Uint8Array(new Float32Array(12).fill(3e38).buffer)
  const tensors = Array.from(
    file.tensors,
    ([name, tensor]) => [name, name.endsWith('.rational') ? { ...tensor, data: huge } : tensor] as const,
  )
  return { ...file, tensors: new Map(tensors) }
}

async function neighbourhood(
  backbone: Loadable,
  { adapter: file, on }: { adapter: AdapterFile; on: Measured },
): Promise<Neighbourhood> {
  const { config } = backbone.manifest
  const isPaged = layoutFor(config, on.device) === 'pages'
  const cacheRows = sequences * (isPaged ? pageRowsOf(config) : rowsOfEach + 1)
  const backend = await openOn(backbone, on, { limits: { cacheRows, maxBatch: sequences } })
  try {
    const around = new Around(backend)
    await around.readBeside(backend.loadAdapter(file))
    await around.decodeBeside()
    await around.takeOver()
    return { own: around.own.all(), others: around.others.all() }
  } finally {
    await backend.close()
  }
}

/** A sequence with an adapter between two others. */
class Around {
  readonly own = new Logits()
  readonly others = new Logits()
  readonly #backend: OnnxBackend
  readonly #tuned: CacheSlot
  readonly #first: CacheSlot
  readonly #last: CacheSlot
  readonly #tokens: readonly number[]

  constructor(backend: OnnxBackend) {
    this.#backend = backend
    this.#tokens = prompt(20, backend.limits.vocab)
    this.#first = this.#allocate()
    this.#tuned = this.#allocate()
    this.#last = this.#allocate()
  }

  /** Its prompt is read in a step in which one neighbour decodes and the other's prompt is read. */
  async readBeside(adapter: LoadedAdapter): Promise<void> {
    const tokens = this.#tokens
    this.others.add(await this.#backend.prefill({ slot: this.#first, tokens }))
    await this.#run([
      { kind: 'chunk', slot: this.#tuned, tokens, adapter },
      { kind: 'chunk', slot: this.#last, tokens },
      { kind: 'decode', slot: this.#first, token: 1 },
    ])
  }

  /** All decode, then the neighbours alone, and once more when it is gone. */
  async decodeBeside(): Promise<void> {
    for (let token = 2; token < 6; token++) await this.#decode([this.#first, this.#tuned, this.#last], token)
    await this.#decode([this.#first, this.#last], 6)
    this.#tuned.release()
    await this.#decode([this.#first, this.#last], 7)
  }

  /** Sequences that have all the memory there is, also that which it had. */
  async takeOver(): Promise<void> {
    for (const slot of [this.#first, this.#last]) slot.release()
    const slots = Array.from({ length: sequences }, () => this.#allocate())
    for (const slot of slots) this.others.add(await this.#backend.prefill({ slot, tokens: this.#tokens }))
    await this.#decode(slots, 8)
  }

  #decode(slots: readonly CacheSlot[], token: number): Promise<void> {
    return this.#run(slots.map((slot): StepPart => ({ kind: 'decode', slot, token })))
  }

  async #run(parts: readonly StepPart[]): Promise<void> {
    const { vocab } = this.#backend.limits
    for (const call of this.#backend.callsOf(parts)) {
      const logits = await this.#backend.run(call)
      for (const [row, { slot }] of call.entries())
        (slot === this.#tuned ? this.own : this.others).add(logits.subarray(row * vocab, (row + 1) * vocab))
    }
  }

  #allocate(): CacheSlot {
    const slot = this.#backend.allocate(rowsOfEach)
    if (slot === undefined) throw new Error('the backend has no room for a short text')
    return slot
  }
}
