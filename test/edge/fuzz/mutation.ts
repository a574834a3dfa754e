import fc from 'fast-check'

/** Values that no client should send. */
const junk: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    '',
    ' ',
    0,
    -0,
    -1,
    1e308,
    -1e308,
    2 ** 53,
    1.5,
    [],
    {},
    [[]],
    '\u0000',
    '\ud800',
    '__proto__',
    'constructor',
    '../../etc/passwd',
    "' OR 1=1 --",
    '%00',
    '𝒳'.repeat(300),
    'x'.repeat(5_000),
    { __proto__: null, toString: 1 },
    Array.from({ length: 2_000 }, () => 0),
  ),
  fc.jsonValue({ maxDepth: 3 }),
)

type Container = unknown[] | Record<string, unknown>
const isContainer = (value: unknown): value is Container => typeof value === 'object' && value !== null

/** Values like `valid` with one to three places changed: replaced by junk, dropped, doubled, or added to. */
export function mutations(valid: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const change = fc.record({
    /** Chooses the place, of however many there are. */
    at: fc.double({ min: 0, max: 0.999_999, noNaN: true }),
    how: fc.constantFrom('replace', 'drop', 'double', 'add', 'nest'),
    with: junk,
    name: fc.oneof(fc.string(), fc.constantFrom('__proto__', 'constructor', 'toString', 'model', 'messages')),
  })
  return fc
    .tuple(valid, fc.array(change, { minLength: 1, maxLength: 3 }))
    .map(([value, changes]) => changes.reduce<unknown>(mutate, structuredClone(value)))
}

interface Mutation {
  readonly at: number
  readonly how: 'replace' | 'drop' | 'double' | 'add' | 'nest'
  readonly with: unknown
  readonly name: string
}

function mutate(value: unknown, change: Mutation): unknown {
  const places = [...placesIn(value)]
  const place = places[Math.floor(change.at * places.length)]
  if (place === undefined) return change.with
  const { key, of } = place
  if (Array.isArray(of)) {
    const index = Number(key)
    if (change.how === 'drop') of.splice(index, 1)
    else if (change.how === 'double') of.push(structuredClone(of[index]))
    else of[index] = changed(of[index], change)
    return value
  }
  if (change.how === 'drop') delete of[key]
  else if (change.how === 'add')
    Object.defineProperty(of, change.name, {
      value: change.with,
      enumerable: true,
      configurable: true,
      writable: true,
    })
  else of[key] = changed(of[key], change)
  return value
}

function changed(before: unknown, { how, with: junkValue }: Mutation): unknown {
  if (how === 'nest') return [before]
  return how === 'double' ? { a: before, b: before } : junkValue
}

function* placesIn(value: unknown): Generator<{ of: unknown[] | Record<string, unknown>; key: string }> {
  if (!isContainer(value)) return
  const entries = Object.entries(value)
  for (const [key, inner] of entries) {
    yield { of: value, key }
    yield* placesIn(inner)
  }
}
