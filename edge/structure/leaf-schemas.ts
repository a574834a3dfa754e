import { z } from 'zod'
import { anyWritable, patternInJson } from './json-pattern.ts'
import type { SchemaObject } from './schema-keywords.ts'

const maxStringLength = 10_000
const maxRange = 1_000

const formats: ReadonlySet<string> = new Set([
  'date',
  'time',
  'date-time',
  'duration',
  'email',
  'uuid',
  'ipv4',
  'ipv6',
])

/** Refuses a schema for one of its keywords, and says why. */
type Refuse = (keyword: string, why: string) => never

const Bounds = z.object({
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  exclusiveMinimum: z.number().optional(),
  exclusiveMaximum: z.number().optional(),
})

/**
 * A schema of type integer or number, its bounds written as a list of values: xgrammar's own ranges let others through
 * (0.1.27: 137 in −1 to 130).
 */
export function integerForm(schema: SchemaObject, refuse: Refuse): SchemaObject {
  const bound = Object.keys(schema).find((key) => key !== 'type')
  if (bound === undefined) return schema
  if (schema.type === 'number') return refuse(bound, 'goes with integers alone; check it in the answer')
  const parsed = Bounds.safeParse(schema)
  if (!parsed.success) return refuse(bound, 'must be a number')
  const { exclusiveMaximum, exclusiveMinimum, maximum, minimum } = parsed.data
  const least = Math.max(Math.ceil(minimum ?? -Infinity), Math.floor(exclusiveMinimum ?? -Infinity) + 1)
  const most = Math.min(Math.floor(maximum ?? Infinity), Math.ceil(exclusiveMaximum ?? Infinity) - 1)
  if (least > most) return refuse(bound, 'leaves no integer')
  if (most - least >= maxRange)
    return refuse(
      bound,
      `leaves more than ${maxRange} integers, which is not kept to; leave the bounds out and check them in the answer`,
    )
  return { enum: Array.from({ length: most - least + 1 }, (_, step) => least + step) }
}

/** A schema of type string, its pattern or its lengths written as a pattern over JSON's escapes. */
export function stringForm(schema: SchemaObject, refuse: Refuse): SchemaObject {
  const { format, pattern } = schema
  const hasLength = 'minLength' in schema || 'maxLength' in schema
  if (pattern !== undefined && (format !== undefined || hasLength))
    return refuse('pattern', 'does not go with a format or a length; write the length into the pattern')
  if (format !== undefined && hasLength) return refuse('format', 'does not go with a length')
  if (format !== undefined && !formats.has(String(format)))
    return refuse('format', `must be one of ${[...formats].join(', ')}`)
  if (hasLength) return withLength(schema, refuse)
  if (pattern === undefined) return schema
  if (typeof pattern !== 'string') return refuse('pattern', 'must be a string')
  try {
    return { ...schema, pattern: patternInJson(pattern) }
  } catch (thrown) {
    return refuse('pattern', thrown instanceof Error ? thrown.message : 'cannot be read')
  }
}

/** Writes the lengths as a pattern: xgrammar's own would let control characters and broken UTF-8 through (0.1.27). */
function withLength({ maxLength, minLength = 0, type }: SchemaObject, refuse: Refuse): SchemaObject {
  const Length = z.int().min(0).max(maxStringLength)
  const most = Length.optional().safeParse(maxLength)
  const least = Length.safeParse(minLength)
  if (!most.success) return refuse('maxLength', `must be from 0 to ${maxStringLength}`)
  if (!least.success) return refuse('minLength', `must be from 0 to ${maxStringLength}`)
  if (least.data > (most.data ?? maxStringLength)) return refuse('minLength', 'is more than maxLength')
  return { type, pattern: `${anyWritable}{${least.data},${most.data ?? ''}}` }
}

/** Whether a value is of a JSON schema's type. */
export function isOfType(value: unknown, type: string): boolean {
  switch (type) {
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
    case 'array':
      return Array.isArray(value)
    case 'integer':
      return Number.isInteger(value)
    case 'null':
      return value === null
    default:
      return typeof value === type
  }
}
