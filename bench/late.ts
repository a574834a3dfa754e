import { createHash } from 'node:crypto'
import { Engine } from '../gpu-node/engine/engine.ts'
import type { Backend } from '../model/runtime/backend.ts'
import { serializeAdapterFile } from '../shared/adapter-file.ts'
import type { BackboneManifest } from '../shared/backbone.ts'
import { AdapterDigest } from '../shared/ids.ts'
import { openBenchBackend } from './backend.ts'
import { runRequest, textIds } from './engine-run.ts'
import { type Peer, startPeer } from './peer.ts'
import { firstLoras, type PeerFiles, type PeerOptions, peerFiles } from './peer-files.ts'
import { randomAdapter } from './random-adapter.ts'
import { report } from './report.ts'
import { median } from './statistics.ts'

const conversationTokens = 1_500
const answers = 4
const window = '40'
/** Tokens of the newest turn, header included, behind rows in front of it. */
const newestTurn = 40
const tail = '4'
const queue = { total: 16, perTenant: 16 }
const prefixBytes = 512 * 1024 ** 2

type Metadata = Readonly<Record<string, string>>

/** Adapters of a tenant that are the same but for their weights. */
function adaptersOf(
  { backend, manifest }: { backend: Backend; manifest: BackboneManifest },
  metadata: Metadata,
) {
  return Array.from({ length: answers }, (_, seed) => {
    const file = randomAdapter(manifest, { seed, metadata: { window, ...metadata } })
    const digest = AdapterDigest.parse(createHash('sha256').update(serializeAdapterFile(file)).digest('hex'))
    return { digest, loaded: backend.loadAdapter(file) }
  })
}

/** Milliseconds until llama.cpp's server has the first token of each LoRA, over one prompt that it has not read. */
async function askPeer({ url }: Peer, { loras, prompt }: { loras: readonly number[]; prompt: number[] }) {
  const start = performance.now()
  await Promise.all(
    loras.map(async (chosen) => {
      const answer = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          prompt,
          n_predict: 1,
          cache_prompt: true,
          temperature: 0,
          lora: Array.from({ length: answers }, (_, id) => ({ id, scale: id === chosen ? 1 : 0 })),
        }),
      })
      if (!answer.ok) throw new Error(`llama-server answered ${answer.status}: ${await answer.text()}`)
      await answer.arrayBuffer()
    }),
  )
  return performance.now() - start
}

/** llama.cpp's server with four LoRAs, asked as the engine is. */
async function openPeer({ folder, ggufs: [gguf], loras = [] }: PeerFiles): Promise<Peer> {
  const files = firstLoras(loras, answers)
  return await startPeer({ folder, gguf, loras: files, slots: answers, contextLength: 2048, port: 18_791 })
}

/** `npm run bench -- late`: the first tokens of several aliases' answers to one conversation, asked for at once. */
export async function benchLate(options: PeerOptions): Promise<boolean> {
  const files = peerFiles(options)
  await using peer = files && (await openPeer(files))
  const opened = await openBenchBackend()
  const { backend } = opened
  const late = adaptersOf(opened, { placement: 'late', tail })
  const turn = adaptersOf(opened, { placement: 'turn' })
  const front = adaptersOf(opened, { placement: 'after-first' })
  const engine = new Engine({ backend, queue, prefixBytes })
  let seed = 1
  /** Milliseconds until each has its first token, over a conversation that the node has not read; and cached tokens. */
  const ask = async (adapters: typeof late, options: { turn?: number } = {}) => {
    const prompt = textIds(conversationTokens, seed++)
    const runs = await Promise.all(
      adapters.map((adapter) =>
        runRequest(engine, { backbone: backend.backbone, prompt, maxTokens: 1, adapter, ...options }),
      ),
    )
    return {
      ms: Math.max(...runs.map(({ firstTokenMs }) => firstTokenMs)),
      cached: runs.map(({ cachedTokens }) => cachedTokens),
    }
  }
  await ask(late.slice(0, 1))
  const [one, four, fourTurns, inFront]: [number[], number[], number[], number[]] = [[], [], [], []]
  const [onePeer, fourPeer]: [number[], number[]] = [[], []]
  let cached: readonly number[] = []
  const rounds = files?.rounds ?? 3
  for (let round = 0; round < rounds; round++) {
    one.push((await ask(late.slice(0, 1))).ms)
    const together = await ask(late)
    four.push(together.ms)
    cached = together.cached
    fourTurns.push((await ask(turn, { turn: conversationTokens - newestTurn })).ms)
    inFront.push((await ask(front)).ms)
    if (peer === undefined) continue
    onePeer.push(await askPeer(peer, { loras: [0], prompt: textIds(conversationTokens, seed++) }))
    fourPeer.push(await askPeer(peer, { loras: [0, 1, 2, 3], prompt: textIds(conversationTokens, seed++) }))
  }
  await backend.close()
  const ratios = four.map((ms, round) => ms / (one[round] ?? Number.NaN))
  return report(`Late rows: ${answers} answers to a conversation of ${conversationTokens} tokens`, [
    { name: 'one late answer, to its first token', value: median(one), unit: 'ms' },
    { name: 'four late answers, to the last one’s', value: median(four), unit: 'ms' },
    { name: 'four / one', value: median(ratios), unit: '×', bound: { kind: 'at most', value: 1.3 } },
    {
      name: `four answers with rows in front of the newest turn, of ${newestTurn} tokens`,
      value: median(fourTurns),
      unit: 'ms',
    },
    {
      name: 'newest turn / one late answer',
      value: median(fourTurns.map((ms, round) => ms / (one[round] ?? Number.NaN))),
      unit: '×',
      bound: { kind: 'at most', value: 1.3 },
    },
    { name: 'four answers with rows in front, to the last one’s', value: median(inFront), unit: 'ms' },
    {
      name: 'late / in front, four answers',
      value: median(four.map((ms, round) => ms / (inFront[round] ?? Number.NaN))),
      unit: '×',
      bound: { kind: 'at most', value: 0.5 },
    },
    {
      name: 'tokens that the second to fourth late answer found in the cache',
      value: Math.min(...cached.toSorted((a, b) => a - b).slice(1)),
      unit: '',
      bound: { kind: 'at least', value: 1_400 },
    },
    ...(peer === undefined
      ? []
      : [
          { name: 'llama-server, one LoRA', value: median(onePeer), unit: 'ms' },
          { name: 'llama-server, four LoRAs, to the last one’s', value: median(fourPeer), unit: 'ms' },
          {
            name: 'late / llama-server, four answers',
            value: median(four.map((ms, round) => ms / (fourPeer[round] ?? Number.NaN))),
            unit: '×',
          },
        ]),
  ])
}
