import {
  AliasSummary,
  Canary,
  Deployment,
  maxHistory,
  maxPastAliases,
  Shadow,
} from '../../shared/api/deployments.ts'
import type { AnswerForm } from '../../shared/api/structure.ts'
import type { AdapterDigest, AliasName } from '../../shared/ids.ts'
import { AliasForms } from './alias-forms.ts'

interface Row extends Record<string, SqlStorageValue> {
  readonly alias: string
  readonly digest: string
  readonly updated_at: number
  readonly version: number
  readonly canary: string | null
  readonly shadow: string | null
  readonly form_type: string | null
  readonly form_name: string | null
}

/** Versions of aliases with the forms of their answers and their shadows, as far as they have any. */
const wholeVersions = (table: 'aliases' | 'deployments') =>
  `SELECT ${table}.*, json_extract(text, '$.type') AS form_type, json_extract(text, '$.json_schema.name') AS form_name, shadow
   FROM ${table} LEFT JOIN alias_forms USING (alias, version) LEFT JOIN forms ON id = form
   LEFT JOIN alias_shadows USING (alias, version)`

/** The adapter that an alias names, and the form of its answers, from now on; null removes the alias. */
export interface AliasMove extends Pick<Deployment, 'action' | 'by'> {
  readonly alias: AliasName
  readonly to: {
    readonly digest: AdapterDigest
    readonly canary: Canary | null
    readonly form: AnswerForm | null
    readonly shadow: Shadow | null
  } | null
}

/** A tenant's aliases and the history of each, of deleted ones for a while. Every change is one version, in both at once. */
export class AliasTable {
  readonly forms: AliasForms
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
    this.forms = new AliasForms(sql)
  }

  list(): AliasSummary[] {
    return this.#rows(`${wholeVersions('aliases')} ORDER BY alias`).map(toSummary)
  }

  find(alias: AliasName): AliasSummary | undefined {
    return this.#rows(`${wholeVersions('aliases')} WHERE alias = ?`, alias).map(toSummary)[0]
  }

  /** The first alias that sends requests to an adapter. */
  holder(digest: AdapterDigest): AliasName | undefined {
    return this.list().find((alias) =>
      [alias.digest, alias.canary?.digest, alias.shadow?.digest].includes(digest),
    )?.alias
  }

  /** Newest first, those before the version `before`. */
  history(alias: AliasName, { before, limit }: { before?: number | undefined; limit: number }): Deployment[] {
    return this.#sql
      .exec<Record<string, SqlStorageValue> & Pick<Row, 'form_name' | 'form_type' | 'shadow'>>(
        `${wholeVersions('deployments')} WHERE alias = ? AND version < ? ORDER BY version DESC LIMIT ?`,
        ...[alias, before ?? Number.MAX_SAFE_INTEGER, limit],
      )
      .toArray()
      .map(({ canary, shadow, ...row }) =>
        Deployment.parse({
          ...row,
          canary: parseCanary(canary),
          ...parseShadow(shadow),
          response_format: parseBrief(row),
        }),
      )
  }

  version(alias: AliasName, version: number): Deployment | undefined {
    return this.history(alias, { before: version + 1, limit: 1 }).find((found) => found.version === version)
  }

  /** The last version that named another adapter than now. */
  previous(alias: AliasName, now: AdapterDigest): Deployment | undefined {
    return this.history(alias, { limit: maxHistory }).find(({ digest }) => digest !== null && digest !== now)
  }

  /** The alias after the change. */
  record({ action, alias, by, to }: AliasMove): AliasSummary | undefined {
    const last = this.history(alias, { limit: 1 })[0]?.version ?? 0
    const version = last + 1
    const at = Date.now()
    const canary = to === null || to.canary === null ? null : JSON.stringify(to.canary)
    this.#sql.exec(
      'INSERT INTO deployments (alias, version, action, digest, canary, by, at) VALUES (?, ?, ?, ?, ?, ?, ?)',
      ...[alias, version, action, to?.digest ?? null, canary, by, at],
    )
    this.forms.keep({ alias, version }, to?.form ?? null)
    if (to?.shadow != null)
      this.#sql.exec('INSERT INTO alias_shadows VALUES (?, ?, ?)', alias, version, JSON.stringify(to.shadow))
    this.#sql.exec('DELETE FROM deployments WHERE alias = ? AND version <= ?', alias, version - maxHistory)
    this.#forget({ alias, version: version - maxHistory })
    this.#sql.exec('DELETE FROM past_aliases WHERE alias = ?', alias)
    if (to === null) {
      this.#sql.exec('DELETE FROM aliases WHERE alias = ?', alias)
      this.#sql.exec('INSERT INTO past_aliases (alias) VALUES (?)', alias)
      this.#forgetPast()
    } else
      this.#sql.exec(
        'INSERT OR REPLACE INTO aliases (alias, digest, updated_at, version, canary) VALUES (?, ?, ?, ?, ?)',
        ...[alias, to.digest, at, version, canary],
      )
    return this.find(alias)
  }

  clear(): void {
    for (const table of ['aliases', 'past_aliases', 'deployments', 'alias_shadows'])
      this.#sql.exec(`DELETE FROM ${table}`)
    this.forms.clear()
  }

  /** Drops the histories of aliases that were deleted longest ago. */
  #forgetPast(): void {
    const forgotten = this.#sql
      .exec<{ alias: AliasName }>(
        'SELECT alias FROM past_aliases ORDER BY seq DESC LIMIT -1 OFFSET ?',
        maxPastAliases,
      )
      .toArray()
    for (const { alias } of forgotten) {
      this.#forget({ alias, version: Number.MAX_SAFE_INTEGER })
      for (const table of ['deployments', 'past_aliases'])
        this.#sql.exec(`DELETE FROM ${table} WHERE alias = ?`, alias)
    }
  }

  /** Forgets what versions up to `version` have besides their adapters. */
  #forget(last: { readonly alias: AliasName; readonly version: number }): void {
    this.forms.forget(last)
    this.#sql.exec('DELETE FROM alias_shadows WHERE alias = ? AND version <= ?', last.alias, last.version)
  }

  #rows(query: string, ...bindings: SqlStorageValue[]): Row[] {
    return this.#sql.exec<Row>(query, ...bindings).toArray()
  }
}

const parseCanary = (json: SqlStorageValue | undefined): Canary | null =>
  typeof json === 'string' ? Canary.parse(JSON.parse(json)) : null

const parseShadow = (json: string | null) => (json === null ? {} : { shadow: Shadow.parse(JSON.parse(json)) })

const parseBrief = ({
  form_name,
  form_type,
}: Partial<Pick<Row, 'form_name' | 'form_type'>>): object | null =>
  form_type == null ? null : { type: form_type, ...(form_name == null ? {} : { name: form_name }) }

const toSummary = ({ canary, shadow, updated_at, ...rest }: Row): AliasSummary =>
  AliasSummary.parse({
    ...rest,
    updatedAt: updated_at,
    canary: parseCanary(canary),
    ...parseShadow(shadow),
    response_format: parseBrief(rest),
  })
