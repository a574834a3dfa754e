import { basename } from 'node:path'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import { cachedBackbone, openCache } from '../model/backbone/cache.ts'
import type { WeightFormat } from '../shared/backbone.ts'
import { benchBackbone, benchSlug, openBenchBackend } from './backend.ts'
import { backendRates, type EngineRates, type RateWork } from './engine-rates.ts'
import { peerThreads } from './peer.ts'
import type { PeerFiles } from './peer-files.ts'
import { peerRates } from './peer-rates.ts'
import { peerWeights } from './peer-weights.ts'
import { type Figure, report } from './report.ts'
import { median } from './statistics.ts'

const work = { context: 256, newTokens: 32, batches: [1, 8, 16] } satisfies RateWork
/** Shows a program or a file that does not work, and brings a side to its usual pace. */
const trial = { context: 32, newTokens: 96, batches: [1] } satisfies RateWork
/** JavaScript has its usual pace once V8 has compiled what a step runs, after some thousand of them. */
const ownTrial = { ...trial, newTokens: 1500 } satisfies RateWork

const rateNames = [`prefill of ${work.context}`, ...work.batches.map((batch) => `decode, batch ${batch}`)]
/** A rate for each of the names. */
const rateList = ({ prefill, decode }: EngineRates): readonly number[] => [prefill, ...decode]

interface Side {
  readonly name: string
  readonly measure: () => Promise<EngineRates>
  readonly rounds: EngineRates[]
}

interface OwnSide extends Side {
  readonly weights: WeightFormat
}

interface PeerSide extends Side {
  readonly asGood: readonly WeightFormat[]
}

/**
 * `npm run bench -- engine --peer FOLDER --gguf FILES`: Quartet's engine against llama.cpp's on the same cores, all sides once a
 * round.
 */
export async function benchEngineAgainstPeer({ folder, ggufs, rounds }: PeerFiles): Promise<boolean> {
  await using backends = new AsyncDisposableStack()
  const peers: PeerSide[] = []
  for (const gguf of ggufs) {
    const { name, asGood } = await peerWeights(gguf)
    const side = `llama.cpp ${basename(gguf, '.gguf')} (${name})`
    peers.push({ name: side, asGood, measure: () => peerRates({ folder, gguf }, work), rounds: [] })
    await peerRates({ folder, gguf }, trial)
  }
  const own: OwnSide[] = []
  for (const backbone of await ownBackbones()) {
    const { weights } = backbone.manifest
    const { backend } = await openBenchBackend({ backbone, threads: peerThreads })
    backends.defer(() => backend.close())
    await backendRates(backend, ownTrial)
    own.push({ name: `Quartet ${weights}`, weights, measure: () => backendRates(backend, work), rounds: [] })
  }
  await measureInTurn([...own, ...peers], rounds)
  const held = (peer: PeerSide) => peer.asGood.find((weights) => own.some((side) => side.weights === weights))
  return report(
    `engine against llama.cpp: ${benchSlug}, ${work.context} tokens of context, ${peerThreads} threads, medians of ${rounds} rounds`,
    [
      ...[...own, ...peers].flatMap(rateFigures),
      ...peers.flatMap((peer) =>
        own.flatMap((side) => ratioFigures(side, peer, { bound: side.weights === held(peer) })),
      ),
    ],
  )
}

/** The backbone in 8 bits, and in 4 where this machine has it. */
async function ownBackbones(): Promise<readonly Backbone[]> {
  const q4 = await cachedBackbone(openCache().backbone(benchSlug, 'q4'))
  return [await benchBackbone(), ...(q4 === undefined ? [] : [q4])]
}

/** Each side once a round, in an order that turns, so that none always runs on the warmer or busier machine. */
async function measureInTurn(sides: readonly Side[], rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++)
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) side.rounds.push(await side.measure())
}

function rateFigures({ name, rounds }: Side): Figure[] {
  return rateNames.map((rate, at) => ({
    name: `${name}: ${rate}`,
    value: median(rounds.map((rates) => rateList(rates)[at] ?? Number.NaN)),
    unit: 'tok/s',
  }))
}

/** Ratios of the two sides within each round: drift of the machine cancels. */
function ratioFigures(side: OwnSide, peer: PeerSide, { bound }: { bound: boolean }): Figure[] {
  return rateNames.map((rate, at) => ({
    name: `${side.name} / ${peer.name}: ${rate}`,
    value: median(
      side.rounds.map((rates, round) => {
        const others = peer.rounds[round]
        return (rateList(rates)[at] ?? Number.NaN) / ((others && rateList(others)[at]) ?? Number.NaN)
      }),
    ),
    unit: '×',
    ...(bound ? { bound: { kind: 'at least', value: 1 } } : {}),
  }))
}
