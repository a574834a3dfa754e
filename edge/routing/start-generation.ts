import { QuartetError } from '../../shared/errors.ts'
import { type AdapterDigest, adapterKey, type SettlementId, type TenantId } from '../../shared/ids.ts'
import { kvRows } from '../../shared/kv-rows.ts'
import { residentPrefix } from '../../shared/resident-adapters.ts'
import {
  adaptersOf,
  type GenerateEvent,
  type GenerateRequest,
  maxAcknowledged,
  type Usage,
} from '../../shared/wire.ts'
import type { FleetNode } from '../fleet/nodes.ts'
import type { Platform } from '../platform.ts'
import type { RequestReport } from '../telemetry/request-report.ts'
import { type Attempt, type Companions, Dispatch } from './dispatch.ts'
import { type FirstAnswerSource, firstAnswer } from './first-answer.ts'
import { generateOn, type NodeCall } from './node-client.ts'
import { forClient, NodeFailure } from './node-failures.ts'

export interface RunningGeneration {
  readonly node: FleetNode
  /** The number of this attempt, from 0. */
  readonly attempt: number
  /** The events from the first token on. Throws NodeFailure. */
  readonly events: AsyncGenerator<readonly GenerateEvent[], void>
}

export interface GenerationStart {
  readonly request: Omit<GenerateRequest, 'timeoutMs' | 'settlement'>
  /** Rows that the adapter makes; 0 for the untuned backbone. */
  readonly promptRows: number
  readonly shape: NodeCall['shape']
  /** How attempt `n` (from 0) is settled; an attempt that gave no first token is not charged. */
  readonly settlement?: (attempt: number) => GenerateRequest['settlement']
  /** Whether the backbone alone reads what stands in front of its rows, so that adapters of the tenant share that. */
  readonly sharesPrompts?: boolean
  readonly companions?: Companions
  readonly signal: AbortSignal
  /** When the whole request must be over, in milliseconds since 1970. */
  readonly deadline: number
}

/** The request that the generations are for, and its means. */
export interface GenerationRequester {
  readonly tenant: TenantId
  /** When the tenant was created. */
  readonly tenancy: number
  /** Nodes of this region are preferred. */
  readonly region: string
  readonly report: RequestReport
  readonly platform: Pick<Platform, 'budgets' | 'log' | 'nodeKey' | 'pushes' | 'router' | 'store'>
  /** All nodes, those that were lost last. */
  readonly nodes: () => Promise<readonly FleetNode[]>
  /** Keeps work alive that outlasts the request. */
  readonly background: (work: Promise<unknown>) => void
}

/** One generation: begun on the node that the fleet's routing prefers, and elsewhere when that fails. */
export class GenerationAttempts {
  readonly #source: FirstAnswerSource
  readonly #waiting = new Set<Attempt>()
  #retries = 0
  #unusable: { readonly attempt: Attempt; readonly usage: Usage } | undefined

  constructor(start: GenerationStart, requester: GenerationRequester) {
    const { nodes, region, tenant } = requester
    const { log, router } = requester.platform
    const { companions, promptRows, request, sharesPrompts = false, signal } = start
    const { adapter, backbone, maxTokens, prompt } = request
    this.#source = {
      dispatch: new Dispatch(
        router,
        {
          adapter: adapter === null ? null : adapterKey(tenant, adapter),
          ...(sharesPrompts ? { home: `${tenant}/late` } : {}),
          backbone,
          promptTokens: prompt.length,
          rows: kvRows({ promptRows, promptTokens: prompt.length, maxTokens }),
          region,
        },
        companions,
      ),
      nodes,
      open: (attempt, attemptSignal) => {
        this.#waiting.add(attempt)
        return openEvents(attempt, { ...start, signal: attemptSignal }, requester)
      },
      failed: (attempt, { reason, usage, verdict }) => {
        this.#waiting.delete(attempt)
        if (reason === 'adapter_unusable' && usage !== undefined) this.#unusable = { attempt, usage }
        log(verdict.avoid ? 'warn' : 'info', 'attempt_failed', {
          requestId: request.requestId,
          node: attempt.node.id,
          attempt: attempt.number,
          reason,
        })
      },
      signal,
    }
  }

  /** Attempts that were begun and have neither answered nor failed, oldest first. */
  get waiting(): readonly Pick<Attempt, 'node' | 'number'>[] {
    return [...this.#waiting]
  }

  /** The attempt that the tenant's adapter broke before the first token, and what it used. */
  get unusable(): { readonly attempt: Pick<Attempt, 'node' | 'number'>; readonly usage: Usage } | undefined {
    return this.#unusable
  }

  /** Attempts that failed so far. */
  get retries(): number {
    return this.#retries
  }

  /** Returns with the first token; until then a failure moves on, as far as the retry budget allows. */
  async begin(): Promise<RunningGeneration> {
    const answer = await this.#next()
    if (answer === undefined) throw noNode()
    return answer
  }

  /** The same after an answer that failed with `thrown` before the client saw any of it. */
  async again({ node }: RunningGeneration, thrown: unknown): Promise<RunningGeneration> {
    this.#source.signal.throwIfAborted()
    if (!(thrown instanceof NodeFailure)) throw thrown
    const answer = await this.#next({ node, verdict: thrown.verdict })
    if (answer === undefined) throw forClient(thrown)
    this.#retries += 1
    return answer
  }

  async #next(after?: Parameters<typeof firstAnswer>[1]): Promise<RunningGeneration | undefined> {
    const { signal } = this.#source
    try {
      const answer = await firstAnswer(this.#source, after)
      if (answer === undefined) return undefined
      const { attempt, events, retries } = answer
      this.#waiting.clear()
      this.#retries += retries
      signal.addEventListener('abort', () => attempt.ended(), { once: true })
      return { node: attempt.node, attempt: attempt.number, events }
    } catch (thrown) {
      signal.throwIfAborted()
      throw forClient(thrown)
    }
  }
}

const noNode = () => new QuartetError('node_unavailable', 'no node serves this backbone at the moment; retry')

/** Calls the node, up to its first events; brings it each adapter that it lacks, once. */
async function openEvents(
  { node, number }: Attempt,
  { deadline, promptRows, request, settlement, shape, signal }: GenerationStart,
  { background, platform, report, tenancy, tenant }: GenerationRequester,
) {
  const { budgets, nodeKey, pushes, router, store } = platform
  // Settlements that are charged ride on the next call to their node.
  const acknowledged = (): SettlementId[] | undefined => {
    const ids = budgets.acknowledgements(tenant, { node: node.url, most: maxAcknowledged })
    return ids.length === 0 ? undefined : ids
  }
  const call = () =>
    generateOn({
      node,
      nodeKey,
      promptRows,
      request: {
        ...request,
        settlement: settlement?.(number),
        acknowledge: acknowledged(),
        timeoutMs: Math.max(1, deadline - Date.now()),
      },
      report,
      shape,
      signal,
      tenancy,
      tenant,
    })
  let answer = await call()
  const { requestId } = request
  // A node names none of several that it lacks: those that it says it holds are brought last.
  const holds = (digest: AdapterDigest) =>
    node.report?.resident.has(residentPrefix(adapterKey(tenant, digest))) === true
  for (const digest of adaptersOf(request).toSorted((a, b) => Number(holds(a)) - Number(holds(b)))) {
    if (answer.kind !== 'adapter-missing') break
    if (holds(digest)) router.falseClaims.note(node.id, adapterKey(tenant, digest))
    await pushes.push({ background, digest, node, nodeKey, report, requestId, signal, store, tenant })
    answer = await call()
  }
  if (answer.kind === 'events') return answer.events
  // Parts of a stack may drive each other out of a small memory: then the node has no room for them, and has not failed.
  throw new NodeFailure(request.behind === undefined ? 'other' : 'queue_full', {
    message: `node ${node.id} still lacks an adapter that it was given`,
  })
}
