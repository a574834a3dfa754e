import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { CreateKeyResponse, KeySummary } from '../../shared/api/admin.ts'
import { Scope, type Scopes } from '../../shared/api/scopes.ts'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { app } from '../app.ts'
import type { Route } from '../routes/table/route.ts'
import { routes } from '../routes/table/routes.ts'

const edge = new TestEdge()
let tenant: TestTenant
const keys = new Map<Scope, CreateKeyResponse>()

const issue = async (scopes: Scopes) =>
  CreateKeyResponse.parse(await (await edge.admin('POST', `/tenants/${tenant.id}/keys`, { scopes })).json())

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  for (const scope of Scope.options) keys.set(scope, await issue([scope]))
})
beforeEach(() => stubs.behave({ tokens: [97] }))

const keyOf = (scope: Scope) => ({ key: keys.get(scope)?.key ?? '' })

/** How a route refuses or answers a key; every id in the path is one that does not exist. */
async function asked(
  route: string,
  scope: Scope,
): Promise<{ status: number; code: string; message: string }> {
  const [method = '', path = ''] = route.split(' ')
  const digest = 'd'.repeat(64)
  const target = path.replace(':digest', digest).replaceAll(/:[a-z]+/gi, 'x')
  const response = await edge.fetch(target, {
    method,
    headers: { authorization: `Bearer ${keyOf(scope).key}` },
    ...(method === 'GET' || method === 'DELETE' ? {} : { body: '{}' }),
  })
  const text = await response.text()
  const { error } = text.startsWith('{"error"') ? JSON.parse(text) : { error: { code: '', message: '' } }
  return { status: response.status, ...error }
}

const tenantRoutes = [
  ...new Set(
    app.routes
      .filter(
        ({ method, path }) => method !== 'ALL' && /^\/(v1\/|((de)?tokenize|tokenizer_info)$)/.test(path),
      )
      .map(({ method, path }) => `${method} ${path}`),
  ),
]

describe('a key with scopes', () => {
  test('is held to them at every route that tenants have', () => {
    const held = routes.filter(({ auth }) => auth === 'tenant')
    const names = held.map(
      ({ method, path }) => `${method.toUpperCase()} ${path.replaceAll(/\{([a-z]+)\}/gi, ':$1')}`,
    )
    expect(names.toSorted()).toEqual(tenantRoutes.toSorted())
  })

  test('cannot meet a route of tenants that says no scopes: that does not compile', () => {
    const handle = () => new Response()
    const operation = { method: 'get', path: '/v1/x', id: 'x', tag: 'Models', summary: 'x' } as const
    const answer = { status: 204, description: 'x' } as const
    // @ts-expect-error A tenant's route needs scopes.
    const without: Route = { ...operation, answer, auth: 'tenant', handle }
    // @ts-expect-error It needs at least one.
    const none: Route = { ...operation, answer, auth: 'tenant', scopes: [], handle }
    const one: Route = { ...operation, answer, auth: 'tenant', scopes: ['train'], handle }
    expect([without, none, one].map(({ path }) => path)).toEqual(['/v1/x', '/v1/x', '/v1/x'])
  })

  test('of read-only looks at everything and changes nothing', async () => {
    for (const route of tenantRoutes) {
      const { code, status } = await asked(route, 'read-only')
      if (route.startsWith('GET ')) expect(code, route).not.toBe('missing_scope')
      else expect([status, code], route).toEqual([403, 'missing_scope'])
    }
  })

  test.each([
    ['inference', 'POST /v1/chat/completions', 'DELETE /v1/aliases/:alias', 'deploy'],
    ['inference', 'POST /v1/messages', 'PUT /v1/adapters/:digest', 'deploy'],
    ['inference', 'GET /v1/models', 'POST /v1/fine_tuning/jobs', 'train'],
    ['deploy', 'POST /v1/aliases/:alias/rollback', 'POST /v1/responses', 'inference'],
    ['deploy', 'GET /v1/adapters', 'GET /v1/files/:file/content', 'train or inference or read-only'],
    ['train', 'POST /v1/fine_tuning/jobs/:job/cancel', 'POST /v1/aliases/:alias/promote', 'deploy'],
    ['train', 'GET /v1/fine_tuning/jobs', 'GET /v1/responses/:response', 'inference or read-only'],
  ] as const)('of %s may %s, and is told what %s needs: %s', async (scope, opened, closed, wanted) => {
    expect((await asked(opened, scope)).code).not.toBe('missing_scope')
    const { code, message, status } = await asked(closed, scope)
    expect([status, code]).toEqual([403, 'missing_scope'])
    expect(message).toContain(`${closed} needs the scope ${wanted}; this key has only ${scope}`)
  })

  test('is told of a path or method that there is not, whatever it may do', async () => {
    expect(await asked('GET /v1/nothing', 'deploy')).toMatchObject({ status: 404, code: 'not_found' })
    expect(await asked('PATCH /v1/models', 'deploy')).toMatchObject({ code: 'method_not_allowed' })
  })

  test('asks no node for what it may not ask', async () => {
    expect((await edge.chat(keyOf('deploy'))).status).toBe(403)
    expect(await stubs.calls()).toEqual([])
    expect((await edge.chat(keyOf('inference'))).status).toBe(200)
  })

  test('touches files of no purpose but its own', async () => {
    const upload = async (scope: Scope, purpose: string, line: object) => {
      const form = new FormData()
      form.append('purpose', purpose)
      form.append('file', new Blob([JSON.stringify(line)]), 'a.jsonl')
      return edge.fetch('/v1/files', {
        method: 'POST',
        headers: { authorization: `Bearer ${keyOf(scope).key}` },
        body: form,
      })
    }
    const row = {
      messages: [
        { role: 'user', content: 'a' },
        { role: 'assistant', content: 'b' },
      ],
    }
    const refused = await upload('inference', 'fine-tune', row)
    expect(refused.status).toBe(403)
    expect(await refused.text()).toMatch(/a file of the purpose fine-tune needs the scope train/)
    const { id }: { id: string } = await (await upload('train', 'fine-tune', row)).json()
    const get = (scope: Scope, path: string, method = 'GET') => edge.own(keyOf(scope), method, path)
    expect((await get('inference', `/files/${id}/content`)).status).toBe(403)
    expect((await get('inference', `/files/${id}`, 'DELETE')).status).toBe(403)
    expect((await get('read-only', `/files/${id}/content`)).status).toBe(200)
    const listed = async (scope: Scope) => {
      const { data }: { data: { id: string }[] } = await (await get(scope, '/files')).json()
      return data.map((file) => file.id)
    }
    expect(await listed('inference')).toEqual([])
    expect(await listed('train')).toEqual([id])
    expect((await get('train', `/files/${id}`, 'DELETE')).status).toBe(200)
  })
})

test('a key without scopes does what keys have always done, until an operator gives it some', async () => {
  const { id, key, scopes } = await issue(null)
  expect(scopes).toBeNull()
  expect((await edge.own({ key }, 'GET', '/aliases')).status).toBe(200)
  const path = `/tenants/${tenant.id}/keys/${id}`
  const changed = await edge.admin('PATCH', path, { scopes: ['train'] })
  expect(KeySummary.parse(await changed.json())).toMatchObject({ id, scopes: ['train'] })
  expect((await edge.own({ key }, 'GET', '/aliases')).status).toBe(403)
  const isolate = new TestEdge()
  expect((await isolate.own({ key }, 'GET', '/aliases')).status).toBe(403)
  await edge.admin('PATCH', path, { scopes: null })
  expect((await edge.own({ key }, 'GET', '/aliases')).status).toBe(200)
})

test.each([
  [[], /scopes: is empty/],
  [['admin'], /must be inference, deploy, train or read-only/],
])('scopes %j are refused in words', async (scopes, words) => {
  const response = await edge.admin('POST', `/tenants/${tenant.id}/keys`, { scopes })
  expect(response.status).toBe(400)
  expect(await response.text()).toMatch(words)
})
