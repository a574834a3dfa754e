/**
 * The compiled grammars that a thread keeps, the one used last behind the others. When there are too many, an owner that has
 * more than half of them loses its own first, so that no tenant drives out those of all others.
 */
export class HeldGrammars {
  readonly #most: number
  /** Who used each last. */
  readonly #owners = new Map<string, string>()

  constructor(most: number) {
    this.#most = most
  }

  has(hash: string): boolean {
    return this.#owners.has(hash)
  }

  /** It is the last to be forgotten now. */
  use(hash: string, owner: string): void {
    if (this.#owners.delete(hash)) this.#owners.set(hash, owner)
  }

  /** Takes one in; returns those that have to go for it. */
  add(hash: string, owner: string): readonly string[] {
    this.#owners.delete(hash)
    this.#owners.set(hash, owner)
    const gone: string[] = []
    while (this.#owners.size > this.#most) {
      const all = [...this.#owners]
      const own = all.filter(([, each]) => each === owner)
      const [oldest] = (own.length > this.#most / 2 ? own : all)[0] ?? []
      if (oldest === undefined) break
      this.#owners.delete(oldest)
      gone.push(oldest)
    }
    return gone
  }
}
