import type { z } from 'zod'
import { type ErrorCode, QuartetError } from '../errors.ts'

type Issue = z.core.$ZodIssue
type Path = readonly PropertyKey[]

/** Marks a refinement's issue as "known, but not offered" rather than "malformed". */
export const unsupportedParameter = { unsupported: true } as const

/**
 * A request body as its schema describes it. Throws `invalid_request`, or `unsupported_parameter` for a field
 * that is not offered; either names the field in the client's own spelling.
 */
export function parseRequest<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const parsed = schema.safeParse(body, { reportInput: false })
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw issue === undefined
    ? new QuartetError('invalid_request', 'the request is malformed')
    : toError(deepest(issue, []))
}

/** Rounds of dropping unknown fields: a field nested in a choice of forms shows only once its surroundings fit. */
const maxRounds = 8

export interface Tolerated<T> {
  readonly request: T
  /** Fields that the schema does not know, in the client's own spelling. */
  readonly unknown: readonly string[]
}

/**
 * Parses as `parseRequest` does, but leaves out the fields that the schema does not know, and names them. A field that is
 * null is as if absent, as at OpenAI: clients write out what they have no value for.
 */
export function parseTolerantly<S extends z.ZodType>(schema: S, body: unknown): Tolerated<z.output<S>> {
  const unknown: string[] = []
  let left = body
  for (let round = 0; round < maxRounds; round++) {
    const parsed = schema.safeParse(left, { reportInput: false })
    if (parsed.success) return { request: parsed.data, unknown }
    const located = parsed.error.issues.map((issue) => deepest(issue, []))
    const extra = located.flatMap(({ issue, path }) =>
      issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...path, key]) : [],
    )
    if (extra.length === 0) break
    if (left === body) left = structuredClone(body)
    for (const path of extra) if (drop(left, path) !== null) unknown.push(formatPath(path) ?? '')
  }
  return { request: parseRequest(schema, left), unknown }
}

/** Takes a field out; returns its value. */
function drop(value: unknown, path: Path): unknown {
  const [key, ...rest] = path
  if (typeof value !== 'object' || value === null || key === undefined) return undefined
  const at: unknown = Reflect.get(value, key)
  if (rest.length > 0) return drop(at, rest)
  Reflect.deleteProperty(value, key)
  return at
}

/** A refusal names so many fields, and so much of each name: a body may have a hundred thousand. */
const maxShownNames = 16
const maxNameLength = 256

export function unknownParameters(names: readonly string[]): QuartetError {
  const [one, them] = names.length > 1 ? ['parameters', 'them'] : ['parameter', 'it']
  const shown = names.slice(0, maxShownNames).map((name) => name.slice(0, maxNameLength))
  const more = names.length > shown.length ? ` and ${names.length - shown.length} more` : ''
  return new QuartetError(
    'unsupported_parameter',
    `unknown ${one}: ${shown.join(', ')}${more}; remove ${them}`,
    {
      param: shown[0],
    },
  )
}

interface Located {
  readonly issue: Issue
  readonly path: Path
}

/** The refusal of a union that got furthest: that of the alternative which the client meant. */
function deepest(issue: Issue, prefix: Path): Located {
  const path = [...prefix, ...issue.path]
  if (issue.code !== 'invalid_union') return { issue, path }
  const inner = issue.errors
    .flatMap(([first]) => (first === undefined ? [] : [deepest(first, path)]))
    .reduce<Located | undefined>(
      (best, next) => (best && !isFurther(next.path, best.path) ? best : next),
      undefined,
    )
  return inner !== undefined && inner.path.length > path.length ? inner : { issue, path }
}

/** Deeper, or at a later entry of the same list. */
function isFurther(path: Path, than: Path): boolean {
  if (path.length !== than.length) return path.length > than.length
  const [at, other] = [path.at(-1), than.at(-1)]
  return typeof at === 'number' && typeof other === 'number' && at > other
}

function toError({ issue, path }: Located): QuartetError {
  if (issue.code === 'unrecognized_keys') {
    return unknownParameters(issue.keys.map((key) => formatPath([...path, key]) ?? ''))
  }
  const param = formatPath(path)
  const code: ErrorCode =
    issue.code === 'custom' && issue.params?.unsupported === true
      ? 'unsupported_parameter'
      : 'invalid_request'
  const detail = inOurWords(issue)
  return new QuartetError(code, param === undefined ? `the body ${detail}` : `${param}: ${detail}`, { param })
}

const units: Readonly<Record<string, string>> = { string: ' characters', array: ' entries' }

/** Says why a value is wrong, and which values are allowed. A schema's own message goes first. */
function inOurWords(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.message.endsWith('received undefined')
        ? 'is required'
        : issue.message.replace(/^Invalid input: expected (\w+), received .*$/, 'must be of type $1')
    case 'too_big':
      return issue.message.startsWith('Too big')
        ? `must be ${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}${units[issue.origin] ?? ''}`
        : issue.message
    case 'too_small':
      return issue.message.startsWith('Too small')
        ? `must be ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}${units[issue.origin] ?? ''}`
        : issue.message
    case 'invalid_value':
      return issue.message.startsWith('Invalid')
        ? `must be ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`
        : issue.message
    case 'invalid_key':
      return issue.issues[0]?.message ?? issue.message
    default:
      return issue.message.replace(/^Invalid input: /, '')
  }
}

/** `['messages', 0, 'role']` as `messages[0].role`; undefined for the body itself. */
function formatPath(path: Path): string | undefined {
  if (path.length === 0) return undefined
  return path
    .map((key, at) => (typeof key === 'number' ? `[${key}]` : `${at > 0 ? '.' : ''}${String(key)}`))
    .join('')
}
