import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { chart } from './fleet/chart.ts'
import { plainHashIsolate, QuartetIsolate, randomIsolate, UnhedgedIsolate } from './fleet/isolates.ts'
import type { RoutingOutcome, Window } from './fleet/measure.ts'
import { bestHitRate, scenario, simulate } from './fleet/simulation.ts'
import { type Figure, report } from './report.ts'

const plotFile = fileURLToPath(new URL('../docs/fleet-routing.svg', import.meta.url))

const minShareOfBest = 0.9
const maxImbalance = 1.5
/** Each sees an eighth of what it saw before: there is no bound for it, but it is told. */
const manyIsolates = 64
/** Long enough for the caches to fill, where only the load is looked at. */
const shorter = { ...scenario, warmUpMs: 30_000, measuredMs: 90_000 }
/** At any time one node of the fleet gives no token. */
const stalling = { ...shorter, stallEveryMs: scenario.stallMs }
/** The reason to keep hedges: with them the slowest hundredth of first tokens takes at most this share of the time. */
const maxHedgedShare = 0.5
/** Calls to nodes that hedges may add. */
const maxHedges = 0.03

interface Contestant {
  readonly name: string
  readonly colour: string
  readonly outcome: RoutingOutcome
}

const imbalance = ({ name, outcome }: Contestant): Figure => ({
  name: `${name}: load, p99 over mean`,
  value: outcome.imbalance,
  unit: '×',
})
const lost = ({ name, outcome }: Contestant): Figure => ({
  name: `${name}: lost before the first token`,
  value: outcome.lost,
  unit: `of ${outcome.requests}`,
})

const told = ({ name, outcome }: Contestant): Figure[] => [
  { name: `${name}: adapter hit rate`, value: outcome.hitRate, unit: '' },
  { name: `${name}: streams that broke with their node`, value: outcome.broken, unit: '' },
  { name: `${name}: failovers`, value: outcome.retries, unit: '' },
  { name: `${name}: hedges`, value: outcome.hedges, unit: '' },
  { name: `${name}: first token, p50`, value: outcome.firstTokenMs.p50, unit: 'ms' },
  { name: `${name}: first token, p99`, value: outcome.firstTokenMs.p99, unit: 'ms' },
]

/** The product's routing modules in a simulated fleet, against random and plain-hash routing. */
export async function benchFleet(): Promise<boolean> {
  const quartet: Contestant = {
    name: 'Quartet',
    colour: '#0b6e4f',
    outcome: await simulate((options) => new QuartetIsolate(options)),
  }
  const others: Contestant[] = [
    { name: 'plain hash', colour: '#c8553d', outcome: await simulate(plainHashIsolate) },
    { name: 'random', colour: '#5b7db1', outcome: await simulate(randomIsolate) },
  ]
  const many: Contestant = {
    name: `Quartet, ${manyIsolates} isolates`,
    colour: quartet.colour,
    outcome: await simulate((options) => new QuartetIsolate(options), {
      ...shorter,
      isolates: manyIsolates,
    }),
  }
  const hedged = await simulate((options) => new QuartetIsolate(options), stalling)
  const unhedged = await simulate((options) => new UnhedgedIsolate(options), stalling)
  await writeFile(plotFile, plot([quartet, ...others]))
  const { adapters, adaptersPerNode, maxBatch, exponent, isolates, nodes } = scenario
  const { outcome } = quartet
  return report(
    `fleet, simulated: ${nodes} nodes of ${maxBatch} places and ${adaptersPerNode} adapters, ${adapters} adapters (Zipf ${exponent}), ${isolates} isolates, a node killed every minute`,
    [
      { name: 'best possible adapter hit rate', value: bestHitRate, unit: '' },
      {
        name: 'Quartet: hit rate of the best possible',
        value: outcome.hitRate / bestHitRate,
        unit: '×',
        bound: { kind: 'at least', value: minShareOfBest },
      },
      { ...imbalance(quartet), bound: { kind: 'at most', value: maxImbalance } },
      { ...lost(quartet), bound: { kind: 'at most', value: 0 } },
      ...told(quartet),
      {
        name: 'one node stalls at any time: first token, p99, with hedges',
        value: hedged.firstTokenMs.p99,
        unit: 'ms',
      },
      {
        name: 'one node stalls at any time: first token, p99, without hedges',
        value: unhedged.firstTokenMs.p99,
        unit: 'ms',
      },
      {
        name: 'one node stalls at any time: with hedges over without',
        value: hedged.firstTokenMs.p99 / unhedged.firstTokenMs.p99,
        unit: '×',
        bound: { kind: 'at most', value: maxHedgedShare },
      },
      {
        name: 'one node stalls at any time: hedges per request',
        value: hedged.hedges / hedged.requests,
        unit: '',
        bound: { kind: 'at most', value: maxHedges },
      },
      ...[many, ...others].flatMap((other) => [imbalance(other), lost(other), ...told(other)]),
    ],
  )
}

function plot(contestants: readonly Contestant[]): string {
  const lines = (value: (window: Window) => number) =>
    contestants.map(({ colour, name, outcome }) => ({
      name,
      colour,
      points: outcome.windows.map((window) => ({ x: window.second, y: value(window) })),
    }))
  return chart({
    title: `${scenario.nodes} nodes, ${scenario.adapters.toLocaleString('en')} adapters, a node killed every minute`,
    seconds: scenario.measuredMs / 1000,
    panels: [
      {
        title: 'Adapter hit rate (10 s)',
        top: 1,
        lines: lines(({ hitRate }) => hitRate),
        reference: { y: bestHitRate, name: 'best possible for the cache size' },
      },
      {
        title: 'Load of the nodes, p99 over mean (10 s; lines that leave the panel are higher)',
        top: 6,
        lines: lines(({ imbalance }) => imbalance),
        reference: { y: maxImbalance, name: 'bound' },
      },
    ],
  })
}
