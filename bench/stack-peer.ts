import { basename } from 'node:path'
import { CliFailure } from '../cli/command/failure.ts'
import type { StackOptions } from '../cli/local/stack.ts'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import { type LoadTarget, request } from './load.ts'
import { fourBitFiles, heldAgainst, ownBackbone, type PeerModel, peerModels } from './own-backbones.ts'
import { startPeer } from './peer.ts'
import { firstLoras, type PeerFiles } from './peer-files.ts'
import type { OwnWeights } from './peer-weights.ts'
import { clients, startQuartet, tokensPerSecond, tuned } from './quartet.ts'
import type { Figure } from './report.ts'
import { median } from './statistics.ts'

/** The peer takes half a minute for these with LoRAs. */
const requests = 24
const adapterCount = 8
const firstPeerPort = 18_789

interface StackAgainstPeer extends PeerFiles, Pick<StackOptions, 'cacheType'> {
  readonly weights: 'q4' | 'q8'
}

/** Quartet with eight adapters against `llama-server` without a LoRA, and with eight, all sides once a round. */
export async function stackAgainstPeer({ weights, ...peer }: StackAgainstPeer): Promise<Figure[]> {
  await using backbones = new AsyncDisposableStack()
  const figures: Figure[] = []
  for (const comparison of await comparisons(peer, { weights, backbones }))
    figures.push(...(await compared(comparison, peer)))
  return figures
}

/** A server under the benchmark's load, and its tokens per second in each round. */
interface Column {
  readonly name: string
  readonly target: LoadTarget
  /** How many times its rate Quartet's is to be at least. */
  readonly bound: number | undefined
  readonly rounds: number[]
}

/** Servers of the peer's that one Quartet is held against. */
interface Comparison {
  readonly weights: OwnWeights
  readonly backbone: Backbone
  readonly files: readonly (PeerModel & { readonly held: OwnWeights | undefined })[]
  /** The file that is served with eight LoRAs too, if one is. */
  readonly withLoras: { readonly gguf: string; readonly loras: readonly string[] } | undefined
}

/** The comparisons that the options ask for: of q8 with all files, or of the 4-bit weights of each file that has 4 bits. */
async function comparisons(
  { ggufs, loras }: PeerFiles,
  { weights, backbones }: { weights: 'q4' | 'q8'; backbones: AsyncDisposableStack },
): Promise<readonly Comparison[]> {
  const models = await peerModels(ggufs)
  const fourBits = weights === 'q4' ? fourBitFiles(models) : new Map<OwnWeights, string>()
  if (weights === 'q4' && fourBits.size === 0)
    throw new CliFailure('--gguf names no file in 4 bits for --weights q4', {
      remedy: 'name one in Q4_0 or Q4_1',
    })
  const own: readonly OwnWeights[] = weights === 'q4' ? [...fourBits.keys()] : ['q8']
  const files = models.map((model) => ({ ...model, held: heldAgainst(model, own) }))
  const eight = loras && firstLoras(loras, adapterCount)
  const all: Comparison[] = []
  for (const [at, name] of own.entries()) {
    // A file that nothing is held against is shown beside the first.
    const beside = files.filter(({ held }) => held === name || (held === undefined && at === 0))
    all.push({
      weights: name,
      backbone: await ownBackbone(fourBits.get(name), backbones),
      files: beside,
      withLoras:
        eight && beside.some(({ gguf }) => gguf === ggufs[0]) ? { gguf: ggufs[0], loras: eight } : undefined,
    })
  }
  return all
}

async function compared(
  { backbone, files, weights, withLoras }: Comparison,
  { cacheType, folder, rounds }: Pick<PeerFiles, 'folder' | 'rounds'> & Pick<StackOptions, 'cacheType'>,
): Promise<Figure[]> {
  await using servers = new AsyncDisposableStack()
  let port = firstPeerPort
  const start = async (gguf: string, loras: readonly string[]) => {
    const server = { folder, gguf, loras, slots: clients, port: port++ }
    return servers.use(await startPeer(server)).target
  }
  const columns: Column[] = []
  for (const { gguf, held, name } of files)
    columns.push({
      name: `llama-server ${basename(gguf, '.gguf')} (${name})`,
      target: await start(gguf, []),
      bound: held === weights ? 1 : undefined,
      rounds: [],
    })
  if (withLoras !== undefined)
    columns.push({
      name: `llama-server ${basename(withLoras.gguf, '.gguf')}, eight LoRAs`,
      target: await start(withLoras.gguf, withLoras.loras),
      bound: 3,
      rounds: [],
    })
  const quartet = servers.use(await startQuartet(adapterCount, { backbone, cacheType }))
  const ours = {
    name: `Quartet ${weights}, eight adapters`,
    target: tuned(quartet),
    rounds: [] as number[],
  }
  for (const { target } of [ours, ...columns]) await request(target, 0)
  for (let round = 0; round < rounds; round++) {
    const sides = [ours, ...columns]
    for (const { target, rounds } of round % 2 === 0 ? sides : sides.toReversed())
      rounds.push(await tokensPerSecond(target, requests))
  }
  return [
    ...[ours, ...columns].map(({ name, rounds }) => ({ name, value: median(rounds), unit: 'tok/s' })),
    ...columns.map(
      ({ bound, name, rounds }): Figure => ({
        name: `Quartet ${weights} / ${name}`,
        value: median(ours.rounds.map((rate, round) => rate / (rounds[round] ?? Number.NaN))),
        unit: '×',
        ...(bound === undefined ? {} : { bound: { kind: 'at least', value: bound } }),
      }),
    ),
  ]
}
