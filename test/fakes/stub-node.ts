import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { encodeVector } from '../../shared/vector.ts'
import type { Refusal, StubBehaviour, StubCall } from './stub-behaviour.ts'

export interface StubNode {
  readonly url: string
  readonly calls: readonly StubCall[]
  behave(behaviour: StubBehaviour): void
  close(): Promise<void>
}

/**
 * A node that computes nothing and verifies nothing, for tests and benchmarks of the edge. Over HTTP, `PUT
 * /stub/behaviour` sets its behaviour and forgets its calls; `GET /stub/calls` lists them.
 */
export async function startStubNode(
  initial: StubBehaviour = { tokens: [1, 2, 3] },
  port = 0,
): Promise<StubNode> {
  const state = {
    behaviour: initial,
    calls: [] as StubCall[],
    adapters: new Set<string>(),
    used: new WeakSet(),
    connections: new Map<object, number>(),
  }
  const behave = (behaviour: StubBehaviour) => {
    state.behaviour = behaviour
    state.calls.length = 0
    state.adapters.clear()
  }
  const server = createServer((request, response) => {
    handle(request, response, { state, behave }).catch(() => response.destroy())
  })
  server.keepAliveTimeout = 60_000
  await new Promise<void>((resolve, reject) =>
    server.once('error', reject).listen(port, '127.0.0.1', resolve),
  )
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls: state.calls,
    behave,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

interface State {
  readonly behaviour: StubBehaviour
  readonly calls: StubCall[]
  readonly adapters: Set<string>
  /** Connections that had a call. */
  readonly used: WeakSet<object>
  readonly connections: Map<object, number>
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  { behave, state }: { state: State; behave: (behaviour: StubBehaviour) => void },
): Promise<void> {
  const path = request.url ?? ''
  if (state.behaviour.cutsReused === true && !path.startsWith('/stub/')) {
    if (state.used.has(request.socket)) return void request.socket.destroy()
    state.used.add(request.socket)
  }
  const body = await readBody(request)
  if (path === '/stub/calls') return sendJson(response, { status: 200, body: state.calls })
  if (path === '/stub/behaviour') {
    behave(JSON.parse(body.toString()) as StubBehaviour)
    return sendJson(response, { status: 200, body: {} })
  }
  const authorization = request.headers.authorization ?? ''
  const connection = state.connections.get(request.socket) ?? state.connections.size
  state.connections.set(request.socket, connection)
  if (path.startsWith('/v1/adapters/')) {
    const digest = path.slice('/v1/adapters/'.length)
    const call: StubCall = {
      kind: 'put-adapter',
      arrivedAt: performance.now(),
      connection,
      authorization,
      headers: request.headers,
      digest,
      body: body.length,
      sent: 0,
      over: false,
      refused: false,
      aborted: false,
    }
    state.calls.push(call)
    endWith(response, call)
    await sleep(state.behaviour.pushDelayMs ?? state.behaviour.headDelayMs ?? 0)
    const { refusePush } = state.behaviour
    if (refusePush !== undefined) return sendError(response, refusePush)
    state.adapters.add(digest)
    for (const oldest of state.adapters)
      if (state.adapters.size > (state.behaviour.mostAdapters ?? Number.POSITIVE_INFINITY))
        state.adapters.delete(oldest)
    return sendJson(response, { status: 200, body: { digest, bytes: body.length } })
  }
  if (path === '/v1/settlements') {
    const { refuseSettlements } = state.behaviour
    if (refuseSettlements !== undefined) return sendError(response, refuseSettlements)
    return sendJson(response, { status: 200, body: settlementsOf(body, state) })
  }
  const call: StubCall = {
    kind: 'generate',
    arrivedAt: performance.now(),
    connection,
    authorization,
    headers: request.headers,
    body: JSON.parse(body.toString()),
    sent: 0,
    over: false,
    refused: false,
    aborted: false,
  }
  state.calls.push(call)
  await generate(response, { call, state })
}

/** Answers as a node does: with the usage of the calls that are over. */
function settlementsOf(body: Buffer, { behaviour, calls }: State) {
  const { collect } = JSON.parse(body.toString()) as { collect: string[] }
  const asked = calls.flatMap((call) => {
    if (call.kind !== 'generate' || call.refused) return []
    const { prompt, requestId, settlement, ...request } = call.body as AdaptersOfCall & {
      prompt: number[]
      requestId: string
      settlement?: { id: string; terms: string }
    }
    return settlement !== undefined && collect.includes(settlement.id)
      ? [{ call, prompt, requestId, settlement, request }]
      : []
  })
  return {
    settlements: asked
      .filter(({ call }) => call.over)
      .map(({ call, prompt, request, requestId, settlement }) => ({
        ...settlement,
        requestId,
        tenant: 'stub',
        usage: {
          promptTokens: prompt.length,
          ...ofPrompt(request, behaviour),
          completionTokens: call.sent,
        },
        outcome: call.aborted ? 'client_closed_request' : 'stop',
        firstTokenMs: call.sent > 0 ? 1 : null,
        endedAt: Date.now(),
      })),
    running: asked.filter(({ call }) => !call.over).map(({ settlement }) => settlement.id),
  }
}

interface AdaptersOfCall {
  readonly adapter?: string | null
  readonly behind?: readonly string[]
}

/** The adapters whose rows a call asks for, in order. */
const adaptersOf = ({ adapter = null, behind = [] }: AdaptersOfCall): readonly string[] =>
  adapter === null ? [] : [adapter, ...behind]

/** The counts of a prompt that a node tells beside its tokens. */
function ofPrompt(request: AdaptersOfCall, { cachedTokens, rows = {} }: StubBehaviour) {
  const promptRows = adaptersOf(request).reduce((sum, digest) => sum + (rows[digest] ?? 0), 0)
  return {
    ...(promptRows === 0 ? {} : { promptRows }),
    ...(cachedTokens === undefined ? {} : { cachedTokens }),
  }
}

async function generate(response: ServerResponse, { call, state }: { call: StubCall; state: State }) {
  const { adapters } = state
  const request = call.body as AdaptersOfCall & {
    prompt: number[]
    embedding?: 'mean'
    promptLogprobs?: number
    maxTokens: number
  }
  const { adapter = null, embedding, maxTokens, prompt, promptLogprobs } = request
  const behaviour = { ...state.behaviour, ...state.behaviour.of?.[adapter ?? ''] }
  const { refuse } = behaviour
  endWith(response, call)
  const lacksAdapter =
    behaviour.adapterMissing === true && adaptersOf(request).some((digest) => !adapters.has(digest))
  call.refused = refuse !== undefined || lacksAdapter
  await sleep(behaviour.headDelayMs ?? 0)
  if (refuse !== undefined) return sendError(response, refuse)
  if (lacksAdapter) return sendError(response, { status: 409, code: 'adapter_missing' })
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  if (behaviour.garbage !== undefined) return void response.end(behaviour.garbage)
  if (behaviour.delayMs === undefined && behaviour.isEachWritten !== true) response.cork()
  const line = (event: object) => response.write(`${JSON.stringify(event)}\n`)
  const { miscounts: { completion = 0, prompt: more = 0 } = {} } = behaviour
  const { cachedTokens } = behaviour
  const usage = () => ({
    promptTokens: prompt.length + more,
    ...ofPrompt(request, behaviour),
    completionTokens: call.sent + completion,
  })
  const tokens = behaviour.overruns === true ? behaviour.tokens : behaviour.tokens.slice(0, maxTokens)
  const { promptLogprob = -0.25 } = behaviour
  if (promptLogprobs !== undefined && promptLogprob !== null)
    for (const id of prompt.slice(1)) {
      const top = [
        [id, promptLogprob],
        [0, promptLogprob - 1],
      ]
      line({
        type: 'prompt',
        scores: [{ logprob: promptLogprob, rank: 1, top: top.slice(0, promptLogprobs) }],
      })
    }
  if (embedding !== undefined && behaviour.embedding !== null)
    line({
      type: 'embedding',
      vector: encodeVector(Float32Array.from(behaviour.embedding ?? [], (x) => x * prompt.length)),
    })
  for (const [at, id] of tokens.entries()) {
    if (behaviour.delayMs !== undefined) await sleep(behaviour.delayMs)
    if (behaviour.isEachWritten === true) await new Promise((resolve) => setImmediate(resolve))
    if (response.destroyed) return
    if (behaviour.dieAfter === at) return die(response)
    if (behaviour.fallSilentAfter === at) return flush(response)
    if (behaviour.failAfter?.tokens === at) {
      line({ type: 'error', code: behaviour.failAfter.code, message: 'as asked', usage: usage() })
      return end(response)
    }
    const stop = behaviour.endsWithStopToken === true && at === tokens.length - 1
    const { logprob } = behaviour
    const scores =
      logprob === undefined
        ? {}
        : {
            logprob,
            top: behaviour.top ?? [
              [id, logprob],
              [0, logprob - 1],
            ],
          }
    const cached = at === 0 && cachedTokens !== undefined ? { cachedTokens } : {}
    line({ type: 'token', id, ...(stop ? { stop } : {}), ...cached, ...scores })
    call.sent += 1
  }
  if (behaviour.dieAfter === tokens.length) return die(response)
  const timings = { queueMs: 0, prefillMs: 0, decodeMs: 0 }
  line({
    type: 'done',
    reason: maxTokens === 0 ? 'length' : (behaviour.reason ?? 'stop'),
    usage: usage(),
    timings,
  })
  if (behaviour.neverEnds === true) return flush(response)
  end(response)
}

function endWith(response: ServerResponse, call: StubCall): void {
  response.on('close', () => {
    call.aborted = !response.writableFinished
    call.over = true
  })
}

function flush(response: ServerResponse): void {
  while (response.writableCorked > 0) response.uncork()
}

function end(response: ServerResponse): void {
  // `end` alone would drop what is corked (Node 24.21).
  flush(response)
  response.end()
}

/** Cuts the connection once what was written has left. */
async function die(response: ServerResponse): Promise<void> {
  flush(response)
  await sleep(20)
  response.destroy()
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function sendError(response: ServerResponse, { code, endless, location, retryAfter, status }: Refusal): void {
  if (location !== undefined) response.setHeader('location', location)
  if (retryAfter !== undefined) response.setHeader('retry-after', String(retryAfter))
  if (endless === true) {
    response.writeHead(status, { 'content-type': 'application/json' })
    Readable.from(forever()).pipe(response)
    return
  }
  const error = { message: 'as asked', type: 'server_error', param: null, code }
  sendJson(response, { status, body: { error } })
}

function* forever() {
  for (;;) yield Buffer.alloc(64 * 1024, 'x')
}

function sendJson(response: ServerResponse, { body, status }: { status: number; body: unknown }): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

const sleep = (ms: number) =>
  ms === 0 ? undefined : new Promise<void>((resolve) => setTimeout(resolve, ms).unref())
