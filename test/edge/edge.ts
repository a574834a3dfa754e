import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { inject } from 'vitest'
import { app } from '../../edge/app.ts'
import type { Bindings } from '../../edge/platform.ts'
import { CreateKeyResponse } from '../../shared/api/admin.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import type { ErrorBody } from '../../shared/errors.ts'
import { type AdapterKey, adapterKey, BackboneDigest, BackboneSlug, TenantId } from '../../shared/ids.ts'
import type { StubBehaviour, StubCall } from '../fakes/stub-behaviour.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { makeAdapter, type TestAdapter } from './adapter.ts'
import { rankNodes } from './rank-nodes.ts'

export const workerBackbone: EdgeBackbone = {
  slug: BackboneSlug.parse('tiny'),
  digest: BackboneDigest.parse('ab'.repeat(32)),
  tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd, tinySpecials.endOfText] },
  chat: tinyChat,
  contextLength: 512,
  d: 4,
  layers: 1,
  vocab: 32_768,
}

export interface TestTenant {
  readonly id: string
  readonly key: string
  /** Deployed under the alias `tone`. */
  readonly adapter: TestAdapter & { readonly key: AdapterKey }
}

let tenants = 0

/** One isolate's worth of the edge: its own caches and view of the nodes, over the test's storage. */
export class TestEdge {
  readonly #bindings: Bindings

  constructor(overrides: Partial<Bindings> = {}) {
    this.#bindings = { ...env, ...overrides }
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const context = createExecutionContext()
    const request = new Request(`http://edge${path}`, init)
    // Every HTTP client that has the body in memory sends its length.
    if (init.body instanceof Uint8Array) request.headers.set('content-length', String(init.body.length))
    const response = await app.fetch(request, this.#bindings, context)
    if (response.headers.get('content-type')?.startsWith('text/event-stream') !== true)
      await waitOnExecutionContext(context)
    return response
  }

  admin(method: string, path: string, body?: unknown): Promise<Response> {
    return this.fetch(`/admin/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#bindings.QUARTET_ADMIN_KEY}` },
      ...(body === undefined ? {} : { body: body instanceof Uint8Array ? body : JSON.stringify(body) }),
    })
  }

  post(path: string, { body, key }: { key: string; body: unknown }): Promise<Response> {
    return this.fetch(path, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  }

  /** A tenant's own call of the control plane: `/v1{path}`. */
  own(
    { key }: Pick<TestTenant, 'key'>,
    method: string,
    path: string,
    body?: Uint8Array<ArrayBuffer> | object,
  ): Promise<Response> {
    return this.fetch(`/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${key}` },
      ...(body === undefined ? {} : { body: body instanceof Uint8Array ? body : JSON.stringify(body) }),
    })
  }

  /** `POST /v1/chat/completions` to the tenant's tuned model unless `body` says otherwise. */
  chat({ key }: Pick<TestTenant, 'key'>, body: object = {}): Promise<Response> {
    return this.post('/v1/chat/completions', {
      key,
      body: { model: 'tone', messages: [{ role: 'user', content: 'hello' }], ...body },
    })
  }

  complete({ key }: Pick<TestTenant, 'key'>, body: object = {}): Promise<Response> {
    return this.post('/v1/completions', { key, body: { model: 'tiny', prompt: 'hello', ...body } })
  }

  async seedBackbone(): Promise<void> {
    await expectOk(
      this.admin('PUT', '/backbones/tiny', { backbone: workerBackbone, tokenizer: tinyTokenizer }),
    )
  }

  async seedTenant(): Promise<TestTenant> {
    tenants += 1
    const id = `tenant-${tenants}`
    const adapter = await makeAdapter({ backbone: workerBackbone, seed: tenants })
    await expectOk(this.admin('POST', '/tenants', { id }))
    await expectOk(this.admin('PUT', `/tenants/${id}/adapters/${adapter.digest}`, adapter.file))
    await expectOk(this.admin('PUT', `/tenants/${id}/aliases/tone`, { digest: adapter.digest }))
    const created = await expectOk(this.admin('POST', `/tenants/${id}/keys`, {}))
    const { key } = CreateKeyResponse.parse(await created.json())
    return { id, key, adapter: { ...adapter, key: adapterKey(TenantId.parse(id), adapter.digest) } }
  }
}

async function expectOk(answer: Promise<Response>): Promise<Response> {
  const response = await answer
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  return response
}

/** A node at whose address nobody listens. */
export const nowhere = (id: string) => ({ id, url: 'http://127.0.0.1:9' })

/** The stub nodes behind the edge. */
export const stubs = {
  addresses: () => inject('stubNodes'),

  async behave(behaviour: StubBehaviour): Promise<void> {
    await Promise.all(stubs.addresses().map((node) => stubs.behaveAt(node, behaviour)))
  },

  async behaveAt({ url }: { url: string }, behaviour: StubBehaviour): Promise<void> {
    await fetch(`${url}/stub/behaviour`, { method: 'PUT', body: JSON.stringify(behaviour) })
  },

  /** Generate calls and pushes that reached the nodes since `behave`, in the order in which they came. */
  async calls(): Promise<StubCall[]> {
    const lists = await Promise.all(stubs.addresses().map((node) => stubs.callsAt(node)))
    return lists.flat().toSorted((a, b) => a.arrivedAt - b.arrivedAt)
  },

  async callsAt({ url }: { url: string }): Promise<StubCall[]> {
    return (await fetch(`${url}/stub/calls`)).json()
  },

  /** The nodes in the order in which an adapter's requests prefer them. */
  preferredBy({
    key,
  }: TestTenant['adapter']): [first: { id: string; url: string }, second: { id: string; url: string }] {
    const [first, second] = rankNodes(key, stubs.addresses())
    if (first === undefined || second === undefined) throw new Error('two stub nodes are needed')
    return [first, second]
  },
}

/** What a refusal says. */
export const errorOf = async (response: Response) => (await response.json<ErrorBody>()).error

/** The data of each server-sent event of a body. */
export async function readSse(response: Response): Promise<string[]> {
  const text = await response.text()
  return text
    .split('\n\n')
    .filter((event) => event !== '')
    .map((event) => event.replace(/^data: /, ''))
}
