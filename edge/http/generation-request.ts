import type { Context } from 'hono'
import type { z } from 'zod'
import { idleOf } from '../../shared/api/parameters.ts'
import { parseTolerantly, unknownParameters } from '../../shared/api/parse.ts'
import type { TenantApp } from '../request-context.ts'
import { maxJsonBytes, parseJson, readBytes } from './json-body.ts'

const maxNamed = 32

/** The body of a request for text. */
interface GenerationBody<R> {
  readonly request: R
  /** Fields that nobody knows. */
  readonly unknown: readonly string[]
}

/** Reads and parses the body, once a request however often it is called. Rejects with what `parseRequest` throws. */
export type ReadGenerationBody<R> = (c: Context<TenantApp>) => Promise<GenerationBody<R>>

const knownBytes = new WeakMap<Request, Promise<Uint8Array<ArrayBuffer>>>()

/** Reads the body without a look into it, once a request however often it is called. */
export function generationBytes(c: Context<TenantApp>): Promise<Uint8Array<ArrayBuffer>> {
  const { raw } = c.req
  const bytes = knownBytes.get(raw) ?? readLetIn(c)
  knownBytes.set(raw, bytes)
  return bytes
}

/** A client that holds a body back does not begin to generate with a key that was revoked meanwhile. */
async function readLetIn(c: Context<TenantApp>): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await readBytes(c.req.raw, maxJsonBytes)
  await c.get('letInAnew')?.()
  return bytes
}

export type GenerationSchema = z.ZodType<Readonly<Record<string, unknown>>>

/** A tenant's policy may have unknown fields refused. */
export function generationBody<S extends GenerationSchema>(schema: S): ReadGenerationBody<z.output<S>> {
  const known = new WeakMap<Request, Promise<GenerationBody<z.output<S>>>>()
  const read = async (c: Context<TenantApp>) => {
    const bytes = await generationBytes(c)
    const body = parseJson(bytes)
    const parsed = parseTolerantly(schema, body)
    if (parsed.unknown.length > 0 && c.get('tenantRecord').policy.strictParameters)
      throw unknownParameters(parsed.unknown)
    return parsed
  }
  return (c) => {
    const body = known.get(c.req.raw) ?? read(c)
    known.set(c.req.raw, body)
    return body
  }
}

interface GenerationHandling<R> {
  readonly readBody: ReadGenerationBody<R>
  /** Parameters that have an effect here, though not elsewhere. */
  readonly effective?: readonly string[] | undefined
  readonly handle: (request: R, c: Context<TenantApp>) => Promise<Response>
}

/**
 * A handler that reads the body and gives it to `handle`. It names in `x-quartet-ignored` and in the log the fields that
 * nobody knows and those that have no effect here.
 */
export const handleGeneration =
  <R extends Readonly<Record<string, unknown>>>({
    handle,
    effective = [],
    readBody,
  }: GenerationHandling<R>) =>
  async (c: Context<TenantApp>): Promise<Response> => {
    const { request, unknown } = await readBody(c)
    const ignored = [...unknown, ...idleOf(request).filter((name) => !effective.includes(name))]
      .slice(0, maxNamed)
      .map(printable)
    if (ignored.length > 0) {
      c.header('x-quartet-ignored', ignored.join(', '))
      c.get('report').ignored = ignored
    }
    return handle(request, c)
  }

/** A header has no room for any name that JSON has. */
const printable = (name: string): string => name.replaceAll(/[^\w.[\]-]/g, '?').slice(0, 64)
