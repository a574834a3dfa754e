import type { ChangeKeyRequest, KeySummary } from '../../shared/api/admin.ts'
import { Scopes } from '../../shared/api/scopes.ts'
import { KeyId, type TenantId } from '../../shared/ids.ts'
import type { KeyRecord } from '../store/records.ts'

interface Row extends Record<string, SqlStorageValue> {
  readonly id: string
  readonly sha256: string
  readonly name: string
  readonly created_at: number
  readonly expires_at: number | null
  /** JSON; null lets the key do everything. */
  readonly scopes: string | null
}

export interface NewKey {
  readonly keyId: KeyId
  readonly name: string
  readonly sha256: string
  readonly expiresAt: number | null
  readonly scopes: Scopes
}

const scopesOf = ({ scopes }: Row): Scopes => Scopes.parse(scopes === null ? null : JSON.parse(scopes))
const written = (scopes: Scopes): string | null => (scopes === null ? null : JSON.stringify(scopes))

/** A tenant's keys, by the hashes of their secrets. */
export class KeyTable {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  list(): KeySummary[] {
    return this.#rows('SELECT * FROM keys ORDER BY created_at, id').map((row) => ({
      id: KeyId.parse(row.id),
      name: row.name,
      createdAt: row.created_at,
      expiresAt: row.expires_at,
      scopes: scopesOf(row),
    }))
  }

  hashes(): string[] {
    return this.#rows('SELECT * FROM keys').map(({ sha256 }) => sha256)
  }

  hashOf(id: KeyId): string | undefined {
    return this.#rows('SELECT * FROM keys WHERE id = ?', id)[0]?.sha256
  }

  /** A key's record that requests read; null when there is none. */
  record(sha256: string, tenant: TenantId): KeyRecord | null {
    const [row] = this.#rows('SELECT * FROM keys WHERE sha256 = ?', sha256)
    if (row === undefined) return null
    const { expires_at: expiresAt } = row
    const scopes = scopesOf(row)
    return {
      tenant,
      keyId: KeyId.parse(row.id),
      ...(expiresAt === null ? {} : { expiresAt }),
      ...(scopes === null ? {} : { scopes }),
    }
  }

  add({ expiresAt, keyId, name, scopes, sha256 }: NewKey): void {
    this.#sql.exec(
      'INSERT INTO keys (id, sha256, name, created_at, expires_at, scopes) VALUES (?, ?, ?, ?, ?, ?)',
      ...[keyId, sha256, name, Date.now(), expiresAt, written(scopes)],
    )
  }

  /** Changes what it names. */
  change(id: KeyId, { expiresAt, scopes }: ChangeKeyRequest): void {
    if (expiresAt !== undefined) this.#sql.exec('UPDATE keys SET expires_at = ? WHERE id = ?', expiresAt, id)
    if (scopes !== undefined) this.#sql.exec('UPDATE keys SET scopes = ? WHERE id = ?', written(scopes), id)
  }

  remove(id: KeyId): void {
    this.#sql.exec('DELETE FROM keys WHERE id = ?', id)
  }

  clear(): void {
    this.#sql.exec('DELETE FROM keys')
  }

  #rows(query: string, ...bindings: SqlStorageValue[]): Row[] {
    return this.#sql.exec<Row>(query, ...bindings).toArray()
  }
}
