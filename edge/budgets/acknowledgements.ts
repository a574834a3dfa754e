import type { SettlementId } from '../../shared/ids.ts'

/** A node is told of no more than these; it offers the others again. */
const mostPerNode = 4_096

/** Settlements that are charged and whose nodes have not been told, by where the node is reached. */
export class Acknowledgements {
  readonly #ids = new Map<string, SettlementId[]>()

  add(node: string, id: SettlementId): void {
    const ids = this.#ids.get(node)
    if (ids === undefined) this.#ids.set(node, [id])
    else if (ids.length < mostPerNode) ids.push(id)
  }

  /** Takes the ids to tell a node with the next call. They are told once. */
  take(node: string, most: number): SettlementId[] {
    const ids = this.#ids.get(node)
    const taken = ids?.splice(0, most) ?? []
    if (ids?.length === 0) this.#ids.delete(node)
    return taken
  }
}
