type Kind = 'tenant' | 'key' | 'policy'

/**
 * The changes of a directory that it has not yet delivered. An entry is written with the change itself, so that
 * nothing is lost when the object stops midway. An entry names the record to read again; it holds no copy of the
 * record.
 */
export class Outbox {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  add(kind: Kind, ids: readonly string[]): void {
    for (const id of ids) this.#sql.exec('INSERT INTO pending (kind, id) VALUES (?, ?)', kind, id)
  }

  /** Ids of that kind, each once. */
  ids(kind: Kind): string[] {
    return this.#sql
      .exec<{ id: string }>('SELECT DISTINCT id FROM pending WHERE kind = ?', kind)
      .toArray()
      .map(({ id }) => id)
  }

  /** The last entry there is now. */
  last(): number {
    return this.#sql.exec<{ seq: number }>('SELECT COALESCE(MAX(seq), 0) AS seq FROM pending').one().seq
  }

  /** Whether the change feed knows everything. */
  isPublished(): boolean {
    return this.#count('SELECT COUNT(*) AS count FROM pending WHERE published = 0') === 0
  }

  published(upTo: number): void {
    this.#sql.exec('UPDATE pending SET published = 1 WHERE seq <= ?', upTo)
  }

  /** Forgets everything up to then. */
  done(upTo: number): void {
    this.#sql.exec('DELETE FROM pending WHERE seq <= ?', upTo)
  }

  isEmpty(): boolean {
    return this.#count('SELECT COUNT(*) AS count FROM pending') === 0
  }

  #count(query: string): number {
    return this.#sql.exec<{ count: number }>(query).one().count
  }
}
