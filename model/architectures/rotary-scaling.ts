import type { Rotary } from '../../shared/backbone.ts'
import type { Settings } from './settings.ts'

/** The numbers that the factors of a kind of scaling depend on. */
interface Unscaled {
  readonly theta: number
  /** How many of a head's numbers are turned. */
  readonly dims: number
  /** `max_position_embeddings`. */
  readonly contextLength: number
  /** The length that the model was trained with, where the settings name it outside the scaling's own. */
  readonly originalLength?: number | undefined
}

type Scaling = (settings: Settings, unscaled: Unscaled) => Omit<Rotary, 'theta' | 'dims'>

const pairs = (dims: number) => Array.from({ length: dims / 2 }, (_, i) => i)

/** Turns per position of pair i, in radians. */
const frequency = ({ theta, dims }: Unscaled, i: number) => theta ** ((-2 * i) / dims)

/**
 * Kinds of rotary scaling by the name that config.json gives them (`ROPE_INIT_FUNCTIONS` of Hugging Face's
 * transformers, modeling_rope_utils.py). Adding one is one row.
 */
const scalings: Readonly<Record<string, Scaling>> = {
  default: () => ({}),

  linear: (settings, { dims }) => ({ factors: pairs(dims).map(() => settings.positive('factor')) }),

  // Llama 3.1: long waves are stretched, short ones kept, with a ramp between.
  llama3(settings, unscaled) {
    const factor = settings.positive('factor')
    const low = settings.number('low_freq_factor')
    const high = settings.number('high_freq_factor')
    if (!(high > low))
      throw settings.invalid('high_freq_factor', `is ${high}; it must be above low_freq_factor, ${low}`)
    const original = originalOf(settings, unscaled)
    const factors = pairs(unscaled.dims).map((i) => {
      const turns = (original * frequency(unscaled, i)) / (2 * Math.PI)
      if (turns < low) return factor
      if (turns > high) return 1
      const smooth = (turns - low) / (high - low)
      return 1 / ((1 - smooth) / factor + smooth)
    })
    return { factors }
  },

  // YaRN (https://arxiv.org/abs/2309.00071)
  yarn(settings, unscaled) {
    const original = originalOf(settings, unscaled)
    const factor = settings.positive('factor', unscaled.contextLength / original)
    const fast = settings.optionalNumber('beta_fast') || 32
    const slow = settings.optionalNumber('beta_slow') || 1
    if (!(fast > slow && slow > 0))
      throw settings.invalid('beta_fast', `is ${fast}; it must be above beta_slow, ${slow}, and both above 0`)
    return yarn(unscaled, {
      factor,
      original,
      magnitude: settings.positive('attention_factor', yarnMagnitude(settings, factor)),
      fast,
      slow,
      truncate: settings.flag('truncate', true),
    })
  },

  // LongRoPE (https://arxiv.org/abs/2402.13753): one list of factors up to the original length, one beyond it.
  longrope(settings, unscaled) {
    const original = originalOf(settings, unscaled)
    const stretched = settings.positive('factor', unscaled.contextLength / original)
    const usual = stretched <= 1 ? 1 : Math.sqrt(1 + Math.log(stretched) / Math.log(original))
    const magnitude = settings.positive('attention_factor', usual)
    const list = (key: string) => {
      const factors = settings.numbers(key)
      if (factors?.length !== unscaled.dims / 2)
        throw settings.invalid(
          key,
          `has ${factors?.length ?? 'no'} numbers; ${unscaled.dims / 2} pairs are turned`,
        )
      if (factors.some((factor) => factor <= 0))
        throw settings.invalid(key, 'divides frequencies; all of its numbers must be above 0')
      return [...factors]
    }
    return longRope({
      short: list('short_factor'),
      long: list('long_factor'),
      original,
      magnitude,
      contextLength: unscaled.contextLength,
    })
  },

  // NTK-aware: nothing up to the trained length, a base of its own for each length beyond it. With the base raised by
  // r^(dims / (dims − 2)), pair i turns slower by r^(2i / (dims − 2)).
  dynamic(settings, { dims, contextLength }) {
    const factor = settings.positive('factor')
    if (factor <= 1) return {}
    const exponents = pairs(dims).map((i) => (i === 0 ? 0 : (2 * i) / (dims - 2)))
    return { dynamic: { rows: contextLength, factor, exponents } }
  },
}

/** Names that older files give to the same kinds. */
const olderNames: Readonly<Record<string, string>> = { su: 'longrope', none: 'default' }

/** Throws `backbone_invalid` for a kind that is not known. */
export function scaledRotary(settings: Settings | undefined, unscaled: Unscaled): Rotary {
  const { theta, dims } = unscaled
  const named = settings?.text('rope_type') ?? settings?.text('type') ?? 'default'
  const name = olderNames[named] ?? named
  const scaling = Object.hasOwn(scalings, name) ? scalings[name] : undefined
  if (settings === undefined) return { theta, dims }
  if (scaling === undefined)
    throw settings.invalid(
      settings.raw('rope_type') === undefined ? 'type' : 'rope_type',
      `is “${named}”, which is not supported; ${Object.keys(scalings).join(', ')} are`,
    )
  if (name === 'default' && settings.number('factor', 1) !== 1)
    throw settings.invalid(
      'factor',
      `is ${settings.number('factor')}, and rope_type does not say how it scales; name the kind (${Object.keys(scalings).join(', ')}) or remove the factor`,
    )
  return { theta, dims, ...scaling(settings, unscaled) }
}

/** How many positions the scaled model has: dynamic scaling alone names the length before it. */
export function scaledLength(settings: Settings | undefined, contextLength: number): number {
  const name = settings?.text('rope_type') ?? settings?.text('type')
  return name === 'dynamic' && settings !== undefined
    ? Math.floor(contextLength * Math.max(1, settings.positive('factor')))
    : contextLength
}

function originalOf(settings: Settings, { originalLength, contextLength }: Unscaled): number {
  return settings.positive('original_max_position_embeddings', originalLength ?? contextLength)
}

function yarnMagnitude(settings: Settings, factor: number): number {
  const scale = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1)
  const mscale = settings.optionalNumber('mscale')
  const allDims = settings.optionalNumber('mscale_all_dim')
  return mscale && allDims ? scale(mscale) / scale(allDims) : scale(1)
}

export interface Yarn {
  readonly factor: number
  readonly original: number
  readonly magnitude: number
  /** Turns within the original length above which a pair is kept, and below which it is stretched. */
  readonly fast: number
  readonly slow: number
  readonly truncate: boolean
}

/** Keeps the pairs that turn often and stretches those that turn seldom. A ramp joins the two. */
export function yarn(
  { theta, dims }: Pick<Unscaled, 'theta' | 'dims'>,
  { factor, original, magnitude, fast, slow, truncate }: Yarn,
): Pick<Rotary, 'factors' | 'magnitude'> {
  const pairThatTurns = (turns: number) =>
    (dims * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
  const from = pairThatTurns(fast)
  const to = pairThatTurns(slow)
  const low = Math.max(truncate ? Math.floor(from) : from, 0)
  const high = Math.min(truncate ? Math.ceil(to) : to, dims - 1)
  const width = high === low ? 0.001 : high - low
  return {
    factors: pairs(dims).map((i) => {
      const stretched = Math.min(1, Math.max(0, (i - low) / width))
      return 1 / (stretched / factor + 1 - stretched)
    }),
    ...(magnitude === 1 ? {} : { magnitude }),
  }
}

/** The second list is left out for a model that never grows beyond the original length. */
export function longRope(of: {
  short: number[]
  long: number[]
  original: number
  magnitude: number
  contextLength: number
}): Pick<Rotary, 'factors' | 'magnitude' | 'beyond'> {
  const { short, long, original, magnitude, contextLength } = of
  const scaled = magnitude === 1 ? {} : { magnitude }
  return {
    factors: short,
    ...scaled,
    ...(contextLength > original ? { beyond: { rows: original, factors: long, ...scaled } } : {}),
  }
}
