import fc from 'fast-check'
import { expect, inject, test } from 'vitest'
import { z } from 'zod'
import { openApiDocument } from '../../../edge/openapi/document.ts'
import { routes } from '../../../edge/routes/table/routes.ts'
import { sha256Hex } from '../../../shared/digest.ts'
import { HeartbeatResponse, NodeId } from '../../../shared/heartbeat.ts'
import { signHeartbeat } from '../../../shared/heartbeat-token.ts'
import { nodeTokenKey } from '../../../shared/node-token.ts'
import { byteIds } from '../../fakes/tiny-tokenizer.ts'
import { makeAdapter, type TestAdapter } from '../adapter.ts'
import { DocumentedAnswers } from '../documented-answers.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../edge.ts'
import { type FuzzRequest, type FuzzSource, requests } from './request-arbitrary.ts'

/**
 * A client made from the document, with valid and damaged requests to every operation. QUARTET_FUZZ_SECONDS lets it
 * run longer, QUARTET_FUZZ_SEED repeats a run.
 */
const { seconds, seed: givenSeed } = inject('fuzz')
const budgetMs = Number(seconds ?? 0) * 1000
const seed = givenSeed === undefined ? Date.now() % 2 ** 31 : Number(givenSeed)
const perRound = 100
const leastRounds = 18
/** A seed may have bad luck: then there are more rounds, up to so many. */
const mostRounds = 3 * leastRounds
/** A fuzzer that only ever meets the door proves little. */
const wanted = { seen: routes.length * 0.9, succeeded: routes.length * 0.4 }
const document = openApiDocument(routes)
const answers = new DocumentedAnswers(document)
const edge = new TestEdge({ QUARTET_LOG_LEVEL: 'off' })

test(
  'no request that the document allows, nor one that is damaged, is answered with a 5xx or out of shape',
  async () => {
    console.log(
      `fuzzing for ${leastRounds} rounds and ${budgetMs / 1000} s; repeat with QUARTET_FUZZ_SEED=${seed}`,
    )
    await stubs.behave({ tokens: byteIds('Hello'), logprob: -0.5, embedding: [1, 0, 0, 0] })
    const until = Date.now() + budgetMs
    const seen = new Map<string, Set<number>>()
    const succeeded = () =>
      [...seen.values()].filter((statuses) => [...statuses].some((status) => status < 300)).length
    const hasEnough = () => seen.size > wanted.seen && succeeded() > wanted.succeeded
    let rounds = 0
    for (; rounds < leastRounds || Date.now() < until || (rounds < mostRounds && !hasEnough()); rounds++) {
      // The requests of a round may revoke its key or take its tenant away.
      await edge.seedBackbone()
      const tenant = await edge.seedTenant()
      const second = await makeAdapter({ backbone: workerBackbone, seed: 500 + rounds })
      await edge.admin('PUT', `/tenants/${tenant.id}/adapters/${second.digest}`, second.file)
      const source = sourceOf(tenant, second)
      await fc.assert(
        fc.asyncProperty(requests(source), async (request) => {
          const status = await checkAnswer(request)
          seen.set(request.operation, (seen.get(request.operation) ?? new Set()).add(status))
        }),
        { seed: seed + rounds, numRuns: perRound },
      )
    }
    console.log(`${rounds * perRound} requests`)
    expect(seen.size).toBeGreaterThan(wanted.seen)
    expect(succeeded()).toBeGreaterThan(wanted.succeeded)
  },
  180_000 + 2 * budgetMs,
)

async function checkAnswer({ body, headers, method, operation, target }: FuzzRequest): Promise<number> {
  const response = await edge.fetch(target, {
    method,
    headers: { 'cf-connecting-ip': randomAddress(), ...headers, ...(await signature({ body, operation })) },
    ...(body === undefined ? {} : { body }),
  })
  const text = await response.text()
  const answer = HeartbeatResponse.safeParse(parsed(text))
  if (answer.success) epoch = answer.data.epoch
  const shown = `${method} ${target} → ${response.status} ${text.slice(0, 500)}`
  expect(response.status, shown).toBeLessThan(500)
  expect(response.headers.get('x-request-id'), shown).toMatch(/^req_[0-9a-f]{32}$/)
  if (method === 'HEAD' || method === 'OPTIONS') return response.status
  const { pathname: path } = new URL(target, 'http://edge')
  if (answers.operation({ method, path }) === undefined) expect(parsed(text), shown).toMatchObject(refusal)
  else expect(answers.problems({ method, path, response, text }), shown).toEqual([])
  return response.status
}

/** The answer to a damaged path or method that is no operation of the document. */
const refusal = { error: { message: expect.any(String), code: expect.stringMatching(/^[a-z_]+$/) } }

/** The registry's epoch, which every heartbeat's token names. */
let epoch = ''

/** A heartbeat that says its node's name is signed as that node would; for half of them, so that the door is tried too. */
async function signature({ body, operation }: Pick<FuzzRequest, 'body' | 'operation'>) {
  if (operation !== 'heartbeat' || typeof body !== 'string' || body.length % 2 === 0) return {}
  const named = z.object({ node: NodeId }).safeParse(parsed(body))
  const token = await signHeartbeat(nodeTokenKey('test-node-secret-of-at-least-32-bytes'), {
    edge: 'http://edge',
    node: named.success ? named.data.node : NodeId.parse('node'),
    epoch,
    body: await sha256Hex(body),
    now: new Date(),
  })
  return { authorization: `Bearer ${token}` }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Guesses are counted by address; whoever fuzzes is not to be stopped by that alone. */
function randomAddress(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(4))).join('.')
}

function sourceOf({ adapter, id, key }: TestTenant, second: TestAdapter): FuzzSource {
  return {
    document,
    schemas: document.components.schemas,
    credentials: { tenant: [key], admin: ['test-admin-key-0123456789'], node: [] },
    files: [adapter.file, second.file, new Uint8Array(0)],
    hints: {
      id: [id],
      tenant: [id],
      model: ['tone', 'tiny'],
      alias: ['tone', 'other'],
      slug: ['tiny'],
      digest: [adapter.digest, second.digest],
      max_tokens: [1, 8],
      max_completion_tokens: [null],
      messages: [[{ role: 'user', content: 'hi' }]],
      prompt: ['hi', ['a', 'b'], [1, 2]],
      top_logprobs: [null],
      stream_options: [null],
      if_version: [1],
    },
  }
}
