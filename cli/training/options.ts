import { type Command, Option } from 'commander'
import { z } from 'zod'
import { maxPromptRows, maxWindow } from '../../shared/adapter-file.ts'
import { WeightFormat } from '../../shared/backbone.ts'
import { BackboneSlug } from '../../shared/ids.ts'
import { lateWindow } from '../../shared/training/describe-adapter.ts'
import { parsedBy } from '../command/argument.ts'
import { defaultBackbone, weightsOption } from '../command/settings.ts'

const numeral = z
  .string()
  .regex(/^(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i, 'must be a number without a sign')
  .transform(Number)
const whole = (min: number, max: number) => {
  const says = `must be a whole number from ${min} to ${max}`
  return numeral.pipe(z.int(says).min(min, says).max(max, says))
}
const count = (max: number) => whole(1, max)
const atLeastZero = (max: number) => whole(0, max)
const rate = numeral.pipe(z.number().gt(0, 'must be above 0').max(1, 'must be at most 1'))
const fraction = numeral.pipe(z.number().min(0).max(1, 'must lie between 0 and 1'))

/** Numbers of the command, with how they are read and what is said of them. */
const numbers = {
  rows: [count(maxPromptRows), 'prompt rows of a layer (default: 4, or one per token of --init-text)'],
  m: [count(4096), 'width of the generator (default: 64; ipt: 16)'],
  window: [
    count(maxWindow),
    `how many of the prompt’s tokens the generator reads (default: ${maxWindow}, and the last ${lateWindow} for late rows)`,
  ],
  at: [
    atLeastZero(255),
    'the layer whose rows are carried on through those above it (default: lpt: the middle one; idpg: none)',
  ],
  epochs: [
    count(10_000),
    'passes over the data (default: one, or 100 steps where one has fewer, 20 passes at most)',
  ],
  steps: [count(10_000_000), 'optimiser steps, in place of --epochs'],
  batch: [count(4096), 'examples of one run of the model (default: 16)'],
  accumulate: [count(4096), 'runs whose gradients make one step (default: 1)'],
  batchTokens: [
    count(1_000_000),
    'tokens of one run, padding and prompt rows included: batches of long examples run in parts, which saves memory (default: 1024)',
  ],
  rate: [rate, 'rate of the generator (default: 3e-3)'],
  anchorRate: [rate, 'rate of own anchor rows (default: 3e-2)'],
  staticRate: [rate, 'rate of static rows (default: 1e-2)'],
  rationalRate: [rate, 'rate of the rational coefficients (default: 1e-3)'],
  downDeviation: [
    numeral.pipe(z.number().gt(0, 'must be above 0').max(100, 'must be at most 100')),
    'how far what the generator makes of the prompt’s tokens spreads at the start (default: 4)',
  ],
  decay: [fraction, 'weight decay; anchors and coefficients have none (default: 0.01)'],
  warmup: [fraction, 'share of the steps in which the rates rise (default: 0.06)'],
  clip: [numeral.pipe(z.number().gt(0, 'must be above 0')), 'largest norm of a gradient (default: 1)'],
  heldOut: [fraction, 'with --rational bilevel: share of the examples for the coefficients (default: 0.2)'],
  devShare: [
    fraction,
    'without --dev: share of the examples set apart to measure on, such as 0.1 (default: 0, which trains on all and measures nothing)',
  ],
  evalEvery: [
    count(10_000_000),
    'steps between two measurements of the dev loss (default: a tenth of all, ten at least)',
  ],
  patience: [
    atLeastZero(10_000),
    'measurements without a better dev loss before training stops; 0 never stops early (default: 5)',
  ],
  seed: [atLeastZero(0x7fffffff), 'of shuffles, splits and starts (default: 0)'],
  threads: [count(1024), 'threads that compute (default: one per core)'],
} as const satisfies Record<string, readonly [z.ZodType<number, string>, string]>

/** Choices of the command, with what is said of them. */
const choices = {
  kind: [
    ['iapt', 'static', 'idpg', 'lpt', 'ipt'],
    'how the adapter makes its prompt rows (default: iapt, or that of --init)',
  ],
  activation: [['gelu', 'rational', 'relu'], 'of the generator (default: gelu)'],
  optimizer: [
    ['muon', 'adamw'],
    'what trains a generator’s projections; AdamW trains all else (default: muon)',
  ],
  rational: [['joint', 'bilevel'], 'how rational coefficients are trained (default: joint)'],
  anchor: [['own', 'sink', 'none'], 'what rows are added to (default: own; static: none)'],
  placement: [
    ['late', 'turn', 'after-first', 'first'],
    'where rows stand; late: in front of the generation header; turn: in front of the newest turn (default: late; after-first for raw prompts, a text at the start, and where late cannot be)',
  ],
  pool: [
    ['attention', 'mean', 'max'],
    'lpt, idpg: how the instruction becomes one (default: attention; idpg: mean)',
  ],
  generator: [['own', 'shared'], 'idpg: of each layer, or one for all (default: shared; own with --at)'],
  prompts: [
    ['chat', 'raw'],
    'what "prompt" is: a user’s message, or text for /v1/completions (default: chat)',
  ],
} as const

const dashed = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

export function addTrainOptions(command: Command): Command {
  command
    .addOption(
      new Option('--backbone <slug>', 'the backbone it is for')
        .default(defaultBackbone)
        .argParser(parsedBy(BackboneSlug)),
    )
    .option(
      '--init <start>',
      'where training starts: anchor, random, or an adapter file, whose shape is then the default',
      'anchor',
    )
    .option('--init-text <text>', 'start the rows from a text')
    .option('--init-text-file <file>', 'start the rows from the text in a file')
  addCommonOptions(command)
  for (const [name, [values, about]] of Object.entries(choices))
    command.addOption(new Option(`--${dashed(name)} <choice>`, about).choices(values))
  for (const [name, [schema, about]] of Object.entries(numbers))
    command.addOption(new Option(`--${dashed(name)} <n>`, about).argParser(parsedBy<number>(schema)))
  return command
}

/** The options of training wherever it starts. */
function addCommonOptions(command: Command): void {
  command
    .requiredOption('--data <file>', 'examples to train on, as JSONL')
    .option('--dev <file>', 'examples to measure on, and to choose the best tensors by')
    .option('--out <file>', 'where to write the adapter; checkpoint, metrics and loss curve stand beside it')
    .addOption(weightsOption('which of its forms: the one that will serve the adapter'))
    .option('--checkpointing', 'compute activations again instead of keeping them: less memory, more time')
    .option('--resume', 'go on from the checkpoint beside --out')
    .option('--force', 'replace the adapter and the checkpoint that are there')
    .option('--dry-run', 'check the data and say what is in it; train nothing')
    .option('--json', 'with --dry-run, and of the result: as JSON')
}

/** Training that goes on with an adapter, which says of itself what it is. */
export function addPortOptions(command: Command): Command {
  addCommonOptions(command)
  for (const name of ['prompts', 'optimizer'] as const) {
    const [values, about] = choices[name]
    command.addOption(new Option(`--${name} <choice>`, about).choices(values))
  }
  for (const [name, [schema, about]] of Object.entries(numbers))
    if (!ofFile.has(name))
      command.addOption(new Option(`--${dashed(name)} <n>`, about).argParser(parsedBy<number>(schema)))
  return command
}

/** Numbers of an adapter's shape and of its start, which a file has. */
const ofFile: ReadonlySet<string> = new Set(['rows', 'm', 'window', 'at', 'downDeviation'])

const file = z.string().min(1, 'is empty; name a file')
const flag = z.boolean().default(false)
const optionalNumber = z.number().optional()

/** The command's options once commander has read them. */
export const TrainCommandOptions = z
  .object({
    data: file,
    dev: file.optional(),
    out: file.optional(),
    backbone: BackboneSlug,
    weights: WeightFormat,
    init: file,
    initText: z.string().min(1, 'is empty').optional(),
    initTextFile: file.optional(),
    /** `init` is an adapter of other weights. */
    port: flag,
    checkpointing: flag,
    resume: flag,
    force: flag,
    dryRun: flag,
    json: flag,
    kind: z.enum(choices.kind[0]).optional(),
    activation: z.enum(choices.activation[0]).optional(),
    optimizer: z.enum(choices.optimizer[0]).optional(),
    rational: z.enum(choices.rational[0]).optional(),
    anchor: z.enum(choices.anchor[0]).optional(),
    placement: z.enum(choices.placement[0]).optional(),
    pool: z.enum(choices.pool[0]).optional(),
    generator: z.enum(choices.generator[0]).optional(),
    prompts: z.enum(choices.prompts[0]).default('chat'),
    rows: optionalNumber,
    m: optionalNumber,
    window: optionalNumber,
    at: optionalNumber,
    epochs: optionalNumber,
    steps: optionalNumber,
    batch: optionalNumber,
    accumulate: optionalNumber,
    batchTokens: optionalNumber,
    rate: optionalNumber,
    anchorRate: optionalNumber,
    staticRate: optionalNumber,
    rationalRate: optionalNumber,
    downDeviation: optionalNumber,
    decay: optionalNumber,
    warmup: optionalNumber,
    clip: optionalNumber,
    heldOut: optionalNumber,
    devShare: z.number().optional(),
    evalEvery: optionalNumber,
    patience: optionalNumber,
    seed: z.number().default(0),
    threads: optionalNumber,
  })
  .refine(({ out, dryRun }) => dryRun || out !== undefined, 'say where the adapter goes: --out FILE')
  .refine(
    ({ epochs, steps }) => epochs === undefined || steps === undefined,
    'give --epochs or --steps, not both',
  )
  .refine(
    ({ resume, force }) => !(resume && force),
    '--resume goes on and --force starts anew; give one of them',
  )
  .refine(
    ({ init, initText, initTextFile }) =>
      [init === 'anchor' ? undefined : init, initText, initTextFile].filter((given) => given !== undefined)
        .length <= 1,
    'rows start in one way: give one of --init, --init-text and --init-text-file',
  )
  .refine(
    ({ downDeviation, init }) => downDeviation === undefined || init === 'anchor' || init === 'random',
    '--down-deviation is of a start that --init FILE takes from the file; leave one of them out',
  )
  .refine(
    ({ heldOut, rational }) => heldOut === undefined || rational === 'bilevel',
    '--held-out needs --rational bilevel',
  )
  .refine(
    ({ heldOut }) => heldOut === undefined || (heldOut > 0 && heldOut < 1),
    '--held-out lies between 0 and 1',
  )
  .refine(({ devShare = 0 }) => devShare <= 0.5, '--dev-share is at most 0.5: the rest is trained on')
  .refine(
    ({ dev, devShare }) => dev === undefined || devShare === undefined,
    'examples to measure on come from --dev or are set apart with --dev-share; give one of them',
  )
  .transform(({ devShare = 0, ...options }) => ({ ...options, devShare }))
export type TrainCommandOptions = z.infer<typeof TrainCommandOptions>
