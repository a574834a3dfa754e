import { FleetView } from '../../edge/fleet/fleet-view.ts'
import type { FleetNode } from '../../edge/fleet/nodes.ts'
import type { Roster } from '../../edge/fleet/roster.ts'
import { type Attempt, Dispatch } from '../../edge/routing/dispatch.ts'
import { NodeFailure } from '../../edge/routing/node-failures.ts'
import { rankNodes } from '../../edge/routing/rendezvous.ts'
import { Router } from '../../edge/routing/router.ts'
import type { AdapterDigest } from '../../shared/ids.ts'
import { simulatedBackbone } from './simulated-node.ts'

export type Failure = 'unreachable' | 'truncated' | 'queue_full'

/** One try at a node, as the simulation carries it out. */
export interface Try {
  readonly nodeId: string
  answered(): void
  failed(failure: Failure): void
  ended(): void
}

/** Where one request goes. */
export interface Route {
  first(): Try | undefined
  /** After `failed`. */
  next(failed: Try, failure: Failure): Try | undefined
  readonly hedgeAfterMs: number | undefined
  hedge(): Try | undefined
}

/** One edge isolate: its own snapshot, up to two seconds old, and what it saw itself. */
export interface Isolate {
  refresh(roster: Roster): void
  route(adapter: AdapterDigest): Route
}

export interface IsolateOptions {
  readonly now: () => number
  readonly random: () => number
}

abstract class ViewingIsolate implements Isolate {
  protected readonly view: FleetView
  readonly #now: () => number

  constructor({ now }: IsolateOptions) {
    this.#now = now
    this.view = new FleetView({ fixed: [], log: () => {}, now })
  }

  refresh(roster: Roster): void {
    this.view.accept(roster.snapshot(this.view.known), this.#now())
  }

  abstract route(adapter: AdapterDigest): Route
}

const promptTokens = 64
const rows = 192

/** The product's own routing. */
export class QuartetIsolate extends ViewingIsolate {
  readonly #router: Router

  constructor(options: IsolateOptions) {
    super(options)
    this.#router = new Router(options)
  }

  route(adapter: AdapterDigest): Route {
    const ask = { adapter, backbone: simulatedBackbone, promptTokens, rows, region: '' }
    const dispatch = new Dispatch(this.#router, ask)
    const { view } = this
    const attempts = new Map<Try, Attempt>()
    const wrap = (attempt: Attempt | undefined): Try | undefined => {
      if (attempt === undefined) return undefined
      const each: Try = {
        nodeId: attempt.node.id,
        answered: () => attempt.answered(),
        failed: (failure) => attempt.failed(verdictOf(failure)),
        ended: () => attempt.ended(),
      }
      attempts.set(each, attempt)
      return each
    }
    return {
      first: () => wrap(dispatch.first(view.nodes)),
      next(failed, failure) {
        const node = attempts.get(failed)?.node
        if (node === undefined) return undefined
        return wrap(dispatch.next(view.nodes, { node, verdict: verdictOf(failure) }))
      },
      hedgeAfterMs: dispatch.hedgeAfterMs,
      hedge: () => wrap(dispatch.hedge(view.nodes)),
    }
  }
}

const verdictOf = (failure: Failure) => new NodeFailure(failure, { message: failure }).verdict

/** A baseline: an order of nodes for each request, tried one after the other, four at most. */
class OrderIsolate extends ViewingIsolate {
  readonly #order: (adapter: AdapterDigest, nodes: readonly FleetNode[]) => readonly FleetNode[]

  constructor(
    options: IsolateOptions,
    order: (adapter: AdapterDigest, nodes: readonly FleetNode[]) => readonly FleetNode[],
  ) {
    super(options)
    this.#order = order
  }

  route(adapter: AdapterDigest): Route {
    const order = this.#order(adapter, this.view.nodes).slice(0, 4)
    let at = 0
    const take = (): Try | undefined => {
      const node = order[at++]
      return node && { nodeId: node.id, answered: () => {}, failed: () => {}, ended: () => {} }
    }
    return { first: take, next: take, hedgeAfterMs: undefined, hedge: () => undefined }
  }
}

/** Each request to any node. */
export const randomIsolate = (options: IsolateOptions): Isolate =>
  new OrderIsolate(options, (_adapter, nodes) => {
    const picked = Array.from({ length: 4 }, () => nodes[Math.floor(options.random() * nodes.length)])
    return picked.filter((node) => node !== undefined)
  })

/** Each adapter to the one node that rendezvous hashing gives it, however loaded. */
export const plainHashIsolate = (options: IsolateOptions): Isolate => {
  return new OrderIsolate(options, (adapter, nodes) => rankNodes(adapter, nodes).slice(0, 4))
}
