import { setTimeout as delay } from 'node:timers/promises'
import { type NodeConfig, readConfig } from '../../gpu-node/config.ts'
import { startNode } from '../../gpu-node/node.ts'
import type { Backend } from '../../model/runtime/backend.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { NodeId } from '../../shared/heartbeat.ts'
import { AdapterDigest, BackboneSlug, newRequestId, RequestId, TenantId } from '../../shared/ids.ts'
import type { Log } from '../../shared/log.ts'
import { type NodeTokenGrant, nodeTokenKey, signNodeToken } from '../../shared/node-token.ts'
import { GenerateEvent, type GenerateRequest, greedySampling } from '../../shared/wire.ts'
import { FakeBackend, fakeBackbone } from '../fakes/fake-backend.ts'

export const secret = 'the secret of the contract tests'
export const key = nodeTokenKey(secret)
/** The node that `fakeNode` runs. */
export const nodeId = NodeId.parse('fake-node')
export const tenant = TenantId.parse('acme')

/** A node on a free port over the fake backend, and a client that signs its calls as an edge does. */
export async function fakeNode({
  backend = new FakeBackend(),
  settings = {},
  loading,
}: {
  backend?: FakeBackend
  settings?: Partial<NodeConfig>
  /** Holds the backbone back until it resolves. */
  loading?: Promise<void>
} = {}) {
  const logged: string[] = []
  const log: Log = (level, event, fields) => logged.push(JSON.stringify({ level, event, ...fields }))
  const config = {
    ...readConfig(['--port', '0', '--id', nodeId], { QUARTET_NODE_SECRET: secret }),
    ...settings,
  }
  const openModel = async (): Promise<{ slug: BackboneSlug; backend: Backend }> => {
    await loading
    return { slug: BackboneSlug.parse('fake'), backend }
  }
  const node = await startNode(config, { log, openModel })
  if (loading === undefined) await node.ready
  /** Fails when the node's log has said more, in all that a test did with it, than whoever reads logs may know. */
  const close = async () => {
    await node.close()
    const telling = logged.find((line) => ['the secret', 'eyJ', tenant].some((text) => line.includes(text)))
    if (telling !== undefined) throw new Error(`the log tells a token, a tenant or a secret: ${telling}`)
  }
  return { ...node, backend, logged, close, ...nodeClient(node.url) }
}

export function nodeClient(url: string) {
  const grant = (fields: Partial<NodeTokenGrant>): NodeTokenGrant => ({
    node: nodeId,
    tenant,
    act: 'info',
    rid: newRequestId(),
    adapter: null,
    body: emptyHash,
    ...fields,
  })
  const bearer = async (fields: Partial<NodeTokenGrant>, signKey = key) => ({
    authorization: `Bearer ${await signNodeToken(signKey, grant(fields))}`,
  })
  return {
    bearer,
    /** `claims` replaces what an honest edge would sign, `body` what it would send. */
    async generate(
      wanted: Partial<GenerateRequest> = {},
      given: { claims?: Partial<NodeTokenGrant>; body?: string; signal?: AbortSignal } = {},
    ): Promise<Response> {
      const request = generateRequest(wanted)
      const body = given.body ?? JSON.stringify(request)
      const claims = {
        act: 'generate' as const,
        rid: request.requestId,
        adapter: request.adapter,
        body: await sha256Hex(body),
        ...given.claims,
      }
      return fetch(`${url}/v1/generate`, {
        method: 'POST',
        headers: await bearer(claims),
        body,
        signal: given.signal ?? null,
      })
    },
    async putAdapter(
      file: Uint8Array<ArrayBuffer>,
      given: { path?: string; claims?: Partial<NodeTokenGrant> } = {},
    ): Promise<Response> {
      const hash = await sha256Hex(file)
      const digest = given.path ?? hash
      const adapter = AdapterDigest.parse(digest)
      const claims = { act: 'put-adapter' as const, adapter, body: hash, ...given.claims }
      return fetch(`${url}/v1/adapters/${digest}`, {
        method: 'PUT',
        headers: await bearer(claims),
        body: file,
      })
    },
    async info(): Promise<Response> {
      return fetch(`${url}/v1/node`, { headers: await bearer({}) })
    },
    async metric(name: string): Promise<number> {
      const text = await (await fetch(`${url}/metrics`)).text()
      return Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${name} `))
          ?.split(' ')[1] ?? Number.NaN,
      )
    },
  }
}

export const digestOf = async (file: Uint8Array<ArrayBuffer>) => AdapterDigest.parse(await sha256Hex(file))

export const emptyHash = await sha256Hex('')

export function generateRequest(wanted: Partial<GenerateRequest> = {}): GenerateRequest {
  return {
    requestId: newRequestId(),
    backbone: fakeBackbone,
    adapter: null,
    prompt: [1, 2, 3],
    maxTokens: 5,
    sampling: greedySampling,
    stopTokens: [],
    logprobs: null,
    timeoutMs: 60_000,
    ...wanted,
  }
}

/** Every event of a stream, each checked against the protocol. */
export async function readEvents(response: Response): Promise<GenerateEvent[]> {
  const lines = (await response.text()).split('\n')
  if (lines.pop() !== '') throw new Error('the stream does not end with a whole line')
  return lines.map((line) => GenerateEvent.parse(JSON.parse(line)))
}

export const tokenIds = (events: readonly GenerateEvent[]) =>
  events.flatMap((event) => (event.type === 'token' ? [event.id] : []))

/** Reads a refusal, and throws when it lacks a field that every refusal must have. */
export async function refusal(
  response: Response,
): Promise<{ status: number; code: string; param: string | null }> {
  const { error } = await response.json()
  if (typeof error.message !== 'string' || typeof error.type !== 'string')
    throw new Error('not an error body')
  RequestId.parse(response.headers.get('x-request-id'))
  return { status: response.status, code: error.code, param: error.param }
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await delay(2)
}
