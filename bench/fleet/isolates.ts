import { FleetView } from '../../edge/fleet/fleet-view.ts'
import type { FleetNode } from '../../edge/fleet/nodes.ts'
import type { Roster } from '../../edge/fleet/roster.ts'
import { type Attempt, Dispatch } from '../../edge/routing/dispatch.ts'
import { Router } from '../../edge/routing/router.ts'
import type { AdapterKey } from '../../shared/ids.ts'
import { rankNodes } from '../../test/edge/rank-nodes.ts'
import { simulatedBackbone } from './simulated-node.ts'

/** Where one request goes, as edge/routing/first-answer.ts asks it. */
export type NodeChoices = Pick<Dispatch, 'first' | 'next' | 'learn' | 'hedge' | 'hedgeAfterMs' | 'hasAnother'>

/** One edge isolate: its own snapshot, up to two seconds old, and what it saw itself. */
export interface Isolate {
  readonly nodes: readonly FleetNode[]
  refresh(roster: Roster): void
  route(adapter: AdapterKey): NodeChoices
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

  get nodes(): readonly FleetNode[] {
    return this.view.nodes
  }

  refresh(roster: Roster): void {
    this.view.accept(roster.snapshot(this.view.known), this.#now())
  }

  abstract route(adapter: AdapterKey): NodeChoices
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

  route(adapter: AdapterKey): NodeChoices {
    const request = { adapter, backbone: simulatedBackbone, promptTokens, rows, region: '' }
    return new Dispatch(this.#router, request)
  }
}

/** The same without hedges. */
export class UnhedgedIsolate extends QuartetIsolate {
  override route(adapter: AdapterKey): NodeChoices {
    const dispatch = super.route(adapter)
    return {
      first: (nodes) => dispatch.first(nodes),
      next: (nodes, failed) => dispatch.next(nodes, failed),
      learn: (failed) => dispatch.learn(failed),
      hasAnother: (nodes) => dispatch.hasAnother(nodes),
      hedge: () => undefined,
      hedgeAfterMs: undefined,
    }
  }
}

/** A baseline: an order of nodes for each request, tried one after the other, four at most. */
class OrderIsolate extends ViewingIsolate {
  readonly #order: (adapter: AdapterKey, nodes: readonly FleetNode[]) => readonly FleetNode[]

  constructor(
    options: IsolateOptions,
    order: (adapter: AdapterKey, nodes: readonly FleetNode[]) => readonly FleetNode[],
  ) {
    super(options)
    this.#order = order
  }

  route(adapter: AdapterKey): NodeChoices {
    const order = this.#order(adapter, this.view.nodes).slice(0, 4)
    let at = 0
    const nothing = () => {}
    const take = (): Attempt | undefined => {
      const node = order[at]
      return node && { node, number: at++, answered: nothing, failed: nothing, ended: nothing }
    }
    const hasAnother = () => at < order.length
    return {
      first: take,
      next: take,
      learn: () => undefined,
      hasAnother,
      hedgeAfterMs: undefined,
      hedge: () => undefined,
    }
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
