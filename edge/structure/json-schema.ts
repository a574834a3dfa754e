import { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'
import { integerForm, isOfType, stringForm } from './leaf-schemas.ts'
import { annotations, byType, definitions, instead, SchemaObject } from './schema-keywords.ts'

/** Bounds of a schema, those of OpenAI's structured outputs. */
const maxDepth = 32
const maxProperties = 5_000
const maxEnum = 1_000
/** The integers of all ranges, each of which is written out. */
const maxRanged = 20_000

/**
 * A JSON schema (draft 2020-12) as far as every text of its grammar validates against it. A keyword that the grammar
 * would leave out is refused, with its place. `isStrict` adds OpenAI's own demands. An object without any properties
 * said may have all.
 */
export function checkedSchema(schema: unknown, options: { isStrict: boolean; param: string }): unknown {
  return new Checker(schema, options).check()
}

class Checker {
  readonly #root: unknown
  readonly #param: string
  readonly #isStrict: boolean
  #properties = 0
  #enums = 0
  #ranged = 0
  /** References that were found to lead to a schema. */
  readonly #leading = new Set<string>()

  constructor(root: unknown, { isStrict, param }: { isStrict: boolean; param: string }) {
    this.#root = root
    this.#param = param
    this.#isStrict = isStrict
  }

  check(): unknown {
    if (this.#isStrict && !this.#isObjectType(this.#root))
      this.#refuse('', 'strict: the outermost type must be object')
    return this.#schema(this.#root, { at: '', depth: 0 })
  }

  #schema(value: unknown, place: { at: string; depth: number }): unknown {
    const { at, depth } = place
    if (typeof value === 'boolean') return value ? {} : this.#refuse(at, 'false allows nothing')
    const parsed = SchemaObject.safeParse(value)
    if (!parsed.success) return this.#refuse(at, 'must be a schema: an object')
    if (depth > maxDepth) this.#refuse(at, `is nested more than ${maxDepth} deep`)
    const schema = Object.fromEntries(
      Object.entries(parsed.data).filter(([key]) => !annotations.includes(key)),
    )
    const withDefinitions = this.#definitions(schema, place)
    const rest = Object.fromEntries(Object.entries(schema).filter(([key]) => !definitions.includes(key)))
    return { ...withDefinitions, ...this.#form(rest, place) }
  }

  #definitions(schema: SchemaObject, { at, depth }: { at: string; depth: number }): SchemaObject {
    return Object.fromEntries(
      definitions
        .filter((key) => key in schema)
        .map((key) => [key, this.#each(schema[key], { at: `${at}.${key}`, depth })]),
    )
  }

  #form(schema: SchemaObject, place: { at: string; depth: number }): SchemaObject {
    const { at, depth } = place
    if ('$ref' in schema) return this.#reference(schema, at)
    if ('anyOf' in schema) {
      this.#only(schema, ['anyOf'], at)
      const parts = z.array(z.unknown()).min(1).safeParse(schema.anyOf)
      if (!parts.success) return this.#refuse(`${at}.anyOf`, 'must be a list of schemas')
      return {
        anyOf: parts.data.map((part, index) =>
          this.#schema(part, { at: `${at}.anyOf[${index}]`, depth: depth + 1 }),
        ),
      }
    }
    if ('enum' in schema || 'const' in schema) return this.#values(schema, at)
    return this.#typed(schema, place)
  }

  #reference(schema: SchemaObject, at: string): SchemaObject {
    this.#only(schema, ['$ref'], at)
    const seen = new Set<string>()
    for (let { $ref } = schema; ; ) {
      if (typeof $ref !== 'string' || !$ref.startsWith('#'))
        return this.#refuse(`${at}.$ref`, 'must point into this schema, like #/$defs/name')
      if (seen.has($ref)) return this.#refuse(`${at}.$ref`, 'points to itself, so it describes nothing')
      seen.add($ref)
      const target = this.#leading.has($ref) ? true : this.#find($ref)
      if (target === undefined) return this.#refuse(`${at}.$ref`, `points to nothing: ${$ref.slice(0, 80)}`)
      if (!isContainer(target) || !Object.hasOwn(target, '$ref')) break
      $ref = Reflect.get(target, '$ref')
    }
    // Each step of a chain is gone once, however many references lead into it.
    for (const found of seen) this.#leading.add(found)
    return { $ref: schema.$ref }
  }

  #find(pointer: string): unknown {
    let found: unknown = this.#root
    for (const part of pointer.split('/').slice(1)) {
      const name = part.replaceAll('~1', '/').replaceAll('~0', '~')
      // Not by a schema: that would copy all of it for each reference.
      if (!isContainer(found) || !Object.hasOwn(found, name)) return undefined
      found = Reflect.get(found, name)
    }
    return found
  }

  #values(schema: SchemaObject, at: string): SchemaObject {
    this.#only(schema, ['enum', 'const', 'type'], at)
    const values = 'const' in schema ? [schema.const] : schema.enum
    const listed = z.array(z.unknown()).min(1).safeParse(values)
    if (!listed.success) return this.#refuse(`${at}.enum`, 'must be a list of at least one value')
    if ('const' in schema && 'enum' in schema) this.#refuse(at, 'has both enum and const; keep one')
    this.#enums += listed.data.length
    if (this.#enums > maxEnum)
      this.#refuse(`${at}.enum`, `makes more than ${maxEnum} values in all; use a pattern, or fewer`)
    const types = this.#types(schema, at)
    const strange = types && listed.data.find((each) => !types.some((type) => isOfType(each, type)))
    if (strange !== undefined) this.#refuse(`${at}.enum`, 'has a value that is not of the type')
    return 'const' in schema ? { const: schema.const } : { enum: listed.data }
  }

  #typed(schema: SchemaObject, { at, depth }: { at: string; depth: number }): SchemaObject {
    const types = this.#types(schema, at)
    const meant = types ?? Object.keys(byType).filter((type) => byType[type]?.some((key) => key in schema))
    const allowed = meant.flatMap((type) => byType[type] ?? [])
    this.#only(schema, ['type', ...allowed], at)
    const type = types ?? (meant.includes('integer') ? ['number'] : meant)
    if (type.length === 0) return {}
    if (type.length > 1)
      return {
        anyOf: type.map((each) => {
          const own = Object.entries(schema).filter(([key]) => byType[each]?.includes(key) === true)
          return this.#single({ ...Object.fromEntries(own), type: each }, { at, depth })
        }),
      }
    return this.#single({ ...schema, type: type[0] }, { at, depth })
  }

  #single(schema: SchemaObject, place: { at: string; depth: number }): SchemaObject {
    switch (schema.type) {
      case 'object':
        return this.#object(schema, place)
      case 'array':
        return this.#array(schema, place)
      case 'string':
        return stringForm(schema, (keyword, why) => this.#refuse(`${place.at}.${keyword}`, why))
      case 'integer':
      case 'number':
        return this.#integer(schema, place.at)
      default:
        return schema
    }
  }

  #integer(schema: SchemaObject, at: string): SchemaObject {
    const form = integerForm(schema, (keyword, why) => this.#refuse(`${at}.${keyword}`, why))
    this.#ranged += Array.isArray(form.enum) ? form.enum.length : 0
    if (this.#ranged > maxRanged)
      this.#refuse(at, `bounds leave more than ${maxRanged} integers in all; leave some out, or narrow them`)
    return form
  }

  #object(schema: SchemaObject, { at, depth }: { at: string; depth: number }): SchemaObject {
    const properties = SchemaObject.safeParse(schema.properties ?? {})
    const required = textsIn(schema.required ?? [])
    if (!properties.success) return this.#refuse(`${at}.properties`, 'must be an object of schemas')
    if (required === undefined) return this.#refuse(`${at}.required`, 'must be a list of names')
    const names = Object.keys(properties.data)
    this.#properties += names.length
    if (this.#properties > maxProperties)
      this.#refuse(`${at}.properties`, `makes more than ${maxProperties} properties in all`)
    const strange = names.find((name) => JSON.stringify(name) !== `"${name}"`)
    if (strange !== undefined)
      this.#refuse(`${at}.properties`, 'has a name with a quote, a backslash or a control character')
    const needed = new Set(required)
    const unknown = [...needed].find((name) => !Object.hasOwn(properties.data, name))
    if (unknown !== undefined)
      this.#refuse(`${at}.required`, `names ${JSON.stringify(unknown)}, which properties does not have`)
    const isClosed = schema.additionalProperties === false
    if (this.#isStrict && !isClosed) this.#refuse(`${at}.additionalProperties`, 'strict: must be false')
    const optional = names.find((name) => !needed.has(name))
    if (this.#isStrict && optional !== undefined)
      this.#refuse(
        `${at}.required`,
        `strict: must name every property; ${JSON.stringify(optional)} is missing`,
      )
    const more = schema.additionalProperties
    return {
      ...schema,
      properties: this.#each(properties.data, { at: `${at}.properties`, depth }),
      required: [...needed],
      additionalProperties:
        more === undefined
          ? names.length === 0
          : typeof more === 'boolean'
            ? more
            : this.#schema(more, { at: `${at}.additionalProperties`, depth: depth + 1 }),
    }
  }

  #array(schema: SchemaObject, { at, depth }: { at: string; depth: number }): SchemaObject {
    const { items, prefixItems, ...rest } = schema
    const prefix = z.array(z.unknown()).safeParse(prefixItems ?? [])
    if (!prefix.success) return this.#refuse(`${at}.prefixItems`, 'must be a list of schemas')
    return {
      ...rest,
      ...(prefixItems === undefined
        ? {}
        : {
            prefixItems: prefix.data.map((part, index) =>
              this.#schema(part, { at: `${at}.prefixItems[${index}]`, depth: depth + 1 }),
            ),
          }),
      ...(items === false
        ? { items }
        : { items: this.#schema(items ?? true, { at: `${at}.items`, depth: depth + 1 }) }),
    }
  }

  #each(value: unknown, { at, depth }: { at: string; depth: number }): SchemaObject {
    const parsed = SchemaObject.safeParse(value)
    if (!parsed.success) return this.#refuse(at, 'must be an object of schemas')
    return Object.fromEntries(
      Object.entries(parsed.data).map(([name, schema]) => [
        name,
        this.#schema(schema, { at: `${at}.${name}`, depth: depth + 1 }),
      ]),
    )
  }

  #types({ type }: SchemaObject, at: string): readonly string[] | undefined {
    if (type === undefined) return undefined
    const types = textsIn(typeof type === 'string' ? [type] : type) ?? []
    if (types.length === 0 || types.some((each) => !Object.hasOwn(byType, each)))
      return this.#refuse(`${at}.type`, `must be one of ${Object.keys(byType).join(', ')}, or a list of them`)
    // A type that stands there twice would double what is below it, at each depth.
    return [...new Set(types)]
  }

  #isObjectType(schema: unknown): boolean {
    const parsed = SchemaObject.safeParse(schema)
    return parsed.success && parsed.data.type === 'object'
  }

  #only(schema: SchemaObject, keywords: readonly string[], at: string): void {
    const other = Object.keys(schema).find((key) => !keywords.includes(key))
    if (other === undefined) return
    this.#refuse(`${at}.${other}`, `is not supported here; ${instead[other] ?? 'remove it'}`)
  }

  #refuse(at: string, why: string): never {
    const param = `${this.#param}${at}`.slice(0, 256)
    throw new QuartetError('grammar_invalid', `${param}: ${why}`, { param })
  }
}

const isContainer = (value: unknown): value is object => typeof value === 'object' && value !== null

/** A list of texts alone. A schema would note each entry that is none, of which a large one has half a million. */
const textsIn = (value: unknown): readonly string[] | undefined =>
  Array.isArray(value) && value.every((each) => typeof each === 'string') ? value : undefined
