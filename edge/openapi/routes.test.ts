import { env } from 'cloudflare:workers'
import { describe, expect, test } from 'vitest'
import type { z } from 'zod'
import { maxAdapterBytes } from '../../shared/wire.ts'
import { TestEdge } from '../../test/edge/edge.ts'
import { app } from '../app.ts'
import { rateLimitHeaders } from '../budgets/rate-limit-headers.ts'
import { pathSchemas } from '../http/path-schemas.ts'
import { routes } from '../routes/table/routes.ts'
import { openApiDocument } from './document.ts'

/** `/v1/models/:model` as `/v1/models/{model}`. */
const documented = (path: string) =>
  path.replaceAll(/:([A-Za-z]+)(\{[^}]*\})?/g, '{$1}').replace(/(.)\/$/, '$1')

/** The app's routes; middleware and refusals of other methods stand there as `ALL`. */
const registered = new Set(
  app.routes
    .filter(({ method }) => method !== 'ALL')
    .map(({ method, path }) => `${method} ${documented(path)}`),
)
const described = routes.map(({ method, path }) => `${method.toUpperCase()} ${path}`)

describe('the document', () => {
  test('describes every route, and no route that there is not', () => {
    expect(described.toSorted()).toEqual([...registered].toSorted())
  })

  test('knows the headers that tell of limits', () => {
    const { paths } = openApiDocument(routes)
    expect(Object.keys(paths['/v1/models']?.get?.responses[200]?.headers ?? {})).toEqual(
      expect.arrayContaining(Object.keys(rateLimitHeaders)),
    )
  })

  test('names every operation once', () => {
    expect(new Set(routes.map(({ id }) => id)).size).toBe(routes.length)
  })

  test('says how large an adapter may be', () => {
    const files = routes.flatMap(({ body }) =>
      body !== undefined && 'bytes' in body && body.bytes.includes('safetensors') ? [body.bytes] : [],
    )
    expect(files.length).toBeGreaterThan(0)
    for (const file of files) expect(file).toContain(`at most ${maxAdapterBytes / 1024 ** 2} MiB`)
  })

  test('has a schema for every parameter of a path: the one that the routes go by', () => {
    const schemas = new Map<string, z.ZodType>(Object.entries(pathSchemas))
    for (const { parameters = {}, path } of routes) {
      expect(Object.keys(parameters).toSorted(), path).toEqual(
        [...path.matchAll(/\{([A-Za-z]+)\}/g)].map(([, name]) => name).toSorted(),
      )
      for (const [name, schema] of Object.entries(parameters)) expect(schema, path).toBe(schemas.get(name))
    }
  })

  test('knows every method of its paths: another is refused with those that there are', async () => {
    const edge = new TestEdge()
    await edge.seedBackbone()
    const { id, key } = await edge.seedTenant()
    const all = ['GET', 'PUT', 'POST', 'PATCH', 'DELETE']
    for (const [path, of] of Map.groupBy(routes, (operation) => operation.path)) {
      const own = of.map(({ method }) => method.toUpperCase())
      const target = path.replace('/tenants/{id}', `/tenants/${id}`).replaceAll(/\{[A-Za-z]+\}/g, 'x')
      const secret = of[0]?.auth === 'admin' ? env.QUARTET_ADMIN_KEY : key
      for (const method of all.filter((each) => !own.includes(each))) {
        const response = await edge.fetch(target, { method, headers: { authorization: `Bearer ${secret}` } })
        expect(response.status, `${method} ${target}`).toBe(405)
        expect(response.headers.get('allow')?.split(', '), path).toEqual(
          [...own, ...(own.includes('GET') ? ['HEAD'] : [])].toSorted(),
        )
        expect(await response.json()).toMatchObject({ error: { code: 'method_not_allowed' } })
      }
    }
  })

  test('tells nobody without a key which methods there are', async () => {
    const response = await new TestEdge().fetch('/v1/adapters', { method: 'PATCH' })
    expect(response.status).toBe(401)
    expect(response.headers.get('allow')).toBeNull()
  })

  test('says truly who is let in', async () => {
    const edge = new TestEdge()
    const refusals = {
      tenant: 'invalid_api_key',
      admin: 'invalid_admin_key',
      node: 'invalid_node_token',
    } as const
    for (const [at, { auth, method, path }] of routes.entries()) {
      const response = await edge.fetch(path.replaceAll(/\{[A-Za-z]+\}/g, 'x'), {
        method: method.toUpperCase(),
        headers: { 'cf-connecting-ip': `10.0.0.${at}` },
        cf: {},
      })
      const body: { error?: { code: string } } = auth === 'none' ? {} : await response.json()
      expect(body.error?.code, `${method} ${path}`).toBe(auth === 'none' ? undefined : refusals[auth])
      expect(response.status, `${method} ${path}`).toBe(auth === 'none' ? 200 : 401)
    }
  })
})

describe('served', () => {
  const edge = new TestEdge()

  test('as OpenAPI 3.1 that is cached and known again by its etag', async () => {
    const response = await edge.fetch('/openapi.json')
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(response.headers.get('cache-control')).toMatch(/max-age/)
    const served: unknown = await response.json()
    expect(served).toMatchObject({ openapi: expect.stringMatching(/^3\.1\./) })
    expect(served).toEqual(JSON.parse(JSON.stringify(openApiDocument(routes))))
    const etag = response.headers.get('etag') ?? ''
    const again = await edge.fetch('/openapi.json', { headers: { 'if-none-match': `W/${etag}` } })
    expect(again.status).toBe(304)
    expect(await again.text()).toBe('')
  })

  test('as a page that describes every operation, runs no script and loads nothing', async () => {
    const response = await edge.fetch('/docs')
    expect(response.headers.get('content-security-policy')).toMatch(/default-src 'none'/)
    const html = await response.text()
    for (const { id } of routes) expect(html).toContain(`<section id="${id}">`)
    expect(html).not.toMatch(/<script|<link|<img|src=|https?:\/\/|\son[a-z]+=/i)
    const anchors = new Set([...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id))
    for (const [, target] of html.matchAll(/href="#([^"]+)"/g)) expect(anchors).toContain(target)
  })
})
