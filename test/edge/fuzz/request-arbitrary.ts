import fc from 'fast-check'
import type { DescribedOperation, Document } from '../../../edge/openapi/document.ts'
import { hinted, type SchemaSource, valuesOf } from './json-arbitrary.ts'
import { mutations } from './mutation.ts'

/** One request as the document allows it, or not quite. */
export interface FuzzRequest {
  readonly operation: string
  readonly method: string
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array<ArrayBuffer> | undefined
}

export interface FuzzSource extends SchemaSource {
  readonly document: Document
  /** The credentials, by security scheme. */
  readonly credentials: Readonly<Record<string, readonly string[]>>
  /** Bodies of files, some of them good. */
  readonly files: readonly Uint8Array<ArrayBuffer>[]
}

const junkSegments = [
  '',
  '.',
  '..',
  '%2e%2e',
  '%00',
  '%',
  'x'.repeat(300),
  '__proto__',
  'A',
  '💥',
  'a/b',
  'a%2Fb',
  ' ',
]
const junkHeaders = {
  'content-type': ['text/plain', 'application/json; charset=utf-16', 'application/octet-stream', '', ','],
  'idempotency-key': ['a', 'é', 'x'.repeat(300), ' ', ''],
  traceparent: ['00-', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, 'x'.repeat(1000)],
  tracestate: ['a=1', ','.repeat(600)],
  'x-request-id': ['req_', 'x', '"'],
  'if-none-match': ['*', 'W/"', '"a", "b"'],
  'accept-encoding': ['identity', 'gzip', '*;q=0'],
  'content-encoding': ['gzip', 'x'],
  origin: ['null', 'https://example.com'],
} as const

/** Requests to every operation of the document. */
export function requests(source: FuzzSource): fc.Arbitrary<FuzzRequest> {
  const operations = Object.entries(source.document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => requestsTo(source, { method, path, operation })),
  )
  return fc.oneof(...operations)
}

interface Route {
  readonly method: string
  readonly path: string
  readonly operation: DescribedOperation
}

function requestsTo(source: FuzzSource, { method, operation, path }: Route): fc.Arbitrary<FuzzRequest> {
  const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'query')
  const query = fc.record(
    Object.fromEntries(
      declared.map(({ name, schema }) => [
        name,
        fc.oneof(
          hinted(name, source.hints, valuesOf(schema, source)).map(String),
          fc.constantFrom('', '-1', '1e9', '99999999999999999999', 'x'.repeat(300), '\u0000'),
        ),
      ]),
    ),
    { requiredKeys: [] },
  )
  const strayQuery = fc.option(fc.constantFrom('x=1', 'limit=1&limit=2', '%', '&&=', 'after=%ff'), {
    freq: 4,
  })
  return fc
    .record({
      segments: segmentsOf(source, { path, operation }),
      query,
      strayQuery,
      headers: fc.record(
        Object.fromEntries(
          Object.entries(junkHeaders).map(([name, values]) => [name, fc.constantFrom<string>(...values)]),
        ),
        { requiredKeys: [] },
      ),
      plainHeaders: fc.boolean(),
      authorization: authorizationFor(source, operation),
      body: bodyFor(source, operation),
      // Mostly the method that is there.
      method: fc.oneof(
        { weight: 12, arbitrary: fc.constant(method) },
        { weight: 1, arbitrary: fc.constantFrom('get', 'post', 'put', 'patch', 'delete', 'options', 'head') },
      ),
    })
    .map((drawn) => {
      const given = Object.entries(drawn.query).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, value]],
      )
      const search = new URLSearchParams(given).toString()
      const whole = [search, drawn.strayQuery ?? ''].filter((part) => part !== '').join('&')
      const target = path.replaceAll(/\{([A-Za-z]+)\}/g, (_, name: string) => drawn.segments[name] ?? 'x')
      const upper = drawn.method.toUpperCase()
      return {
        operation: operation.operationId,
        method: upper,
        target: whole === '' ? target : `${target}?${whole}`,
        headers: {
          ...(drawn.authorization === undefined ? {} : { authorization: drawn.authorization }),
          ...sendable(drawn.plainHeaders ? {} : drawn.headers),
        },
        body: upper === 'GET' || upper === 'HEAD' ? undefined : drawn.body,
      }
    })
}

/** Header values are Latin-1 without control characters, and nothing else leaves a client. */
const sendable = (headers: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value !== undefined && /^[\x20-\x7e]*$/.test(value) ? [[name, value]] : [],
    ),
  )

function segmentsOf(source: FuzzSource, { operation }: Pick<Route, 'path' | 'operation'>) {
  const inPath = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')
  const hintName = (name: string) => {
    const own = `${operation.operationId}.${name}`
    return own in source.hints ? own : name
  }
  return fc.record(
    Object.fromEntries(
      inPath.map(({ name, schema }) => [
        name,
        fc.oneof(
          {
            weight: 9,
            arbitrary: hinted(hintName(name), source.hints, valuesOf(schema, source)).map(segment),
          },
          { weight: 1, arbitrary: fc.constantFrom(...junkSegments) },
        ),
      ]),
    ),
  )
}

const segment = (value: unknown): string => encodeURIComponent(String(value).toWellFormed())

function authorizationFor({ credentials }: FuzzSource, { security }: DescribedOperation) {
  const right = security.flatMap((way) => Object.keys(way)).flatMap((scheme) => credentials[scheme] ?? [])
  const wrong = [...Object.values(credentials).flat(), 'qk_', 'Bearer', 'x'.repeat(2_000)]
  return fc.oneof(
    ...(right.length === 0
      ? []
      : [{ weight: 20, arbitrary: fc.constantFrom(...right).map((secret) => `Bearer ${secret}`) }]),
    { weight: 1, arbitrary: fc.constantFrom(...wrong).map((secret) => `Bearer ${secret}`) },
    { weight: 1, arbitrary: fc.constantFrom(undefined, '', 'Basic eDp5', 'Bearer') },
  )
}

function bodyFor(source: FuzzSource, { requestBody }: DescribedOperation): fc.Arbitrary<FuzzRequest['body']> {
  const raw = fc.oneof(
    fc.constantFrom('', '{', 'null', '[]', '0', '"', '{"a":', '\u0000', '{}{}', '['.repeat(2_000)),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => new Uint8Array(bytes)),
  )
  const schema = requestBody?.content['application/json']?.schema
  if (schema !== undefined) {
    const valid = valuesOf(schema, source)
    return fc.oneof(
      { weight: 5, arbitrary: valid.map((value) => JSON.stringify(value)) },
      { weight: 4, arbitrary: mutations(valid).map((value) => JSON.stringify(value) ?? '') },
      { weight: 1, arbitrary: raw },
    )
  }
  if (requestBody === undefined) return fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, raw)
  const file = fc.constantFrom(...source.files)
  const damaged = fc.tuple(file, fc.nat(), fc.nat(255)).map(([bytes, at, value]) => {
    const copy = new Uint8Array(bytes)
    copy[at % Math.max(1, copy.length)] = value
    return copy
  })
  const cut = fc.tuple(file, fc.nat()).map(([bytes, at]) => bytes.slice(0, at % (bytes.length + 1)))
  return fc.oneof(file, damaged, cut, raw)
}
