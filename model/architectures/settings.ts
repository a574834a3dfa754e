import type { QuartetError } from '../../shared/errors.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'

/** Settings of a model as its file states them: config.json, or a GGUF's metadata. Errors name file and key. */
export class Settings {
  readonly file: string
  readonly #values: Readonly<Record<string, unknown>>
  readonly #prefix: string
  /** The section's own name, in errors. */
  readonly #section: string

  /** Keys begin with `prefix` in the file; `section` is the key of the object that they stand in. */
  constructor(
    file: string,
    values: Readonly<Record<string, unknown>>,
    { prefix = '', section = '' }: { prefix?: string; section?: string } = {},
  ) {
    this.file = file
    this.#values = values
    this.#prefix = prefix
    this.#section = section
  }

  get isEmpty(): boolean {
    return Object.values(this.#values).every((value) => value === null)
  }

  /** The value itself; undefined where the file says nothing, or null. */
  raw(key: string): unknown {
    const name = this.#prefix + key
    return Object.hasOwn(this.#values, name) ? (this.#values[name] ?? undefined) : undefined
  }

  /** Throws `backbone_invalid` where there is neither the number nor a fallback. */
  number(key: string, fallback?: number): number {
    const value = this.optionalNumber(key) ?? fallback
    if (value === undefined) throw this.invalid(key, 'is missing')
    return value
  }

  optionalNumber(key: string): number | undefined {
    const value = this.raw(key)
    if (value === undefined) return undefined
    const number = typeof value === 'bigint' ? Number(value) : value
    if (typeof number !== 'number' || !Number.isFinite(number))
      throw this.invalid(key, `is ${show(value)}; it must be one number`)
    return number
  }

  /** A whole number of things. Throws `backbone_invalid` unless it is from 1 to `most`. */
  size(key: string, { most, fallback }: { most: number; fallback?: number | undefined }): number {
    const value = this.number(key, fallback)
    if (!(Number.isInteger(value) && value >= 1 && value <= most))
      throw this.invalid(key, `is ${value}; it must be a whole number from 1 to ${most}`)
    return value
  }

  /** Throws `backbone_invalid` unless the number is above 0. */
  positive(key: string, fallback?: number): number {
    const value = this.number(key, fallback)
    if (!(value > 0)) throw this.invalid(key, `is ${value}; it must be above 0`)
    return value
  }

  numbers(key: string): readonly number[] | undefined {
    const value = this.raw(key)
    if (value === undefined) return undefined
    if (!Array.isArray(value) || !value.every((each) => typeof each === 'number' && Number.isFinite(each)))
      throw this.invalid(key, 'must be a list of numbers')
    return value
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.raw(key) ?? fallback
    if (typeof value !== 'boolean') throw this.invalid(key, `is ${show(value)}; it must be true or false`)
    return value
  }

  text(key: string): string | undefined {
    const value = this.raw(key)
    if (value !== undefined && typeof value !== 'string')
      throw this.invalid(key, `is ${show(value)}; it must be a text`)
    return value
  }

  section(key: string): Settings | undefined {
    const value = this.raw(key)
    if (value === undefined) return undefined
    if (typeof value !== 'object' || Array.isArray(value)) throw this.invalid(key, 'must be an object')
    return new Settings(this.file, { ...value }, { section: `${this.#section}${key}.` })
  }

  /** Throws `backbone_invalid` unless the setting is absent or one of these. */
  demand(key: string, neutral: readonly unknown[], feature: string): void {
    const value = this.raw(key)
    const plain = typeof value === 'bigint' ? Number(value) : value
    if (value !== undefined && !neutral.includes(plain))
      throw this.invalid(key, `is ${show(value)}: ${feature} is not supported`)
  }

  invalid(key: string, why: string): QuartetError {
    return invalidBackbone(this.file, `${this.#section}${this.#prefix}${key} ${why}`)
  }
}

function show(value: unknown): string {
  const text = typeof value === 'bigint' ? String(value) : JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}
