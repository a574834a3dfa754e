import { beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { openApiDocument } from '../../edge/openapi/document.ts'
import { routes } from '../../edge/routes/table/routes.ts'
import { DocumentedAnswers } from './documented-answers.ts'
import { TestEdge, type TestTenant } from './edge.ts'

const edge = new TestEdge()
const answers = new DocumentedAnswers(openApiDocument(routes))
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
})

test('an answer with a field, a header, a status or an error that is not described is found out', async () => {
  const response = await edge.own(tenant, 'GET', '/models/tone')
  const model = z.record(z.string(), z.unknown()).parse(await response.json())
  const problems = (more: object, init: ResponseInit = {}) => {
    const headers = {
      'content-type': 'application/json',
      'x-content-type-options': 'nosniff',
      'x-request-id': 'req',
      ...init.headers,
    }
    const text = JSON.stringify({ ...model, ...more })
    const changed = new Response(text, { ...init, headers })
    return answers.problems({ method: 'GET', path: '/v1/models/tone', response: changed, text })
  }
  expect(problems({})).toEqual([])
  expect(problems({ secret: 1 })).toEqual([expect.stringMatching(/additional properties/)])
  expect(problems({ created: 'today' })).toEqual([expect.stringMatching(/must be integer/)])
  expect(problems({}, { headers: { 'x-secret': '1' } })).toEqual(['no header x-secret'])
  expect(problems({}, { headers: { 'content-type': 'text/plain' } })).toEqual([
    'no content of type text/plain',
  ])
  expect(problems({}, { headers: { 'x-content-type-options': '' } })).toEqual([
    'a browser may guess its type',
  ])
  expect(problems({}, { status: 418 })).toEqual(['no status 418'])
  const error = { message: 'm', type: 'invalid_request_error', param: null, code: 'queue_full' }
  const text = JSON.stringify({ error })
  const refused = Response.json({ error }, { status: 404, headers: { 'x-content-type-options': 'nosniff' } })
  expect(answers.problems({ method: 'GET', path: '/v1/models/tone', response: refused, text })).toEqual([
    expect.stringMatching(/no error queue_full/),
  ])
})
