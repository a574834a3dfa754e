import { basename } from 'node:path'
import { benchSlug, openBenchBackend } from './backend.ts'
import { backendRates, type EngineRates, type RateWork } from './engine-rates.ts'
import { fourBitFiles, heldAgainst, ownBackbone, peerModels } from './own-backbones.ts'
import { peerThreads } from './peer.ts'
import type { PeerFiles } from './peer-files.ts'
import { peerRates } from './peer-rates.ts'
import type { OwnWeights } from './peer-weights.ts'
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
  readonly weights: OwnWeights
}

interface PeerSide extends Side {
  readonly held: OwnWeights | undefined
}

/**
 * `npm run bench -- engine --peer FOLDER --gguf FILES`: Quartet's engine against llama.cpp's on the same cores, all sides once a
 * round.
 */
export async function benchEngineAgainstPeer({ folder, ggufs, rounds }: PeerFiles): Promise<boolean> {
  await using backends = new AsyncDisposableStack()
  const models = await peerModels(ggufs)
  const fourBits = fourBitFiles(models)
  const peers: PeerSide[] = []
  for (const model of models) {
    const { gguf, name } = model
    const held = heldAgainst(model, [...fourBits.keys(), 'q8'])
    const side = `llama.cpp ${basename(gguf, '.gguf')} (${name})`
    peers.push({ name: side, held, measure: () => peerRates({ folder, gguf }, work), rounds: [] })
    await peerRates({ folder, gguf }, trial)
  }
  const own: OwnSide[] = []
  for (const weights of ['q8' as const, ...fourBits.keys()]) {
    const backbone = await ownBackbone(fourBits.get(weights), backends)
    const { backend } = await openBenchBackend({ backbone, threads: peerThreads })
    backends.defer(() => backend.close())
    await backendRates(backend, ownTrial)
    own.push({ name: `Quartet ${weights}`, weights, measure: () => backendRates(backend, work), rounds: [] })
  }
  await measureInTurn([...own, ...peers], rounds)
  return report(
    `engine against llama.cpp: ${benchSlug}, ${work.context} tokens of context, ${peerThreads} threads, medians of ${rounds} rounds`,
    [
      ...[...own, ...peers].flatMap(rateFigures),
      ...peers.flatMap((peer) =>
        own.flatMap((side) => ratioFigures(side, peer, { bound: side.weights === peer.held })),
      ),
    ],
  )
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
