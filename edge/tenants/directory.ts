import { DurableObject } from 'cloudflare:workers'
import type { AdapterSummary, TenantSummary } from '../../shared/api/admin.ts'
import type { ErrorCode } from '../../shared/errors.ts'
import { AdapterDigest, AliasName, BackboneSlug, KeyId, TenantId } from '../../shared/ids.ts'
import type { Bindings } from '../env.ts'
import { type AliasRecord, type KeyRecord, storeKeys, type TenantRecord } from './records.ts'

/** A refusal as data: an error's class does not survive the call out of a Durable Object. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string }

const ok = <T>(value: T): Outcome<T> => ({ ok: true, value })
const refuse = (code: ErrorCode, message: string): Outcome<never> => ({ ok: false, code, message })
const noTenant = () => refuse('not_found', 'no such tenant; create it with POST /admin/v1/tenants')

const schema = `
  CREATE TABLE IF NOT EXISTS tenant (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, name TEXT NOT NULL, created_at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS adapters (
    digest TEXT PRIMARY KEY, backbone TEXT NOT NULL, kind TEXT NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, created_at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS aliases (
    alias TEXT PRIMARY KEY, digest TEXT NOT NULL REFERENCES adapters (digest), updated_at INTEGER NOT NULL
  ) STRICT;
`

/**
 * One per tenant: the only owner and writer of its keys, adapters and aliases. Every change is committed here
 * first and then projected into KV, where requests read it. A change whose projection failed is an error to the
 * caller; repeating it projects again.
 */
export class TenantDirectory extends DurableObject<Bindings> {
  readonly #sql: SqlStorage
  readonly #store: KVNamespace
  #projection: Promise<void> = Promise.resolve()

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
    this.#store = env.STORE
    this.#sql.exec(schema)
  }

  async create(id: TenantId): Promise<Outcome<null>> {
    const existed = this.#tenant() !== undefined
    if (!existed) this.#sql.exec('INSERT INTO tenant VALUES (?, ?)', id, Date.now())
    await this.#project()
    return existed ? refuse('conflict', `the tenant ${id} exists already`) : ok(null)
  }

  async summary(): Promise<Outcome<TenantSummary>> {
    const tenant = this.#tenant()
    if (tenant === undefined) return noTenant()
    const keys = this.#sql
      .exec<{ id: string; name: string; created_at: number }>('SELECT * FROM keys ORDER BY created_at, id')
      .toArray()
    return ok({
      id: tenant.id,
      createdAt: tenant.createdAt,
      keys: keys.map((key) => ({ id: KeyId.parse(key.id), name: key.name, createdAt: key.created_at })),
      adapters: this.#adapters(),
      aliases: this.#aliases(),
    })
  }

  /** Lets the key whose SHA-256 this is in as the tenant. */
  async addKey({
    keyId,
    name,
    sha256,
  }: {
    keyId: KeyId
    name: string
    sha256: string
  }): Promise<Outcome<null>> {
    const tenant = this.#tenant()
    if (tenant === undefined) return noTenant()
    this.#sql.exec('INSERT INTO keys VALUES (?, ?, ?, ?)', keyId, sha256, name, Date.now())
    const record: KeyRecord = { tenant: tenant.id, keyId }
    await this.#store.put(storeKeys.key(sha256), JSON.stringify(record))
    return ok(null)
  }

  async revokeKey(keyId: KeyId): Promise<Outcome<null>> {
    const [row] = this.#sql.exec<{ sha256: string }>('SELECT sha256 FROM keys WHERE id = ?', keyId).toArray()
    if (row === undefined) return refuse('not_found', `no key ${keyId} in this tenant`)
    await this.#store.delete(storeKeys.key(row.sha256))
    this.#sql.exec('DELETE FROM keys WHERE id = ?', keyId)
    return ok(null)
  }

  /** Records an adapter whose bytes already lie in KV. */
  async addAdapter(adapter: Omit<AdapterSummary, 'createdAt'>): Promise<Outcome<null>> {
    if (this.#tenant() === undefined) return noTenant()
    const { backbone, bytes, digest, kind, rows } = adapter
    this.#sql.exec(
      'INSERT INTO adapters VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
      ...[digest, backbone, kind, rows, bytes, Date.now()],
    )
    return ok(null)
  }

  async setAlias({ alias, digest }: { alias: AliasName; digest: AdapterDigest }): Promise<Outcome<null>> {
    if (this.#tenant() === undefined) return noTenant()
    if (!this.#adapters().some((adapter) => adapter.digest === digest))
      return refuse('not_found', `this tenant has no adapter ${digest}; upload it first`)
    this.#sql.exec(
      `INSERT INTO aliases VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at
       WHERE digest != excluded.digest`,
      ...[alias, digest, Date.now()],
    )
    await this.#project()
    return ok(null)
  }

  async deleteAlias(alias: AliasName): Promise<Outcome<null>> {
    if (this.#tenant() === undefined) return noTenant()
    const { rowsWritten } = this.#sql.exec('DELETE FROM aliases WHERE alias = ?', alias)
    await this.#project()
    return rowsWritten > 0 ? ok(null) : refuse('not_found', `this tenant has no alias ${alias}`)
  }

  #tenant(): { id: TenantId; createdAt: number } | undefined {
    const [row] = this.#sql.exec<{ id: string; created_at: number }>('SELECT * FROM tenant').toArray()
    return row === undefined ? undefined : { id: TenantId.parse(row.id), createdAt: row.created_at }
  }

  #adapters(): AdapterSummary[] {
    return this.#sql
      .exec<{
        digest: string
        backbone: string
        kind: string
        rows: number
        bytes: number
        created_at: number
      }>('SELECT * FROM adapters ORDER BY created_at, digest')
      .toArray()
      .map(({ backbone, created_at, digest, ...rest }) => ({
        ...rest,
        digest: AdapterDigest.parse(digest),
        backbone: BackboneSlug.parse(backbone),
        createdAt: created_at,
      }))
  }

  #aliases(): TenantSummary['aliases'] {
    return this.#sql
      .exec<{ alias: string; digest: string; updated_at: number }>('SELECT * FROM aliases ORDER BY alias')
      .toArray()
      .map((row) => ({
        alias: AliasName.parse(row.alias),
        digest: AdapterDigest.parse(row.digest),
        updatedAt: row.updated_at,
      }))
  }

  /** Writes `tenant:{id}` as the tables stand when its turn comes: a later change is never overwritten by an earlier one. */
  #project(): Promise<void> {
    const turn = this.#projection.then(async () => {
      const tenant = this.#tenant()
      if (tenant === undefined) return
      const adapters = new Map(this.#adapters().map((adapter) => [adapter.digest, adapter]))
      const aliases = this.#aliases().flatMap(({ alias, digest, updatedAt }): [AliasName, AliasRecord][] => {
        const adapter = adapters.get(digest)
        return adapter === undefined
          ? []
          : [[alias, { digest, backbone: adapter.backbone, rows: adapter.rows, updatedAt }]]
      })
      const record: TenantRecord = { id: tenant.id, aliases: Object.fromEntries(aliases) }
      await this.#store.put(storeKeys.tenant(tenant.id), JSON.stringify(record))
    })
    this.#projection = turn.catch(() => undefined)
    return turn
  }
}
