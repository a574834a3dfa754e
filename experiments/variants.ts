import { maxWindow } from '../shared/adapter-file.ts'
import type { AdapterChoices } from '../shared/training/describe-adapter.ts'
import { LearningRates, TrainSettings } from '../training/settings.ts'
import { type LayoutName, layouts } from './layouts.ts'

/** One subject of an experiment: an adapter, and the settings that differ from the trainer's own. */
export interface Variant {
  readonly title: string
  readonly adapter: AdapterChoices
  readonly settings?: Partial<TrainSettings>
  /** A layout that is tried and not served: its loss alone is measured, by the graph that trains it. */
  readonly layout?: LayoutName
}

/** Late rows as the reference has them: its generator reads up to 512 tokens, the most that one can. */
const late = { placement: 'late', window: maxWindow } as const

/** The reference's settings with another rate of the generator. */
const atRate = (generator: number) => ({ rates: LearningRates.parse({ generator, anchor: 1e-2 }) })

/** A wider start and faster anchors than the reference's, trained by AdamW as there. */
const wide = { rates: LearningRates.parse({ generator: 3e-3, anchor: 3e-2 }), downDeviation: 4 }

/** The trainer's defaults where they differ from the reference's settings. */
const own = {
  optimizer: TrainSettings.shape.optimizer.parse(undefined),
  rates: LearningRates.parse({}),
  downDeviation: TrainSettings.shape.downDeviation.parse(undefined),
}

/** Every variant, by the name that the command takes, in the order of the tables. A new one is one row here. */
export const variants = {
  iapt: { title: 'iapt', adapter: { kind: 'iapt', placement: 'after-first' } },
  'static-4': { title: 'static, 4 rows', adapter: { kind: 'static', rows: 4, placement: 'after-first' } },
  'static-20': { title: 'static, 20 rows', adapter: { kind: 'static', rows: 20, placement: 'after-first' } },
  idpg: { title: 'idpg', adapter: { kind: 'idpg', placement: 'after-first' } },
  lpt: { title: 'lpt', adapter: { kind: 'lpt', placement: 'after-first' } },
  'iapt-rational': {
    title: 'iapt, rational, trained jointly',
    adapter: { kind: 'iapt', activation: 'rational', placement: 'after-first' },
  },
  'iapt-bilevel': {
    title: 'iapt, rational, bi-level',
    adapter: { kind: 'iapt', activation: 'rational', placement: 'after-first' },
    settings: { rational: 'bilevel' },
  },
  'iapt-m16': { title: 'iapt, m = 16', adapter: { kind: 'iapt', m: 16, placement: 'after-first' } },
  'iapt-m128': { title: 'iapt, m = 128', adapter: { kind: 'iapt', m: 128, placement: 'after-first' } },
  'iapt-sink-first': {
    title: 'iapt, fixed anchor, rows first',
    adapter: { kind: 'iapt', anchor: 'sink', placement: 'first' },
  },
  'iapt-late': { title: 'iapt, late', adapter: { kind: 'iapt', ...late } },
  'iapt-late-m16': { title: 'iapt, late, m = 16', adapter: { kind: 'iapt', ...late, m: 16 } },
  'iapt-turn': { title: 'iapt, in front of the newest turn', adapter: { kind: 'iapt', placement: 'turn' } },
  'static-4-late': {
    title: 'static, 4 rows, late',
    adapter: { kind: 'static', rows: 4, placement: 'late' },
  },
  'static-20-late': {
    title: 'static, 20 rows, late',
    adapter: { kind: 'static', rows: 20, placement: 'late' },
  },
  'iapt-late-rows-16': {
    title: 'iapt, late, 16 rows',
    adapter: { kind: 'iapt', ...late, rows: 16 },
  },
  'iapt-late-m256': { title: 'iapt, late, m = 256', adapter: { kind: 'iapt', ...late, m: 256 } },
  'iapt-late-rate-3e-3': {
    title: 'iapt, late, generator rate 3e-3',
    adapter: { kind: 'iapt', ...late },
    settings: atRate(3e-3),
  },
  'iapt-late-anchor-3e-2': {
    title: 'iapt, late, anchor rate 3e-2',
    adapter: { kind: 'iapt', ...late },
    settings: { rates: LearningRates.parse({ generator: 1e-3, anchor: 3e-2 }) },
  },
  'iapt-late-rows-8': { title: 'iapt, late, 8 rows', adapter: { kind: 'iapt', ...late, rows: 8 } },
  'iapt-turn-and-header': {
    title: 'iapt, 4 rows in front of the last turn and 4 in front of the header',
    adapter: { kind: 'iapt', ...late, rows: layouts['turn-and-header'].rows },
    layout: 'turn-and-header',
  },
  'iapt-around-header': {
    title: 'iapt, 4 rows in front of the header and 4 behind it',
    adapter: { kind: 'iapt', ...late, rows: layouts['around-header'].rows },
    layout: 'around-header',
  },
  'iapt-along-answer': {
    title: 'iapt, 4 rows in front of the header, 2 in front of every eighth token of the answer',
    adapter: { kind: 'iapt', ...late, rows: layouts['along-answer'].rows },
    layout: 'along-answer',
  },
  'iapt-clip-0.3': {
    title: 'iapt, clip 0.3',
    adapter: { kind: 'iapt', placement: 'after-first' },
    settings: { clip: 0.3 },
  },
  'iapt-warmup-0.2': {
    title: 'iapt, warm-up over a fifth',
    adapter: { kind: 'iapt', placement: 'after-first' },
    settings: { warmup: 0.2 },
  },
  'iapt-rate-3e-3': {
    title: 'iapt, generator rate 3e-3',
    adapter: { kind: 'iapt', placement: 'after-first' },
    settings: atRate(3e-3),
  },
  'iapt-rate-1e-2': {
    title: 'iapt, generator rate 1e-2',
    adapter: { kind: 'iapt', placement: 'after-first' },
    settings: atRate(1e-2),
  },
  'iapt-down-4': {
    title: 'iapt, generator rate 3e-3, W_down 4',
    adapter: { kind: 'iapt', placement: 'after-first' },
    settings: { ...atRate(3e-3), downDeviation: 4 },
  },
  'iapt-wide': {
    title: 'iapt, AdamW, wider start',
    adapter: { kind: 'iapt', placement: 'after-first' },
    settings: wide,
  },
  'iapt-late-wide': {
    title: 'iapt, late, AdamW, wider start',
    adapter: { kind: 'iapt', ...late },
    settings: wide,
  },
  'idpg-wide': {
    title: 'idpg, AdamW, wider start',
    adapter: { kind: 'idpg', placement: 'after-first' },
    settings: wide,
  },
  'lpt-wide': {
    title: 'lpt, AdamW, wider start',
    adapter: { kind: 'lpt', placement: 'after-first' },
    settings: wide,
  },
  'iapt-own': {
    title: 'iapt, after-first, else the trainer’s defaults',
    adapter: { kind: 'iapt', placement: 'after-first' },
    settings: own,
  },
  'iapt-late-own': {
    title: 'iapt, late, window 512, else the trainer’s defaults',
    adapter: { kind: 'iapt', ...late },
    settings: own,
  },
  'iapt-late-m128-own': {
    title: 'iapt, late, m = 128, window 512, else the trainer’s defaults',
    adapter: { kind: 'iapt', ...late, m: 128 },
    settings: own,
  },
  'iapt-late-window-64-own': {
    title: 'iapt, late, the trainer’s defaults',
    adapter: { kind: 'iapt', placement: 'late' },
    settings: own,
  },
  'iapt-late-window-16-own': {
    title: 'iapt, late, window 16, else the trainer’s defaults',
    adapter: { kind: 'iapt', placement: 'late', window: 16 },
    settings: own,
  },
  'idpg-own': {
    title: 'idpg, after-first, else the trainer’s defaults',
    adapter: { kind: 'idpg', placement: 'after-first' },
    settings: own,
  },
  'lpt-own': {
    title: 'lpt, the trainer’s defaults',
    adapter: { kind: 'lpt', placement: 'after-first' },
    settings: own,
  },
  'iapt-m128-rate-3e-3': {
    title: 'iapt, m = 128, generator rate 3e-3',
    adapter: { kind: 'iapt', m: 128, placement: 'after-first' },
    settings: atRate(3e-3),
  },
  'iapt-rows-16-rate-3e-3': {
    title: 'iapt, 16 rows, generator rate 3e-3',
    adapter: { kind: 'iapt', rows: 16, placement: 'after-first' },
    settings: atRate(3e-3),
  },
  'idpg-rate-3e-3': {
    title: 'idpg, generator rate 3e-3',
    adapter: { kind: 'idpg', placement: 'after-first' },
    settings: atRate(3e-3),
  },
  'lpt-rate-3e-3': {
    title: 'lpt, generator rate 3e-3',
    adapter: { kind: 'lpt', placement: 'after-first' },
    settings: atRate(3e-3),
  },
  'lpt-at-8': { title: 'lpt at layer 8', adapter: { kind: 'lpt', at: 8, placement: 'after-first' } },
  'lpt-rate-5e-3': {
    title: 'lpt, generator rate 5e-3',
    adapter: { kind: 'lpt', placement: 'after-first' },
    settings: atRate(5e-3),
  },
} as const satisfies Record<string, Variant>
export type VariantName = keyof typeof variants

export function isVariantName(name: string): name is VariantName {
  return Object.hasOwn(variants, name)
}
