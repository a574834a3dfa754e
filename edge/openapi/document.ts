import { z } from 'zod'
import { type ErrorCode, errorCodes } from '../../shared/errors.ts'
import { version } from '../../shared/version.ts'
import { rateLimitHeaders } from '../budgets/rate-limit-headers.ts'
import { componentsOf, type Schema, schemaOf } from './json-schema.ts'
import {
  type AnswerHeader,
  type Auth,
  answerHeaders,
  everyAnswer,
  idempotencyKey,
  ifNoneMatch,
  type Operation,
  retryable,
  tags,
} from './operation.ts'
import { requestSchemas, responseSchemas } from './schemas.ts'

type Json = Readonly<Record<string, unknown>>
type Content = Readonly<Record<string, { readonly schema: Schema }>>

export interface Document {
  readonly openapi: string
  readonly info: { readonly title: string; readonly version: string; readonly summary: string } & Json
  readonly servers: readonly Json[]
  readonly tags: readonly { readonly name: string; readonly description: string }[]
  readonly paths: Readonly<Record<string, Readonly<Record<string, DescribedOperation>>>>
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>
    readonly headers: Json
    readonly securitySchemes: Json
  }
}

export interface DescribedOperation {
  readonly operationId: string
  readonly tags: readonly string[]
  readonly summary: string
  readonly description?: string
  /** One of these lets in; none is needed where there is none. */
  readonly security: readonly Readonly<Record<string, readonly string[]>>[]
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: {
    readonly required: boolean
    readonly description?: string
    readonly content: Content
  }
  readonly responses: Readonly<Record<string, DescribedAnswer>>
}

interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly required?: boolean
  readonly description?: string
  readonly schema: Schema
}

interface DescribedAnswer {
  readonly description: string
  readonly headers: Json
  readonly content?: Content
}

/** The errors that each way in can give. */
const authErrors: Readonly<Record<Auth, readonly ErrorCode[]>> = {
  tenant: ['invalid_api_key', 'tenant_suspended', 'missing_scope', 'rate_limited', 'control_unavailable'],
  admin: ['invalid_admin_key', 'rate_limited', 'control_unavailable'],
  node: ['invalid_node_token', 'control_unavailable'],
  none: [],
}

const bodyErrors = {
  json: [
    'invalid_json',
    'invalid_request',
    'unsupported_parameter',
    'body_too_large',
    'unsupported_media_type',
  ],
  bytes: ['length_required', 'body_too_large', 'unsupported_media_type', 'request_timeout'],
} as const satisfies Record<string, readonly ErrorCode[]>

/** OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1), from the schemas that validate. */
export function openApiDocument(operations: readonly Operation[]): Document {
  return {
    openapi: '3.1.1',
    info: {
      title: 'Quartet',
      version,
      summary: "Many tenants' tuned variants of one language model, behind an OpenAI-compatible API.",
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
    paths: pathsOf(operations),
    components: {
      schemas: { ...componentsOf(requestSchemas, 'input'), ...componentsOf(responseSchemas, 'output') },
      headers: headerComponents(),
      securitySchemes: {
        tenant: { type: 'http', scheme: 'bearer', description: "A tenant's API key: `qk_…`." },
        admin: { type: 'http', scheme: 'bearer', description: "The operator's key." },
        node: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'A token that the node signs for one body, once.',
        },
      },
    },
  }
}

function pathsOf(operations: readonly Operation[]): Document['paths'] {
  const byPath = Map.groupBy(operations, ({ path }) => path)
  return Object.fromEntries(
    [...byPath].map(([path, group]) => [
      path,
      Object.fromEntries(group.map((operation) => [operation.method, describe(operation)])),
    ]),
  )
}

function describe(operation: Operation): DescribedOperation {
  const { answer, auth, body, description, id, revalidates, summary, tag } = operation
  const always = [...(auth === 'tenant' ? limitHeaders : []), ...(replays(operation) ? replayed : [])]
  const described = parameters(operation)
  const content = Object.entries(answer.content ?? {}).map(([type, schema]) => [
    type,
    { schema: schemaOf(schema, 'output') },
  ])
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    security: auth === 'none' ? [] : [{ [auth]: [] }],
    ...(described.length === 0 ? {} : { parameters: described }),
    ...(body === undefined ? {} : { requestBody: requestBody(body) }),
    responses: {
      [answer.status]: {
        description: answer.description,
        headers: headersOf([...(answer.headers ?? []), ...(revalidates === true ? etag : []), ...always]),
        ...(content.length === 0 ? {} : { content: Object.fromEntries(content) }),
      },
      ...(revalidates === true
        ? { 304: { description: 'It has not changed.', headers: headersOf(etag) } }
        : {}),
      ...errorResponses(operation),
    },
  }
}

const isAnswerHeader = (name: string): name is AnswerHeader => name in answerHeaders
const limitHeaders = Object.keys(rateLimitHeaders).filter(isAnswerHeader)
const etag = ['etag'] as const
const replayed = ['idempotency-replayed'] as const
const replays = ({ idempotency }: Operation): boolean => idempotency !== undefined

function parameters({
  headers: own = {},
  idempotency,
  parameters: inPath = {},
  query,
  revalidates,
}: Operation): readonly Parameter[] {
  const headers = {
    ...own,
    ...(idempotency === undefined ? {} : idempotencyKey),
    ...(revalidates === true ? ifNoneMatch : {}),
  }
  const queried = Object.entries(query?.shape ?? {}).map(([name, schema]) => ({
    name,
    in: 'query' as const,
    required: !z.object({ [name]: schema }).safeParse({}).success,
    schema: queryValue(schemaOf(schema, 'input')),
  }))
  return [
    ...Object.entries(inPath).map(([name, schema]) => ({
      name,
      in: 'path' as const,
      required: true,
      schema: schemaOf(schema, 'input'),
    })),
    ...queried,
    ...Object.entries(headers).map(([name, { description, schema }]) => ({
      name,
      in: 'header' as const,
      description,
      schema: schemaOf(schema, 'input'),
    })),
  ]
}

/** A query is text; text that must be digits is a whole number in the document. */
function queryValue(schema: Schema): Schema {
  const digits = typeof schema.pattern === 'string' && /^\^\[0-9\]\{1,[0-9]+\}\$$/.test(schema.pattern)
  if (!digits) return schema
  const { default: usual, description, maximum, minimum = 0 } = schema
  const known = Object.entries({ maximum, default: usual, description })
  return { type: 'integer', minimum, ...Object.fromEntries(known.filter(([, value]) => value !== undefined)) }
}

function requestBody(body: NonNullable<Operation['body']>): NonNullable<DescribedOperation['requestBody']> {
  if ('json' in body)
    return {
      required: body.optional !== true,
      content: { 'application/json': { schema: schemaOf(body.json, 'input') } },
    }
  return {
    required: true,
    description: body.bytes,
    content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
  }
}

function errorsOf({
  auth,
  body,
  errors = [],
  idempotency,
  parameters: inPath,
  query,
}: Operation): readonly ErrorCode[] {
  const implied: readonly ErrorCode[] = [
    ...authErrors[auth],
    ...(body === undefined ? [] : 'json' in body ? bodyErrors.json : bodyErrors.bytes),
    ...(inPath === undefined && query === undefined
      ? []
      : (['invalid_request', 'unsupported_parameter'] as const)),
    ...(idempotency !== undefined ? (['invalid_request', 'idempotency_conflict'] as const) : []),
    'internal_error',
  ]
  return [...new Set([...errors, ...implied])]
}

function errorResponses(operation: Operation): DescribedOperation['responses'] {
  const byStatus = Map.groupBy(errorsOf(operation), (code) => errorCodes[code].status)
  return Object.fromEntries(
    [...byStatus]
      .toSorted(([a], [b]) => a - b)
      .map(([status, of]) => [
        status,
        {
          description: of.map((code) => `\`${code}\``).join(', '),
          headers: headersOf(errorHeaders(operation, status)),
          content: {
            'application/json': { schema: { $ref: '#/components/schemas/ErrorBody' } },
          },
        },
      ]),
  )
}

function errorHeaders(operation: Operation, status: number): readonly AnswerHeader[] {
  return [
    ...(status === 401 ? (['www-authenticate'] as const) : []),
    ...(retryable.has(status) ? (['retry-after'] as const) : []),
    ...(operation.auth === 'tenant' && status !== 401 ? limitHeaders : []),
    // Ignored fields are named before anything else of the request can be refused.
    ...(operation.answer.headers?.includes('x-quartet-ignored') === true
      ? (['x-quartet-ignored'] as const)
      : []),
    ...(replays(operation) && status < 500 ? replayed : []),
  ]
}

function headersOf(names: readonly AnswerHeader[]): Json {
  return Object.fromEntries(
    [...everyAnswer, ...names].map((name) => [name, { $ref: `#/components/headers/${name}` }]),
  )
}

const headerComponents = (): Json =>
  Object.fromEntries(
    Object.entries(answerHeaders).map(([name, description]) => [
      name,
      { description, schema: { type: 'string' } },
    ]),
  )
