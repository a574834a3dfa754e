import { AdapterSummary } from '../../shared/api/deployments.ts'
import type { AdapterDigest, TenantId } from '../../shared/ids.ts'
import { storeKeys } from '../store/records.ts'
import { Parts, partBytes } from '../store/stored-adapter.ts'

/** An upload that has not been completed for so long is given up. */
export const uploadMs = 10 * 60_000

interface Row extends Record<string, SqlStorageValue> {
  readonly digest: string
  readonly backbone: string
  readonly kind: string
  readonly rows: number
  readonly tail: number | null
  readonly placement: string | null
  readonly bytes: number
  readonly created_at: number
  readonly parts: string | null
}

export interface Upload {
  readonly id: string
  /** null while the file is still arriving and its hash is unknown. */
  readonly digest: AdapterDigest | null
  readonly bytes: number
}

/** Adapters, with the `tail` of those whose rows are late, and the `placement` of those that have them at a turn. */
const listed =
  'SELECT * FROM adapters LEFT JOIN late_adapters USING (digest) LEFT JOIN adapter_placements USING (digest)'

/** A tenant's adapters, the room that uploads on their way have taken, and what is to be removed from KV. */
export class AdapterTable {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  list(): AdapterSummary[] {
    return this.#rows(`${listed} ORDER BY created_at, digest`).map(toSummary)
  }

  find(digest: AdapterDigest): AdapterSummary | undefined {
    return this.#rows(`${listed} WHERE digest = ?`, digest).map(toSummary)[0]
  }

  count(): number {
    return this.#number('SELECT COUNT(*) FROM adapters')
  }

  /**
   * Bytes that are stored, and that uploads on their way may come to. Uploads of one digest write one value and count
   * once, those of `digest` itself not at all; each upload in parts writes its own, whatever digest it claims.
   */
  bytesBeside(digest: AdapterDigest | null): number {
    return this.#number(
      `SELECT (SELECT COALESCE(SUM(bytes), 0) FROM adapters) + (SELECT COALESCE(SUM(bytes), 0) FROM
         (SELECT MAX(bytes) AS bytes FROM uploads WHERE digest IS NOT ?1 OR digest IS NULL OR bytes > ?2
          GROUP BY CASE WHEN digest IS NULL OR bytes > ?2 THEN id ELSE digest END))`,
      digest,
      partBytes,
    )
  }

  reserve({ bytes, digest, id }: Upload): void {
    this.#sql.exec('INSERT INTO uploads VALUES (?, ?, ?, ?)', id, digest, bytes, Date.now())
  }

  /** Notes what an upload that began without a digest turned out to be. */
  name(id: string, digest: AdapterDigest): void {
    this.#sql.exec('UPDATE uploads SET digest = ? WHERE id = ?', digest, id)
  }

  hasUpload(id: string): boolean {
    return this.#number('SELECT COUNT(*) FROM uploads WHERE id = ?', id) > 0
  }

  uploads(): number {
    return this.#number('SELECT COUNT(*) FROM uploads')
  }

  /** When the oldest upload is given up, in milliseconds since 1970; undefined when there is none. */
  nextGiveUp(): number | undefined {
    const { oldest } = this.#sql
      .exec<{ oldest: number | null }>('SELECT MIN(started_at) AS oldest FROM uploads')
      .one()
    return oldest === null ? undefined : oldest + uploadMs
  }

  /** Ends a reservation. */
  release(id: string): void {
    this.#sql.exec('DELETE FROM uploads WHERE id = ?', id)
  }

  add(adapter: AdapterSummary, parts: Parts | null): void {
    const { backbone, bytes, createdAt, digest, kind, placement, rows, tail } = adapter
    this.#sql.exec(
      'INSERT INTO adapters (digest, backbone, kind, rows, bytes, created_at, parts) VALUES (?, ?, ?, ?, ?, ?, ?)',
      ...[digest, backbone, kind, rows, bytes, createdAt, parts === null ? null : JSON.stringify(parts)],
    )
    if (tail !== undefined) this.#sql.exec('INSERT OR REPLACE INTO late_adapters VALUES (?, ?)', digest, tail)
    if (placement !== undefined)
      this.#sql.exec('INSERT OR REPLACE INTO adapter_placements VALUES (?, ?)', digest, placement)
  }

  /** Forgets an adapter and notes its bytes for removal. */
  remove(tenant: TenantId, digest: AdapterDigest): void {
    const [row] = this.#rows(`${listed} WHERE digest = ?`, digest)
    if (row === undefined) return
    this.#sql.exec('DELETE FROM adapters WHERE digest = ?', digest)
    this.#sql.exec('DELETE FROM late_adapters WHERE digest = ?', digest)
    this.#sql.exec('DELETE FROM adapter_placements WHERE digest = ?', digest)
    this.discardEntry(tenant, digest)
    if (row.parts !== null) this.#discardParts(tenant, Parts.parse(JSON.parse(row.parts)))
  }

  #discardParts(tenant: TenantId, { count, upload }: Pick<Parts, 'count' | 'upload'>): void {
    for (let part = 0; part < count; part++) this.#discard(storeKeys.adapterPart(tenant, upload, part))
  }

  /** Gives up uploads that began by then, and notes what they may have written for removal. */
  giveUp(tenant: TenantId, by: number): void {
    const stale = this.#sql
      .exec<{ id: string; digest: AdapterDigest | null; bytes: number }>(
        'SELECT id, digest, bytes FROM uploads WHERE started_at <= ?',
        by,
      )
      .toArray()
    for (const { bytes, digest, id } of stale) {
      this.abandon(tenant, { id, digest, bytes })
    }
  }

  /** Ends a reservation, if there is one yet, and notes what was written under it for removal, unless an adapter has it. */
  abandon(tenant: TenantId, { bytes, digest, id }: Upload): void {
    this.release(id)
    if (bytes <= partBytes) {
      if (digest !== null) this.#discardUnlessHeld(tenant, digest)
    } else if (!this.#isKept(id)) {
      this.#discardParts(tenant, { upload: id, count: Math.ceil(bytes / partBytes) })
    }
  }

  /** Notes what lies under a digest for removal. */
  discardEntry(tenant: TenantId, digest: AdapterDigest): void {
    this.#discard(storeKeys.adapter(tenant, digest))
  }

  /** Whether an adapter lies in the parts of this upload. */
  #isKept(upload: string): boolean {
    return this.#number("SELECT COUNT(*) FROM adapters WHERE parts ->> '$.upload' = ?", upload) > 0
  }

  /** Notes bytes that an upload may have written for removal, unless they are an adapter's or another upload's. */
  #discardUnlessHeld(tenant: TenantId, digest: AdapterDigest): void {
    const others = this.#number('SELECT COUNT(*) FROM uploads WHERE digest = ?', digest)
    if (others === 0 && this.find(digest) === undefined) this.discardEntry(tenant, digest)
  }

  /** KV keys that are to be removed. */
  removals(): string[] {
    return this.#sql
      .exec<{ key: string }>('SELECT key FROM removals')
      .toArray()
      .map(({ key }) => key)
  }

  isBeingRemoved(tenant: TenantId, digest: AdapterDigest): boolean {
    return this.#number('SELECT COUNT(*) FROM removals WHERE key = ?', storeKeys.adapter(tenant, digest)) > 0
  }

  removed(key: string): void {
    this.#sql.exec('DELETE FROM removals WHERE key = ?', key)
  }

  #discard(key: string): void {
    this.#sql.exec('INSERT OR IGNORE INTO removals VALUES (?)', key)
  }

  #rows(query: string, ...bindings: SqlStorageValue[]): Row[] {
    return this.#sql.exec<Row>(query, ...bindings).toArray()
  }

  #number(query: string, ...bindings: SqlStorageValue[]): number {
    return Number(Object.values(this.#sql.exec(query, ...bindings).one())[0])
  }
}

const toSummary = ({ created_at, parts: _, placement, tail, ...rest }: Row): AdapterSummary =>
  AdapterSummary.parse({
    ...rest,
    ...(tail === null ? {} : { tail }),
    ...(placement === null ? {} : { placement }),
    createdAt: created_at,
  })
