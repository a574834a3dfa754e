import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { basename, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { CliFailure } from '../cli/command/failure.ts'
import { defaultBackbone } from '../cli/command/settings.ts'
import { requireBackbone } from '../cli/local/local-backbone.ts'
import { maxPerplexityIncrease, perplexityTokens } from '../model/import/quantisation-check.ts'
import { compareScorers, openScorer, scoredWindow, type WindowScorer } from '../model/runtime/perplexity.ts'
import type { WeightFormat } from '../shared/backbone.ts'
import { type PeerOptions, peerFiles } from './peer-files.ts'
import { type Figure, report } from './report.ts'

export interface WeightsOptions extends PeerOptions {
  readonly backbone?: string | undefined
}

/**
 * `npm run bench -- weights`: a backbone in 8 and 4 bits against its f32 weights, and llama.cpp's formats beside them, on the
 * text and windows of `backbone check`. The peer's folder has `llama-logits` (bench/llama-logits.cpp) and the libraries that it
 * loads.
 */
export async function benchWeights({
  backbone: slug = defaultBackbone,
  ...options
}: WeightsOptions): Promise<boolean> {
  const { folder = '', ggufs: files = [] } = peerFiles(options) ?? {}
  const exact = await requireBackbone(slug, 'f32')
  const formats = ['q8', 'q4'] as const satisfies readonly WeightFormat[]
  const stored = await Promise.all(formats.map((format) => requireBackbone(slug, format)))
  const ids = await perplexityTokens(exact)
  const { vocab } = exact.manifest.config
  await using scorers = new Scorers()
  const reference = await scorers.add(openScorer(exact))
  const own = []
  for (const backbone of stored) own.push(await scorers.add(openScorer(backbone)))
  const others = []
  for (const gguf of files) {
    const scorer = llamaScorer({ folder, gguf, vocab })
    others.push(await scorers.add(Promise.resolve(scorer)))
  }
  const compared = await compareScorers({ exact: reference, others: [...own, ...others] }, ids)
  const names = [
    ...formats.map((format) => `Quartet ${format}`),
    ...files.map((file) => `llama.cpp ${basename(file)}`),
  ]
  return report(`weights: ${slug}, ${ids.length} tokens`, [
    { name: 'f32: perplexity', value: compared.perplexity, unit: '' },
    ...compared.others.flatMap(({ perplexity, divergence }, index): Figure[] => {
      const name = names[index] ?? ''
      const format = formats[index]
      const increase = 100 * (perplexity / compared.perplexity - 1)
      return [
        { name: `${name}: perplexity`, value: perplexity, unit: '' },
        {
          name: '… above f32',
          value: increase,
          unit: '%',
          ...(format && { bound: { kind: 'at most', value: 100 * maxPerplexityIncrease[format] } }),
        },
        { name: '… KL from f32', value: divergence, unit: 'nats' },
      ]
    }),
  ])
}

/** Closes what it was given, the last first. */
class Scorers {
  readonly #open: WindowScorer[] = []

  async add(opening: Promise<WindowScorer>): Promise<WindowScorer> {
    const scorer = await opening
    this.#open.push(scorer)
    return scorer
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const scorer of this.#open.toReversed()) await scorer.close()
  }
}

function llamaScorer({ folder, gguf, vocab }: { folder: string; gguf: string; vocab: number }): WindowScorer {
  const { window, first, last } = scoredWindow
  const child = spawn(join(folder, 'llama-logits'), [folder, gguf, ...[window, first, last].map(String)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, LD_LIBRARY_PATH: folder },
  })
  const bytes = (last - first + 1) * vocab * Float32Array.BYTES_PER_ELEMENT
  return {
    vocab,
    async score(tokens) {
      child.stdin.write(new Uint8Array(Int32Array.from(tokens).buffer))
      return new Float32Array(await readExactly(child, bytes))
    },
    async close() {
      child.stdin.end()
      child.kill()
    },
  }
}

/** So many bytes of what a program writes. Throws when it ends before. */
async function readExactly(
  child: ChildProcessByStdio<Writable, Readable, null>,
  bytes: number,
): Promise<ArrayBuffer> {
  const read = new Uint8Array(bytes)
  let at = 0
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    const part: Buffer = chunk
    const used = Math.min(part.length, bytes - at)
    read.set(part.subarray(0, used), at)
    at += used
    if (used < part.length) throw new Error('llama-logits writes more than it was asked for')
    if (at === bytes) return read.buffer
  }
  throw new CliFailure('llama-logits ended early', { remedy: 'run it by hand to see why' })
}
