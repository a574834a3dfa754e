import { Environment, parse, tokenize } from '@huggingface/jinja'
import { BoundedInterpreter, TemplateLimit, templateParts } from './bounded-interpreter.ts'

/** Templates of models have some thousand characters. */
export const maxTemplateCharacters = 256 * 1024
/** The parser takes the square of the time for a run of blanks. */
const maxBlanks = 256

/** Any conversation may take `base`, and more for each value and character of it: every template may read all of it a few times. */
const steps = { base: 1_000_000, perValue: 200, perCharacter: 4 }

/**
 * A chat template (Jinja) of a model, which may be hostile: it comes with the model, and one worker renders those of all
 * backbones. Parsing and rendering take bounded time and memory.
 */
export class BoundedTemplate {
  readonly #parts: ReturnType<typeof templateParts>

  /** Throws when it is too long or no valid Jinja. */
  constructor(source: string) {
    if (source.length > maxTemplateCharacters)
      throw new TemplateLimit(`it has more than ${maxTemplateCharacters} characters`)
    if (new RegExp(`\\s{${maxBlanks + 1}}`).test(source))
      throw new TemplateLimit(`it has more than ${maxBlanks} blanks in a row; remove some`)
    this.#parts = explained(() =>
      templateParts(parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }))),
    )
  }

  /** Throws what the template raises, and `TemplateLimit` where it goes beyond the bounds. */
  render(variables: Readonly<Record<string, unknown>>): string {
    const { characters, values } = sizeOf(variables)
    const environment = new Environment()
    const allowed = steps.base + steps.perValue * values + steps.perCharacter * characters
    const interpreter = new BoundedInterpreter(environment, { parts: this.#parts, steps: allowed })
    for (const [name, value] of Object.entries({ ...globals(interpreter), ...variables }))
      environment.set(name, value)
    return explained(() => interpreter.text())
  }
}

/** Jinja and the templates of models expect to find these. */
const globals = (interpreter: BoundedInterpreter) => ({
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  raise_exception: (message: unknown): never => {
    throw new Error(String(message))
  },
  range: (...bounds: readonly unknown[]) => range(bounds, interpreter),
  strftime_now: (format: unknown) => {
    const written = String(format)
    interpreter.spend(100 + written.length)
    return strftime(new Date(), written)
  },
})

function range(bounds: readonly unknown[], interpreter: BoundedInterpreter): number[] {
  const [first, second, third = 1] = bounds
  const [start, stop] = second === undefined ? [0, first] : [first, second]
  if (typeof start !== 'number' || typeof stop !== 'number' || typeof third !== 'number')
    throw new Error('range() takes numbers')
  if (third === 0) throw new Error('range() step must not be zero')
  const count = Math.max(0, Math.ceil((stop - start) / third)) || 0
  interpreter.spend(count)
  return Array.from({ length: count }, (_, at) => start + at * third)
}

const monthNames = {
  long: new Intl.DateTimeFormat('en', { month: 'long' }),
  short: new Intl.DateTimeFormat('en', { month: 'short' }),
}

const twoDigits = (value: number) => String(value).padStart(2, '0')

/** Python's, as far as templates use it. */
const strftime = (date: Date, format: string): string =>
  format.replace(/%[YmdbBHM%]/g, (directive) => {
    switch (directive) {
      case '%Y':
        return String(date.getFullYear())
      case '%m':
        return twoDigits(date.getMonth() + 1)
      case '%d':
        return twoDigits(date.getDate())
      case '%b':
        return monthNames.short.format(date)
      case '%B':
        return monthNames.long.format(date)
      case '%H':
        return twoDigits(date.getHours())
      case '%M':
        return twoDigits(date.getMinutes())
      default:
        return '%'
    }
  })

/** The values in what a template is given, at any depth, and their characters. */
function sizeOf(given: unknown): { readonly values: number; readonly characters: number } {
  let [values, characters] = [0, 0]
  const waiting: unknown[] = [given]
  while (waiting.length > 0) {
    const value = waiting.pop()
    values += 1
    if (typeof value === 'string') characters += value.length
    else if (typeof value === 'object' && value !== null)
      for (const each of Object.values(value)) waiting.push(each)
  }
  return { values, characters }
}

/** The engine recurses. */
function explained<T>(work: () => T): T {
  try {
    return work()
  } catch (thrown) {
    if (thrown instanceof RangeError) throw new TemplateLimit('it nests too deep', { cause: thrown })
    throw thrown
  }
}
