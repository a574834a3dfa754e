import openApiSchema from '@seriousme/openapi-schema-validator/schemas/v3.1/schema.json'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { describe, expect, test } from 'vitest'
import { ChatCompletionRequest } from '../../shared/api/chat-completions.ts'
import { parseTolerantly } from '../../shared/api/parse.ts'
import { errorCodes } from '../../shared/errors.ts'
import { routes } from '../routes/table/routes.ts'
import { openApiDocument } from './document.ts'

const document = openApiDocument(routes)
const plain: Record<string, unknown> = JSON.parse(JSON.stringify(document))

describe('the OpenAPI document', () => {
  const ajv = new Ajv2020({ strict: false })
  addFormats(ajv)
  ajv.addFormat('media-range', true)
  const isOpenApi = ajv.compile(openApiSchema)

  test('is OpenAPI 3.1 by its schema', () => {
    isOpenApi(plain)
    expect(isOpenApi.errors ?? []).toEqual([])
  })

  test('that is not valid is found out', () => {
    expect(isOpenApi({ ...plain, paths: { '/v1/models': { get: { responses: 'none' } } } })).toBe(false)
  })

  test('refers only to schemas that there are', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)]
    expect(references.length).toBeGreaterThan(20)
    for (const [, name = ''] of references) expect(document.components.schemas).toHaveProperty(name)
  })

  test('refers to every header that it describes, and to no other', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/headers\/([^"]+)"/g)]
    expect(new Set(references.map(([, name]) => name))).toEqual(
      new Set(Object.keys(document.components.headers)),
    )
  })

  test('says when to retry on every answer that may', () => {
    for (const methods of Object.values(document.paths))
      for (const { operationId, responses } of Object.values(methods))
        for (const status of ['429', '503'])
          if (responses[status] !== undefined)
            expect(responses[status].headers, operationId).toHaveProperty('retry-after')
  })

  test('holds schemas that a JSON Schema validator of draft 2020-12 compiles', () => {
    const ajv = validator()
    for (const name of Object.keys(document.components.schemas))
      expect(() => ajv.compile({ $ref: `doc#/components/schemas/${name}` }), name).not.toThrow()
    expect(Object.keys(document.components.schemas).length).toBeGreaterThan(20)
  })

  test('lists errors under the status that they have', () => {
    for (const methods of Object.values(document.paths))
      for (const { operationId, responses } of Object.values(methods))
        for (const [status, { description }] of Object.entries(responses).filter(([of]) => Number(of) >= 400))
          for (const [, code = ''] of description.matchAll(/`([a-z_]+)`/g))
            expect(Object.entries(errorCodes).find(([of]) => of === code)?.[1].status, operationId).toBe(
              Number(status),
            )
  })
})

describe('its schema of a request', () => {
  const check = validator().compile({ $ref: 'doc#/components/schemas/ChatCompletionRequest' })
  const ask = { model: 'tone', messages: [{ role: 'user', content: 'hi' }] }

  test.each([
    ask,
    { ...ask, temperature: null, stop: ['a', 'b'], tools: [], stream: true },
    { ...ask, messages: [{ role: 'user', content: [{ type: 'text', text: 'hi' }] }] },
    { ...ask, temperature: 3 },
    { ...ask, unknown: 1 },
    { ...ask, messages: [{ role: 'user', content: 'hi', unknown: 1 }] },
    { ...ask, stream: true, stream_options: { unknown: 1 } },
    { ...ask, tools: [{}] },
    { ...ask, messages: [] },
    { ...ask, messages: [{ role: 'tool', content: 'x' }] },
    { messages: ask.messages },
  ])('takes and refuses what the edge does: %j', (body) => {
    expect(check(body)).toBe(isTaken(body))
  })
})

/** Whether the edge takes a body of a tenant whose policy says nothing of it. */
function isTaken(body: unknown): boolean {
  try {
    parseTolerantly(ChatCompletionRequest, body)
    return true
  } catch {
    return false
  }
}

/** Knows the document as `doc`. */
function validator(): Ajv2020 {
  const ajv = new Ajv2020({ strict: false, validateFormats: false })
  ajv.addSchema(plain, 'doc')
  return ajv
}
