import type { TaskName } from './tasks/tasks.ts'
import type { VariantName } from './variants.ts'

/** Runs of one task on one backbone. */
export interface GridRow {
  readonly part: string
  readonly backbone: string
  readonly task: TaskName
  readonly variants: readonly VariantName[]
  readonly seeds: readonly number[]
  /** Times that the training data are read. */
  readonly epochs: number
}

const small = 'smollm2-135m-instruct'
const larger = 'qwen2.5-coder-0.5b-instruct'
const seeds = [0, 1, 2] as const

/** Late rows against rows at a prompt's start, of each kind. */
const compared = [
  'iapt',
  'iapt-late',
  'iapt-m16',
  'iapt-late-m16',
  'static-4',
  'static-4-late',
  'static-20',
  'static-20-late',
] as const satisfies readonly VariantName[]

/** Against the gap on texts. They compare with `iapt-late` of the same seed. */
const onTexts = [
  'iapt-late-rows-8',
  'iapt-late-rows-16',
  'iapt-late-m256',
  'iapt-late-anchor-3e-2',
  'iapt-turn-and-header',
  'iapt-around-header',
  'iapt-along-answer',
] as const satisfies readonly VariantName[]

/**
 * All runs by which late rows are judged, the first ones first: every comparison, and what may close the gap on texts,
 * with one seed and then with the others; many classes; the larger backbone.
 */
export const grid: readonly GridRow[] = [
  ...seeds.flatMap((seed): readonly GridRow[] => [
    ...(['trec', 'sst2', 'e2e', 'banking77'] as const).map((task) => ({
      part: 'late against after-first',
      backbone: small,
      task,
      variants: compared,
      seeds: [seed],
      epochs: 1,
    })),
    {
      part: 'the gap on texts',
      backbone: small,
      task: 'e2e',
      variants: onTexts,
      seeds: [seed],
      epochs: 1,
    },
  ]),
  ...(['trec', 'sst2', 'banking77', 'e2e'] as const).map((task) => ({
    part: 'the rate of the generator',
    backbone: small,
    task,
    variants: ['iapt-rate-3e-3', 'iapt-late-rate-3e-3'] as const,
    seeds,
    epochs: 1,
  })),
  ...(['trec', 'sst2', 'banking77', 'e2e'] as const).map((task) => ({
    part: 'AdamW from a wider start',
    backbone: small,
    task,
    variants: ['iapt-wide', 'iapt-late-wide'] as const,
    seeds: [0],
    epochs: 1,
  })),
  ...(['trec', 'sst2', 'banking77', 'e2e'] as const).map((task) => ({
    part: 'the trainer’s defaults',
    backbone: small,
    task,
    variants: ['iapt-own', 'iapt-late-own'] as const,
    seeds,
    epochs: 1,
  })),
  ...(
    [
      ['e2e-system', ['iapt-late-own', 'iapt-late-window-64-own']],
      ['sst2', ['iapt-late-window-16-own']],
    ] as const
  ).map(([task, variants]) => ({
    part: 'the window of late rows',
    backbone: small,
    task,
    variants,
    seeds: [0],
    epochs: 1,
  })),
  {
    part: 'the trainer’s defaults, other kinds',
    backbone: small,
    task: 'trec',
    variants: ['idpg-own', 'lpt-own'],
    seeds: [0],
    epochs: 1,
  },
  {
    part: 'rows in front of the newest turn',
    backbone: small,
    task: 'e2e-system',
    variants: ['iapt', 'iapt-turn', 'iapt-late'],
    seeds,
    epochs: 1,
  },
  {
    part: 'many classes',
    backbone: small,
    task: 'banking77',
    variants: ['iapt-m128', 'iapt-m128-rate-3e-3', 'iapt-rows-16-rate-3e-3', 'iapt-late-m128-own'],
    seeds: [0],
    epochs: 1,
  },
  {
    part: 'many classes, three epochs',
    backbone: small,
    task: 'banking77',
    variants: ['iapt-rate-3e-3', 'iapt-m128-rate-3e-3', 'iapt-late-rate-3e-3'],
    seeds: [0],
    epochs: 3,
  },
  ...(['trec', 'e2e'] as const).map((task) => ({
    part: 'a larger backbone',
    backbone: larger,
    task,
    variants: ['iapt', 'iapt-late'] as const,
    seeds,
    epochs: 1,
  })),
]
