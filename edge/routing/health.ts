import type { NodeAddress } from './nodes.ts'

const firstAvoidMs = 1_000
const maxAvoidMs = 15_000

/** What this isolate saw of each node: one that failed is avoided, longer each time, until it answers again. */
export class NodeHealth {
  readonly #failures = new Map<string, { count: number; until: number }>()

  failed(node: NodeAddress): void {
    const count = (this.#failures.get(node.id)?.count ?? 0) + 1
    const avoidMs = Math.min(maxAvoidMs, firstAvoidMs * 2 ** Math.min(count - 1, 10))
    this.#failures.set(node.id, { count, until: Date.now() + avoidMs })
  }

  answered(node: NodeAddress): void {
    this.#failures.delete(node.id)
  }

  /** The same nodes, the avoided ones last: with nobody else left they are still tried. */
  prefer(nodes: readonly NodeAddress[]): NodeAddress[] {
    const now = Date.now()
    const avoided = (node: NodeAddress) => (this.#failures.get(node.id)?.until ?? 0) > now
    return [...nodes.filter((node) => !avoided(node)), ...nodes.filter(avoided)]
  }
}
